"""As whom a cluster is read, told by what we show its API server; it is not asked, which would take a POST."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LONGEST = 300


def account_of(certificate: str | None, authorization: str, user: str) -> str:
    """Return in words who we are: by the client's certificate (its path), else the service account of a token, else the
    kubeconfig's name of the user, which the API server may know by another one; empty when nothing tells. Raises nothing."""  # noqa: D205, D209 - one sentence
    said = _by_certificate(certificate) if certificate else ""
    said = said or _by_token(authorization)
    if not said and user:
        said = f"the kubeconfig's user {user}, who may have another name there"
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _by_certificate(path: str) -> str:
    """Return the user and the groups that the API server reads from a certificate: its common name and its organisations."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        subject = x509.load_pem_x509_certificate(Path(path).read_bytes()).subject
        names, groups = ([str(a.value) for a in subject.get_attributes_for_oid(o)] for o in
                         (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME))  # fmt: skip
    except (OSError, ValueError):
        return ""
    if not names:
        return ""
    return f"{names[0]} ({', in '.join(['client certificate', *([', '.join(groups)] if groups else [])])})"


def _by_token(authorization: str) -> str:
    """Return the service account that a token is of; the API server has checked it where it answers us at all."""
    parts = authorization.rpartition(" ")[2].split(".")
    if len(parts) != 3:
        return ""
    try:
        told = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return ""
    subject = told.get("sub") if isinstance(told, dict) else None
    return f"{subject} (token)" if isinstance(subject, str) and subject.startswith("system:serviceaccount:") else ""


def user_of(contexts: tuple[list[Mapping[str, Any]], Mapping[str, Any]], wanted: str | None) -> str:
    """Return the kubeconfig's name of the user of a context, by default the current one; empty when there is none."""
    every, current = contexts
    found = next((c for c in every if c.get("name") == wanted), {}) if wanted else current
    return str((found.get("context") or {}).get("user") or "")
