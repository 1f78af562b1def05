"""Facts about swarms: what an engine and its host tell of the swarm that it is a member of.

The value of a `Swarm` fact is a list with one entry an engine, as that of an `auditor.facts.docker.Engine` fact; ``data`` is::

    {"info": {...},               # the member's view, fields `INFO_FIELDS` of GET /info below Swarm; only the state when inactive
     "time": "2026-01-31T12:00:00Z",          # the engine's clock
     "trust_root": [certificate, ...],        # managers: what the swarm trusts
     "nodes": [...], "services": [...], "secrets": [...], "configs": [...],   # managers: reduced to the fields below
     "settings": {"ListenAddr", "AdvertiseAddr", "DataPathAddr", "LocalAddr", ...},   # docker-state.json, as given when it joined
     "node_certificate": [certificate], "root_certificates": [certificate, ...],
     "listeners": [{"protocol": "tcp", "address": "0.0.0.0", "port": 2377}, ...],     # sockets of dockerd itself
     "interfaces": {"10.0.0.1": "eth0", ...}}

with ``{"problem": {...}}`` in the place of a part that could not be had. A certificate is ``{"from", "until", "sha256"}``.
``path`` is added to parts that come from a file, as ``{"path", "data"}``.

Join tokens and the unlock key are never asked for, a config's data never leaves the host over SSH and is never decoded
otherwise. A service's command line is reduced to its first word, its environment to names; ``suspicious`` says which parts of
it hold what looks like a secret, by kind.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec

from auditor.facts.projection import decoder
from auditor.facts.redact import REDACTED, is_secret_name, redact_args, redact_text, redact_url

Part = Literal["nodes", "services", "secrets", "configs"]
PARTS: tuple[Part, ...] = get_args(Part)
#: What only the engine's host can tell.
HOST_PARTS = ("settings", "node_certificate", "root_certificates", "listeners", "interfaces")

#: What is kept of GET /info: nothing of an engine that is no member but that it isn't one.
INFO_FIELDS = (
    "SystemTime", *(f"Swarm.{name}" for name in (
        "LocalNodeState", "ControlAvailable", "NodeID", "NodeAddr", "Error", "RemoteManagers[].NodeID", "Nodes", "Managers",
        "Cluster.ID", "Cluster.CreatedAt", "Cluster.UpdatedAt", "Cluster.Spec.CAConfig.NodeCertExpiry",
        "Cluster.Spec.EncryptionConfig.AutoLockManagers", "Cluster.TLSInfo.TrustRoot", "Cluster.RootRotationInProgress",
    )),
)  # fmt: skip
_SERVICE = "Spec.TaskTemplate.ContainerSpec"
FIELDS: dict[Part, tuple[str, ...]] = {
    "nodes": ("ID", "Spec.Role", "Spec.Availability", "Description.Hostname", "Description.Engine.EngineVersion", "Status.State",
              "Status.Addr", "ManagerStatus.Leader", "ManagerStatus.Reachability", "ManagerStatus.Addr"),
    "services": ("ID", "Spec.Name", "Spec.TaskTemplate.Runtime", "Spec.TaskTemplate.RestartPolicy.Condition",
                 "Spec.TaskTemplate.RestartPolicy.MaxAttempts", "Endpoint.Ports", f"{_SERVICE}.Image",
                 f"{_SERVICE}.Command", f"{_SERVICE}.Args",
                 f"{_SERVICE}.Env", f"{_SERVICE}.Secrets[].SecretName", f"{_SERVICE}.Secrets[].File.Name",
                 f"{_SERVICE}.Configs[].ConfigName"),
    "secrets": ("ID", "Spec.Name", "CreatedAt", "UpdatedAt"),
    "configs": ("ID", "Spec.Name", "CreatedAt", "UpdatedAt"),
}  # fmt: skip
#: What is kept of docker-state.json.
SETTINGS = ("ListenAddr", "AdvertiseAddr", "DataPathAddr", "LocalAddr", "DataPathPort")
_TYPES: dict[str, type] = {"LocalNodeState": str, "ControlAvailable": bool, "Nodes": int, "Managers": int}
_MOUNTED = "/run/secrets/"


@dataclass(frozen=True, slots=True)
class Swarm:
    """Ask every Docker engine of the target for the swarm that it is a member of."""

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "swarm"


def reduce_info(raw: bytes) -> dict[str, Any]:
    """Return the parts that GET /info answers (``info``, ``time``, ``trust_root``).

    Raises ValueError for something else, such as an error message. What is not told is left out.
    """
    told = decoder(INFO_FIELDS)(raw)
    info = told.get("Swarm") or {}
    for name, kind in _TYPES.items():
        if name in info and type(info[name]) is not kind:
            raise ValueError(f"Swarm.{name} is not of the type {kind.__name__}")
    if not info.get("LocalNodeState"):
        raise ValueError("is not a document of this kind: it has no Swarm.LocalNodeState")
    if info["LocalNodeState"] == "inactive":
        return {"info": {"LocalNodeState": "inactive"}}
    if "Error" in info:
        info["Error"] = redact_text(str(info["Error"]))[:300]
    data: dict[str, Any] = {"info": info, "time": str(told.get("SystemTime") or "")}
    tls = (info.get("Cluster") or {}).pop("TLSInfo", {})
    if tls.get("TrustRoot"):
        data["trust_root"] = certificates(str(tls["TrustRoot"]).encode())
    return data


def reduce_part(part: Part, raw: bytes) -> list[dict[str, Any]]:
    """Return a list of a manager's objects, reduced and redacted, by name. Raises ValueError when it is something else."""
    elements: list[dict[str, Any]] = decoder(FIELDS[part], many=True)(raw)
    for element in elements:
        if not isinstance(element.get("ID"), str) or not isinstance(element.get("Spec"), dict):
            raise ValueError("holds an object without ID or Spec")  # noqa: TRY004 - what every reader of answers raises
        if part == "services":
            _redact_service(element["Spec"])
    return sorted(elements, key=lambda element: (name_of(element), element["ID"]))


def name_of(element: dict[str, Any]) -> str:
    """Return the name of a swarm's object; a node's is its host's."""
    host = (element.get("Description") or {}).get("Hostname")
    return str(element["Spec"].get("Name") or host or element["ID"])


def reduce_settings(raw: bytes) -> dict[str, Any]:
    """Return what docker-state.json says. Raises ValueError when it is something else."""
    told: dict[str, Any] = decoder(SETTINGS)(raw)
    if "ListenAddr" not in told:
        raise ValueError("is not the state of a swarm's member: it has no ListenAddr")
    return told


def certificates(pem: bytes) -> list[dict[str, Any]]:
    """Return from when until when the certificates in a PEM text are valid. Raises ValueError when there is none."""
    from cryptography import x509

    try:
        found = [
            {
                "from": c.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "until": c.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "sha256": hashlib.sha256(c.public_bytes(_der())).hexdigest()[:16],
            }
            for c in x509.load_pem_x509_certificates(pem)
        ]
    except Exception:  # noqa: BLE001 - the library raises many kinds for a broken certificate
        raise ValueError("holds a certificate that can't be read") from None
    if not found:
        raise ValueError("holds no certificate")
    return found


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


def listeners(links: str, bound: str) -> list[dict[str, Any]]:
    """Return the sockets among ``bound`` that a process holds.

    ``links`` is what ls says of its folder ``/proc/PID/fd``, ``bound`` lines of ``/proc/net/tcp`` and the like, each table after
    a line with its name (proc_net(5): the addresses are in the host's byte order, taken as little endian).
    """
    own = set(re.findall(r"socket:\[(\d+)\]", links))
    found = set()
    table = ""
    for line in bound.splitlines():
        words = line.split()
        if len(words) == 1:
            table = words[0]
        elif len(words) > 9 and words[9] in own and (table.startswith("udp") or words[3] == "0A"):
            address, _, port = words[1].partition(":")
            if len(port) != 4:
                raise ValueError(f"the port {port[:10]!r} is none")
            found.add((table.rstrip("6"), _address(address), int(port, 16)))
    return [{"protocol": p, "address": a, "port": n} for p, a, n in sorted(found, key=lambda f: (f[2], f[0], f[1]))]


def _address(text: str) -> str:
    raw = bytes.fromhex(text)
    ordered = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
    address = ipaddress.ip_address(ordered)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def interfaces(said: str) -> dict[str, str]:
    """Return address -> interface from what ``ip -o addr show`` said."""
    found = re.findall(r"^\d+: +(\S+) +inet6? +([0-9a-fA-F.:]+)", said, re.MULTILINE)
    return {address: name for name, address in found if not address.lower().startswith("fe80:")}  # those are of no one interface


def _redact_service(spec: dict[str, Any]) -> None:
    template = spec.get("TaskTemplate")
    container = template.get("ContainerSpec") if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(container, dict):
        return
    # The swarm's defaults, which the client's own inspection writes out and the API leaves out.
    template["RestartPolicy"] = {"Condition": "any", "MaxAttempts": 0, **(template.get("RestartPolicy") or {})}
    secrets = [s for s in container.get("Secrets") or () if isinstance(s, dict)]
    targets = {str((s.get("File") or {}).get("Name")) for s in secrets}
    suspicious: list[dict[str, str]] = []
    names = []
    for entry in _texts(container.get("Env")):
        name, _, value = entry.partition("=")
        names.append(name)
        kind = "" if value in targets or value.startswith(_MOUNTED) else _kind(name, value)
        if kind:
            suspicious.append({"where": f"env {name}", "kind": kind})
    if "Env" in container:
        container["Env"] = names
    for key in ("Command", "Args"):
        words = _texts(container.get(key))
        if key in container:
            container[key] = [redact_text(word) for word in words[:1]] + [REDACTED] * (len(words) > 1)
        suspicious += _suspicious_words(words, targets)
    container["suspicious"] = suspicious


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _suspicious_words(words: list[str], targets: set[str]) -> list[dict[str, str]]:
    found = []
    flag = ""
    for given, shown in zip(words, redact_args(words), strict=True):
        name, _, value = given.partition("=")
        if given.startswith("-"):
            flag = name
        value = value if given.startswith("-") else given
        if given != shown and value not in targets and not value.startswith(_MOUNTED):
            found.append({"where": f"argument {redact_text(flag)}".strip(), "kind": _kind("", value) or "named like a secret"})
    return found


def _kind(name: str, value: str) -> str:
    """Return what kind of secret a value looks like, empty for none; an empty value and a boolean are none."""
    if "PRIVATE KEY-----" in value:
        return "private key"
    if redact_url(value) != value:
        return "credentials in a URL"
    if name and value and value.lower() not in ("true", "false") and is_secret_name(name):
        return "named like a secret"
    return "has the shape of a secret" if redact_text(value) != value else ""


def decode_error(raw: bytes) -> str:
    """Return what an engine says instead of an answer, redacted; empty when it says nothing of the kind."""
    try:
        said = msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError):  # no JSON, or no UTF-8
        return ""
    return redact_text(str(said.get("message") or ""))[:200]
