"""known_hosts files and certificates from anywhere: nothing raises, and nothing that is odd is trusted."""

from __future__ import annotations

import base64
import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.inventory import Inventory
from auditor.transports.base import TargetError
from auditor.transports.certificates import Certificate
from auditor.transports.hostkeys import HostKey, KnownHosts, Trust, Verdict, load, load_revoked, parse
from auditor.transports.logins import Hops


def string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def key(seed: bytes) -> HostKey:
    return HostKey("ssh-ed25519", string(b"ssh-ed25519") + string(seed * 32))


ONE, TWO = key(b"1"), key(b"2")


def trust(text: str, *names: str, name: str = "", pin: str = "") -> Trust:
    known = KnownHosts(parse(text.encode()))
    return Trust(names or ("[10.0.0.1]:22", "10.0.0.1"), known, known, pin=pin, name=name)


@given(st.binary(max_size=400))
def test_any_file_is_read(content: bytes) -> None:
    known = KnownHosts(parse(content))
    assert Trust(("a",), known, known).judge(ONE)[0] in (Verdict.UNKNOWN, Verdict.REVOKED)


@given(st.text(alphabet="a.*?!,|1[]: \t@", max_size=60))
def test_any_pattern_is_read(hosts: str) -> None:
    verdict, _ = trust(f"{hosts} {ONE.line}\n", "a.a").judge(TWO)
    assert verdict is not Verdict.KNOWN


@given(st.binary(max_size=300))
def test_any_certificate_is_taken_apart_or_refused(blob: bytes) -> None:
    for found in (blob, string(b"ssh-ed25519-cert-v01@openssh.com") + blob):
        with contextlib.suppress(ValueError):
            Certificate.read(found)
        assert trust(f"@cert-authority * {ONE.line}\n").judge(HostKey("ssh-ed25519", TWO.blob, found))[0] is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("line", "known"),
    [("web-1", True), ("WEB-1", True), ("other,web-1", True), ("web-*", False), ("*", False), ("*,!10.0.0.1", False)],
)
def test_the_inventorys_name_counts_where_it_is_said_whole(line: str, known: bool) -> None:
    verdict, _ = trust(f"{line} {ONE.line}\n", "x", name="web-1").judge(ONE)
    assert (verdict is Verdict.KNOWN) is (known or line in ("*", "*,!10.0.0.1"))  # those fit the address itself
    assert trust(f"10.0.0.1 {TWO.line}\nweb-1 {ONE.line}\n", "10.0.0.1", name="web-1").judge(ONE)[0] is Verdict.CHANGED


def test_certificates_are_asked_for_only_where_a_ca_is_known() -> None:
    assert not [a for a in trust(f"10.0.0.1 {ONE.line}\n").algorithms() if "cert" in a]
    assert trust(f"@cert-authority *.0.0.1 {ONE.line}\n").algorithms()[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert not [a for a in trust(f"@cert-authority * {ONE.line}\n", pin=ONE.line).algorithms() if "cert" in a]


def test_no_algorithm_is_weak() -> None:
    offered = trust(
        f"* ssh-dss {base64.b64encode(string(b'ssh-dss')).decode()}\n* ssh-rsa x\n@cert-authority * {ONE.line}\n"
    ).algorithms()
    assert not [a for a in offered if a.startswith(("ssh-rsa", "ssh-dss"))]


def test_what_cannot_be_read_is_no_trust(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TargetError, match="can't be read"):
        load([str(tmp_path / "folder")])
    with pytest.raises(TargetError, match="can't be read"):
        load(["a\0b"])
    revoked = tmp_path / "revoked"
    revoked.write_text(f"# list\n{ONE.line}\nnot a key\n")
    with pytest.raises(TargetError, match="revoked:3 is no public key"):
        load_revoked(str(revoked))


def test_a_line_of_an_ssh_config_that_is_none_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("Host a\n  Port 22\n  very-secret\n")
    with pytest.raises(TargetError, match="a line in it is no option with a value") as error:
        Hops(Inventory(), path)
    assert "very-secret" not in str(error.value.problem)
