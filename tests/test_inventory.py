"""The inventory: a contract, so every key, every mistake and its place."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.inventory import HostSpec, Inventory, SshOptions, limit, load, local_inventory, parse, target_of
from auditor.model import Target
from auditor.yamlfile import InputError
from tests.support import inventories
from tests.support.inventories import mistakes

ROOT = Path(__file__).parent.parent


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    return inventories.writer(tmp_path)


FULL = """
defaults:
  ssh: {user: audit, port: 2200, identity_file: key, known_hosts: known_hosts, become: none, connect_timeout: 5, timeout: 60.5}
hosts:
  - {name: web-1, address: 10.0.0.11, groups: [prod, web], jump: bastion, ssh: {user: root, become: sudo}}
  - {name: bastion, address: bastion.example.org, jump: "gate@[2001:db8::1]:2222"}
  - {name: cp-1}
  - {name: here, transport: local, ssh: {become: sudo, timeout: 10}}
docker:
  - {name: ci, url: "unix:///var/run/docker.sock"}
  - {name: remote, url: "tcp://10.0.0.5:2376", tls_ca: ca.pem, tls_cert: ca.pem, tls_key: key, groups: [prod], timeout: 7}
clusters:
  - {name: prod-cluster, kubeconfig: config, context: prod, nodes: [cp-1, web-1], groups: [prod]}
  - {name: inside, in_cluster: true}
"""


def test_every_key(write: Callable[[str], Path], tmp_path: Path) -> None:
    inventory = load(write(FULL))
    defaults = SshOptions(
        user="audit",
        port=2200,
        identity_file=tmp_path / "key",
        known_hosts=tmp_path / "known_hosts",
        become="none",
        connect_timeout=5.0,
        timeout=60.5,
    )
    assert inventory.path == tmp_path / "inventory.yaml"
    assert inventory.ssh == defaults
    web, bastion, cp, here = inventory.hosts
    assert (web.address, web.groups, web.jump, web.transport) == ("10.0.0.11", ("prod", "web"), "bastion", "ssh")
    assert (web.ssh.user, web.ssh.become, web.ssh.port, web.ssh.timeout) == ("root", "sudo", 2200, 60.5)
    assert bastion.ssh == defaults
    assert (cp.name, cp.address) == ("cp-1", "cp-1"), "a host is at its name unless it says otherwise"
    assert (here.transport, here.address, here.ssh.become, here.ssh.timeout) == ("local", "", "sudo", 10.0)
    ci, remote = inventory.engines
    assert (ci.url, ci.tls_ca, ci.timeout) == ("unix:///var/run/docker.sock", None, 60.0)
    assert (remote.tls_ca, remote.tls_cert, remote.tls_key, remote.timeout) == (
        tmp_path / "ca.pem",
        tmp_path / "ca.pem",
        tmp_path / "key",
        7.0,
    )
    prod, inside = inventory.clusters
    assert (prod.kubeconfig, prod.context, prod.nodes, prod.in_cluster) == (tmp_path / "config", "prod", ("cp-1", "web-1"), False)
    assert (inside.kubeconfig, inside.context, inside.in_cluster) == (None, "", True)


def test_targets(write: Callable[[str], Path]) -> None:
    assert [target_of(s) for s in load(write(FULL)).specs()] == [
        Target("web-1", "ssh", "10.0.0.11", ("prod", "web")),
        Target("bastion", "ssh", "bastion.example.org"),
        Target("cp-1", "ssh", "cp-1"),
        Target("here", "local"),
        Target("ci", "docker", "unix:///var/run/docker.sock"),
        Target("remote", "docker", "tcp://10.0.0.5:2376", ("prod",)),
        Target("prod-cluster", "kubernetes", "prod", ("prod",), ("cp-1", "web-1")),
        Target("inside", "kubernetes", "in-cluster"),
    ]


def test_jumps_are_followed(write: Callable[[str], Path]) -> None:
    inventory = load(write(FULL))
    web, bastion, cp, _ = inventory.hosts
    gate, last = inventory.jumps(web)
    assert last == bastion
    assert (gate.name, gate.address, gate.ssh.user, gate.ssh.port) == ("gate@[2001:db8::1]:2222", "2001:db8::1", "gate", 2222)
    assert gate.ssh.identity_file == inventory.ssh.identity_file
    assert inventory.jumps(bastion) == (gate,)
    assert inventory.jumps(cp) == ()
    kept, _ = limit(inventory, ["web-1"])
    assert kept.jumps(kept.hosts[0]) == (gate, bastion), "a jump host that is not audited is still jumped over"


def test_what_is_not_said_is_left_to_openssh(write: Callable[[str], Path]) -> None:
    (host,) = load(write("hosts: [{name: a}]")).hosts
    assert host == HostSpec(name="a", address="a")
    assert (host.ssh.user, host.ssh.port, host.ssh.identity_file, host.ssh.known_hosts) == (None, None, None, None)


def test_home_folder(write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (host,) = load(write("hosts: [{name: a, ssh: {identity_file: ~/key}}]")).hosts
    assert host.ssh.identity_file == tmp_path / "key"
    assert mistakes(write("hosts: [{name: a, ssh: {identity_file: ~nobody-at-all/key}}]")) == [
        "1:40: there is no home folder for '~nobody-at-all/key'"
    ]


def test_host_keys(write: Callable[[str], Path], tmp_path: Path) -> None:
    for kind in ("ed25519", "rsa", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / kind], check=True)
        public = (tmp_path / f"{kind}.pub").read_text().strip()
        shown = subprocess.run(
            ["ssh-keygen", "-l", "-f", tmp_path / kind], check=True, capture_output=True, text=True
        ).stdout.split()[1]
        for pin in (public, " ".join(public.split()[:2]), shown):
            (host,) = load(write(f'hosts: [{{name: a, host_key: "{pin}"}}]')).hosts
            assert host.host_key == pin
            cut = pin.removesuffix(public.rpartition(" ")[2])[:-13]
            assert [m[:25] for m in mistakes(write(f'hosts: [{{name: a, host_key: "{cut}"}}]'))] == ["1:29: is no host key: SHA"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host: [{name: a}]", "1:1: there is no key 'host' here; did you mean 'hosts'?"),
        ("hosts: [{nmae: a}]", "1:9: the key 'name' is missing\n1:10: there is no key 'nmae' here; did you mean 'name'?"),
        ("hosts:\n  - {name: a, ssh: {usr: x}}", "2:21: there is no key 'usr' here; did you mean 'user'?"),
        ("defaults: {user: x}\nhosts: [{name: a}]", "1:12: there is no key 'user' here; did you mean 'user' below 'ssh'?"),
        ("hosts:\n  - {name: a, ssh: {sudo_password_env: X}}", "2:21: there is no key 'sudo_password_env' here; did you mean 'password_env'?"),
        ("hosts:\n  - {name: a, sudo_password_env: X}", "2:15: there is no key 'sudo_password_env' here; did you mean 'password_env' below 'ssh'?"),
        ("hosts:\n  - {name: a, become_user_name: X}", "2:15: there is no key 'become_user_name' here; did you mean 'name'?"),
        ("hosts: [{name: a}, {name: b}, {name: a}]", "1:38: the name 'a' is already taken in line 1"),
        ("hosts:\n  - name: a\nclusters:\n  - name: a\ndocker: [{name: a, url: 'ssh://x'}]", "4:11: the name 'a' is already taken in line 2\n5:17: the name 'a' is already taken in line 2"),
        ("hosts: [{address: a}]", "1:9: the key 'name' is missing"),
        ("hosts: [{name: 5}]", "1:16: must be text, not a whole number (5): put it in quotes"),
        ("hosts: [{name: ''}]", "1:16: a name is printable text without spaces around it"),
        ('hosts: [{name: "a\\tb"}]', "1:16: a name is printable text without spaces around it"),
        ('hosts: [{name: "a\\u202Eb"}]', "1:16: a name is printable text without spaces around it"),
        ('hosts: [{name: " a"}]', "1:16: a name is printable text without spaces around it"),
        (f"hosts: [{{name: {'a' * 254}}}]", "1:16: a name has at most 253 characters, this one has 254"),
        ("hosts: [{name: a, groups: prod}]", "1:27: must be a list, not text (prod)"),
        ("hosts: [{name: a, groups: ['']}]", "1:28: a name is printable text without spaces around it"),
        ("hosts: [{name: a, transport: telnet}]", "1:30: 'telnet' is not one of the allowed words; known: local, ssh"),
        ("hosts: [{name: a, address: -oProxyCommand=id}]", "1:28: must be one word that doesn't start with a hyphen"),
        ("hosts: [{name: a, address: a b}]", "1:28: must be one word that doesn't start with a hyphen"),
        ("hosts: [{name: a, ssh: {user: -x}}]", "1:31: must be one word that doesn't start with a hyphen"),
        ("hosts: [{name: a, ssh: {port: 0}}]", "1:31: 0 is no port: 1 to 65535"),
        ("hosts: [{name: a, ssh: {port: 65536}}]", "1:31: 65536 is no port: 1 to 65535"),
        ("hosts: [{name: a, ssh: {port: '22'}}]", "1:31: must be a whole number, not text (22)"),
        ("hosts: [{name: a, ssh: {become: doas}}]", "1:33: 'doas' is not one of the allowed words; known: none, sudo"),
        ("hosts: [{name: a, ssh: {timeout: 0}}]", "1:34: 0 is no timeout: more than 0 and at most 86400 seconds"),
        ("hosts: [{name: a, ssh: {connect_timeout: 1e9}}]", "1:42: must be a number, not text (1e9)"),
        ("hosts: [{name: a, ssh: {identity_file: nope}}]", "1:40: there is no file '{}/nope'"),
        ("hosts: [{name: a, ssh: {identity_file: /tmp}}]", "1:40: there is no file '/tmp'"),
        ("hosts: [{name: a, ssh: {known_hosts: no/pe}}]", "1:38: there is no folder '{}/no'"),
        ('hosts: [{name: a, ssh: {identity_file: "a\\0b"}}]', "1:40: there is no file '{}/a\\x00b'"),
        ("hosts: [{name: a, host_key: ssh-ed25519}]", "1:29: is no host key: "),
        ("hosts: [{name: a, host_key: 'MD5:aa:bb'}]", "1:29: is no host key: "),
        ("hosts: [{name: a, jump: b}]", "1:25: 'b' is neither a host here nor user@address[:port]"),
        ("hosts: [{name: web-1}, {name: a, jump: web1}]", "1:40: 'web1' is neither a host here nor user@address[:port]; did you mean 'web-1'?"),
        ("hosts: [{name: a, jump: 'x@y:z'}]", "1:25: 'x@y:z' is neither a host here nor user@address[:port]"),
        ("hosts: [{name: l, transport: local}, {name: a, jump: l}]", "1:54: 'l' is this machine itself (transport local): nothing can jump there"),
        ("hosts: [{name: a, jump: a}]", "1:25: the jump goes round in a circle: a -> a"),
        ("hosts: [{name: a, transport: local, address: b, ssh: {port: 1}}]", "1:9: a host with transport local has no address, ssh.port: nothing is connected to"),
        ("docker: [{name: a}]", "1:10: the key 'url' is missing"),
        ("docker: [{name: a, url: 'http://x'}]", "1:25: 'http://x' is no engine's address: unix://..., tcp://..., ssh://..."),
        ("docker: [{name: a, url: 'unix://'}]", "1:25: 'unix://' is no engine's address: unix://..., tcp://..., ssh://..."),
        ("docker: [{name: a, url: 'ssh://me:secret@x'}]", "1:25: no password belongs into an address"),
        ("docker: [{name: a, url: 'tcp://x:1', tls_cert: ca.pem}]", "1:10: tls_cert and tls_key belong together: give both or neither"),
        ("docker: [{name: a, url: 'unix:///x', tls_ca: ca.pem}]", "1:10: tls_ca, tls_cert and tls_key are for tcp:// alone"),
        ("docker: [{name: a, url: 'tcp://x:1', tls_ca: none.pem}]", "1:46: there is no file '{}/none.pem'"),
        ("clusters: [{name: a, kubeconfig: nope}]", "1:34: there is no file '{}/nope'"),
        ("clusters: [{name: a, in_cluster: true, context: x}]", "1:12: in_cluster takes the pod's own service account: it excludes kubeconfig and context"),
        ("hosts: [{name: cp-1}]\nclusters: [{name: a, nodes: [cp1]}]", "2:30: there is no host 'cp1'; did you mean 'cp-1'?"),
        ("hosts: [a]", "1:9: must be a mapping, not text (a)"),
        ("hosts: {a: b}", "1:8: must be a list, not a mapping"),
        ("[]", "1:1: must be a mapping, not a list"),
        ("hosts: []", " names nothing to audit: it needs hosts, docker or clusters"),
        ("defaults: {}", " names nothing to audit: it needs hosts, docker or clusters"),
    ],
)  # fmt: skip
def test_mistake_and_its_place(write: Callable[[str], Path], tmp_path: Path, text: str, expected: str) -> None:
    found = mistakes(write(text))
    wanted = expected.replace("{}", str(tmp_path)).split("\n")
    assert [f[: len(w)] for f, w in zip(found, wanted, strict=True)] == wanted


def test_circle_of_jumps(write: Callable[[str], Path]) -> None:
    text = "hosts:\n  - {name: a, jump: b}\n  - {name: b, jump: c}\n  - {name: c, jump: b}\n"
    assert mistakes(write(text)) == [
        "3:21: the jump goes round in a circle: b -> c -> b",
        "4:21: the jump goes round in a circle: c -> b -> c",
    ]


def test_files_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: No such file"):
        load(tmp_path / "none.yaml")


def test_local_inventory() -> None:
    (host,) = local_inventory().specs()
    assert isinstance(host, HostSpec)
    assert (host.transport, host.name) == (
        "local",
        subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip(),
    )


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["web-1"], {"web-1"}),
        (["prod"], {"web-1", "remote", "prod-cluster"}),
        (["prod*"], {"web-1", "remote", "prod-cluster"}),
        (["*-1", "ci"], {"web-1", "cp-1", "ci"}),
        (["[bh]*"], {"bastion", "here"}),
        (["*"], {"web-1", "bastion", "cp-1", "here", "ci", "remote", "prod-cluster", "inside"}),
    ],
)
def test_limit(write: Callable[[str], Path], patterns: list[str], kept: set[str]) -> None:
    whole = load(write(FULL))
    part, left_out = limit(whole, patterns)
    assert {s.name for s in part.specs()} == kept
    assert kept | set(left_out) == {s.name for s in whole.specs()}
    assert not kept & set(left_out)
    assert limit(whole, []) == (whole, ())


def test_limit_that_means_nothing(write: Callable[[str], Path]) -> None:
    whole = load(write(FULL))
    with pytest.raises(InputError) as error:
        limit(whole, ["web-1", "web-11", "PROD", "zz*"])
    assert [str(m) for m in error.value.mistakes] == [
        "--limit: no target or group is called 'PROD'; known: bastion, ci, cp-1, here, inside, prod, prod-cluster, remote, web, web-1",
        "--limit: no target or group is called 'web-11'; did you mean 'web-1'?",
        "--limit: no target or group is called 'zz*'; known: bastion, ci, cp-1, here, inside, prod, prod-cluster, remote, web, web-1",
    ]


def test_the_example_is_an_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that the example names is made in a home folder of its own; nothing else is changed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (ROOT / "inventory.example.yaml").read_text()
    for name in re.findall(r"~/[^\s,}\"']+", text):
        path = Path(name).expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    inventory = parse(text, ROOT / "inventory.example.yaml")
    assert inventory.hosts
    assert inventory.engines
    assert inventory.clusters
    assert {h.transport for h in inventory.hosts} == {"ssh", "local"}
    assert any(h.jump for h in inventory.hosts)


KEYS = [
    "name",
    "address",
    "transport",
    "groups",
    "jump",
    "host_key",
    "ssh",
    "user",
    "port",
    "url",
    "nodes",
    "context",
    "in_cluster",
    "kubeconfig",
    "tls_ca",
    "timeout",
    "known_hosts",
    "x",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["a", "b", "me@b", "local", "ssh", "tcp://x:1", "SHA256:x", "~", "/"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=10,
)
ENTRY = st.fixed_dictionaries({"name": st.sampled_from(["a", "b", "c"])}, optional={k: VALUES for k in KEYS if k != "name"})


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "defaults": VALUES,
            "hosts": st.lists(ENTRY, max_size=3),
            "docker": st.lists(ENTRY, max_size=2),
            "clusters": st.lists(ENTRY, max_size=2),
        },
    )
)
def test_any_file_is_an_inventory_or_refused(tmp_path: Path, value: dict[str, Any]) -> None:
    try:
        inventory = parse(yaml.dump(value, Dumper=yaml.CSafeDumper), tmp_path / "inventory.yaml")
    except InputError as error:
        assert all(m.message for m in error.mistakes)
    else:
        assert isinstance(inventory, Inventory)
        for host in inventory.hosts:
            assert len(inventory.jumps(host)) <= len(inventory.hosts)
