"""Answers about a Kubernetes node -> facts. Nothing here raises for what a host says."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

from auditor.facts.node import AddressFilter
from auditor.facts.records import Answers, failed, first, lines_of, missing, problem_at, text, whole
from auditor.model import Problem, Reason

#: ``Kubernetes v1.31.4``; k3s and RKE2 call themselves by the name they are run under: ``exe version v1.31.4+k3s1 (a562d090)``.
_VERSION = re.compile(r"(?:Kubernetes|[a-z0-9]+ version) (v1\.[0-9]{1,3}\.[0-9]{1,4}[0-9A-Za-z.+-]{0,60})(?:\s|$)")
#: The exit code that stands for a program that must not be run.
_NOT_ASKED = 3
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
#: Certificates of one file that are looked at; a bundle with more is said to be truncated.
_MOST = 500


def authorities(answers: Answers) -> Any:
    """Return the answer to `Authorities`."""
    if first(answers, "authorities") is None:
        return missing(answers)
    found = []
    for record in answers.records:
        if record.words[0] != "ca" or len(record.words) < 3:
            continue
        pid, path = whole(record.words[1]), " ".join(record.words[2:])
        keys = failed(record, "reading it") or _keys(record.body)
        if record.code is None:
            keys = missing(answers)
        found.append({"pid": pid, **(problem_at(path, keys) if isinstance(keys, Problem) else {"path": path, "keys": keys})})
    return sorted(found, key=lambda f: (f["pid"], f["path"]))


def _keys(body: bytes) -> list[dict[str, Any]] | Problem:
    # Heavy, and few hosts have such an answer.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    blocks = _PEM.findall(body)
    if len(blocks) > _MOST:
        return Problem(Reason.TRUNCATED, f"holds {len(blocks)} certificates; at most {_MOST} are read")
    found = []
    for block in blocks:
        try:
            certificate = x509.load_pem_x509_certificate(block)
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            until = int(certificate.not_valid_after_utc.timestamp())
            found.append({"sha256": sha256(key).hexdigest(), "subject": certificate.subject.rfc4514_string(), "until": until})
        except Exception:  # noqa: BLE001 - the library raises many kinds for a broken certificate
            return Problem(Reason.UNPARSABLE, "holds a certificate that can't be read")
    return found or Problem(Reason.UNPARSABLE, "holds no certificate")


def kubernetes_version(answers: Answers, processes: Any) -> Any:
    """Return the answer to `KubernetesVersion`."""
    if first(answers, "versions") is None:
        return missing(answers)
    if isinstance(processes, Problem):
        return processes
    found = []
    for record in answers.records:
        if record.words[0] != "v" or len(record.words) != 3:
            continue
        said = text(record.body).strip()
        version = _VERSION.match(said)
        problem = missing(answers) if record.code is None else failed(record, "--version")
        if record.code == _NOT_ASKED:
            problem = Problem(Reason.ABSENT, record.stderr)
        if problem is None and version is None:
            problem = Problem(
                Reason.UNPARSABLE, f"--version says {' '.join(said.split())[:100]!r}, which names no Kubernetes version"
            )
        entry = {"pid": whole(record.words[1]), "name": record.words[2]}
        if problem is not None:
            entry["problem"] = {"reason": problem.reason.value, "detail": problem.detail}
        elif version is not None:
            entry["version"] = version[1]
        found.append(entry)
    return sorted(found, key=lambda f: f["pid"])


def address_filter(answers: Answers, fact: AddressFilter) -> Any:
    """Return the answer to an `AddressFilter`."""
    record = first(answers, "address-filter", fact.unit)
    if record is None:
        return missing(answers)
    problem = failed(record, "systemctl show")
    if problem is not None:
        return problem
    said = dict(line.partition("=")[::2] for line in lines_of(text(record.body)))
    if "LoadState" not in said:
        return Problem(Reason.UNPARSABLE, "systemctl says nothing about the unit")
    return {
        "loaded": said["LoadState"] == "loaded",
        "deny": said.get("IPAddressDeny", "").split(),
        "allow": said.get("IPAddressAllow", "").split(),
    }
