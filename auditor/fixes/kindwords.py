"""What a control's typed remediation means, in words: for ``auditor explain`` and the documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from auditor.fixes.kinds import (
    AuditWatch,
    Chmod,
    Chown,
    ContainerOption,
    DenyTraffic,
    EngineSetting,
    Fix,
    GrantReview,
    ImageBuild,
    KubeletSetting,
    NamespaceLabel,
    ObjectField,
    ProgramFlag,
    WorkloadField,
)


def in_words(fix: Fix) -> str:
    """Return in a line what a fix does."""
    said = _WORDS[type(fix)](fix)
    return said[:1].upper() + said[1:]


def _setting(where: str) -> Callable[[Any], str]:
    def words(fix: EngineSetting | KubeletSetting) -> str:
        if fix.remove:
            return f'take "{fix.key}" out of {where}'
        kept = f", but keep {', '.join(fix.keep)}" if isinstance(fix, EngineSetting) and fix.keep else ""
        return f'set "{fix.key}" to {json.dumps(fix.value)} in {where}{kept}'

    return words


def _flag(fix: ProgramFlag) -> str:
    where = f"in the manifest of {fix.program}"
    if fix.unset:
        return f"take {fix.flag} out {where}"
    if fix.add:
        return f"add {', '.join(fix.add)} to {fix.flag} {where}"
    if fix.take:
        return f"take {', '.join(fix.take)} out of {fix.flag} {where}"
    return f"set {fix.flag}={fix.text(fix.value)} {where}"


def _owner(fix: Chown) -> str:
    group = fix.group or (fix.groups[0] if fix.groups else "")
    return f"give the failing files to {':'.join(n for n in (fix.user, group) if n)}"


def _option(fix: ContainerOption) -> str:
    value = "" if fix.value is None else f" {json.dumps(fix.value) if not isinstance(fix.value, str) else fix.value}"
    again = f"make the failing containers again with {fix.run}{value or ' of your choice'}, by hand"
    return f"docker update {fix.update}{value} while they run" if fix.update else again


def _workload(fix: WorkloadField) -> str:
    where = "the pod template" if fix.pod else "the failing containers"
    return f"set {fix.pod or fix.container} of {where} to {json.dumps(fix.value)}"


_WORDS: dict[type, Callable[[Any], str]] = {
    EngineSetting: _setting("the engine's daemon.json"),
    KubeletSetting: _setting("the kubelet's configuration"),
    ProgramFlag: _flag,
    Chmod: lambda fix: (
        f"take from the failing files all permissions beyond {fix.keep}"
        + (f" of folders and {fix.files} of others" if fix.files else "")
    ),
    Chown: _owner,
    AuditWatch: lambda fix: f"add watches ({fix.perms}) of the failing files to /etc/audit/rules.d",
    ContainerOption: _option,
    ImageBuild: lambda fix: f"build the failing images with another {fix.instruction}, by hand",
    ObjectField: lambda fix: f"set {fix.field} of the failing {fix.kind}s to {json.dumps(fix.value)}",
    WorkloadField: _workload,
    NamespaceLabel: lambda fix: f"label the failing namespaces {fix.label}={fix.value}",
    DenyTraffic: lambda fix: f"a network policy that allows nothing ({', '.join(fix.types)}) in the failing namespaces",
    GrantReview: lambda _: "commands that show each failing binding and role, for a person to change",
}
