"""The kinds of typed remediation: what a control's ``fix:`` may hold. Data only; `auditor.fixes.plan` knows what to make of each.

In a benchmark file a fix is a mapping with exactly one kind, like a check: ``- file_mode: {keep: "0644"}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*")
_FLAG = re.compile(r"--[a-z0-9][a-z0-9-]*")


def _require(pattern: re.Pattern[str], text: str, what: str) -> None:
    if not pattern.fullmatch(text):
        raise ValueError(f"{what} can't be {text!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSetting:
    """A key of the engine's daemon.json gets a value, or is taken out with ``remove``.

    Of a list, the elements in ``keep`` stay.
    """

    key: str
    value: Any = None
    remove: bool = False
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(_KEY, self.key, "key")
        if self.remove == (self.value is not None):
            raise ValueError("give either a value or remove: true")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletSetting:
    """A dotted key of the kubelet's configuration file gets a value. ``flag`` is the deprecated flag that would override it."""

    key: str
    value: Any = None
    flag: str = ""
    remove: bool = False

    def __post_init__(self) -> None:
        _require(_KEY, self.key, "key")
        if self.flag:
            _require(_FLAG, self.flag, "flag")
        if self.remove == (self.value is not None):
            raise ValueError("give either a value or remove: true")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFlag:
    """A flag of a program gets a ``value``, elements are added to or taken out of its list, or it is taken away (``unset``)."""

    program: Literal["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kubelet"]
    flag: str
    value: str | None = None
    add: tuple[str, ...] = ()
    take: tuple[str, ...] = ()
    unset: bool = False

    def __post_init__(self) -> None:
        _require(_FLAG, self.flag, "flag")
        if sum((self.value is not None, bool(self.add), bool(self.take), self.unset)) != 1:
            raise ValueError("give exactly one of value, add, take and unset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chmod:
    """The failing files lose every permission bit that ``keep`` (octal, quoted) hasn't; none is ever added."""

    keep: str

    def __post_init__(self) -> None:
        _require(re.compile(r"[0-7]{4}"), self.keep, "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chown:
    """The failing files get this owner and group (the first of ``groups``). An empty one is left as it is."""

    user: str = ""
    group: str = ""
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.user or self.group or self.groups) or (self.group and self.groups):
            raise ValueError("give a user, and one of group and groups, or one of these alone")
        for name in (self.user, self.group, *self.groups):
            if name:
                _require(re.compile(r"[a-z_][a-z0-9_-]*"), name, "user and group")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditWatch:
    """The kernel records accesses of the kinds ``perms`` (letters of rwxa) to the failing files."""

    perms: str = "wa"

    def __post_init__(self) -> None:
        _require(re.compile(r"[rwxa]{1,4}"), self.perms, "perms")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOption:
    """An option that the failing containers are to be created with: of ``docker run``, and its key in a Compose file.

    ``update`` is the option of ``docker update`` that does it while the container runs. Without a ``value`` a person chooses one.
    """

    run: str
    compose: str
    value: Any = None
    update: str = ""

    def __post_init__(self) -> None:
        _require(_FLAG, self.run, "run")
        if self.update:
            _require(_FLAG, self.update, "update")
            if self.value is None:
                raise ValueError("update needs a value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """The failing images must be built anew with another instruction of their Dockerfile."""

    instruction: Literal["FROM", "RUN", "COPY", "USER", "CMD", "HEALTHCHECK"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectField:
    """A dotted field of the failing Kubernetes objects gets a value (a merge patch)."""

    kind: Literal["serviceaccount", "pod", "deployment"]
    field: str
    value: Any

    def __post_init__(self) -> None:
        _require(_KEY, self.field, "field")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceLabel:
    """The namespaces of the failing objects get a label."""

    label: str
    value: str


Fix = (
    EngineSetting | KubeletSetting | ProgramFlag | Chmod | Chown | AuditWatch | ContainerOption | ImageBuild | ObjectField
    | NamespaceLabel
)  # fmt: skip

#: The names that benchmark files use.
KINDS: dict[str, type] = {
    "engine_setting": EngineSetting,
    "kubelet_setting": KubeletSetting,
    "program_flag": ProgramFlag,
    "file_mode": Chmod,
    "file_owner": Chown,
    "audit_watch": AuditWatch,
    "container_option": ContainerOption,
    "image_build": ImageBuild,
    "object_field": ObjectField,
    "namespace_label": NamespaceLabel,
}
