"""``image_admission``: images are checked for where they come from before a pod with them is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, manual, outcome, show
from checks.namespace import NAMESPACES, exempted, read_namespaces
from checks.pod_policies import POLICY_FACTS, PodPolicies, api_servers
from checks.policy_rules import sees_new_pods, selects

EXPECTED = "a check of images' provenance refuses pods, also when it can't be reached"
PLUGIN, CONFIG_FILE = "ImagePolicyWebhook", "admission-control-config-file"
HOOKS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAdmission:
    """In every namespace but the exempt ones a webhook of ``verifiers`` sees every new pod and refuses when it fails: pass.

    Which webhooks verify images, and refuse those that don't, only the site can say. Other webhooks and policies that see pods, the
    ImagePolicyWebhook plugin (whose settings stand in a file of the control plane) and API servers that can't be seen are put to
    a person. Nothing of all that: fail. ``known`` are parts of webhooks' names that are known to verify images.
    """

    verifiers: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    exempt_namespaces: tuple[str, ...] = ()

    def needs(self) -> frozenset[Fact]:
        """Return the namespaces, what sees new pods, and the API servers' flags."""
        return POLICY_FACTS | {NAMESPACES, *map(Objects, HOOKS)}

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each namespace; what could not be read is an error where the verdict hangs on it."""
        namespaces = read_namespaces(facts)
        if isinstance(namespaces, Problem):
            return Outcome((error("cluster/namespaces", namespaces, source="GET /api/v1/namespaces"),))
        hooks, errors = _hooks(facts)
        policies, servers = PodPolicies(facts), api_servers(facts)
        if isinstance(servers, Problem):
            errors.append(error("cluster/apiservers", servers, source="static pods in kube-system"))
        plugin = _plugin(None if isinstance(servers, Problem) else servers)
        observations: list[Observation] = []
        undecided = False
        for item in namespaces:
            metadata: dict[str, Any] = item.get("metadata", {})
            name, labels = metadata.get("name", ""), metadata.get("labels", {})
            if name in self.exempt_namespaces:
                observations.append(exempted(name, EXPECTED))
                continue
            seeing = [h for h in hooks if selects(h.get("namespaceSelector"), labels)]
            verifying = [h for h in seeing if h.get("name") in self.verifiers]
            subject, source = f"namespace/{name}", "webhook configurations"
            sure = [h["name"] for h in verifying if _closed(h)]
            others = [self._describe(h) for h in seeing] + [p for p in policies.of(name, labels) if not p.startswith("webhook ")]
            question = "; ".join(filter(None, (f"new pods are seen by {show(others)}" if others else "", plugin)))
            if sure:
                observations.append(Observation(subject, Status.PASS, EXPECTED, f"verified by {show(sure)}", source))
            elif verifying:
                actual = "; ".join(f"{h.get('name')} {_gap(h)}" for h in verifying)
                observations.append(Observation(subject, Status.FAIL, EXPECTED, actual, source))
            elif question:
                actual = f"{question}: does one of them verify images? (the parameter verifiers names it)"
                observations.append(manual(subject, expected=EXPECTED, actual=actual, source=source))
            elif errors or policies.errors:
                undecided = True
                actual = "nothing that verifies images was seen, but not everything could be read"
                observations.append(Observation(subject, Status.ERROR, EXPECTED, actual, source))
            else:
                actual = f"no webhook or policy sees its pods, and no API server runs {PLUGIN}"
                observations.append(Observation(subject, Status.FAIL, EXPECTED, actual, source))
        if undecided:
            observations.extend(dict.fromkeys([*errors, *policies.errors]))
        return outcome(observations, "the cluster has no namespace")

    def _describe(self, hook: dict[str, Any]) -> str:
        name = str(hook.get("name", "?"))
        known = " (known to verify images)" if any(k in name for k in self.known) else ""
        return f"webhook {name}{known}, failurePolicy {hook.get('failurePolicy', '?')}"


def _hooks(facts: Facts) -> tuple[list[dict[str, Any]], list[Observation]]:
    """Return the webhooks that see new pods, and errors for what could not be read."""
    hooks: list[dict[str, Any]] = []
    errors: list[Observation] = []
    for kind in HOOKS:
        answer = facts.get(Objects(kind))
        if isinstance(answer, Problem):
            errors.append(error(f"cluster/{kind}", answer, source=f"GET {KINDS[kind].path}"))
        else:
            hooks += [h for c in answer for h in c.get("webhooks", ()) if sees_new_pods(h.get("rules", ()))]
    return hooks, errors


def _closed(hook: dict[str, Any]) -> bool:
    return not _gap(hook)


def _gap(hook: dict[str, Any]) -> str:
    """Return in words how a pod gets past a webhook; nothing when it can't."""
    if hook.get("failurePolicy") != "Fail":
        return f"lets pods in when it can't be reached (failurePolicy {hook.get('failurePolicy', '?')})"
    selector = hook.get("objectSelector", {})
    if selector.get("matchLabels") or selector.get("matchExpressions"):
        return "leaves out pods by their labels (objectSelector)"
    return "leaves out pods by conditions (matchConditions)" if hook.get("matchConditions") else ""


def _plugin(servers: list[dict[str, Any]] | None) -> str:
    """Return what the API servers say about the plugin, nothing where they surely don't run it."""
    if servers is None:
        return ""
    if not servers:
        return f"the API server isn't a pod here, so that {PLUGIN} can't be seen"
    for server in servers:
        name, flags = server["name"], server.get("flags")
        if flags is None:
            return f"the flags of {name} can't be read ({server.get('unreadable', '')})"
        if PLUGIN in flags.get("enable-admission-plugins", ()) and PLUGIN not in flags.get("disable-admission-plugins", ()):
            return f"{name} runs {PLUGIN}; is defaultAllow false in what {flags.get(CONFIG_FILE, 'its configuration')} names"
    return ""
