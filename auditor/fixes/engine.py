"""Settings of the Docker engine: which daemon.json decides on a host, and what it takes for dockerd to heed it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.facts.host import Config, Files
from auditor.fixes.kinds import EngineSetting
from auditor.fixes.plan import Case
from auditor.fixes.steps import REMOVED, After, Effect, HaveLines, SetKey, Step, safe_path
from auditor.model import Outcome, Problem
from checks import running
from checks.running import Instance

DEFAULT_FILE = "/etc/docker/daemon.json"
_CONFIG = Config(process="dockerd", flag="--config-file", path=DEFAULT_FILE)
_UNIT = Files(unit="docker.service")
DROP_IN = "/etc/systemd/system/docker.service.d/zz-cis-auditor.conf"
#: What dockerd takes up from its file at a SIGHUP (documented under "Configuration reload behavior").
RELOADABLE = frozenset({
    "debug", "labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts",
    "default-runtime", "runtimes", "authorization-plugins", "allow-nondistributable-artifacts", "insecure-registries",
    "registry-mirrors", "shutdown-timeout", "features",
})  # fmt: skip
#: Keys whose flag is not simply ``--KEY``.
_FLAGS = {"insecure-registries": "--insecure-registry", "labels": "--label", "registry-mirrors": "--registry-mirror",
          "authorization-plugins": "--authorization-plugin", "default-ulimits": "--default-ulimit", "hosts": "--host",
          "runtimes": "--add-runtime", "log-opts": "--log-opt", "storage-opts": "--storage-opt"}  # fmt: skip
#: What holds where neither a file nor a flag says anything. A setting with another default is never assumed.
_DEFAULTS: dict[str, Any] = {"debug": False, "log-level": "info", "iptables": True, "experimental": False,
                             "insecure-registries": [], "icc": True, "live-restore": False, "userland-proxy": True,
                             "no-new-privileges": False, "selinux-enabled": False}  # fmt: skip
_CAUTIONS = {
    "userns-remap": "The engine starts with an empty store, as if it were new: images, containers and volumes of before stay on "
    "disk and are not seen. Try it on another host first.",
    "icc": "Containers on the default bridge no longer reach each other: give those that belong together a network of their own.",
    "insecure-registries": "Pulls from registries without a verified certificate stop: give those a certificate first.",
    "userland-proxy": "See that clients on the host itself still reach published ports.",
    "no-new-privileges": "Containers that are created from now on can't use sudo and the like; older ones stay as they are.",
    "selinux-enabled": "Containers get labels when they are made again; volumes then need :z or :Z.",
    "iptables": "The engine writes its own rules into the packet filter: look at rules made by hand.",
}
#: Keys of the engine's own networks, which it leaves alone while containers run that live restore keeps.
_NETWORK = frozenset({"icc", "iptables"})
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")
_PROGRAMS = ("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/bin/dockerd", "/sbin/dockerd")


@dataclass(frozen=True, slots=True)
class Daemon:
    """The one dockerd of a host: its file, what that says (None: not known), and how it is restarted."""

    instance: Instance
    path: str
    settings: dict[str, Any] | None
    service: str
    live_restore: bool
    validates: bool

    def flag(self, key: str) -> list[str]:
        """Return the values that a key has on the command line."""
        found = flags.occurrences(self.instance.args, flag_of(key), flags.DOCKERD, boolean=isinstance(_DEFAULTS.get(key), bool))
        return [] if isinstance(found, Problem) else found


def flag_of(key: str) -> str:
    """Return the flag that sets the same as a key of daemon.json."""
    return _FLAGS.get(key, f"--{key}")


def engine_settings(fixes: Sequence[tuple[EngineSetting, Case]]) -> Iterator[Step]:
    """Set keys of daemon.json. Keys that are flags too, which dockerd refuses, lose the flag by one drop-in of the unit."""
    flagged: list[tuple[EngineSetting, Case, Daemon, tuple[str, ...]]] = []
    for fix, case in fixes:
        if not case.failing():
            continue
        daemon = find(case)
        if isinstance(daemon, str):
            yield _by_hand(fix, case, f"{_said(fix, DEFAULT_FILE)} and restart the engine; {daemon}")
            continue
        if fix.key == "icc" and fix.value is False and _filters_nothing(daemon) and not any(f.key == "iptables" for f, _ in fixes):
            words = f"{_said(fix, daemon.path)} after iptables there, which is off: the engine doesn't start with both off"
            yield _by_hand(fix, case, words)
            continue
        given = tuple(daemon.flag(fix.key))
        if given and not _so_already(fix, given):
            flagged.append((fix, case, daemon, given))
        elif not given:
            yield from _set(fix, case, daemon)
    yield from _without_flags(flagged)


def _filters_nothing(daemon: Daemon) -> bool:
    """Whether the engine was told to leave the packet filter alone."""
    given = daemon.flag("iptables")
    return flags.boolean_of(given[-1]) is False if given else (daemon.settings or {}).get("iptables") is False


def find(case: Case) -> Daemon | str:
    """Return the dockerd of a target, or why a person must look for it."""
    found = running.instances(case.facts, "dockerd")
    if isinstance(found, Outcome):
        return "the evidence doesn't tell how dockerd was started here"
    if len(found) > 1:
        return f"{len(found)} engines run here (pids {', '.join(str(i.pid) for i in found)}): see which one it is about"
    instance = found[0]
    if instance.uid != 0:
        return f"the engine runs without root as uid {instance.uid}: its file is ~/.config/docker/daemon.json of that account"
    named = flags.text(instance.args, "--config-file", flags.DOCKERD)
    path = named if isinstance(named, str) and named else DEFAULT_FILE
    if isinstance(named, Problem) or not safe_path(path):
        return "the name of its configuration file is not for a script"
    info = _info(case)
    version = re.match(r"[0-9]+", str(info.get("ServerVersion") or ""))
    quiet = bool(info.get("LiveRestoreEnabled")) and (info.get("Swarm") or {}).get("LocalNodeState") == "inactive"
    snap = str(instance.exe or "").startswith("/snap/")
    validates = bool(version) and int(version[0] if version else 0) >= 23 and not snap
    return Daemon(instance, path, _settings(case, instance), "snap.docker.dockerd" if snap else "docker", quiet, validates)


def _info(case: Case) -> dict[str, Any]:
    answer = case.facts.get(Engine("info"))
    found = [] if isinstance(answer, Problem) else [e["data"] for e in answer if "problem" not in e]
    return dict(found[0]) if len(found) == 1 else {}


def _settings(case: Case, instance: Instance) -> dict[str, Any] | None:
    answer = case.facts.get(_CONFIG)
    if isinstance(answer, Problem):
        return None
    merged: dict[str, Any] = {}
    for entry in answer:
        for document in entry["documents"] if entry["pid"] == instance.pid else ():
            if "problem" in document or not isinstance(document["data"], dict):
                return None
            merged |= document["data"]
    return merged


def _wanted(fix: EngineSetting, daemon: Daemon, given: Sequence[str] = ()) -> Any:
    """Return the value that the key is to have: of a list, what may stay, stays."""
    if fix.remove:
        return REMOVED
    if fix.keep and isinstance(fix.value, tuple | list):
        old = given or (daemon.settings or {}).get(fix.key) or ()
        return [*fix.value, *(str(v) for v in old if str(v) in fix.keep)]
    return list(fix.value) if isinstance(fix.value, tuple) else fix.value


def _so_already(fix: EngineSetting, given: Sequence[str]) -> bool:
    """Whether the flag says what is wanted, so that the failure is about something else."""
    last = given[-1]
    if isinstance(fix.value, bool):
        return flags.boolean_of(last) is fix.value
    return not fix.remove and isinstance(fix.value, str) and last == fix.value


def _set(fix: EngineSetting, case: Case, daemon: Daemon) -> Iterator[Step]:
    value = _wanted(fix, daemon)
    settings = daemon.settings
    if settings is not None:
        absent = fix.key not in settings
        if absent and (value is REMOVED or (fix.key in _DEFAULTS and _DEFAULTS[fix.key] == value)):
            return  # it is so, and what fails is something else
        if not absent and settings[fix.key] == value:
            verb = "reload" if fix.key in RELOADABLE else "restart"
            words = f"{daemon.path} says so already ({_text(fix.key, value)}): {verb} the engine, which has not taken it up"
            effect = effect_of(fix.key, daemon)
            step = _by_hand(fix, case, words, (f"systemctl {verb} {daemon.service}",), effect)
            yield dataclasses.replace(step, caution=_caution(fix, daemon, effect))
            return
    yield _key_step(fix, case, daemon, value, effect_of(fix.key, daemon))


def _key_step(fix: EngineSetting, case: Case, daemon: Daemon, value: Any, effect: Effect) -> Step:
    after = After("Let the engine read its configuration again", service=daemon.service, verb="reload")
    if effect is not Effect.RELOAD:
        after = After("Restart the engine", service=daemon.service)
    validate = ("dockerd", "--validate", "--config-file") if daemon.validates else ()
    return Step(
        action=SetKey(daemon.path, "json", (fix.key,), value, validate), controls=(case.label,), subject="daemon/dockerd",
        words=_said(fix, daemon.path, value), effect=effect, after=after, caution=_caution(fix, daemon, effect),
    )  # fmt: skip


def effect_of(key: str, daemon: Daemon) -> Effect:
    """Return what taking up a key disturbs."""
    if key in RELOADABLE:
        return Effect.RELOAD
    return Effect.RESTART if daemon.live_restore and key not in {"userns-remap", *_NETWORK} else Effect.WORKLOADS


def _caution(fix: EngineSetting, daemon: Daemon, effect: Effect) -> str:
    words = [_CAUTIONS[fix.key]] if fix.key in _CAUTIONS else []
    if effect is Effect.WORKLOADS and not daemon.live_restore and fix.key != "userns-remap":
        words.append("Unless live restore is on, the restart stops all containers, and starts those with a restart policy.")
    if fix.key in _NETWORK:
        words.append("With live restore the engine takes this up only when it starts while no container runs: stop them for it.")
    return " ".join(words)


def _text(key: str, value: Any) -> str:
    return f'no "{key}"' if value is REMOVED else f'"{key}": {json.dumps(value)}'


def _said(fix: EngineSetting, path: str, value: Any = None) -> str:
    value = REMOVED if fix.remove else value if value is not None else fix.value
    return f'Take "{fix.key}" out of {path}' if value is REMOVED else f'Set "{fix.key}" to {json.dumps(value)} in {path}'


def _by_hand(fix: EngineSetting, case: Case, words: str, lines: tuple[str, ...] = (), effect: Effect = Effect.WORKLOADS) -> Step:
    effect = Effect.RELOAD if fix.key in RELOADABLE and not lines else effect
    return case.by_hand("daemon/dockerd", words, lines, effect=effect)


def _without_flags(flagged: Sequence[tuple[EngineSetting, Case, Daemon, tuple[str, ...]]]) -> Iterator[Step]:
    """Take flags off the command line, all at once: dockerd refuses to start with a key that is a flag as well."""
    if not flagged:
        return
    daemon = flagged[0][2]
    names = tuple(dict.fromkeys(flag_of(fix.key) for fix, *_ in flagged))
    args = without(daemon.instance.args, names)
    program = daemon.instance.exe
    known = daemon.service == "docker" and program in _PROGRAMS and _unit_known(flagged[0][1])
    labels = tuple(dict.fromkeys(case.label for _, case, *_ in flagged))
    effect = max(Effect.RESTART if daemon.live_restore else Effect.WORKLOADS, *(effect_of(f.key, daemon) for f, *_ in flagged))
    keys = [(fix, case, _wanted(fix, daemon, given)) for fix, case, _, given in flagged]
    if not known or not all(_PLAIN.fullmatch(a) for a in args):
        for fix, case, value in keys:
            words = f"Take {flag_of(fix.key)} off the command line of dockerd, where its unit or options file says so"
            lines = (f"systemctl edit --full {daemon.service}   # without {flag_of(fix.key)}",
                     f"# {_said(fix, daemon.path, value)}: dockerd refuses a key that is a flag as well",
                     f"systemctl restart {daemon.service}")  # fmt: skip
            yield _by_hand(fix, case, words, lines, effect)
        return
    command = " ".join((str(program), *args))
    yield Step(
        action=HaveLines(DROP_IN, ("[Service]", "ExecStart=", f"ExecStart={command}"), 0o644, whole=True), controls=labels,
        subject="daemon/dockerd", words=f"Start dockerd without {', '.join(names)}, by a drop-in of its unit", effect=effect,
        after=After("Restart the engine", service=daemon.service),
        caution="The drop-in starts dockerd as it ran when it was audited, but for these flags: what the unit adds later doesn't "
        "count any more. Where you keep the unit yourself, take the flags out there instead.",
    )  # fmt: skip
    for fix, case, value in keys:
        yield _key_step(fix, case, daemon, value, effect)


def _unit_known(case: Case) -> bool:
    answer = case.facts.get(_UNIT)
    return not isinstance(answer, Problem) and any("problem" not in f for f in answer["files"])


def without(args: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return a command line of dockerd without some flags; short forms and values in a word of their own go too."""
    left: list[str] = []
    plain = {n.removeprefix("--") for n in names}
    booleans = {k for k, v in _DEFAULTS.items() if isinstance(v, bool)}
    words = iter(args)
    for word in words:
        if word == "--":
            return (*left, word, *words)
        if word.startswith("-") and not word.startswith("--"):
            kept, gone, waits = _short(word[1:], plain)
            left += [f"-{kept}"] if kept else []
            value = list(itertools.islice(words, 1)) if waits else []
            left += [] if gone else value
            continue
        long, equals, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or long not in plain:
            left.append(word)
        elif not equals and long not in booleans:
            next(words, None)
    return tuple(left)


def _short(letters: str, plain: set[str]) -> tuple[str, bool, bool]:
    """Return what is left of a word of short flags, whether its last flag went, and whether the next word is that one's value."""
    kept = ""
    while letters:
        name = flags.DOCKERD.short.get(letters[0], letters[0])
        has_value = letters[0] not in flags.DOCKERD.short_booleans or (len(letters) > 2 and letters[1] == "=")
        if has_value:
            waits = letters in flags.DOCKERD.short
            return (kept, True, waits) if name in plain else (kept + letters, False, waits)
        kept += "" if name in plain else letters[0]
        letters = letters[1:]
    return kept, False, False
