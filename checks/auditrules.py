"""The kernel's audit rules as ``auditctl -l`` prints them, and what of a file they record.

The rules of coverage follow auditctl(8): a list is searched from the top and the first rule that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

ALL_PERMS = frozenset("rwxa")

_FIELD = re.compile(r"([a-z_0-9]+)\s*(!=|<=|>=|&=|=|<|>|&)\s*(.*)", re.IGNORECASE)
_LISTS = frozenset({"task", "exit", "user", "exclude", "filesystem", "io_uring", "entry"})
_ACTIONS = frozenset({"always", "never", "possible"})
_NATIVE = frozenset({"b64", "x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "riscv64"})
#: On every current distribution these names are links to the second ones.
_SAME = (
    ("/lib64/", "/usr/lib64/"), ("/lib/", "/usr/lib/"), ("/bin/", "/usr/bin/"), ("/sbin/", "/usr/sbin/"),
    ("/var/run/", "/run/"), ("/var/lock/", "/run/lock/"),
)  # fmt: skip
#: Records without which a change to a file can't be told.
_NEEDED_RECORDS = frozenset({"SYSCALL", "PATH", "1300", "1302"})
_PSEUDO_FILESYSTEMS = frozenset({"tracefs", "debugfs", "0x74726163", "0x64626720"})
#: System calls that set clocks: ignoring them, as time daemons make admins do, loses nothing about files.
_HARMLESS_CALLS = frozenset({"adjtimex", "settimeofday", "clock_settime", "clock_adjtime", "stime", "time"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``watch`` is the path of ``-w``; ``fields`` are (name, operator, value), ``calls`` system calls (none: all)."""

    text: str
    chain: str = "exit"
    action: str = "always"
    watch: str = ""
    fields: tuple[tuple[str, str, str], ...] = ()
    calls: tuple[str, ...] = ()
    compared: bool = False

    def values(self, name: str) -> list[str]:
        """Return the values that a field must equal."""
        return [value for field, operator, value in self.fields if field == name and operator == "="]

    @property
    def perms(self) -> frozenset[str]:
        """The kinds of access it is about: r, w, x, a; all when it names none."""
        named = self.values("perm")
        return frozenset("".join(named)) & ALL_PERMS if named else ALL_PERMS

    @property
    def narrowed(self) -> str:
        """What else must be so for it to match, besides path and access: a text for reports, empty when nothing."""
        parts = [f"{n}{o}{v}" for n, o, v in self.fields if not self._harmless(n, o, v)]
        if self.calls:
            parts.append("-S " + ",".join(self.calls))
        if self.compared:
            parts.append("a comparison (-C)")
        return " ".join(parts)

    @staticmethod
    def _harmless(name: str, operator: str, value: str) -> bool:
        if operator == "=" and name in ("path", "dir", "perm"):
            return True
        return name == "key" or (name == "arch" and operator == "=" and value in _NATIVE)


def parse(line: str) -> Rule | None:
    """Return the rule that a line of ``auditctl -l`` (or of a rules file) states, None for anything else. Never raises."""
    words = line.split()
    rule: dict[str, str] = {}
    fields: list[tuple[str, str, str]] = []
    calls: list[str] = []
    compared = False
    while words:
        option, *words = words
        if option not in ("-w", "-W", "-a", "-A", "-p", "-k", "-F", "-S", "-C") or not words:
            return None
        value, *words = words
        if option in ("-a", "-A"):
            placed = _placed(value)
            if placed is None:
                return None
            rule["list"], rule["action"] = placed
        elif option == "-F":
            field = _FIELD.fullmatch(value)
            if field is None:
                return None
            fields.append((field[1].lower(), field[2], field[3]))
        elif option == "-S":
            calls.extend(c for c in value.split(",") if c != "all")
        elif option == "-C":
            compared = True
        elif option == "-p":
            fields.append(("perm", "=", value))
        elif option == "-k":
            fields.append(("key", "=", value))
        else:
            rule[option] = value
    if "-W" in rule or ("-w" in rule) == ("list" in rule):
        return None
    return Rule(
        line, rule.get("list", "exit"), rule.get("action", "always"), rule.get("-w", ""), tuple(fields), tuple(calls), compared
    )


def _placed(value: str) -> tuple[str, str] | None:
    """Return (list, action) of ``always,exit`` in either order."""
    parts = value.split(",")
    listed = [p for p in parts if p in _LISTS]
    actions = [p for p in parts if p in _ACTIONS]
    return (listed[0], actions[0]) if len(parts) == 2 and listed and actions else None


def canonical(path: str) -> str:
    """Return a path with its usual links resolved and without a trailing slash, for comparing."""
    path = re.sub(r"/+", "/", path)
    for link, real in _SAME:
        if path.startswith(link) or path + "/" == link:
            path = real + path[len(link) :]
    return path.rstrip("/") or "/"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the rules record of a file.

    ``perms`` are the kinds of access that are recorded, by the lines ``rules``; ``some`` the kinds that are recorded only where
    the lines ``narrow`` say. ``removed`` and ``holes`` are lines that leave out all or some accesses before another rule records
    them; ``lost`` is one after which nothing can be relied on; ``unknown`` are lines that are no rules we know.
    """

    perms: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()
    narrow: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    lost: str = ""
    unknown: tuple[str, ...] = ()


def coverage(lines: Iterable[str], path: str, wanted: frozenset[str]) -> Coverage:
    """Return what the rules record of the ``wanted`` kinds of access to ``path``."""
    target = canonical(path)
    recorded: set[str] = set()
    ignored: set[str] = set()
    some: set[str] = set()
    found: dict[str, list[str]] = {name: [] for name in ("rules", "narrow", "removed", "holes", "lost")}
    rules, unknown = _parsed(lines)
    for rule in rules:
        if rule.chain in ("exclude", "task", "filesystem"):
            effect = _effect_on_all(rule)
            if effect:
                found[effect].append(rule.text)
            continue
        match = _match(rule, target) if rule.chain == "exit" else "none"
        new = (rule.perms & wanted) - recorded - ignored
        if match == "none" or not new:
            continue
        whole = match == "whole" and not rule.narrowed
        if rule.action == "always":
            (recorded if whole else some).update(new)
            found["rules" if whole else "narrow"].append(rule.text)
        elif whole:
            ignored |= new
            found["removed"].append(rule.text)
        elif not (rule.calls and set(rule.calls) <= _HARMLESS_CALLS):
            found["holes"].append(rule.text)
    lists = {name: tuple(lines) for name, lines in found.items() if name != "lost"}
    return Coverage(
        frozenset(recorded), frozenset(some - recorded), lost="".join(found["lost"][:1]), unknown=tuple(unknown), **lists
    )


def _parsed(lines: Iterable[str]) -> tuple[list[Rule], list[str]]:
    """Return the rules in the order in which the kernel looks at them, and the lines that were not understood."""
    rules: list[Rule] = []
    unknown: list[str] = []
    for line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#") or stripped == "No rules":
            continue
        rule = parse(stripped)
        if rule is None:
            unknown.append(stripped)
        elif re.match(r"-A\b", stripped):
            rules.insert(0, rule)
        else:
            rules.append(rule)
    return rules, unknown


def _match(rule: Rule, target: str) -> str:
    """Say whether a rule's path means the target: ``whole``, ``some`` (only some accesses to it) or ``none``."""
    answers = [_at_or_above(rule.watch, target)] if rule.watch else []
    answers += [_at_or_above(d, target) for d in rule.values("dir")]
    answers += [_exactly(p, target, rule.action) for p in rule.values("path")]
    located = [n for n, o, _ in rule.fields if n in ("dir", "path", "inode", "watch") and (o != "=" or n in ("inode", "watch"))]
    if not answers and not located:
        return "whole" if rule.action == "never" else "none"  # an "always" for every file is about calls, not about this file
    if "none" in answers:
        return "none"
    return "some" if located or "some" in answers else "whole"


def _at_or_above(folder: str, target: str) -> str:
    place = canonical(folder)
    return "whole" if target == place or target.startswith(place.rstrip("/") + "/") else "none"


def _exactly(path: str, target: str, action: str) -> str:
    """``path=`` on a folder means its inode: replacing a file in it touches that too, which matters where a rule leaves out."""
    place = canonical(path)
    if place == target:
        return "whole"
    return "some" if action == "never" and target.rpartition("/")[0] == place else "none"


def _effect_on_all(rule: Rule) -> str:
    """Say whether a rule that isn't about files throws away all records of some task or type: ``lost``, ``holes`` or nothing."""
    if rule.chain == "task":
        return "" if rule.action != "never" else "holes" if rule.fields else "lost"
    if rule.chain == "filesystem":
        kinds = rule.values("fstype")
        return "" if rule.action != "never" or (kinds and set(kinds) <= _PSEUDO_FILESYSTEMS) else "lost"
    types = rule.values("msgtype")
    if types and not {t.upper() for t in types} & _NEEDED_RECORDS:
        return ""
    return "holes" if any(name != "msgtype" for name, _, _ in rule.fields) else "lost"
