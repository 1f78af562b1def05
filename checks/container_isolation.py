"""Rules about what holds a container back: capabilities, mandatory access control, CPU weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.docker import Engine
from auditor.facts.host import Files
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.engines import EngineFacts, security_options, source

#: Linux capabilities by the number of their bit (include/uapi/linux/capability.h).
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
#: What the engine gives a container that asks for nothing.
DEFAULT_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
#: The CpuShares that a container has when nothing is asked for.
DEFAULT_CPU_SHARES = 1024
#: Exists where the running kernel enforces or could enforce SELinux.
SELINUX_SWITCH = Files(path="/sys/fs/selinux/enforce")


class Everywhere:
    """A rule that applies to every engine and reads the containers alone."""

    __slots__ = ()

    def needs(self) -> frozenset[Fact]:
        """Nothing but the containers."""
        return frozenset()

    def applies(self, engine: EngineFacts) -> str | Problem:  # noqa: ARG002 - the other rules look at it
        """Everywhere."""
        return ""


def _capability(name: Any) -> str:
    """The engine stores names as the client sent them: any case, with or without CAP_."""
    return str(name).upper().removeprefix("CAP_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities(Everywhere):
    """A container holds no capability beyond the engine's default set and ``allowed``, and none of ``denied``.

    Judged on what the options of the container add up to and, where the host can be read, on the bounding set of its first
    process too. Names are written without CAP_.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.allowed, *self.denied):
            if name not in CAPABILITIES:
                raise ValueError(f"{name!r} is not a capability (NET_ADMIN, SYS_TIME, ...)")

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Compare the capabilities that the container holds with those it may hold."""
        may = (DEFAULT_CAPABILITIES | set(self.allowed)) - set(self.denied)
        expected = "no capability beyond the default set" + (f" and {base.show(self.allowed)}" if self.allowed else "")
        expected += f", without {base.show(self.denied)}" if self.denied else ""
        where = source("containers", "HostConfig.Privileged, CapAdd, CapDrop")
        host = container["HostConfig"]
        privileged = host.get("Privileged")
        if not isinstance(privileged, bool):
            return base.error(subject, Problem(Reason.ABSENT, "Privileged is not given"), expected=expected, source=where)
        if privileged:
            return base.verdict(subject, ok=False, expected=expected, actual="every capability (privileged)", source=where)
        held = declared_capabilities(host.get("CapAdd") or (), host.get("CapDrop") or ())
        proc = container.get("proc") or {}
        if "CapBnd" in proc:
            where += "; CapBnd of its first process"
            bounding = _bits(str(proc["CapBnd"]))
            if isinstance(bounding, Problem):
                return base.error(subject, bounding, expected=expected, source=where)
            held |= bounding
        beyond = sorted(held - may)
        actual = f"beyond it: {base.show(beyond)}" if beyond else f"{len(held)} capabilities, none beyond it"
        return base.verdict(subject, not beyond, expected=expected, actual=actual, source=where)


def declared_capabilities(add: Any, drop: Any) -> set[str]:
    """Return what the engine makes of CapAdd and CapDrop (moby, daemon/pkg/oci/caps: ALL in CapAdd outranks ALL in CapDrop)."""
    added, dropped = {_capability(c) for c in add}, {_capability(c) for c in drop}
    if "ALL" in added:
        return set(CAPABILITIES) - dropped
    return added | (set() if "ALL" in dropped else set(DEFAULT_CAPABILITIES) - dropped)


def _bits(mask: str) -> set[str] | Problem:
    try:
        bits = int(mask, 16)
    except ValueError:
        return Problem(Reason.UNPARSABLE, f"{mask[:40]!r} is not a set of capabilities")
    return {CAPABILITIES[i] if i < len(CAPABILITIES) else f"bit {i}" for i in range(bits.bit_length()) if bits >> i & 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuWeight(Everywhere):
    """A container has a CPU weight of its own: CpuShares is neither 0 nor 1024, which both mean the default.

    With ``accept_quota`` a hard limit (NanoCpus, or CpuQuota) counts as well.
    """

    accept_quota: bool = False

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Look at the weight, then at the limits."""
        host = container["HostConfig"]
        shares, nano, quota = host.get("CpuShares"), host.get("NanoCpus") or 0, host.get("CpuQuota") or 0
        expected = "a CPU weight other than the default" + (" or a CPU limit" if self.accept_quota else "")
        where = source("containers", "HostConfig.CpuShares" + (", NanoCpus, CpuQuota" if self.accept_quota else ""))
        if shares is None:
            return base.error(subject, Problem(Reason.ABSENT, "CpuShares is not given"), expected=expected, source=where)
        weighted = shares > 0 and shares != DEFAULT_CPU_SHARES
        limited = self.accept_quota and (nano > 0 or quota > 0)
        actual = f"CpuShares {shares}" + ("" if weighted else " (the default weight)")
        if limited:
            actual += f", NanoCpus {nano}" if nano > 0 else f", CpuQuota {quota}"
        return base.verdict(subject, weighted or limited, expected=expected, actual=actual, source=where)


def options_named(container: dict[str, Any], name: str) -> list[str]:
    """Return the values of a security option, written ``name=value`` or, as in old clients, ``name:value``."""
    options = [str(o) for o in container["HostConfig"].get("SecurityOpt") or ()]
    return [o[len(name) + 1 :] for o in options if o.startswith((f"{name}=", f"{name}:"))]


@dataclass(frozen=True, slots=True)
class AppArmor:
    """A container runs under an AppArmor profile, where the engine supports AppArmor."""

    def needs(self) -> frozenset[Fact]:
        """What the engine supports."""
        return frozenset({Engine("info")})

    def applies(self, engine: EngineFacts) -> str | Problem:
        """Only where the engine says that it supports AppArmor."""
        options = security_options(engine)
        if isinstance(options, Problem):
            return options
        return "" if "name=apparmor" in options else "the engine has no AppArmor support on this host"

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Look at the profile; one that was never started has none yet, and its options say what it will be."""
        expected = "an AppArmor profile"
        profile = container.get("AppArmorProfile") or ""
        where = source("containers", "AppArmorProfile")
        if not profile and container["State"].get("Status") == "created":
            named = options_named(container, "apparmor")
            privileged = container["HostConfig"].get("Privileged")
            profile = named[-1] if named else "unconfined" if privileged is not False else "docker-default"
            where = source("containers", "HostConfig.SecurityOpt, Privileged (never started)")
        confined = profile not in ("", "unconfined")
        return base.verdict(subject, confined, expected=expected, actual=profile or "no profile", source=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeLinux:
    """A container runs under an SELinux label, where the host uses SELinux.

    ``unconfined_types`` are the types that leave a process unconfined although it has a label.
    """

    unconfined_types: tuple[str, ...] = ("spc_t", "unconfined_t", "unconfined_service_t", "container_runtime_t")

    def needs(self) -> frozenset[Fact]:
        """What the engine supports, and whether the host's kernel has SELinux on."""
        return frozenset({Engine("info"), SELINUX_SWITCH})

    def applies(self, engine: EngineFacts) -> str | Problem:
        """Where the engine uses SELinux, or doesn't although the kernel does."""
        options = security_options(engine)
        if isinstance(options, Problem):
            return options
        if "name=selinux" in options:
            return ""
        if "name=apparmor" in options:
            return "the host uses AppArmor, not SELinux"
        switch = engine.facts.get(SELINUX_SWITCH)
        if isinstance(switch, Problem):
            return Problem(
                switch.reason, f"the engine does not use SELinux, and whether the host does is not known: {switch.detail}"
            )
        return "" if switch["files"] else "the host does not use SELinux"

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Look at the label of its processes, then at the options that turn labels off."""
        expected = "an SELinux label that confines it"
        label = container.get("ProcessLabel") or ""
        where = source("containers", "ProcessLabel")
        off = [o for o in options_named(container, "label") if o == "disable"]
        parts = label.split(":")
        unconfined = len(parts) > 2 and parts[2] in self.unconfined_types
        actual = label or "no label"
        if off:
            actual, where = "label=disable", source("containers", "HostConfig.SecurityOpt")
        elif not label:
            options = security_options(engine)
            if not isinstance(options, Problem) and "name=selinux" not in options:
                actual += "; the engine runs without SELinux support on a host that uses it"
        return base.verdict(subject, bool(label) and not off and not unconfined, expected=expected, actual=actual, source=where)
