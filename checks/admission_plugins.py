"""``admission_plugin`` and ``admission_configuration``: which admission plugins an API server runs, and with what settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from auditor.facts import flags
from auditor.facts.host import Config, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.configured import MISSING, documents, look_up
from checks.running import Instance

_API_SERVER = "kube-apiserver"
_ENABLE, _DISABLE, _OLD = "--enable-admission-plugins", "--disable-admission-plugins", "--admission-control"
_CONFIG = Config(process=_API_SERVER, flag="--admission-control-config-file")
#: Plugins that run unless they are switched off (kubernetes/pkg/kubeapiserver/options/plugins.go), of those that a control names.
DEFAULT_ON = ("NamespaceLifecycle", "ServiceAccount", "PodSecurity", "LimitRanger", "ResourceQuota", "CertificateApproval",
              "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook", "ValidatingAdmissionPolicy")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionPlugin:
    """The API server runs the admission ``plugin``, or with ``enabled: false`` doesn't; one observation a running instance.

    What runs are the plugins of the default, those that are switched on, without those that are switched off, over all
    occurrences of the flags. The old flag that lists all plugins replaces the default.
    """

    plugin: str
    enabled: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Za-z]+", self.plugin):
            raise ValueError(f"plugin must look like NodeRestriction, not {self.plugin!r}")

    @property
    def _expected(self) -> str:
        return f"{self.plugin} {'runs' if self.enabled else 'does not run'}"

    def needs(self) -> frozenset[Fact]:
        """The running programs."""
        return frozenset({Processes()})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running API server; none is not applicable."""
        return running.each(facts, _API_SERVER, self._judge)

    def _judge(self, instance: Instance) -> Observation:
        listed: dict[str, list[str] | None] = {}
        for flag in (_ENABLE, _DISABLE, _OLD):
            value = flags.listing(instance.args, flag, instance.dialect)
            if isinstance(value, Problem):
                return base.error(instance.subject, value, expected=self._expected, source=f"{flag} of {instance}")
            listed[flag] = value
        if instance.partial and self.plugin not in (name for names in listed.values() for name in names or ()):
            problem = Problem(Reason.ABSENT, f"whether {self.plugin} runs is not known: {instance.partial}")
            return base.error(instance.subject, problem, expected=self._expected, source=f"{_ENABLE} of {instance}")
        on, source = self._runs(listed, instance)
        actual = f"{self.plugin} {'runs' if on else 'does not run'}"
        return base.verdict(instance.subject, on is self.enabled, expected=self._expected, actual=actual, source=source)

    def _runs(self, listed: dict[str, list[str] | None], instance: Instance) -> tuple[bool, str]:
        for flag, on in ((_DISABLE, False), (_ENABLE, True), (_OLD, True)):
            if self.plugin in (listed[flag] or ()):
                return on, f"{flag}={base.show(listed[flag])} of {instance}"
        if listed[_OLD]:
            return False, f"{_OLD}={base.show(listed[_OLD])} of {instance}"
        return self.plugin in DEFAULT_ON, f"default (not named by {_ENABLE} or {_DISABLE} of {instance})"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionConfiguration:
    """The file that configures admission has settings for ``plugin``, with a list ``key`` that isn't empty.

    Settings in a file of their own count: the API server reads them when it starts, and doesn't start without them.
    """

    plugin: str
    key: str

    def needs(self) -> frozenset[Fact]:
        """The running programs and the file."""
        return frozenset({Processes(), _CONFIG})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running API server; none is not applicable."""
        return running.each(facts, _API_SERVER, lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        expected = f"{self.key} for {self.plugin}"
        read = documents(facts, _CONFIG, instance)
        if isinstance(read, Problem):
            return base.error(instance.subject, read, expected=expected, source=f"{_CONFIG.flag} of {instance}")
        if not read.files:
            return base.verdict(instance.subject, ok=False, expected=expected, actual="no file configures admission",
                                source=f"default (no {_CONFIG.flag} of {instance})")  # fmt: skip
        source = f"plugins in {read.paths()}"
        found = self._found(read.files[0])
        if isinstance(found, Problem):
            return base.error(instance.subject, found, expected=expected, source=source)
        ok, actual = found
        if ok and read.changed():
            problem = Problem(Reason.ABSENT, f"{read.changed()} changed after pid {instance.pid} started: restart pending")
            return base.error(instance.subject, problem, expected=expected, source=source)
        return base.verdict(instance.subject, ok=ok, expected=expected, actual=actual, source=source)

    def _found(self, document: object) -> tuple[bool, str] | Problem:
        plugins = look_up(document, "plugins")  # type: ignore[arg-type]
        if isinstance(plugins, Problem):
            return plugins
        if plugins is MISSING or plugins is None:
            plugins = []
        if not isinstance(plugins, list) or not all(isinstance(p, dict) for p in plugins):
            return Problem(Reason.UNPARSABLE, "plugins is not a list of mappings")
        own = [p for p in plugins if p.get("name") == self.plugin]
        if not own:
            return False, f"nothing for {self.plugin}; for {base.show([str(p.get('name')) for p in plugins])}"
        inline = own[-1].get("configuration")
        if isinstance(inline, dict):
            values = inline.get(self.key)
            return bool(
                isinstance(values, list) and values
            ), f"{self.key}: {len(values) if isinstance(values, list) else 0} entries"
        path = own[-1].get("path")
        if isinstance(path, str) and path:
            return True, f"in {base.show(path)}, which the API server doesn't start without"
        return False, f"no settings for {self.plugin}"
