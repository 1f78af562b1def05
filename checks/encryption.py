"""``encryption_at_rest``: whether and how the API server encrypts what it stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from auditor.facts import flags
from auditor.facts.host import Config, Processes
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Reason
from checks import base, running
from checks.configured import MISSING, documents, look_up
from checks.running import Instance

_CONFIG = Config(process="kube-apiserver", flag="--encryption-provider-config")
_RELOAD = "--encryption-provider-config-automatic-reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionAtRest:
    """Each of ``resources`` (``secrets``, ``widgets.example.com``) is encrypted before it is stored.

    The first entry that covers a resource counts, and in it the first provider: it is the one that writes. With ``providers`` that
    has to be one of them; without, the entry just needs a provider that encrypts. A file that changed after the API server started
    proves nothing unless the API server reads it again by itself.
    """

    resources: tuple[str, ...] = ("secrets",)
    providers: tuple[Literal["aescbc", "aesgcm", "kms", "secretbox"], ...] = ()

    def needs(self) -> frozenset[Fact]:
        """The running programs and the file."""
        return frozenset({Processes(), _CONFIG})

    def evaluate(self, facts: Facts) -> Outcome:
        """Judge every running API server; none is not applicable."""
        return running.each(facts, "kube-apiserver", lambda i: [self._judge(facts, i, r) for r in self.resources])

    def _judge(self, facts: Facts, instance: Instance, resource: str) -> Observation:
        wanted = f"first {' or '.join(self.providers)}" if self.providers else "a provider that encrypts"
        expected = f"{resource}: {wanted}"
        read = documents(facts, _CONFIG, instance)
        if isinstance(read, Problem):
            return base.error(instance.subject, read, expected=expected, source=f"{_CONFIG.flag} of {instance}")
        if not read.files:
            return base.verdict(instance.subject, ok=False, expected=expected, actual=f"{resource} are stored as they are",
                                source=f"default (no {_CONFIG.flag} of {instance})")  # fmt: skip
        source = f"resources in {read.paths()}"
        entries = look_up(read.files[0], "resources")
        covering = _covering(entries, resource)
        if isinstance(covering, Problem):
            return base.error(instance.subject, covering, expected=expected, source=source)
        if not covering:
            return base.verdict(instance.subject, ok=False, expected=expected, actual=f"no entry covers {resource}", source=source)
        names = [_name(p) for p in covering]
        ok = names[0] in self.providers if self.providers else any(n not in ("identity", "") for n in names)
        if ok and read.changed() and flags.boolean(instance.args, _RELOAD, instance.dialect) is not True:
            problem = Problem(Reason.ABSENT, f"{read.changed()} changed after pid {instance.pid} started: restart pending")
            return base.error(instance.subject, problem, expected=expected, source=source)
        notes = "; KMS v1 is off by default since 1.29" if _is_kms_v1(covering[0]) else ""
        return base.verdict(
            instance.subject, ok=ok, expected=expected, actual=f"{resource}: {', '.join(names)}{notes}", source=source
        )


def _covering(entries: Any, resource: str) -> list[Any] | Problem:
    """Return the providers of the first entry for a resource, an empty list when there is none."""
    if isinstance(entries, Problem):
        return entries
    if entries is MISSING or entries is None:
        return []
    if not isinstance(entries, list):
        return Problem(Reason.UNPARSABLE, "resources is not a list")
    for entry in entries:
        names = entry.get("resources") if isinstance(entry, dict) else None
        providers = entry.get("providers") if isinstance(entry, dict) else None
        if not isinstance(names, list) or not isinstance(providers, list) or not providers:
            return Problem(Reason.UNPARSABLE, "an entry lacks its list of resources or of providers")
        if any(_covers(str(name), resource) for name in names):
            return providers
    return []


def _covers(name: str, resource: str) -> bool:
    """``*.`` is everything of the core group, ``*.apps`` of another, ``*.*`` everything."""
    group = resource.partition(".")[2]
    return name in (resource, f"*.{group}", "*.*")


def _name(provider: Any) -> str:
    return next(iter(provider), "") if isinstance(provider, dict) else ""


def _is_kms_v1(provider: Any) -> bool:
    settings = provider.get("kms") if isinstance(provider, dict) else None
    return isinstance(settings, dict) and settings.get("apiVersion", "v1") == "v1"
