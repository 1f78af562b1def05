"""``setting`` and ``process_flag``: the value of a setting as the running program uses it, and where it comes from."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from auditor.facts import flags
from auditor.facts.host import CONFIG_FLAGS, CONTENT_PATHS, ENVIRONMENT, PROGRAMS, Config, Processes
from auditor.facts.kube_version import require_minor
from auditor.facts.node import KubernetesVersion
from auditor.facts.redact import REDACTED
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.configured import Documents, Kind, documents, flag_value
from checks.defaults import DefaultSince, describe, in_force
from checks.expectation import Expect
from checks.running import Instance

_OPERATORS: dict[str, tuple[frozenset[str], type]] = {
    "bool": (frozenset({"equals", "not_equals", "set"}), bool),
    "int": (frozenset({"equals", "not_equals", "one_of", "at_most", "at_least", "set"}), int),
    "duration": (frozenset({"at_most", "at_least"}), int),
    "text": (frozenset({"equals", "not_equals", "one_of", "set"}), str),
    "list": (frozenset({"contains", "contains_any", "contains_none", "subset_of", "starts_with_none", "set"}), str),
    "map": (frozenset({"contains", "contains_any", "contains_none", "subset_of", "set"}), str),
}
_FLAG = re.compile(r"--[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """The configuration file: named by ``from_flag`` or the variable ``from_env``, else ``path`` (empty: then none is read)."""

    path: str = ""
    from_flag: str
    from_env: str = ""

    def __post_init__(self) -> None:
        _known("path", self.path, CONTENT_PATHS)
        _known("from_flag", self.from_flag, CONFIG_FLAGS)
        _known("from_env", self.from_env, ENVIRONMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropIns:
    """A folder named by ``from_flag``, whose files that match are read after the file, in the order of their names."""

    from_flag: str
    match: str = "*.conf"

    def __post_init__(self) -> None:
        _known("from_flag", self.from_flag, CONFIG_FLAGS)
        if not re.fullmatch(r"\*\.[a-z]+", self.match):
            raise ValueError("match must look like *.conf")


def _known(key: str, value: str, known: tuple[str, ...]) -> None:
    if value and value not in known:
        raise ValueError(f"{key} must be one of {', '.join(known)}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """When a person has to judge: ``because`` says what would be needed to decide.

    With ``unset`` when nothing sets the value (its default depends on what can't be seen here), and for each of ``values``.
    """

    because: str
    unset: bool = False
    values: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The value in effect (None: unset) and its source. ``pending`` names a file that changed after the program started.

    ``given`` is False where nothing sets it, so that the value is the default.
    """

    value: Any
    source: str
    pending: str = ""
    given: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting of a running program must be as ``expect`` says; one observation a running instance.

    The value is that of the ``flag``, else of the environment variable ``env``, else under ``key`` (dotted; ``a[].b`` collects a
    list) in the ``drop_ins`` and the ``file``, else ``default`` (without it the setting is unset); ``default_without_file`` is
    the default when the program was given no ``file`` at all. With ``file_overrides`` a program that has a file looks at nothing
    else; with ``zero_is_unset`` 0 in a file means the default. ``type`` follows from the default when it isn't given; a ``map`` is
    compared as a list of ``key=value``, a ``duration`` as whole seconds. ``ask`` says when a person decides.

    ``defaults`` are those of later versions of Kubernetes, oldest first, in the place of ``default``: where nothing sets the value,
    the program's own version decides. Where only its kubelet's version is known, a person does, unless every default that may be
    in force fails.

    A file that is newer than the process proves nothing: what would pass is an error then ("restart pending").
    """

    process: str
    flag: str = ""
    env: str = ""
    file: FileSource | None = None
    drop_ins: DropIns | None = None
    key: str = ""
    type: Kind | None = None
    default: Any = None
    default_without_file: Any = None
    file_overrides: bool = False
    zero_is_unset: bool = False
    defaults: tuple[DefaultSince, ...] = ()
    ask: Ask | None = None
    expect: Expect
    config: Config | None = dataclasses.field(init=False, repr=False, compare=False)  # the question for the program's files

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", self._config())
        _known("process", self.process, PROGRAMS)
        _known("env", self.env, ENVIRONMENT)
        if self.flag and not _FLAG.fullmatch(self.flag):
            raise ValueError(f"flag must look like --some-name, not {self.flag!r}")
        if not (self.flag or self.env or self.file):
            raise ValueError("give at least one of flag, env and file")
        if (self.file is not None) != bool(self.key):
            raise ValueError("key goes with file: give both or neither")
        if self.file is None and (self.drop_ins or self.default_without_file is not None or self.file_overrides):
            raise ValueError("drop_ins, default_without_file and file_overrides need a file")
        self._check_types()

    def _check_types(self) -> None:
        if self.type is None and _kind_of(self.default) is None:
            raise ValueError("give type: bool, int, text, list or map (it follows only from a default)")
        for name, value in (("default", self.default), ("default_without_file", self.default_without_file)):
            if value is not None and _kind_of(value) != {"map": "list", "duration": "int"}.get(self.kind, self.kind):
                raise ValueError(f"{name} is not of the type {self.kind}")
        minors = [require_minor(d.since) for d in self.defaults]
        if minors != sorted(set(minors)) or (minors and (self.default is None or self.default_without_file is not None)):
            raise ValueError("defaults are in the order of their versions, after a default, and without default_without_file")
        if any(_kind_of(d.value) != _kind_of(self.default) for d in self.defaults):
            raise ValueError("defaults are not of the type of the default")
        operators, operand = _OPERATORS[self.kind]
        if self.expect.operator not in operators:
            raise ValueError(f"{self.expect.operator} can't be used with the type {self.kind}; use {', '.join(sorted(operators))}")
        if any(type(o) is not operand for o in self.expect.operands()):
            raise ValueError(f"expect compares a setting of the type {self.kind} with another type")

    @property
    def kind(self) -> Kind:
        """The type of the value."""
        return self.type or _kind_of(self.default) or "text"

    def _config(self) -> Config | None:
        if self.file is None:
            return None
        drop = self.drop_ins
        return Config(process=self.process, flag=self.file.from_flag, path=self.file.path, dropins=drop.from_flag if drop else "",
                      match=drop.match if drop else "*.conf")  # fmt: skip

    def needs(self) -> frozenset[Fact]:
        """The running programs, and their files where there is a file to read."""
        version = {KubernetesVersion()} if self.defaults else set()
        return frozenset({Processes(), *version, *([config] if (config := self.config) else [])})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running instance; none is not applicable."""
        found = running.instances(facts, self.process)
        if isinstance(found, Outcome):
            return found
        return base.outcome([self._judge(facts, instance) for instance in found], "")

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        expected = self.expect.describe()
        found = self.find(facts, instance)
        if isinstance(found, Problem):
            return base.error(instance.subject, found, expected=expected, source=f"{self._names()} of {instance}")
        if self.defaults and not found.given:
            dated = self._dated(facts, instance, found)
            if isinstance(dated, Observation):
                return dated
            found = dated
        value = [f"{k}={base.show(v)}" for k, v in found.value.items()] if isinstance(found.value, dict) else found.value
        actual = base.show(value)
        if REDACTED in str(value) and self.expect.operator != "set":
            problem = Problem(Reason.UNPARSABLE, "the value was redacted when it was collected")
            return base.error(instance.subject, problem, expected=expected, source=found.source)
        if self.ask is not None and ((self.ask.unset and not found.given) or found.value in self.ask.values):
            return base.manual(instance.subject, expected=expected, actual=f"{actual}: {self.ask.because}", source=found.source)
        ok = self.expect.holds(value)
        if found.pending:
            note = f"{found.pending} changed after pid {instance.pid} started: restart pending"
            if ok:
                problem = Problem(Reason.ABSENT, f"{actual} is not known to be in effect, since {note}")
                return base.error(instance.subject, problem, expected=expected, source=found.source)
            actual = f"{actual} ({note})"
        return base.verdict(instance.subject, ok, expected=expected, actual=actual, source=found.source)

    def _dated(self, facts: Facts, instance: Instance, found: Found) -> Found | Observation:
        """Return the default of the program's own version, or what to say where that doesn't decide."""
        expected = self.expect.describe()
        said = f"unset: {describe(self.default, self.defaults)}"
        answer = in_force(facts, instance, self.default, self.defaults)
        if isinstance(answer, Problem):
            problem = Problem(answer.reason, f"{said}, and which version it is: {answer.detail}")
            return base.error(instance.subject, problem, expected=expected, source=found.source)
        source = f"{answer.source}; {found.source}"
        if answer.certain:
            (value,) = answer.values
            return dataclasses.replace(found, value=list(value) if isinstance(value, tuple) else value, source=source)
        if any(self.expect.holds(v) for v in answer.values):
            return base.manual(instance.subject, expected=expected, actual=f"{said}; its own version is not known", source=source)
        return base.verdict(instance.subject, ok=False, expected=expected, actual=said, source=source)

    def _names(self) -> str:
        names = [self.flag, self.env, f"{self.key} in its configuration file" if self.file else ""]
        return " or ".join(n for n in names if n)

    def find(self, facts: Facts, instance: Instance) -> Found | Problem:
        """Return the value in effect: the first source that sets it, in the program's own order."""
        overriding = self._file_overrides(instance)
        if isinstance(overriding, Problem):
            return overriding
        given = None if overriding else self._from_flag(instance)
        if given is None and not overriding:
            given = self._from_environment(instance)
        if isinstance(given, Problem) or (given is not None and self.kind != "map"):
            return given
        return self._from_files(facts, instance, given)

    def _file_overrides(self, instance: Instance) -> bool | Problem:
        if not self.file_overrides or self.file is None:
            return False
        named = flag_value(instance, self.file.from_flag)
        if named or not self.file.from_env:
            return named if isinstance(named, Problem) else bool(named)
        if instance.environ is None:
            return Problem(Reason.DENIED, f"the environment, where {self.file.from_env} may name a file, can't be read")
        by_variable = instance.environ.get(self.file.from_env, "")
        if by_variable:
            return Problem(Reason.ABSENT, f"{self.file.from_env} names {base.show(by_variable)}, which was not collected")
        return False

    def _from_flag(self, instance: Instance) -> Found | Problem | None:
        if not self.flag:
            return None
        value = _READERS[self.kind](instance.args, self.flag, instance.dialect)
        if isinstance(value, Problem) or value is None:
            return value
        if value == []:
            return Found(self._default(instance), f"default ({self.flag} of {instance} is empty)", given=False)
        return Found(value, f"{self.flag} of {instance}")

    def _from_environment(self, instance: Instance) -> Found | Problem | None:
        if not self.env:
            return None
        if instance.environ is None:
            return Problem(Reason.DENIED, f"the environment, where {self.env} may be set, can't be read")
        word = instance.environ.get(self.env, "")
        if not word:
            return None  # etcd takes an empty variable for one that isn't set
        value = _READERS[self.kind]([f"--value={word}"], "--value", flags.GO)
        return value if isinstance(value, Problem) else Found(value, f"{self.env} in the environment of {instance}")

    def _from_files(self, facts: Facts, instance: Instance, given: Found | None) -> Found | Problem:
        """Return what the files say, with the entries of a mapping's flag over it; else the default."""
        if self.config is None:
            return given or self._unset(instance) or Found(self._default(instance), f"default (no {self._names()})", given=False)
        read = documents(facts, self.config, instance)
        if isinstance(read, Problem):
            return read
        set_there = read.find(self.key, self.kind)
        if isinstance(set_there, Problem):
            return set_there
        pending = read.changed()
        if set_there is not None and set_there[0] not in ([], {}) and not (self.zero_is_unset and set_there[0] in (0, "")):
            value, source = set_there
            if given is not None:
                value, source = {**value, **given.value}, f"{given.source}; {source}"
            return Found(value, source, pending)
        if given is not None:
            return dataclasses.replace(given, pending=pending)
        if read.whole:
            return Found(_EMPTY.get(self.kind), f"left out of {read.paths()}, so empty", pending, given=False)
        return self._unset(instance) or Found(self._default(instance), self._default_source(read), pending, given=False)

    def _unset(self, instance: Instance) -> Problem | None:
        """Return why a flag that was not seen is not known to be unset, None when it is."""
        if not instance.partial or not self.flag:
            return None
        return Problem(Reason.ABSENT, f"{self.flag} is not known to be unset: {instance.partial}")

    def _default(self, instance: Instance) -> Any:
        value = self.default
        if self.default_without_file is not None and self.file is not None and not flag_value(instance, self.file.from_flag):
            value = self.default_without_file
        return list(value) if isinstance(value, tuple) else value

    def _default_source(self, read: Documents) -> str:
        assert self.file is not None
        names = " and ".join(n for n in (self.flag, self.env) if n)
        if not read.files:
            return f"default ({'no ' + names + ', ' if names else ''}no configuration file)"
        return f"default ({'no ' + names + ', ' if names else ''}no {self.key} in {read.paths()})"


_READERS: dict[str, Any] = {
    "bool": flags.boolean,
    "int": flags.integer,
    "duration": flags.duration,
    "text": flags.text,
    "list": flags.listing,
    "map": flags.mapping,
}


#: What a value is that a program leaves out of its own account; None is unset.
_EMPTY = {"bool": False, "int": 0, "duration": 0}


def _kind_of(value: Any) -> Kind | None:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, tuple | list) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFlag:
    """A flag of a running program that has no other source must be as ``expect`` says; one observation a running instance.

    ``type`` follows from ``default`` when it isn't given; without a default, a flag that isn't given is unset. ``defaults`` are
    those of later versions of Kubernetes, as in ``setting``.
    """

    process: str
    flag: str
    type: Kind | None = None
    default: Any = None
    defaults: tuple[DefaultSince, ...] = ()
    ask: Ask | None = None
    expect: Expect
    setting: Setting = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        setting = Setting(process=self.process, flag=self.flag, type=self.type, default=self.default, defaults=self.defaults,
                          ask=self.ask, expect=self.expect)  # fmt: skip
        object.__setattr__(self, "setting", setting)  # made once, not for every target

    def needs(self) -> frozenset[Fact]:
        """The running programs."""
        return self.setting.needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running instance; none is not applicable."""
        return self.setting.evaluate(facts)
