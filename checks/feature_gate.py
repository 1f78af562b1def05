"""``feature_gate``: whether a feature of a Kubernetes program is on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from auditor.facts import flags
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.expectation import Expect
from checks.running import Instance
from checks.setting import DropIns, FileSource, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureGate:
    """The feature ``gate`` of a running ``process`` is on; one observation a running instance.

    Gates are merged by name over ``--feature-gates`` and, for a kubelet, its configuration files; other gates don't matter. A gate
    that isn't named follows ``AllAlpha`` or ``AllBeta`` of its ``stage``, else ``default``.
    """

    process: Literal["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"]
    gate: str
    stage: Literal["alpha", "beta", "ga"] = "beta"
    default: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", self.gate):
            raise ValueError(f"gate must look like RotateKubeletServerCertificate, not {self.gate!r}")

    def _setting(self) -> Setting:
        kubelet = self.process == "kubelet"
        return Setting(process=self.process, flag="--feature-gates", type="map", expect=Expect(set=True),
                       file=FileSource(from_flag="--config") if kubelet else None, key="featureGates" if kubelet else "",
                       drop_ins=DropIns(from_flag="--config-dir") if kubelet else None)  # fmt: skip

    def needs(self) -> frozenset[Fact]:
        """The running programs and, for a kubelet, its configuration files."""
        return self._setting().needs()

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running instance; none is not applicable."""
        return running.each(facts, self.process, lambda i: self._judge(facts, i))

    def _judge(self, facts: Facts, instance: Instance) -> Observation:
        expected = f"{self.gate} on"
        found = self._setting().find(facts, instance)
        if isinstance(found, Problem):
            return base.error(instance.subject, found, expected=expected, source=f"feature gates of {instance}")
        gates = found.value if isinstance(found.value, dict) else {}
        name, value = self.gate, gates.get(self.gate)
        if value is None:
            name = {"alpha": "AllAlpha", "beta": "AllBeta"}.get(self.stage, self.gate)
            value = gates.get(name)
        if value is None:
            on: bool | Problem = self.default
            source = f"default ({self.gate} is not named by {found.source})" if found.given else found.source
        else:
            on, source = value if isinstance(value, bool) else flags.boolean_of(str(value)), f"{name} in {found.source}"
        if isinstance(on, Problem):
            return base.error(instance.subject, on, expected=expected, source=source)
        if on and found.pending:
            problem = Problem(Reason.ABSENT, f"{found.pending} changed after pid {instance.pid} started: restart pending")
            return base.error(instance.subject, problem, expected=expected, source=source)
        return base.verdict(instance.subject, on, expected=expected, actual=f"{self.gate} {'on' if on else 'off'}", source=source)
