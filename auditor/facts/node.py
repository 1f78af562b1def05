"""Facts about a Kubernetes node beyond its files: whose CAs its programs trust, and what systemd does around a unit."""

from __future__ import annotations

from dataclasses import dataclass

#: Units whose filter of addresses may be asked for.
UNITS = ("kubelet.service",)


#: Programs that say which Kubernetes they are, the one that decides first.
VERSIONED = ("kube-apiserver", "kubelet", "k3s", "rke2", "kubelite")


@dataclass(frozen=True, slots=True)
class KubernetesVersion:
    """Which Kubernetes the running programs of `VERSIONED` are, by their own word.

    A program is asked only where root started it from this host's own files: neither what is in a container nor what a user
    calls by such a name is ever run.

    Value: a list of ``{"pid": int, "name", "version": "v1.31.4+k3s1"}`` or ``{"pid", "name", "problem": {...}}``.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "kubernetes_version"


@dataclass(frozen=True, slots=True)
class Authorities:
    """The CAs of clients that a running etcd or API server was told to trust. Certificates are public; nothing else is read.

    Value: a list of ``{"pid": int, "path", "keys": [{"sha256" of the public key, "subject", "until": UNIX time}]}`` or ``{"pid",
    "path", "problem": {...}}``. An etcd may have more of them than it uses for clients.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "authorities"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFilter:
    """The addresses that systemd lets a unit talk to.

    Value: ``{"loaded": bool, "deny": [network], "allow": [network]}``.
    """

    unit: str

    @property
    def key(self) -> str:
        """``address_filter:`` and the unit."""
        return f"address_filter:{self.unit}"
