"""Which host keys are trusted, beside the verdict of the ssh client itself on the same real servers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from auditor.inventory import HostSpec, Inventory, SshOptions
from auditor.transports.base import TargetError
from auditor.transports.logins import Hops
from auditor.transports.ssh import Connections
from tests.support.host import Entry, TestHost

pytestmark = pytest.mark.live

#: A server each: its host key and what signs it how. {host} is its address.
CERTIFICATES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "plain": ("host", "", ()),
    "signed": ("host", "ca", ("-h", "-n", "{host}")),
    "several-names": ("host", "ca", ("-h", "-n", "other,{host}")),
    "other-name": ("host", "ca", ("-h", "-n", "other.example")),
    "wildcard-name": ("host", "ca", ("-h", "-n", "198.*")),
    "no-name": ("host", "ca", ("-h",)),
    "expired": ("host", "ca", ("-h", "-n", "{host}", "-V", "20200101:20210101")),
    "not-yet": ("host", "ca", ("-h", "-n", "{host}", "-V", "20900101:20910101")),
    "for-a-user": ("host", "ca", ("-n", "{host}")),
    "critical": ("host", "ca", ("-h", "-n", "{host}", "-O", "critical:unheard-of")),
    "by-rsa": ("host", "rsa_ca", ("-h", "-n", "{host}")),
    "by-sha1": ("host", "rsa_ca", ("-h", "-n", "{host}", "-t", "ssh-rsa")),
    "by-ecdsa": ("host", "ecdsa_ca", ("-h", "-n", "{host}")),
    "of-rsa": ("rsa", "ca", ("-h", "-n", "{host}")),
    "of-ecdsa": ("ecdsa", "ca", ("-h", "-n", "{host}")),
    "rsa": ("rsa", "", ()),
}
KEYS = {"ca": "ed25519", "other_ca": "ed25519", "rsa_ca": "rsa", "ecdsa_ca": "ecdsa", "rsa": "rsa", "ecdsa": "ecdsa"}


@dataclass(frozen=True)
class Case:
    """known_hosts (one line each; {a}: address with port, {KEY}: its public key), and whether that server is trusted."""

    server: str
    lines: tuple[str, ...]
    trusted: bool
    words: str = ""  # in our reason
    options: dict[str, str] = field(default_factory=dict)  # of ssh_config
    as_ssh: bool = True


CA = "@cert-authority {a} {ca}"
CASES = {
    "known": Case("plain", ("{a} {host_key}",), True),
    "nothing known": Case("plain", (), False, "unknown host key: ssh-ed25519 SHA256:"),
    "changed": Case("plain", ("{a} {other_host}",), False, "host key changed"),
    "hashed": Case("plain", ("{hashed} {host_key}",), True),
    "hashed of another": Case("plain", ("{hashed_other} {host_key}",), False, "unknown host key"),
    "without the port": Case("plain", ("{h} {host_key}",), True),
    "another port": Case("plain", ("[{h}]:1 {host_key}",), False, "unknown host key"),
    "the port's own key counts": Case("plain", ("{h} {host_key}", "{a} {other_host}"), False, "host key changed"),
    "wildcard": Case("plain", ("[198.1?.*]:* {host_key}",), True),
    "negated": Case("plain", ("*,!{a},!{h} {host_key}",), False, "unknown host key"),
    "negated only": Case("plain", ("!other {host_key}",), False, "unknown host key"),
    "one of several keys": Case("plain", ("{a} {other_host}", "{a} {host_key} a comment"), True),
    "broken lines around": Case("plain", ("# x", "{a}", "@odd {a} {other_host}", "{a} ssh-ed25519 AAAA", "{a} {host_key}"), True),
    "another type known": Case("plain", ("{a} {rsa}",), False, "other types only (ssh-rsa)"),
    "rsa": Case("rsa", ("{a} {rsa}",), True),
    "revoked": Case("plain", ("{a} {host_key}", "@revoked * {host_key}"), False, "revoked by"),
    "revoked elsewhere": Case("plain", ("{a} {host_key}", "@revoked other {host_key}"), True),
    "a broken revocation": Case("plain", ("{a} {host_key}", "@revoked * ssh-ed25519 AAAA"), False, "can't be read", as_ssh=False),
    "alias": Case("plain", ("web {host_key}",), True, options={"HostKeyAlias": "web"}),
    "alias alone counts": Case("plain", ("{a} {host_key}",), False, "unknown host key", options={"HostKeyAlias": "web"}),
    "global file": Case("plain", (), True, options={"GlobalKnownHostsFile": "{global}"}),
    "user's files": Case("plain", (), True, options={"UserKnownHostsFile": "/nonexistent {global}"}),
    "revoked in the global file": Case("plain", ("{a} {host_key}",), False, "revoked", {"GlobalKnownHostsFile": "{revoking}"}),
    "list of revoked keys": Case("plain", ("{a} {host_key}",), False, "RevokedHostKeys", {"RevokedHostKeys": "{list}"}),
    "no list of revoked keys": Case("plain", ("{a} {host_key}",), False, "can't be read", {"RevokedHostKeys": "/nonexistent"}),
    "list in another form": Case("plain", ("{a} {host_key}",), False, "KRL", {"RevokedHostKeys": "{krl}"}, as_ssh=False),
    "signed": Case("signed", (CA,), True),
    "signed, for any": Case("signed", ("@cert-authority * {ca}",), True),
    "signed, for others": Case("signed", ("@cert-authority *.example {ca}",), False, "unknown host key"),
    "signed by another": Case("signed", ("@cert-authority {a} {other_ca}",), False, "its CA is not known"),
    "signed, CA revoked": Case("signed", (CA, "@revoked * {ca}"), False, "revoked"),
    "signed, key revoked": Case("signed", (CA, "@revoked * {host_key}"), False, "revoked"),
    "signed, the CA as a host": Case("signed", ("{a} {ca}",), False, "host key changed"),
    "signed, alias": Case("other-name", ("@cert-authority * {ca}",), True, options={"HostKeyAlias": "other.example"}),
    "several names": Case("several-names", (CA,), True),
    "another name": Case("other-name", (CA,), False, "it is for other.example, not for"),
    "wildcard name": Case("wildcard-name", (CA,), False, "it is for 198.*, not for"),
    "no name": Case("no-name", (CA,), False, "it names no host", as_ssh=False),
    "expired": Case("expired", (CA,), False, "it expired on 202"),
    "expired, key known": Case("expired", (CA, "{a} {host_key}"), True),
    "not yet valid": Case("not-yet", (CA,), False, "not valid before"),
    "for a user": Case("for-a-user", (CA,), False, ""),
    "critical option": Case("critical", (CA,), False, "critical options"),
    "RSA CA": Case("by-rsa", ("@cert-authority * {rsa_ca}",), True),
    "RSA CA with SHA-1": Case("by-sha1", ("@cert-authority * {rsa_ca}",), False, "not accepted"),
    "ECDSA CA": Case("by-ecdsa", ("@cert-authority * {ecdsa_ca}",), True),
    "RSA key signed": Case("of-rsa", (CA,), True),
    "ECDSA key signed": Case("of-ecdsa", (CA,), True),
    "certificate, only the key known": Case("signed", ("{a} {host_key}",), True),
}  # fmt: skip


@dataclass
class Servers:
    """A host with one sshd for each kind of certificate."""

    host: TestHost
    ports: dict[str, int]

    def words(self, folder: Path, server: str) -> dict[str, str]:
        """Return what stands for the words in braces."""
        keys = {n: " ".join((self.host.keys / f"{n}.pub").read_text().split()[:2]) for n in ("host", "other_host", *KEYS)}
        address = f"[{self.host.address}]:{self.ports[server]}"
        hashed = []
        for name in (address, "[198.51.100.1]:22"):
            path = folder / "hashed"
            path.write_text(f"{name} {keys['host']}\n")
            subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
            hashed.append(path.read_text().split()[0])
        files = {n: str(folder / n) for n in ("global", "revoking", "list", "krl")}
        (folder / "global").write_text(f"{address} {keys['host']}\n")
        (folder / "revoking").write_text(f"@revoked {address} {keys['host']}\n")
        (folder / "list").write_text(f"# gone\n{keys['host']}\n")
        (folder / "krl").write_bytes(b"SSHKRL\n\0")
        more = {"h": self.host.address, "a": address, "hashed": hashed[0], "hashed_other": hashed[1], "host_key": keys.pop("host")}
        return {**keys, **files, **more}


@pytest.fixture(scope="module")
def servers(needs_hosts: None) -> Iterator[Servers]:
    with TestHost() as host:
        for name, kind in KEYS.items():
            argv = ["ssh-keygen", "-q", "-t", kind, *(["-b", "2048"] * (kind == "rsa")), "-N", "", "-f", str(host.keys / name)]
            subprocess.run(argv, check=True, capture_output=True)
        ports = {}
        for port, (name, (key, ca, options)) in enumerate(CERTIFICATES.items(), 2200):
            ports[name] = port
            place = f"/etc/ssh/certified/{name}"
            entries = [Entry(place, (host.keys / key).read_bytes(), 0o600)]
            lines = [f"Port {port}", f"HostKey {place}", "UsePAM no", "PidFile none", "LogLevel ERROR", "MaxStartups 100"]
            if ca:
                public = host.keys / f"{name}.pub"
                public.write_bytes((host.keys / f"{key}.pub").read_bytes())
                told = [o.replace("{host}", host.address) for o in options]
                subprocess.run(["ssh-keygen", "-q", "-s", str(host.keys / ca), "-I", name, *told, str(public)], check=True)
                entries.append(Entry(f"{place}-cert.pub", (host.keys / f"{name}-cert.pub").read_bytes()))
                lines.append(f"HostCertificate {place}-cert.pub")
            host.place(*entries, Entry(f"{place}.conf", "\n".join(lines) + "\n", 0o600))
            host.spawn(["/usr/sbin/sshd", "-D", "-e", "-f", f"{place}.conf"], log=name)
        host.wait_for(lambda: host.run("ss", "-ltnH").count(":22") >= len(ports) + 1, "every sshd to listen")
        yield Servers(host, ports)


def by_ssh(servers: Servers, case: Case, known: Path, options: dict[str, str]) -> tuple[bool, str]:
    given = {"UserKnownHostsFile": known, "GlobalKnownHostsFile": "/dev/null", "BatchMode": "yes", "StrictHostKeyChecking": "yes",
             **options}  # fmt: skip
    argv = ["ssh", "-F", "none", *(w for k, v in given.items() for w in ("-o", f"{k}={v}")), "-i", str(servers.host.identity)]
    argv += ["-p", str(servers.ports[case.server]), f"root@{servers.host.address}", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 or "erification failed" in done.stderr or "evoked" in done.stderr, done.stderr
    return done.returncode == 0, done.stderr


def by_us(servers: Servers, case: Case, known: Path, options: dict[str, str]) -> tuple[bool, str]:
    config = known.with_name("config")
    given = {"UserKnownHostsFile": str(known), "GlobalKnownHostsFile": "/dev/null", **options}
    config.write_text("\n".join(["Host *", *(f"  {k} {v}" for k, v in given.items())]) + "\n")
    ssh = SshOptions(user="root", port=servers.ports[case.server], identity_file=servers.host.identity)
    connections = Connections(())
    try:
        spec = HostSpec(name="test", address=servers.host.address, ssh=ssh)
        connections.run(Hops(Inventory(hosts=()), config).login(spec), "true", b"", 20)
    except TargetError as error:
        assert error.problem.reason == "denied", error
        return False, error.problem.detail
    finally:
        connections.close()
    return True, ""


@pytest.fixture(scope="module")
def verdicts(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[tuple[bool, str], tuple[bool, str]]]:
    def both(name: str) -> tuple[tuple[bool, str], tuple[bool, str]]:
        case, folder = CASES[name], tmp_path_factory.mktemp("known")
        words = servers.words(folder, case.server)
        known = folder / "known_hosts"
        known.write_text("".join(line.format(**words) + "\n" for line in case.lines))
        options = {k: v.format(**words) for k, v in case.options.items()}
        return by_ssh(servers, case, known, options), by_us(servers, case, known, options)

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CASES, pool.map(both, CASES), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_as_the_ssh_client_decides(verdicts: dict[str, tuple[tuple[bool, str], tuple[bool, str]]], name: str) -> None:
    case, ((theirs, said), (ours, why)) = CASES[name], verdicts[name]
    assert ours is case.trusted, (why, said)
    assert case.words in why, why
    if case.as_ssh:
        assert theirs is ours, (said, why)
    else:
        assert (theirs, ours) == (True, False) or "KRL" in case.words  # never the other way round
    assert "\n" not in why


def test_pins(servers: Servers, tmp_path: Path) -> None:
    """A pin decides alone, but for what is revoked."""
    words = servers.words(tmp_path, "plain")
    out = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(servers.host.keys / "host.pub")], capture_output=True, text=True, check=True
    )
    finger = out.stdout.split()[1]
    known = tmp_path / "known_hosts"
    ssh = SshOptions(user="root", port=servers.ports["plain"], identity_file=servers.host.identity, known_hosts=known)
    spec = HostSpec(name="test", address=servers.host.address, ssh=ssh)

    def verdict(pin: str, lines: str = "") -> str:
        known.write_text(lines)
        connections = Connections(())
        try:
            connections.run(Hops(Inventory(hosts=()), tmp_path / "none").login(replace(spec, host_key=pin)), "true", b"", 20)
        except TargetError as error:
            return error.problem.detail
        finally:
            connections.close()
        return ""

    other = f"{words['a']} {words['other_host']}\n"
    assert verdict(finger, other) == verdict(finger + "=", other) == verdict(words["host_key"], other) == ""
    assert verdict(words["host_key"] + " a comment") == ""
    assert "host key changed" in verdict("SHA256:" + "A" * 43, f"{words['a']} {words['host_key']}\n")
    assert "host key changed" in verdict(words["other_host"], f"{words['a']} {words['host_key']}\n")
    assert "revoked" in verdict(finger, f"@revoked {words['a']} {words['host_key']}\n")


def test_a_forged_certificate(servers: Servers) -> None:
    """One bit of a certificate or of its signature elsewhere, and it doesn't count."""
    import base64

    from auditor.transports.certificates import Certificate

    raw = base64.b64decode((servers.host.keys / "signed-cert.pub").read_text().split()[1])
    good = Certificate.read(raw)
    address = servers.host.address
    assert good.fault(address, 1.8e9) == ""
    found = 0
    for at in range(0, len(raw), 3):
        damaged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            certificate = Certificate.read(damaged)
        except ValueError:
            continue
        if certificate.ca == good.ca:
            assert certificate.fault(address, 1.8e9) != "", at
            found += 1
    assert found > 50
