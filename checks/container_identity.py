"""Rules about who a container's first process is and what it may become."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from auditor.facts import flags
from auditor.facts.docker import Engine
from auditor.model import Fact, Observation, Problem, Reason, problem_of
from checks import base, engines
from checks.configured import STARTING_SECONDS
from checks.container_isolation import Everywhere
from checks.engines import EngineFacts, source

_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def declared_uid(user: str) -> int | None:
    """Return the number of a declared user (``uid``, ``uid:gid``, root, or nothing, which is root); None for other names."""
    name = user.partition(":")[0]
    if name in ("", "root"):
        return 0
    return int(name) if _NUMBER.fullmatch(name) else None


def process_of(container: dict[str, Any]) -> dict[str, Any] | Problem:
    """Return what /proc says about the first process of a running container."""
    proc = container.get("proc")
    if not proc:
        return Problem(Reason.ABSENT, "its first process could not be read")
    return problem_of(proc) if "problem" in proc else dict(proc)


@dataclass(frozen=True, slots=True)
class User(Everywhere):
    """A container's first process is not root inside the container.

    The live process decides: none of its real, effective, saved and file system user is 0 inside (an identity it has put
    aside can be taken up again). Where the host can't be read, or the container is stopped, the declared user decides if it is
    a number or root.
    """

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:  # noqa: ARG002
        """Translate the live user through the user namespace, else look at the declared one."""
        expected = "a user other than root"
        proc = process_of(container)
        if not isinstance(proc, Problem) and "Uid" in proc:
            return self._live(subject, proc, expected)
        user = str(container["Config"].get("User") or "")
        uid = declared_uid(user)
        where = source("containers", "Config.User")
        if uid is None:
            why = proc if isinstance(proc, Problem) else Problem(Reason.ABSENT, "its first process could not be read")
            problem = Problem(why.reason, f"declared user {user}, whose number is not known: {why.detail}")
            return base.error(subject, problem, expected=expected, source=where)
        return base.verdict(subject, uid != 0, expected=expected, actual=f"declared user {user or 'none (root)'}", source=where)

    @staticmethod
    def _live(subject: str, proc: dict[str, Any], expected: str) -> Observation:
        where = "/proc of its first process: Uid, uid_map"
        outside = [int(word) for word in str(proc["Uid"]).split()]
        inside = [_inside(uid, proc.get("uid_map") or []) for uid in outside]
        if len(outside) != 4 or None in inside:
            problem = Problem(Reason.UNPARSABLE, f"Uid {str(proc['Uid'])[:60]!r} can't be translated by its uid_map")
            return base.error(subject, problem, expected=expected, source=where)
        shown = f"uid {inside[1]}" + (f" (on the host {outside[1]})" if inside[1] != outside[1] else "")
        if inside[1] != 0 and 0 in inside:
            shown += ", and can become 0 again"
        return base.verdict(subject, 0 not in inside, expected=expected, actual=shown, source=where)


def _inside(uid: int, uid_map: list[Any]) -> int | None:
    for inside, outside, count in uid_map:
        if outside <= uid < outside + count:
            return int(inside) + uid - int(outside)
    return None


@dataclass(frozen=True, slots=True)
class NoNewPrivileges(Everywhere):
    """A container's processes can't gain privileges by executing a file.

    The live process decides; else the container's own option; else the daemon's default, which an engine gives to a container
    when it is created: of a container that is older than the running daemon it proves nothing.
    """

    def needs(self) -> frozenset[Fact]:
        """What the engine reports, and its dockerd's command line and file."""
        return engines.DAEMON_FACTS | {Engine("info")}

    def judge(self, subject: str, container: dict[str, Any], engine: EngineFacts) -> Observation:
        """Ask the process, the option, the daemon, in this order."""
        expected = "no-new-privileges on"
        proc = process_of(container)
        live = None if isinstance(proc, Problem) else proc.get("NoNewPrivs")
        if live in ("0", "1"):
            return base.verdict(subject, live == "1", expected=expected, actual="on" if live == "1" else "off",
                                source="/proc of its first process: NoNewPrivs")  # fmt: skip
        own = _own_option(container["HostConfig"].get("SecurityOpt") or ())
        where = source("containers", "HostConfig.SecurityOpt")
        if isinstance(own, Problem):
            return base.error(subject, own, expected=expected, source=where)
        if own is not None:
            return base.verdict(subject, own, expected=expected, actual="on" if own else "off", source=where)
        default, where = _daemon_default(engine)
        if isinstance(default, Problem):
            problem = Problem(default.reason, f"no option of its own, and the engine's default is not known: {default.detail}")
            return base.error(subject, problem, expected=expected, source=where)
        if default and (doubt := _older_than_daemon(container, engine)):
            return base.error(subject, doubt, expected=expected, source=where)
        actual = "no option of its own; the engine's default is " + ("on" if default else "off")
        return base.verdict(subject, default, expected=expected, actual=actual, source=where)


def _own_option(options: Any) -> bool | Problem | None:
    """Return what the options say, as the engine reads them: the last one wins."""
    value: bool | Problem | None = None
    for option in map(str, options):
        sign = "=" if "=" in option else ":"
        name, given, word = option.partition(sign)
        if name == "no-new-privileges":
            value = flags.boolean_of(word) if given else True
    return value


def _daemon_default(engine: EngineFacts) -> tuple[bool | Problem, str]:
    """Return the default that the running daemon gives to new containers, and where that is said.

    Newer engines list it among their security options when it is on; that an engine doesn't list it proves nothing.
    """
    info = engine.document("info")
    if not isinstance(info, Problem) and "name=no-new-privileges" in (info.get("SecurityOptions") or ()):
        return True, source("info", "SecurityOptions")
    process = engine.process()
    if isinstance(process, Problem):
        return process, "command line of dockerd"
    flag = flags.boolean(process["args"], "--no-new-privileges", flags.DOCKERD)
    if flag is not None:
        return flag, "--no-new-privileges of dockerd"
    settings = engine.settings()
    if isinstance(settings, Problem):
        return settings, "configuration file of dockerd"
    value = settings.get("no-new-privileges", False)
    if not isinstance(value, bool):
        return Problem(Reason.UNPARSABLE, "no-new-privileges is neither true nor false"), "configuration file of dockerd"
    if value and settings[""] > process["started"] + STARTING_SECONDS:
        return Problem(Reason.ABSENT, "its file was changed after it started"), "configuration file of dockerd"
    return value, "configuration file of dockerd" if "no-new-privileges" in settings else "default of dockerd"


def _older_than_daemon(container: dict[str, Any], engine: EngineFacts) -> Problem | None:
    process = engine.process()
    if isinstance(process, Problem):
        return Problem(process.reason, f"no option of its own, and whether it is older than the engine's default: {process.detail}")
    try:
        created = datetime.fromisoformat(str(container.get("Created"))).timestamp()
    except ValueError:
        return Problem(Reason.UNPARSABLE, "when it was created is not given")
    if created <= process["started"]:
        return Problem(Reason.ABSENT, "created before the running daemon started, so the daemon's default may not be its own")
    return None
