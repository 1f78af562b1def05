"""The kinds of typed remediation: what a control's ``fix:`` may hold. Data only; `auditor.fixes.plan` knows what to make of each.

In a benchmark file a fix is a mapping with exactly one kind, like a check: ``- file_mode: {keep: "0644"}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*)*")
#: What a flag may be given without anything that a shell, YAML or a list of values could take for more than it is.
_WORD = re.compile(r"[A-Za-z0-9_./:=+@-]+")
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
    """A dotted key of the kubelet's configuration file gets a value. ``flag`` is the deprecated flag that would override it.

    ``least`` is the smallest number that the control accepts, where a site may ask for more than ``value``. ``caution`` says what
    to look at before.
    """

    key: str
    value: Any = None
    least: int | None = None
    flag: str = ""
    remove: bool = False
    caution: str = ""

    def __post_init__(self) -> None:
        _require(_KEY, self.key, "key")
        if self.flag:
            _require(_FLAG, self.flag, "flag")
        if self.remove == (self.value is not None):
            raise ValueError("give either a value or remove: true")
        if self.least is not None:
            object.__setattr__(self, "value", max(self.value, self.least))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFlag:
    """A flag of a program of the control plane gets a ``value``, its list gains or loses elements, or it goes (``unset``).

    A list as a value is written with commas. ``needs`` is another flag without which this one does nothing; ``caution`` says what
    to look at before.
    """

    program: Literal["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
    flag: str
    value: Any = None
    add: tuple[str, ...] = ()
    take: tuple[str, ...] = ()
    unset: bool = False
    needs: str = ""
    caution: str = ""

    def __post_init__(self) -> None:
        _require(_FLAG, self.flag, "flag")
        if self.needs:
            _require(_FLAG, self.needs, "needs")
        if sum((self.value is not None, bool(self.add), bool(self.take), self.unset)) != 1:
            raise ValueError("give exactly one of value, add, take and unset")
        words = self.value if isinstance(self.value, tuple | list) else (self.value,) if self.value is not None else ()
        for word in (*words, *self.add, *self.take):
            _require(_WORD, self.text(word), "value")

    @staticmethod
    def text(value: Any) -> str:
        """Return a value as the program reads it."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chmod:
    """The failing files lose every permission bit that ``keep`` (octal, quoted) hasn't; none is ever added.

    Where ``files`` is given, ``keep`` is for folders alone and this for what is in them.
    """

    keep: str
    files: str = ""

    def __post_init__(self) -> None:
        _require(re.compile(r"[0-7]{3,4}"), self.keep, "keep")
        if self.files:
            _require(re.compile(r"[0-7]{3,4}"), self.files, "files")


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
    ``retries`` are put behind the value, after a colon; 0 of them, which Docker reads as any number, is refused.
    """

    run: str
    compose: str
    value: Any = None
    update: str = ""
    retries: int | None = None

    def __post_init__(self) -> None:
        if self.retries is not None:
            if self.retries < 1:
                raise ValueError("retries must be at least 1")
            object.__setattr__(self, "value", f"{self.value}:{self.retries}")
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

    kind: Literal["serviceaccount"]
    field: str
    value: Any

    def __post_init__(self) -> None:
        _require(_KEY, self.field, "field")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadField:
    """A dotted field of the failing workloads gets a value, in the ``pod`` template or in every ``container`` that fails."""

    pod: str = ""
    container: str = ""
    value: Any

    def __post_init__(self) -> None:
        if bool(self.pod) == bool(self.container):
            raise ValueError("give either pod or container")
        _require(_KEY, self.pod or self.container, "field")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceLabel:
    """The failing namespaces get a label; where several controls ask for Pod Security levels, the strictest."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyTraffic:
    """The failing namespaces get a network policy that selects every pod and allows nothing of these ``types``."""

    types: tuple[Literal["Ingress", "Egress"], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantReview:
    """The failing bindings and roles are for a person to change: each is named, with the command that shows it."""


Fix = (
    EngineSetting | KubeletSetting | ProgramFlag | Chmod | Chown | AuditWatch | ContainerOption | ImageBuild | ObjectField
    | WorkloadField | NamespaceLabel | DenyTraffic | GrantReview
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
    "workload_field": WorkloadField,
    "namespace_label": NamespaceLabel,
    "deny_traffic": DenyTraffic,
    "grant_review": GrantReview,
}
