"""Versions of Kubernetes as text: what its programs and its API call themselves."""

from __future__ import annotations

import re

_MINOR = re.compile(r"v?1\.([0-9]{1,3})(?![0-9])")
#: So many minor versions a kubelet may be older than its API server (https://kubernetes.io/releases/version-skew-policy/).
SKEW = 3


def minor_of(version: str) -> int | None:
    """Return the minor version of a version of Kubernetes, such as 31 for ``v1.31.4+k3s1``; None for anything else."""
    match = _MINOR.match(version)
    return int(match[1]) if match else None


def require_minor(version: str) -> int:
    """Return the minor version of text like ``1.31``; raises ValueError for anything else."""
    minor = minor_of(version)
    if minor is None or version != f"1.{minor}":
        raise ValueError(f'must be a minor version of Kubernetes in quotes, such as "1.31", not {version!r}')
    return minor
