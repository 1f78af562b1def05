"""Answers about a host as a whole -> facts: mounts, sockets that engines listen on, groups, packages, hardening.

Nothing here raises for what a host says.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

from auditor.facts.host import ENGINE_PACKAGES, EnginePackages, Hardening, Mounts, SocketGroups
from auditor.facts.host_answers import stat_problem
from auditor.facts.records import Answers, Record, failed, first, lines_of, missing, problem_at, text, whole
from auditor.model import Fact, Problem, Reason

#: Unix sockets on which dockerd listens for its own purposes.
_OWN = re.compile(r"/libnetwork/[^/]+\.sock|/swarm/control\.sock|/metrics\.sock|/plugins/[^/]+\.sock|/containerd/[^/]+")
_OF_CONTAINERS = re.compile(r"/(merged|rootfs|mounts/shm)$")
_HOUR = 3600
_DENIED = Problem(Reason.DENIED, "its open sockets can't be seen by this account; root is needed")


def mounts(answers: Answers) -> Any:
    """Return the answer to `Mounts`."""
    record = first(answers, "mounts")
    if record is None:
        return missing(answers)
    problem = failed(record, "reading /proc/self/mountinfo")
    if problem is not None:
        return problem
    points: dict[str, dict[str, str]] = {}
    for cells in (line.split(" ") for line in lines_of(text(record.body))):
        if len(cells) == 4 and cells[0] != "nsfs" and not _OF_CONTAINERS.search(cells[3]):
            device, root, path = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), c) for c in cells[1:])  # blanks, proc(5)
            points[path] = {"path": path, "device": device, "root": root}  # a later one lies over an earlier one
    if "/" not in points:
        return Problem(Reason.UNPARSABLE, "/proc/self/mountinfo lists no root")
    return [points[path] for path in sorted(points)]


def _scanned(answers: Answers) -> Iterator[tuple[int, bool, list[tuple[str, str]], list[str]]]:
    """Yield (pid, whether its sockets could be seen, (path, path to look at) of unix sockets, TCP listeners)."""
    for record in answers.records:
        if record.words[0] == "listen" and len(record.words) == 2:
            unix: list[tuple[str, str]] = []
            tcp: list[str] = []
            lines = iter(lines_of(text(record.body)))
            seen = next(lines, "") == "read"
            for line in lines:
                letter, _, rest = line.partition(" ")
                if letter == "u":
                    real = next(lines, "")
                    if not _OWN.search(rest):
                        unix.append((rest, real))
                elif letter == "t":
                    tcp.append(address(rest))
            yield whole(record.words[1]), seen, unix, sorted(set(tcp))


def listeners(answers: Answers, processes: Any) -> Any:
    """Return the answer to `Listeners`."""
    if isinstance(processes, Problem):
        return processes
    found = []
    scanned = set()
    for pid, seen, unix, tcp in _scanned(answers):
        scanned.add(pid)
        part = {"unix": sorted({path for path, _ in unix}), "tcp": tcp} if seen else {"problem": _as_part(_DENIED)}
        found.append({"pid": pid, **part})
    found += [{"pid": pid, "problem": _as_part(missing(answers))} for pid in _engines(processes) - scanned]
    return sorted(found, key=lambda part: part["pid"])


def api_sockets(answers: Answers, stats: tuple[dict[str, dict[str, Any]], Record | None], processes: Any) -> Any:
    """Return the answer to a `Files` question for the sockets on which engines take requests."""
    known, record = stats
    if isinstance(processes, Problem):
        return processes
    if record is None:
        return missing(answers)
    files: list[dict[str, Any]] = []
    searched: list[str] = []
    scanned = set()
    for pid, seen, unix, _ in _scanned(answers):
        scanned.add(pid)
        if not seen:
            files.append({**problem_at(f"/proc/{pid}/fd", _DENIED), "pid": pid})
        for shown, real in dict(unix).items():
            searched.append(shown)
            entry = {"path": shown, **known[real]} if real in known else problem_at(shown, stat_problem(record, real))
            files.append({**entry, "pid": pid})
    files += [{**problem_at(f"/proc/{pid}/fd", missing(answers)), "pid": pid} for pid in sorted(_engines(processes) - scanned)]
    return {"files": files, "searched": list(dict.fromkeys(searched))}


def _engines(processes: list[dict[str, Any]]) -> set[int]:
    return {p["pid"] for p in processes if p["name"] == "dockerd" and not p["contained"]}


def address(word: str) -> str:
    """Return ``0.0.0.0:2375`` for ``00000000:0947`` (proc(5): words of four bytes, each little-endian)."""
    host, _, port = word.partition(":")
    try:
        raw = b"".join(bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8))
        ip = ipaddress.ip_address(raw)
        return f"[{ip}]:{int(port, 16)}" if ip.version == 6 else f"{ip}:{int(port, 16)}"
    except ValueError:
        return f"{word[:60]} (not understood)"


def _as_part(problem: Problem) -> dict[str, str]:
    return {"reason": problem.reason.value, "detail": problem.detail}


def socket_groups(answers: Answers) -> Any:
    """Return the answer to `SocketGroups`."""
    groups, accounts = first(answers, "groups"), first(answers, "accounts")
    if groups is None or accounts is None:
        return missing(answers)
    if groups.code not in (0, None, 2):  # 2: one of them isn't there (getent(1))
        return failed(groups, "listing groups")
    rows = [line.split(":") for line in lines_of(text(accounts.body))]
    people = [(cells[0], whole(cells[2])) for cells in rows if len(cells) == 3]
    if not people:
        return failed(accounts, "listing accounts") or Problem(Reason.UNPARSABLE, "the host listed no account")
    found: dict[int, dict[str, Any]] = {}
    for line in lines_of(text(groups.body)):
        cells = line.split(":")
        if len(cells) == 4 and whole(cells[2]) >= 0:
            gid = whole(cells[2])
            members = {name.strip() for name in cells[3].split(",") if name.strip()} | {n for n, g in people if g == gid}
            found[gid] = {"name": cells[0], "gid": gid, "members": sorted(members)}
    return [found[gid] for gid in sorted(found)]


def _packages(answers: Answers) -> tuple[str, dict[str, str], dict[str, tuple[str, str, bool]] | None] | Problem:
    """Return the package manager, installed versions, and what is newer (installed, candidate, whether for security) or None."""
    if "packages" not in answers.made:
        answers.made["packages"] = _parsed_packages(answers)
    packages: tuple[str, dict[str, str], dict[str, tuple[str, str, bool]] | None] | Problem = answers.made["packages"]
    return packages


def _parsed_packages(answers: Answers) -> tuple[str, dict[str, str], dict[str, tuple[str, str, bool]] | None] | Problem:
    listed, policy = first(answers, "packages"), first(answers, "policy")
    if listed is None or policy is None:
        return missing(answers)
    manager, *lines = lines_of(text(listed.body)) or [""]
    # A host lists hundreds of packages, of which a few are asked about.
    pairs = (line.split(" ") for line in lines if line.startswith(ENGINE_PACKAGES))
    installed = {p[0].partition(":")[0]: p[1] for p in pairs if len(p) == 2}
    newer: dict[str, tuple[str, str, bool]] = {}
    looked = 0
    for words in (line.split(" ") for line in lines_of(text(policy.body))):
        if words[0] == "new" and len(words) == 4:
            newer[words[1].partition(":")[0]] = (words[2], words[3], False)
        elif words[0] == "security" and len(words) == 2 and (entry := newer.get(words[1].partition(":")[0])):
            newer[words[1].partition(":")[0]] = (*entry[:2], True)
        elif words[0] == "looked" and len(words) == 2:
            looked = whole(words[1], 0)
    return manager, installed, newer if looked else None


def engine_packages(answers: Answers) -> Any:
    """Return the answer to `EnginePackages`."""
    read = _packages(answers)
    if isinstance(read, Problem):
        return read
    manager, installed, newer = read
    packages = []
    for name in ENGINE_PACKAGES:
        if name in installed:
            candidate = None if newer is None else newer[name][1] if name in newer else installed[name]
            packages.append({"name": name, "installed": installed[name], "candidate": candidate})
    return {"manager": manager, "packages": packages}


def hardening(answers: Answers) -> Any:
    """Return the answer to `Hardening`."""
    record, boot, release = first(answers, "hardening"), first(answers, "boot"), first(answers, "os-release")
    packages = _packages(answers)
    if record is None or boot is None:
        return missing(answers)
    if isinstance(packages, Problem):
        return packages
    lines = [line.split(" ") for line in lines_of(text(record.body))]
    values: dict[str, list[list[str]]] = {}
    for first_word, *words in lines:
        values.setdefault(first_word, []).append(words)

    def word(name: str) -> str:
        return values[name][0][0] if values.get(name) and values[name][0] else ""

    names = dict(line.partition("=")[::2] for line in lines_of(text(release.body if release else b"")))
    system = {key: names.get(key, "").strip().strip("\"'")[:60] for key in ("ID", "VERSION_ID", "SUPPORT_END")}
    pending = packages[2]
    heard = (address(w[0]) for w in values.get("tcp", ()) if w)
    return {
        "now": (whole((text(boot.body).split() or ["0"])[0], 0) + whole(word("uptime"), 0)) // _HOUR * _HOUR,
        "id": system["ID"], "version": system["VERSION_ID"], "support_end": system["SUPPORT_END"],
        "lsm": [name for name in word("lsm").split(",") if name],
        "selinux": {"1": "enforcing", "0": "permissive"}.get(word("selinux"), ""),
        "sysctl": {w[0].replace("/", "."): w[1] for w in values.get("sysctl", ()) if len(w) == 2},
        "reboot_required": "reboot-required" in values,
        "sshd": {w[0]: w[1] for w in values.get("sshd", ()) if len(w) == 2},
        "listening": sorted({a for a in heard if not a.startswith(("127.", "[::1]", "[::ffff:127."))}),
        "refreshed": max((whole(w[0], 0) for w in values.get("refreshed", ()) if w), default=0),
        "pending": None if pending is None else [
            {"name": n, "installed": was, "candidate": now, "security": security}
            for n, (was, now, security) in sorted(pending.items())
        ],
    }  # fmt: skip


#: The facts that are answered by one function of the whole answer.
OTHERS: dict[type[Fact], Callable[[Answers], Any]] = {
    EnginePackages: engine_packages,
    Hardening: hardening,
    Mounts: mounts,
    SocketGroups: socket_groups,
}
