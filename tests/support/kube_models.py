"""Whether manifests are what Kubernetes' OpenAPI says, by the models that the ``kubernetes`` package generates from it.

Stricter than the package: unknown fields and values of another type are mistakes too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kubernetes import client

_SIMPLE: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float), "datetime": (str,)}


def mistakes(manifest: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a manifest, each with its path."""
    version = str(manifest["apiVersion"]).rpartition("/")[2]
    model = getattr(client, f"{version[0].upper()}{version[1:]}{manifest['kind']}", None)
    if model is None:
        return [f"there is no {manifest['apiVersion']} {manifest['kind']}"]
    return _of_model(manifest, model, str(manifest["kind"]))


def _of_model(value: Any, model: Any, at: str) -> list[str]:
    if not isinstance(value, Mapping):
        return [f"{at}: not an object"]
    names = {field: name for name, field in model.attribute_map.items()}
    found = [f"{at}.{field}: unknown" for field in value if field not in names]
    known = {names[f]: v for f, v in value.items() if f in names}
    try:
        model(**known)  # which refuses what lacks a required field or breaks a limit
    except ValueError as error:
        found.append(f"{at}: {error}")
    for name, part in known.items():
        found += _of_type(part, model.openapi_types[name], f"{at}.{model.attribute_map[name]}")
    return found


def _of_type(value: Any, kind: str, at: str) -> list[str]:
    if kind == "object":  # IntOrString and such
        return []
    if kind in _SIMPLE:
        ok = isinstance(value, _SIMPLE[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if ok else [f"{at}: {value!r} is no {kind}"]
    if match := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{at}: not a list"]
        return [m for i, part in enumerate(value) for m in _of_type(part, match[1], f"{at}[{i}]")]
    if match := re.fullmatch(r"(?:dict\(|Dict\[)str, (.+)[)\]]", kind):
        if not isinstance(value, Mapping):
            return [f"{at}: not a map"]
        return [m for k, part in value.items() for m in _of_type(part, match[1], f"{at}.{k}")]
    return _of_model(value, getattr(client, kind), at)
