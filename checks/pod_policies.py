"""What may keep pods out of a namespace besides Pod Security: policies and webhooks that see pods before they are made.

What each engine's policies refuse stands in a module of its own. What a webhook that belongs to none of them refuses can't be told
from here: it is named to the person who has to decide.
"""

from __future__ import annotations

from typing import Any

from auditor.facts import flags
from auditor.facts.kube_version import minor_of
from auditor.facts.kubernetes import Objects, Server
from auditor.model import Fact, Facts, Observation, Problem, Reason
from checks import policy_cel, policy_gatekeeper, policy_kyverno, policy_scc
from checks.base import error
from checks.policy_rules import Labels, Reading, Rule, sees_new_pods, selects

HOOKS = "validatingwebhookconfigurations"
_KINDS = (HOOKS, *policy_cel.KINDS, *policy_gatekeeper.KINDS, *policy_kyverno.KINDS, policy_scc.KIND)

COMPONENTS = Objects("components")
#: Why a label says nothing.
UNSEEN = "whether the API servers check Pod Security could not be read"
#: The minor version of Kubernetes from which on Pod Security is checked unless somebody switches it off.
CHECKED_SINCE = 23

#: Every fact that `PodPolicies` reads.
POLICY_FACTS: frozenset[Fact] = frozenset((Server(), COMPONENTS, *map(Objects, _KINDS)))


def api_servers(facts: Facts) -> list[dict[str, Any]] | Problem:
    """Return what the API servers that run as static pods say about admission.

    The answer is ``{"name", "flags": {"enable-admission-plugins": [...], "disable-admission-plugins": [...],
    "admission-control-config-file": "/path"}}`` for each, a flag that isn't given left out; ``unreadable`` stands in place of the
    flags and says why they can't be read.
    """
    components = facts.get(COMPONENTS)
    if isinstance(components, Problem):
        return components
    return [{"name": c["name"], **_admission(c)} for c in components if c["program"] == "kube-apiserver"]


def _admission(component: dict[str, Any]) -> dict[str, Any]:
    if "unreadable" in component:
        return {"unreadable": component["unreadable"]}
    args = component["args"]
    found: dict[str, Any] = {
        **{
            name: flags.listing(args, f"--{name}", flags.KUBERNETES)
            for name in ("enable-admission-plugins", "disable-admission-plugins")
        },
        "admission-control-config-file": flags.text(args, "--admission-control-config-file", flags.KUBERNETES),
    }
    wrong = next((f"--{name}: {value}" for name, value in found.items() if isinstance(value, Problem)), None)
    return {"unreadable": wrong} if wrong else {"flags": {name: value for name, value in found.items() if value is not None}}


def switched_off(facts: Facts) -> str | Observation:
    """Return in words why the API servers don't check Pod Security, so that the labels mean nothing: empty where they do by all
    that is seen, an error where their version or their pods could not be read.
    """  # noqa: D205 - one sentence
    version: Any = facts.get(Server())
    said = "" if isinstance(version, Problem) else str(version.get("gitVersion", ""))
    minor = minor_of(said)
    if minor is None:
        unknown = Problem(Reason.UNPARSABLE, f"the API server calls its version {said[:60]!r}")
        return error("cluster/apiservers", version if isinstance(version, Problem) else unknown, source="GET /version")
    if minor < CHECKED_SINCE:
        return f"Kubernetes {said} doesn't check Pod Security (1.{CHECKED_SINCE} and later do), and its own policies are not read"
    servers = api_servers(facts)
    if isinstance(servers, Problem):
        return error("cluster/apiservers", servers, source="static pods in kube-system")
    off = [s["name"] for s in servers if "PodSecurity" in s.get("flags", {}).get("disable-admission-plugins", ())]
    return f"the API server {off[-1]} has the plugin PodSecurity switched off" if off else ""


class PodPolicies:
    """Policies and webhooks by what they select. ``errors`` for what could not be read: then none of the answers is complete.

    ``switched_off`` says in words that an API server doesn't check Pod Security at all, so that the labels mean nothing; it is
    empty where they don't say so, or can't be seen; ``unseen`` is the error where that could not be read.
    """

    def __init__(self, facts: Facts) -> None:
        off = switched_off(facts)
        self.switched_off = "" if isinstance(off, Observation) else off
        self.unseen = off if isinstance(off, Observation) else None
        reading = Reading(facts)
        self._hooks: list[dict[str, Any]] = [h for c in reading.objects(HOOKS) for h in c.get("webhooks", ())]
        self._rules: list[Rule] = [
            *policy_cel.rules(reading),
            *policy_gatekeeper.rules(reading, self._hooks),
            *policy_kyverno.rules(reading, self._hooks),
            *policy_scc.rules(reading),
        ]
        self.errors = reading.errors

    def refusing(self, namespace: str, labels: Labels, wanted: frozenset[str]) -> list[str]:
        """Return the policies that together surely refuse all of ``wanted`` in a namespace; none when anything may get past."""
        sure = [r for r in self._rules if not r.doubt and r.refuses & wanted and r.selects(namespace, labels)]
        covered = frozenset().union(*(r.refuses for r in sure))
        return list(dict.fromkeys(map(str, sure))) if wanted <= covered else []

    def of(self, namespace: str, labels: Labels, wanted: frozenset[str] = frozenset()) -> list[str]:
        """Return in words what sees new pods of a namespace and may refuse them; with ``wanted`` not what refuses other things."""
        rules = [r for r in self._rules if (not r.refuses or not wanted or r.refuses & wanted) and r.selects(namespace, labels)]
        hooks = [h for h in self._hooks if sees_new_pods(h.get("rules", ())) and selects(h.get("namespaceSelector"), labels)]
        return list(dict.fromkeys([*map(str, rules), *(f"webhook {h.get('name', '?')}" for h in hooks)]))
