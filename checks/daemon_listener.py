"""``daemon_listener``: whoever reaches the Docker API over the network must show a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.facts.host import Config, Listeners, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason, problem_of
from checks import base, running
from checks.configured import Documents, documents
from checks.running import Instance

_CONFIG = Config(process="dockerd", flag="--config-file", path="/etc/docker/daemon.json")
_VERSION = Engine("version")
_INFO = Engine("info")
_EXPECTED = "client certificates are verified on every TCP listener"
_TLS_LISTENER = "tcp://localhost:2376"


@dataclass(frozen=True, slots=True)
class _Tls:
    """Whether an engine's TCP listeners use TLS, what is missing (empty: nothing), where that is said."""

    on: bool
    fault: str
    source: str
    from_file: bool = True


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one engine listens on and how: what a TCP listener lacks is in ``fault``, empty when nothing."""

    listeners: tuple[str, ...]
    fault: str
    source: str
    from_file: bool

    @property
    def tcp(self) -> tuple[str, ...]:
        """The listeners on the network."""
        return tuple(h for h in self.listeners if _protocol(h) == "tcp")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonListener:
    """Every TCP listener of every dockerd verifies client certificates against a CA of its own.

    Listeners are those of ``-H`` and of "hosts" in daemon.json, and where systemd hands them over (``fd://``) the sockets that the
    running engine holds open, without those of swarm and metrics. An engine without a TCP listener is not applicable. What the
    engine itself warns of fails, whatever its files say.
    """

    def needs(self) -> frozenset[Fact]:
        """The running engines, what they listen on, their configuration files, versions and warnings."""
        return frozenset({Processes(), _CONFIG, _VERSION, _INFO, Listeners()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every dockerd of the host."""
        found = running.instances(facts, "dockerd")
        if isinstance(found, Outcome):
            return found
        judged = [_judge(facts, instance) for instance in found]
        reasons = dict.fromkeys(j for j in judged if isinstance(j, str))
        return base.outcome([j for j in judged if isinstance(j, Observation)], "; ".join(reasons))


def _judge(facts: Facts, instance: Instance) -> Observation | str:
    """Return the observation about one engine, or why there is nothing to observe."""
    if warning := _warning(facts, instance):
        return base.verdict(instance.subject, ok=False, expected=_EXPECTED, actual=warning, source="docker info: Warnings")
    named = flags.listing(instance.args, "--host", instance.dialect)
    if isinstance(named, list) and not any(_protocol(h) in ("tcp", "") for h in named) and _really(facts, instance, None) == ():
        return f"{instance} has no TCP listener, only {base.show(named)}"
    files = documents(facts, _CONFIG, instance)
    answer = _listening(facts, instance, files)
    if isinstance(answer, Problem):
        return base.error(instance.subject, answer, expected=_EXPECTED, source=f"-H of {instance} or hosts in daemon.json")
    pending = files.changed() if answer.from_file and isinstance(files, Documents) else ""
    note = f"{pending} changed after pid {instance.pid} started: restart pending" if pending else ""
    if answer.tcp and answer.fault and not note:
        actual = f"{base.show(answer.tcp)}: {answer.fault}"
        return base.verdict(instance.subject, ok=False, expected=_EXPECTED, actual=actual, source=answer.source)
    handed_over = any(_protocol(h) == "fd" for h in answer.listeners)
    real = _really(facts, instance, files) if note or handed_over else ()
    if isinstance(real, Problem):
        return base.error(instance.subject, real, expected=_EXPECTED, source=f"{answer.source}; sockets that {instance} holds open")
    if (note or handed_over) and not real and not (answer.tcp and not note):
        return f"{instance} has no TCP listener, only {base.show(answer.listeners)}"
    tcp = tuple(dict.fromkeys((*answer.tcp, *(f"tcp://{a}" for a in real))))
    shown = base.show((*answer.listeners, *(f"tcp://{a}" for a in real)))
    if tcp and answer.fault:
        actual = f"{base.show(tcp)}: {answer.fault}" + (f" ({note})" if note else "")
        return base.verdict(instance.subject, ok=False, expected=_EXPECTED, actual=actual, source=answer.source)
    if note:
        problem = Problem(Reason.ABSENT, f"{shown} is not known to be in effect, since {note}")
        return base.error(instance.subject, problem, expected=_EXPECTED, source=answer.source)
    if not tcp:
        return f"{instance} has no TCP listener, only {shown}"
    return base.verdict(instance.subject, ok=True, expected=_EXPECTED, actual=f"{shown}: verified", source=answer.source)


def _warning(facts: Facts, instance: Instance) -> str:
    """Return what the engine itself warns of: an API on the network without encryption or without client certificates."""
    answers = facts.get(_INFO)
    entry: dict[str, Any] = (
        next((a for a in answers if a.get("pid") == instance.pid), {}) if not isinstance(answers, Problem) else {}
    )
    warnings = (entry.get("data") or {}).get("Warnings") or []
    return next((base.short(str(w)) for w in warnings if "API is accessible on http" in str(w)), "")


def _really(facts: Facts, instance: Instance, files: Documents | Problem | None) -> tuple[str, ...] | Problem:
    """Return the TCP sockets on which the running engine takes requests: all but those of swarm and metrics."""
    answers = facts.get(Listeners())
    if isinstance(answers, Problem):
        return answers
    entry = next((a for a in answers if a["pid"] == instance.pid), None)
    if entry is None:
        return Problem(Reason.ABSENT, f"the sockets of {instance} were not collected")
    if "problem" in entry:
        return problem_of(entry)
    own = {_port(str(m)) for m in (_metrics(instance, files),) if m}
    info = facts.get(_INFO)
    data = next((a.get("data") or {} for a in info if a.get("pid") == instance.pid), {}) if not isinstance(info, Problem) else {}
    if (data.get("Swarm") or {}).get("LocalNodeState") not in (None, "", "inactive"):
        own |= {"2377", "7946"}
    return tuple(address for address in entry["tcp"] if _port(address) not in own)


def _metrics(instance: Instance, files: Documents | Problem | None) -> str:
    given = flags.text(instance.args, "--metrics-addr", instance.dialect)
    if isinstance(given, str):
        return given
    found = files.find("metrics-addr", "text") if isinstance(files, Documents) else None
    return str(found[0]) if isinstance(found, tuple) else ""


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _listening(facts: Facts, instance: Instance, files: Documents | Problem) -> _Answer | Problem:
    """Return listeners and TLS as dockerd works them out.

    An option stands in one place only: dockerd refuses to start when flag and file both set it. Hosts from flags without TCP
    need no look at the file, so an unreadable one does no harm there.
    """
    hosts = flags.listing(instance.args, "--host", instance.dialect)
    if isinstance(hosts, Problem):
        return hosts
    source = f"-H of {instance}"
    if hosts and not any(_protocol(h) in ("tcp", "fd", "") for h in hosts):
        return _Answer(tuple(hosts), "", source, from_file=False)
    if isinstance(files, Problem):
        return files
    from_file = not hosts
    if not hosts:
        named = files.find("hosts", "list")
        if isinstance(named, Problem):
            return named
        hosts, source = named if named and named[0] else ([], "default (no -H, no hosts in daemon.json)")
    tls = _tls(facts, instance, files)
    if isinstance(tls, Problem):
        return tls
    default = _TLS_LISTENER if tls.on else "unix:///var/run/docker.sock"
    listeners = tuple(str(h).strip() or default for h in hosts) or (default,)
    return _Answer(listeners, tls.fault, f"{source}; TLS: {tls.source}", from_file or tls.from_file)


def _tls(facts: Facts, instance: Instance, files: Documents) -> _Tls | Problem:
    """Return whether TLS is on, what it lacks, and where that is said.

    As dockerd does it (loadDaemonCliConfig, seen in 20.10 to 29): ``tlsverify`` set to anything switches TLS on; ``tls`` alone
    verifies too, from 20.10 on. The environment variable DOCKER_TLS_VERIFY changes nothing. The default CA file, and the flag
    ``--tlscacert``, count only when a flag switched TLS on; without a CA file of its own the engine trusts every CA that the
    system trusts.
    """
    verify = _switch(instance, files, "tlsverify")
    tls = _switch(instance, files, "tls")
    if isinstance(verify, Problem):
        return verify
    if isinstance(tls, Problem):
        return tls
    value, source, from_file = verify or tls or (False, "default (no --tlsverify, no --tls)", True)
    if verify is None and not value:
        return _Tls(on=False, fault="no TLS, so anyone who connects is root", source=source, from_file=from_file)
    if not value:
        fault = "TLS without client certificates, so anyone who connects is root"
        return _Tls(on=True, fault=fault, source=source, from_file=from_file)
    if verify is None:
        old = _too_old(facts, instance)
        if old:
            return old if isinstance(old, Problem) else _Tls(on=True, fault=old, source=source, from_file=from_file)
    return _with_ca(instance, files, source, from_file=from_file)


def _too_old(facts: Facts, instance: Instance) -> str | Problem:
    """Return what is wrong with ``tls`` without ``tlsverify`` on this engine; empty from 20.10 on, where it verifies."""
    answers = facts.get(_VERSION)
    if isinstance(answers, Problem):
        return answers
    entry: dict[str, Any] = next((a for a in answers if a["pid"] == instance.pid), {})
    major = str((entry.get("data") or {}).get("Version", "")).partition(".")[0]
    if not major.isdecimal():
        return Problem(
            Reason.ABSENT, "tls without tlsverify means verification from Engine 20.10 on only, and its version is not known"
        )
    return "" if int(major) >= 20 else "tls without tlsverify accepts clients without a certificate before Engine 20.10"


def _with_ca(instance: Instance, files: Documents, source: str, *, from_file: bool) -> _Tls | Problem:
    in_file = files.find("tlscacert", "text")
    in_flag = flags.text(instance.args, "--tlscacert", instance.dialect)
    if isinstance(in_file, Problem):
        return in_file
    if isinstance(in_flag, Problem):
        return in_flag
    # Where a flag switched TLS on and no CA is named, the default file counts; without it dockerd doesn't start.
    has_ca = in_file[0] != "" if in_file is not None else not from_file and in_flag != ""
    fault = "" if has_ca else "client certificates of every CA that the system trusts are accepted, since no tlscacert is in effect"
    return _Tls(on=True, fault=fault, source=source, from_file=from_file or in_file is not None)


def _switch(instance: Instance, files: Documents, name: str) -> tuple[bool, str, bool] | Problem | None:
    """Return a boolean option, its source and whether that is a file; None when it is set nowhere."""
    flag = flags.boolean(instance.args, f"--{name}", instance.dialect)
    if isinstance(flag, Problem):
        return flag
    if flag is not None:
        return flag, f"--{name} of {instance}", False
    found = files.find(name, "bool")
    return found if isinstance(found, Problem) or found is None else (*found, True)


def _protocol(host: object) -> str:
    """Return a listener's protocol: one without a scheme is TCP (so says dockerd), an empty one stands for the default."""
    text = str(host).strip()
    return text.partition("://")[0] if "://" in text else "tcp" if text else ""
