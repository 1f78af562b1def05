"""What an inventory file may say: its keys, decoded and checked, every mistake at its line and column.

The JSON Schema for editors is made from the dataclasses here. `auditor.inventory` makes targets of them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NewType

import yaml

from auditor.yamlfile import Decoder, InputError, Mistake, did_you_mean
from auditor.yamltree import compose

MAX_NAME = 253

Become = Literal["sudo", "none"]

# Kinds of text that the file may hold; each has its own decoder below.
Name = NewType("Name", str)
Word = NewType("Word", str)
Account = NewType("Account", str)
Address = NewType("Address", str)
Group = NewType("Group", str)
File = NewType("File", Path)
SecretFile = NewType("SecretFile", Path)
NewFile = NewType("NewFile", Path)
Port = NewType("Port", int)
Seconds = NewType("Seconds", float)
Url = NewType("Url", str)
HostKey = NewType("HostKey", str)
Variable = NewType("Variable", str)
Count = NewType("Count", int)

#: An address to jump over that is no host of the inventory: ``user@address[:port]``.
ADDRESS = re.compile(r"(?P<user>[^@:\s]+)@(?P<address>\[[0-9A-Fa-f:.%\w]+\]|[^\s@:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


#: What follows the scheme of an engine's URL.
_ADDRESSED = re.compile(r"(?:[^@:/?#]+@)?(?:\[[0-9A-Fa-f:.%\w]+\]|[^@:/?#\[\]]+)(?::[0-9]{1,5})?/?")


def given(keys: Any) -> dict[str, Any]:
    """Return the keys of a dataclass here that have a value."""
    return {f.name: v for f in dataclasses.fields(keys) if (v := getattr(keys, f.name)) is not None}


#: Where a secret may come from, one of them each.
SECRET_SOURCES = ("env", "file", "prompt")


@dataclass(frozen=True, kw_only=True)
class SshKeys:
    """Options of SSH logins; a host's own win over the defaults.

    A password, and the passphrase of the identity file, come from a variable, a file that nobody else can read, or a prompt at the
    start. There is none for sudo: it is never given a password. ``channels`` is how many targets are asked through this host at
    once when it is a jump host.
    """

    user: Account | None = None
    port: Port | None = None
    identity_file: File | None = None
    known_hosts: NewFile | None = None
    become: Become | None = None
    connect_timeout: Seconds | None = None
    timeout: Seconds | None = None
    password_env: Variable | None = None
    password_file: SecretFile | None = None
    password_prompt: bool | None = None
    passphrase_env: Variable | None = None
    passphrase_file: SecretFile | None = None
    passphrase_prompt: bool | None = None
    channels: Count | None = None

    def __post_init__(self) -> None:
        for secret in ("password", "passphrase"):
            sources = [name for kind in SECRET_SOURCES if getattr(self, name := f"{secret}_{kind}")]
            if len(sources) > 1:
                raise ValueError(f"{' and '.join(sources)} exclude each other: say one place for the {secret}")


@dataclass(frozen=True, kw_only=True)
class DefaultKeys:
    """What holds for every host that doesn't say otherwise."""

    ssh: SshKeys = SshKeys()


@dataclass(frozen=True, kw_only=True)
class HostKeys:
    """A host: over SSH, or with ``transport: local`` the machine the auditor runs on."""

    name: Name
    address: Address | None = None
    transport: Literal["ssh", "local"] = "ssh"
    groups: tuple[Group, ...] = ()
    jump: Address | None = None
    host_key: HostKey | None = None
    ssh: SshKeys = SshKeys()

    def __post_init__(self) -> None:
        if self.transport == "local":
            own = {"address": self.address, "jump": self.jump, "host_key": self.host_key}
            own |= {f"ssh.{k}": v for k, v in given(self.ssh).items() if k not in ("become", "timeout")}
            if extra := [k for k, v in own.items() if v is not None]:
                raise ValueError(f"a host with transport local has no {', '.join(extra)}: nothing is connected to")


@dataclass(frozen=True, kw_only=True)
class EngineKeys:
    """A Docker engine that is reached by its API alone."""

    name: Name
    url: Url
    groups: tuple[Group, ...] = ()
    tls_ca: File | None = None
    tls_cert: File | None = None
    tls_key: File | None = None
    timeout: Seconds = Seconds(60.0)

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both or neither")
        if (self.tls_ca or self.tls_cert) and not self.url.startswith("tcp://"):
            raise ValueError("tls_ca, tls_cert and tls_key are for tcp:// alone")


@dataclass(frozen=True, kw_only=True)
class ClusterKeys:
    """A cluster by its API: a kubeconfig (the usual one when none is named) or the service account of the pod we run in."""

    name: Name
    kubeconfig: File | None = None
    context: Word | None = None
    in_cluster: bool = False
    nodes: tuple[Word, ...] = ()
    nodes_proxy: bool = False
    groups: tuple[Group, ...] = ()
    timeout: Seconds = Seconds(120.0)

    def __post_init__(self) -> None:
        if self.in_cluster and (self.kubeconfig or self.context):
            raise ValueError("in_cluster takes the pod's own service account: it excludes kubeconfig and context")


@dataclass(frozen=True, kw_only=True)
class InventoryKeys:
    """An inventory of the auditor: what to audit and how to reach it."""

    defaults: DefaultKeys = DefaultKeys()
    hosts: tuple[HostKeys, ...] = ()
    docker: tuple[EngineKeys, ...] = ()
    clusters: tuple[ClusterKeys, ...] = ()


def decode(text: str, path: Path, *, elsewhere: bool = False) -> InventoryKeys:
    """Decode an inventory's text; ``path`` names it in mistakes, and relative paths start in its folder. Raises `InputError`.

    With ``elsewhere`` it is for another machine or account: the files that it names need not be here.
    """
    root = compose(text, str(path))
    decoder = Decoder(str(path), _decoders(path.parent, elsewhere=elsewhere))
    keys: InventoryKeys | None = decoder.decode(root, InventoryKeys)
    nodes = {kind: _elements(root, kind) for kind in ("hosts", "docker", "clusters")}
    _check_names(decoder, nodes)
    _check_references(decoder, nodes)
    decoder.finish()
    assert keys is not None
    if not (keys.hosts or keys.docker or keys.clusters):
        raise InputError([Mistake(str(path), 0, 0, "names nothing to audit: it needs hosts, docker or clusters")])
    return keys


def _child(node: yaml.Node, name: str) -> yaml.Node | None:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == name:
            return value  # type: ignore[no-any-return]
    return None


def _elements(node: yaml.Node | None, name: str) -> list[yaml.Node]:
    child = _child(node, name) if node is not None else None
    return list(child.value) if isinstance(child, yaml.SequenceNode) else []


def _text(node: yaml.Node, name: str) -> tuple[yaml.Node, str] | None:
    child = _child(node, name)
    return (child, child.value) if isinstance(child, yaml.ScalarNode) and child.value else None


def _check_names(decoder: Decoder, nodes: dict[str, list[yaml.Node]]) -> None:
    """Findings are filed under a target's name, so a name stands for one target in the whole file."""
    seen: dict[str, int] = {}
    for node in (n for kind in nodes.values() for n in kind):
        if named := _text(node, "name"):
            child, name = named
            if name in seen:
                decoder.fail(child, f"the name {name!r} is already taken in line {seen[name]}")
            else:
                seen[name] = child.start_mark.line + 1


def _check_references(decoder: Decoder, nodes: dict[str, list[yaml.Node]]) -> None:
    hosts = {named[1]: node for node in nodes["hosts"] if (named := _text(node, "name"))}
    remote = {name for name, node in hosts.items() if (_text(node, "transport") or (None, ""))[1] != "local"}
    jumps: dict[str, str] = {}
    for name, node in hosts.items():
        if (jump := _text(node, "jump")) is None:
            continue
        child, word = jump
        if word in remote:
            jumps[name] = word
        elif word in hosts:
            decoder.fail(child, f"{word!r} is this machine itself (transport local): nothing can jump there")
        elif ADDRESS.fullmatch(word) is None and not _holds_password(word):  # which is said where it is decoded
            hint = did_you_mean(word, remote - {name})
            decoder.fail(child, f"{word!r} is neither a host here nor user@address[:port]{hint}")
    for name, start in jumps.items():
        way, here = [name], start
        while here in jumps and here not in way:
            way.append(here)
            here = jumps[here]
        if here == name:
            decoder.fail(
                _child(hosts[name], "jump") or hosts[name], f"the jump goes round in a circle: {' -> '.join([*way, name])}"
            )
    for cluster in nodes["clusters"]:
        for node in _elements(cluster, "nodes"):
            if isinstance(node, yaml.ScalarNode) and node.value not in hosts:
                decoder.fail(node, f"there is no host {node.value!r}{did_you_mean(node.value, hosts)}")


def _decoders(folder: Path, *, elsewhere: bool = False) -> dict[Any, Callable[[Decoder, yaml.Node], Any]]:
    """Return what decodes the kinds of text above. Each notes a mistake at the value itself."""

    def of(base: Any, judge: Callable[[Any], Any]) -> Callable[[Decoder, yaml.Node], Any]:
        def decode(decoder: Decoder, node: yaml.Node) -> Any:
            value = decoder.decode(node, base)
            if value is None:
                return None
            try:
                return judge(value)
            except ValueError as error:
                decoder.fail(node, str(error))
                return None

        return decode

    def secret(judge: Callable[[str], Any]) -> Callable[[Decoder, yaml.Node], Any]:
        """What names a secret's place may be the secret itself, a number too: it is never repeated."""

        def decode(decoder: Decoder, node: yaml.Node) -> Any:
            if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str"):
                decoder.fail(node, "must be text in quotes")
                return None
            return of(str, judge)(decoder, node)

        return decode

    return {
        Name: of(str, _name),
        Group: of(str, _name),
        Word: of(str, _word),
        Account: of(str, _account),
        Address: of(str, _address),
        Port: of(int, _port),
        Seconds: of(float, _seconds),
        Url: of(str, _url),
        HostKey: of(str, _host_key),
        Variable: secret(_variable),
        Count: of(int, _count),
        File: of(str, lambda text: _path(text, folder) if elsewhere else _existing(_path(text, folder))),
        SecretFile: secret(lambda text: _path(text, folder) if elsewhere else _existing(_path(text, folder), shown=False)),
        NewFile: of(str, lambda text: _path(text, folder) if elsewhere else _in_a_folder(_path(text, folder))),
    }


def _name(text: str) -> str:
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("a name is printable text without spaces around it")
    if len(text) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} characters, this one has {len(text)}")
    return text


def _word(text: str) -> str:
    """Users and addresses reach programs' command lines: a leading hyphen would be an option there."""
    if not text or not text.isprintable() or any(c.isspace() for c in text) or text.startswith("-"):
        raise ValueError("must be one word that doesn't start with a hyphen")
    return text


def _account(text: str) -> str:
    if ":" in _word(text):
        raise ValueError("an account's name holds no colon, and a password belongs into password_env or password_file")
    return text


def _address(text: str) -> str:
    if _holds_password(_word(text)):
        raise ValueError("no password belongs into an address")
    if "://" in text:
        raise ValueError("is no address but an URL: a name or an IP address is wanted")
    return text


def _holds_password(text: str) -> bool:
    """Return whether there is ``account:password@`` in an address or an URL."""
    account, at, _ = text.partition("://")[2 if "://" in text else 0].rpartition("@")
    return bool(at) and ":" in account


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise ValueError(f"{number} is no port: 1 to 65535")
    return number


def _count(number: int) -> int:
    if not 1 <= number <= 1000:
        raise ValueError(f"{number} is no such number: 1 to 1000")
    return number


def _variable(text: str) -> str:
    """A password in place of a variable's name is the likely mistake, so the text is not repeated."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,200}", text):
        raise ValueError("must be the name of an environment variable, never the secret itself")
    return text


def _seconds(number: float) -> float:
    if not 0 < number <= 86400:
        raise ValueError(f"{number:g} is no timeout: more than 0 and at most 86400 seconds")
    return number


def _url(text: str) -> str:
    schemes = ("unix://", "tcp://", "ssh://")
    scheme, _, rest = _word(text).partition("://")
    if scheme != "unix" and _holds_password(text):
        raise ValueError("no password belongs into an address")
    if f"{scheme}://" not in schemes or not rest:
        raise ValueError(f"{text!r} is no engine's address: {', '.join(s + '...' for s in schemes)}")
    if scheme != "unix" and not _ADDRESSED.fullmatch(rest):
        raise ValueError("is no engine's address: after the scheme a name or an IP address, and a port")
    return text


def _host_key(text: str) -> str:
    kind, _, rest = text.partition(" ")
    encoded = rest.split(" ")[0] if rest else text.removeprefix("SHA256:") + "="
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    pin = text.startswith("SHA256:") and not rest and len(raw) == 32
    whole = bool(rest) and len(fields := _wire_fields(raw)) > 1 and fields[0] == kind.encode()
    if not (pin or whole):
        raise ValueError("is no host key: SHA256:... as ssh-keygen -l prints it, or a public key such as ssh-ed25519 AAAA...")
    return text


def _wire_fields(raw: bytes) -> list[bytes]:
    """Split a public key into its parts (RFC 4251, section 5: each with its length before it); nothing for a damaged one."""
    fields, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "big")
        if end > len(raw):
            return []
        fields.append(raw[at + 4 : end])
        at = end
    return fields


def _path(text: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder for {text!r}") from None


def _existing(path: Path, *, shown: bool = True) -> Path:
    if not _is(path, Path.is_file):
        name = str(path)
        shown = shown and "\n" not in name and "PRIVATE KEY" not in name  # it may be what belongs into the file
        raise ValueError(f"there is no file {name!r}" if shown else "there is no such file")
    return path


def _in_a_folder(path: Path) -> Path:
    """The file may still have to be written (host keys that a flag records), its folder must be there."""
    if not _is(path.parent, Path.is_dir):
        raise ValueError(f"there is no folder {str(path.parent)!r}")
    return path


def _is(path: Path, question: Callable[[Path], bool]) -> bool:
    try:
        return question(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False
