"""Where, as whom, with which keys and trusting which host keys: the inventory, then ``~/.ssh/config``, then OpenSSH's defaults."""

from __future__ import annotations

import getpass
import importlib
import re
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.model import Problem, Reason
from auditor.transports import hostkeys, proxy
from auditor.transports.base import TargetError
from auditor.transports.hostkeys import Trust

if TYPE_CHECKING:
    from auditor.inventory import HostSpec, Inventory, SshOptions

USER_FILES = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
GLOBAL_FILES = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class Secret:
    """A password or passphrase. It can't be printed, formatted or pickled by accident; only `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written anywhere")


#: Password and passphrase for the options of a login.
Secrets = Callable[["SshOptions"], tuple["Secret | None", "Secret | None"]]


def no_secrets(_options: SshOptions) -> tuple[Secret | None, Secret | None]:
    """Keys without a passphrase and an agent are all there is."""
    return None, None


@dataclass(frozen=True, slots=True)
class Login:
    """Everything that decides one hop."""

    name: str  # as the inventory or ssh_config names it, for messages
    host: str
    port: int
    user: str
    identities: tuple[str, ...]  # files of keys that were asked for; empty: the usual ones
    trust: Trust
    connect_timeout: float
    jump: tuple[Login, ...] = ()  # the hops before this one, nearest to us first
    password: Secret | None = None
    passphrase: Secret | None = None
    only_identities: bool = False  # of the agent's keys, only those of the files are offered
    channels: int = 32  # targets that are asked through this host at once
    proxy_command: str = ""  # a program that is the connection, where there is no jump

    @property
    def at(self) -> str:
        """Where and as whom, for messages."""
        return f"{self.user}@{self.host}:{self.port}{' by ProxyCommand' if self.proxy_command else ''}"


class Hops:
    """Finds the logins for hosts. Raises `TargetError` for an ssh_config that can't be read."""

    def __init__(self, inventory: Inventory, ssh_config: Path | None = None, secrets: Secrets = no_secrets) -> None:
        self._inventory = inventory
        self._config = _load_config(ssh_config or Path("~/.ssh/config").expanduser())
        self._secrets = secrets
        self._lock = threading.Lock()
        self._known = cache(hostkeys.load)
        self._revoked = cache(hostkeys.load_revoked)

    def login(self, spec: HostSpec) -> Login:
        """Return the login for a host of the inventory. Raises `TargetError` for a ProxyJump or a list that can't be used."""
        login = self._hop(spec)
        way = [self._hop(hop) for hop in self._inventory.jumps(spec)]
        if not way and (way := self._proxy_jump(login)) and login.proxy_command:
            raise proxy.refused(login.host, "beside it stands a ProxyJump, and which of them comes first isn't known: keep one")
        first, *others = *way, login  # only the first hop needs a way out of here
        command = proxy.expanded(first.proxy_command, first.host, first.port, first.user)
        chain = [replace(first, proxy_command=command), *(replace(hop, proxy_command="") for hop in others)]
        hops: tuple[Login, ...] = ()
        for hop in chain[:-1]:
            hops = (*hops, replace(hop, jump=hops))
        return replace(chain[-1], jump=hops)

    def _hop(self, spec: HostSpec) -> Login:
        ssh = spec.ssh
        address = spec.address or spec.name
        found = self._lookup(address)
        identities = (str(ssh.identity_file),) if ssh.identity_file else tuple(found.get("identityfile", ()))
        password, passphrase = self._secrets(ssh)
        host, port = str(found.get("hostname", address)), ssh.port or _port(found)
        return Login(
            spec.name, host, port, ssh.user or found.get("user") or _me(), tuple(map(_home, identities)),
            self._trust(spec, found, host, port), ssh.connect_timeout, password=password, passphrase=passphrase,
            only_identities=str(found.get("identitiesonly", "no")).lower() == "yes", channels=ssh.channels,
            proxy_command=proxy.given(found, host),
        )  # fmt: skip

    def _trust(self, spec: HostSpec, found: Mapping[str, Any], host: str, port: int) -> Trust:
        """As ssh(1): an alias stands for address and port; else the port counts first. Last the name that the inventory gives."""
        alias = found.get("hostkeyalias")
        names = [str(alias)] if alias else [host] if port == 22 else [f"[{host}]:{port}", host]
        general = _files(found.get("globalknownhostsfile", GLOBAL_FILES))
        own = _files(found.get("userknownhostsfile", USER_FILES))
        files = (str(spec.ssh.known_hosts),) if spec.ssh.known_hosts else own + general
        revoked = _files(found.get("revokedhostkeys", "none"))
        with self._lock:  # so that each file is read once
            known = self._known(files)
            revoking = self._known(tuple(dict.fromkeys(files + own + general)))
            listed = frozenset[bytes]().union(*(self._revoked(file) for file in revoked))
        return Trust(tuple(n.lower() for n in names), known, revoking, listed, spec.host_key, spec.name.lower())

    def _lookup(self, address: str) -> dict[str, Any]:
        return dict(self._config.lookup(address)) if self._config else {}

    def _proxy_jump(self, login: Login) -> list[Login]:
        """Return the hops that ``~/.ssh/config`` names for a host, each by its own section."""
        from auditor.inventory import HostSpec, SshOptions

        jump = self._lookup(login.name).get("proxyjump") or self._lookup(login.host).get("proxyjump")
        if not jump or jump.lower() == "none":
            return []
        way = []
        for part in jump.split(","):
            match = re.fullmatch(r"(?:(?P<user>[^@:]+)@)?(?P<address>\[[^]]+\]|[^:@]+)(?::(?P<port>[0-9]+))?", part.strip())
            if match is None:
                shown = "" if "@" in part else f" {part.strip()!r}"  # there may be a password before it
                raise TargetError(Problem(Reason.UNPARSABLE, f"ProxyJump{shown} of ~/.ssh/config is not [user@]host[:port]"))
            port = int(match["port"]) if match["port"] else None
            options = SshOptions(user=match["user"], port=port, connect_timeout=login.connect_timeout)
            way.append(self._hop(HostSpec(name=part.strip(), address=match["address"].strip("[]"), ssh=options)))
        return way


def _port(found: Mapping[str, Any]) -> int:
    try:
        return int(found.get("port", 22))
    except ValueError:
        raise TargetError(Problem(Reason.UNPARSABLE, f"Port {found['port']!r} of ~/.ssh/config is no number")) from None


def _files(words: str) -> tuple[str, ...]:
    """Return the files that an option of ssh_config lists; ``none`` is no file."""
    try:
        listed = shlex.split(str(words))
    except ValueError:
        listed = str(words).split()
    return tuple(_home(file) for file in listed if file.lower() != "none")


def _home(file: str) -> str:
    try:
        return str(Path(file).expanduser())
    except RuntimeError:  # there is no home
        return file


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "root"


def import_paramiko() -> Any:
    """Import paramiko without invoke, which takes a third of its time and serves nothing but ``Match exec`` in an ssh_config."""
    if "paramiko" not in sys.modules and "invoke" not in sys.modules:
        sys.modules["invoke"] = None  # type: ignore[assignment]  # paramiko does without what can't be imported
        try:
            importlib.import_module("paramiko")
        finally:
            del sys.modules["invoke"]
    return importlib.import_module("paramiko")


def _load_config(path: Path) -> Any:
    """Return the parsed ssh_config, or None where there is none."""
    paramiko = import_paramiko()
    try:
        text = path.read_text()
        if re.search(r"(?i)\bexec\b", text):
            paramiko.config.invoke = importlib.import_module("invoke")
        config = paramiko.SSHConfig.from_text(text)
    except FileNotFoundError:
        return None
    except paramiko.ConfigParseError:  # whose message is the line, in which anything may stand
        raise TargetError(Problem(Reason.UNPARSABLE, f"{path}: a line in it is no option with a value")) from None
    except (OSError, paramiko.SSHException, UnicodeDecodeError) as error:
        raise TargetError(Problem(Reason.UNPARSABLE, f"{path}: {error}")) from None
    # The tokens of a ProxyCommand stand for what counts in the end, which the inventory may say.
    config.TOKENS_BY_CONFIG_KEY = {**config.TOKENS_BY_CONFIG_KEY, "proxycommand": []}
    return config
