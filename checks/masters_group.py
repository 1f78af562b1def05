"""``masters_group``: nobody uses the group that no rule and no removed binding can stop."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from auditor.facts.kubernetes import KINDS, Objects
from auditor.model import Fact, Facts, Observation, Outcome, Problem, Status
from checks.base import error, manual, show
from checks.rbac import ADMINISTRATORS
from checks.rbac_rules import BINDINGS, ReadRbac, name_of, role_ref, subject_text

GROUP = "system:masters"
REQUESTS = Objects("certificatesigningrequests")
EXPECTED = f"the group {GROUP} is used by nobody"
_ORGANISATION = b"\x06\x03\x55\x04\x0a"  # the object identifier 2.5.4.10 in DER


@dataclass(frozen=True, slots=True, kw_only=True)
class MastersGroup:
    """No binding but the built-in one names ``system:masters``, and nobody asks for a certificate that carries it.

    Certificates that were issued before can't be seen in the API, so that a person has to look for them: manual, unless
    ``credentials_checked`` says that this was done and none but the one kept for emergencies was found.
    """

    credentials_checked: bool = False

    def needs(self) -> frozenset[Fact]:
        """Return the bindings and the requests for certificates."""
        return frozenset((REQUESTS, *map(Objects, BINDINGS)))

    def evaluate(self, facts: Facts) -> Outcome:
        """Return an observation for each binding and request that uses the group, and one about issued certificates."""
        rbac = ReadRbac(facts, BINDINGS)
        found = [*rbac.errors, *_bindings(rbac)]
        requests = facts.get(REQUESTS)
        made_by: list[str] = []
        if isinstance(requests, Problem):
            found.append(error("cluster/certificatesigningrequests", requests, source=f"GET {KINDS[REQUESTS.kind].path}"))
        else:
            found.extend(_requests(requests))
            made_by = [f"{name_of(r)} by {r['spec'].get('username', '?')}" for r in requests if GROUP in _spec(r).get("groups", ())]
        actual = f"requests for certificates that members of the group made: {show(made_by)}; " if made_by else ""
        if self.credentials_checked and not made_by and not isinstance(requests, Problem):
            actual += "the site says that its issued credentials were looked through"
            found.append(Observation("cluster/credentials", Status.PASS, EXPECTED, actual, "credentials_checked"))
        else:
            actual += (
                f"certificates with the organisation {GROUP} that were issued before can't be seen in the API:"
                " who holds one? (kubeadm before 1.29: admin.conf; later: super-admin.conf)"
            )
            found.append(manual("cluster/credentials", expected=EXPECTED, actual=actual, source="CertificateSigningRequests"))
        return Outcome(tuple(found))


def _bindings(rbac: ReadRbac) -> Iterator[Observation]:
    for kind, binding in rbac.bindings():
        subject = next((s for s in binding.get("subjects", ()) if (s.get("kind"), s.get("name")) == ("Group", GROUP)), None)
        if subject is None:
            continue
        namespace, word = binding.get("metadata", {}).get("namespace", ""), kind.removesuffix("s")
        because = ADMINISTRATORS[0].because if ADMINISTRATORS[0].covers(subject, binding) else ""
        role = role_ref(binding)
        actual = f"exempt: {because}; " if because else ""
        actual += f"{subject_text(subject)} is bound to {role[0]} {role[2]}"
        name = f"{word}/{namespace}/{name_of(binding)}" if namespace else f"{word}/{name_of(binding)}"
        yield Observation(name, Status.PASS if because else Status.FAIL, EXPECTED, actual, f"{word}: subjects")


def _requests(requests: list[dict[str, Any]]) -> Iterator[Observation]:
    for request in requests:
        subject, source = f"certificatesigningrequest/{name_of(request)}", "spec.request"
        conditions = {c.get("type") for c in request.get("status", {}).get("conditions", ())}
        try:
            asks = carries(_spec(request).get("request", ""), GROUP)
        except ValueError:
            yield Observation(subject, Status.ERROR, EXPECTED, "unparsable: the request can't be read", source)
            continue
        if asks and not conditions & {"Denied", "Failed"}:
            state = ", ".join(sorted(filter(None, conditions))) or "waiting for approval"
            actual = f"{_spec(request).get('username', '?')} asks for a certificate with the organisation {GROUP}: {state}"
            yield Observation(subject, Status.FAIL, EXPECTED, actual, source)


def _spec(request: dict[str, Any]) -> dict[str, Any]:
    return request.get("spec", {})  # type: ignore[no-any-return]


def carries(request: str, organisation: str) -> bool:
    """Return whether a request for a certificate (base64 of PEM, as the API gives it) names an organisation in its subject.

    Raises ValueError for what is no such request. Every type of string that Go reads in a name is looked for.
    """
    try:
        lines = base64.b64decode(request, validate=True).decode("ascii").strip().splitlines()
        if len(lines) < 3 or "BEGIN " not in lines[0] or "REQUEST" not in lines[0]:
            raise ValueError("not a request in PEM")
        der = base64.b64decode("".join(line for line in lines[1:-1] if ":" not in line), validate=True)
    except (binascii.Error, UnicodeDecodeError) as problem:
        raise ValueError(str(problem)) from None
    if der[:1] != b"\x30":
        raise ValueError("not DER")
    for text in (organisation.encode(), organisation.encode("utf-16-be")):
        after = len(_ORGANISATION)
        start = der.find(_ORGANISATION)
        while start >= 0:
            value = der[start + after + 1 : start + after + 2 + len(text)]
            if value == bytes([len(text)]) + text:
                return True
            start = der.find(_ORGANISATION, start + 1)
    return False
