"""Inventories for tests: written beside a few files that they may name, and the mistakes in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auditor.inventory import load
from auditor.yamlfile import InputError


def writer(folder: Path) -> Callable[[str], Path]:
    """Return what writes an inventory into a folder, beside a few files that it may name."""
    for name in ("key", "config", "ca.pem"):
        (folder / name).write_text("")

    def to(text: str) -> Path:
        path = folder / "inventory.yaml"
        path.write_text(text)
        return path

    return to


def mistakes(path: Path) -> list[str]:
    """Return what is wrong with an inventory, without its path."""
    with pytest.raises(InputError) as error:
        load(path)
    return [str(m).removeprefix(f"{path}:") for m in error.value.mistakes]
