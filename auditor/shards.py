"""Splitting the targets of one run over several processes or machines: the same way everywhere, without any of them asking."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from auditor.model import Target


def shards_of(targets: Iterable[Target], count: int) -> Mapping[str, int]:
    """Return in which shard (1 to ``count``) each target is, by name.

    It follows from the names alone, not from their order, so that a target stays where it is when others come and go. A cluster
    and the hosts that it names as its nodes are judged together, so they are in one shard.
    """
    every = list(targets)
    first = {t.name: t.name for t in every}  # of those that belong together

    def root(name: str) -> str:
        while first[name] != name:
            first[name] = first[first[name]]
            name = first[name]
        return name

    for target in every:
        for node in target.nodes:
            if node in first:
                one, other = sorted((root(target.name), root(node)))
                first[other] = one
    return {name: _hash(root(name)) % count + 1 for name in first}


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")
