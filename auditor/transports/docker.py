"""An engine reached by its API alone: unix://, tcp:// (with TLS, on this machine without too) or ssh://.

Only GET requests are sent. The client library connects and authenticates; answers are read as raw bytes and go through
`auditor.facts.docker.reduce`, so that they are the same facts as a host's script brings. Proxies and certificates named in
the environment are ignored. For ssh:// the library reads ``~/.ssh/config``, asks the agent, and refuses unknown host keys.
"""

from __future__ import annotations

import logging
import math
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, get_args
from urllib.parse import quote

import msgspec

from auditor.facts import inside, swarm
from auditor.facts.docker import Document, reduce
from auditor.facts.images import Images, reduce_history
from auditor.facts.projection import shallow
from auditor.facts.redact import redact_url
from auditor.model import Problem, Reason
from auditor.transports.base import TargetError, is_here
from auditor.transports.timed import Timed

NO_HOST = Problem(Reason.ABSENT, "no host access: this target is an engine reached by its API alone")
#: Bytes of one answer, decompressed. A list of ten thousand containers is about 15 MB.
MAX_ANSWER = 32 * 1024 * 1024
_CHUNK = 64 * 1024
_PATHS: dict[Document, str] = {"info": "/info", "version": "/version", "networks": "/networks", "volumes": "/volumes"}
#: Document -> its list, and where one element is inspected.
_LISTS: dict[Document, tuple[str, str]] = {
    "containers": ("/containers/json?all=1", "/containers/{}/json"),
    "images": ("/images/json", "/images/{}/json"),
}

HISTORY = Images("history").key


class EngineSpec(Protocol):
    """Where an engine is and how to reach it, as the inventory says."""

    @property
    def url(self) -> str:
        """``unix:///path``, ``tcp://host:port`` or ``ssh://user@host``."""
        ...

    @property
    def tls_ca(self) -> str | Path | None:
        """File with the authority that signed the engine's certificate."""
        ...

    @property
    def tls_cert(self) -> str | Path | None:
        """File with the client's certificate."""
        ...

    @property
    def tls_key(self) -> str | Path | None:
        """File with the client's key."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds for the whole engine."""
        ...


class _MissingError(Exception):
    """One answer could not be had; ``gone``: the engine says that there is no such thing."""

    def __init__(self, problem: Problem, *, gone: bool = False) -> None:
        self.problem = problem
        self.gone = gone
        super().__init__(str(problem))


class _Listed(msgspec.Struct):
    """What is read of an element of a list."""

    id: str = msgspec.field(name="Id")


class _Version(msgspec.Struct):
    """What is read of GET /version before anything else."""

    api: str = msgspec.field(name="ApiVersion")


class _Busy(msgspec.Struct):
    """What is read of a container beside what its facts keep."""

    exec_ids: list[str] | None = msgspec.field(name="ExecIDs", default=None)


_API_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
_LISTED = shallow(msgspec.json.Decoder(list[_Listed]).decode)
_VERSION = shallow(msgspec.json.Decoder(_Version).decode)
_BUSY = shallow(msgspec.json.Decoder(_Busy).decode)


def collect_engine(spec: EngineSpec, wanted: frozenset[str]) -> dict[str, Any]:
    """Return the answers to the wanted facts (by key) of one engine; every fact about a host is a problem.

    Raises `TargetError` when the engine can't be reached. Containers and images that vanish in between are left out.
    """
    facts: dict[str, Any] = {key: NO_HOST for key in wanted if not key.startswith("engine:") and key != swarm.Swarm().key}
    documents = [d for d in get_args(Document) if f"engine:{d}" in wanted]
    with _connected(spec) as reader:
        for document in documents:
            entry: dict[str, Any] = {"engine": redact_url(spec.url), "pid": None}
            try:
                entry["data"] = reader.elements(document) if document in _LISTS else reader.document(document, _PATHS[document])
            except _MissingError as error:
                entry["problem"] = {"reason": error.problem.reason.value, "detail": error.problem.detail}
            facts[f"engine:{document}"] = [entry]
        if HISTORY in wanted:
            entry = {"engine": redact_url(spec.url), "pid": None}
            try:
                entry["data"] = reader.histories()
            except _MissingError as error:
                entry["problem"] = {"reason": error.problem.reason.value, "detail": error.problem.detail}
            facts[HISTORY] = [entry]
        for key in sorted(wanted & inside.FACTS.keys()):
            entry = {"engine": redact_url(spec.url), "pid": None}
            try:
                entry["data"] = reader.inside(key)
            except _MissingError as error:
                entry["problem"] = {"reason": error.problem.reason.value, "detail": error.problem.detail}
            facts[key] = [entry]
        if swarm.Swarm().key in wanted:
            facts[swarm.Swarm().key] = [reader.membership() | {"engine": redact_url(spec.url), "pid": None}]
    return facts


@contextmanager
def _connected(spec: EngineSpec) -> Iterator[_Reader]:
    """Connect and agree on an API version; raises `TargetError`."""
    import docker
    import docker.constants
    import docker.tls
    import paramiko

    deadline = time.monotonic() + spec.timeout
    # What goes wrong is raised and reported; without a handler Python would print paramiko's tracebacks as well.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    try:
        _knock(spec)
        tls: Any = False
        if spec.url.startswith("tcp:") and not (spec.tls_ca or spec.tls_cert) and not is_here(spec.url):
            why = "without TLS anybody on the way could answer; name tls_ca, or the host, and log in over SSH"
            raise TargetError(_unreachable(Reason.DENIED, why, spec.url))
        if spec.tls_ca or spec.tls_cert or spec.tls_key:
            pair = (str(spec.tls_cert or ""), str(spec.tls_key or "")) if spec.tls_cert or spec.tls_key else None
            tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=str(spec.tls_ca) if spec.tls_ca else None, verify=True)
        # with a version given the library sends nothing yet
        version = docker.constants.MINIMUM_DOCKER_API_VERSION
        client = docker.APIClient(base_url=spec.url, version=version, timeout=math.ceil(spec.timeout), tls=tls)
    except (docker.errors.DockerException, paramiko.SSHException, OSError, EOFError, ValueError) as error:
        broke = "the SSH server broke off or did not answer" if isinstance(error, EOFError) else type(error).__name__
        raise TargetError(_unreachable(Reason.UNREACHABLE, str(error) or broke, spec.url)) from None
    # the environment must not decide whom we trust (REQUESTS_CA_BUNDLE outranks the authority named), nor add a proxy or ~/.netrc
    client.trust_env = False
    timed = Timed()
    for adapter in client.adapters.values():
        timed.adapter(adapter)
    try:
        yield _Reader(client, deadline, _agreed(_Reader(client, deadline, "", timed), spec.url), timed)
    finally:
        client.close()


def _knock(spec: EngineSpec) -> None:
    """Raise OSError where a unix socket can't be connected to: the library would wrap the reason in three others and leak."""
    if spec.url.startswith("unix:///"):
        path = spec.url.removeprefix("unix://")
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(spec.timeout)
            try:
                knocking.connect(path)
            except OSError as error:
                raise OSError(f"{path}: {error.strerror or error}") from None


def _agreed(reader: _Reader, url: str) -> str:
    """Return the prefix of the engine's newest API version; raises `TargetError`."""
    try:
        answer = reader.get("/version")
    except _MissingError as error:
        raise TargetError(_unreachable(error.problem.reason, error.problem.detail, url)) from None
    try:
        version = _VERSION(answer).api
    except ValueError:
        version = ""
    if not _API_VERSION.fullmatch(version):
        raise TargetError(_unreachable(Reason.UNPARSABLE, "GET /version: what answers there is no Docker engine", url))
    return f"/v{version}"


def _unreachable(reason: Reason, said: str, url: str) -> Problem:
    words = redact_url(" ".join(said.split()))[:300]
    if reason is Reason.UNREACHABLE and ("PermissionError" in words or "Permission denied" in words):
        reason = Reason.DENIED
    return Problem(reason, f"the engine at {redact_url(url)} can't be reached: {words}")


class _Reader:
    """Reads raw answers from a connected engine until a deadline; ``prefix`` is that of the API version."""

    def __init__(self, client: Any, deadline: float, prefix: str, timed: Timed | None = None) -> None:
        self.client = client
        self.timed = timed or Timed()
        self.deadline = deadline
        self.prefix = prefix
        self.exec_ids: list[str] | None = None  # of commands in containers; None until the containers were read

    def document(self, document: Document, path: str) -> Any:
        """Return one reduced document; raises `_MissingError`."""
        raw = self.get(path)
        try:
            element = reduce(document, raw)
            if self.exec_ids is not None and document == "containers":
                self.exec_ids += _BUSY(raw).exec_ids or []
        except ValueError as error:
            raise _MissingError(Problem(Reason.UNPARSABLE, f"GET {path}: {error}"[:300])) from None
        return element

    def elements(self, document: Document) -> list[dict[str, Any]]:
        """Return every element of a list, inspected; one that can't be read is a problem in its place."""
        listing, inspect = _LISTS[document]
        listed = self._listed(listing)
        if document == "containers":
            self.exec_ids = []
        found: list[dict[str, Any]] = []
        for identity in listed:
            try:
                element = self.document(document, inspect.format(identity))
            except _MissingError as error:
                if not error.gone:
                    problem = {"reason": error.problem.reason.value, "detail": error.problem.detail}
                    found.append({"Id": identity, "problem": problem})
                continue
            if document == "containers" and element["State"].get("Running") is not False:
                element["proc"] = {"problem": {"reason": NO_HOST.reason.value, "detail": NO_HOST.detail}}
            found.append(element)
        return found

    def histories(self) -> list[dict[str, Any]]:
        """Return the build steps of every image that is listed; raises `_MissingError` when there is no list."""
        found: list[dict[str, Any]] = []
        numbers: dict[str, int] = {}
        for identity in sorted(self._listed(_LISTS["images"][0])):
            path = f"/images/{identity}/history"
            try:
                found.append({"Id": identity, "steps": reduce_history(self.get(path), numbers)})
            except _MissingError as error:
                if not error.gone:
                    problem = {"reason": error.problem.reason.value, "detail": error.problem.detail}
                    found.append({"Id": identity, "problem": problem})
            except ValueError as error:
                detail = f"GET {path}: {error}"[:300]
                found.append({"Id": identity, "problem": {"reason": Reason.UNPARSABLE.value, "detail": detail}})
        return sorted(found, key=lambda e: ("problem" in e, e["Id"]))

    def inside(self, key: str) -> list[dict[str, Any]]:
        """Return the data of a fact of `auditor.facts.inside`; raises `_MissingError` when it can't be had at all."""
        if key == inside.Execs().key:
            if self.exec_ids is None:
                self.elements("containers")
            asked, read = [(i, f"/exec/{i}/json") for i in self.exec_ids or ()], inside.reduce_exec
        else:
            # every process of theirs by its own name: what the engine's host has for ps must know -o
            listed = self._listed("/containers/json")
            asked, read = [(i, f"/containers/{i}/top?ps_args=-eo%20pid,comm") for i in listed], inside.reduce_top
        found: list[dict[str, Any]] = []
        for identity, path in asked:
            try:
                found.append({"Id": identity, **read(self.get(path))})
            except _MissingError as error:
                if not error.gone:
                    found.append(
                        {"Id": identity, "problem": {"reason": error.problem.reason.value, "detail": error.problem.detail}}
                    )
            except ValueError as error:
                detail = f"GET {path}: {error}"[:300]
                found.append({"Id": identity, "problem": {"reason": Reason.UNPARSABLE.value, "detail": detail}})
        return sorted(found, key=lambda e: ("problem" in e, e.get("ContainerID", ""), e["Id"]))

    def _listed(self, path: str) -> list[str]:
        try:
            return list(dict.fromkeys(quote(element.id, safe=":") for element in _LISTED(self.get(path))))
        except ValueError as error:
            raise _MissingError(Problem(Reason.UNPARSABLE, f"GET {path}: {error}"[:300])) from None

    def membership(self) -> dict[str, Any]:
        """Return the engine's entry of a `auditor.facts.swarm.Swarm` fact; the host's part of it is missing."""
        try:
            try:
                data = swarm.reduce_info(self.get("/info"))
            except ValueError as error:
                raise _MissingError(Problem(Reason.UNPARSABLE, f"GET /info: {error}"[:300])) from None
        except _MissingError as error:
            return {"problem": {"reason": error.problem.reason.value, "detail": error.problem.detail}}
        if data["info"]["LocalNodeState"] != "inactive":
            for part in swarm.HOST_PARTS:
                data[part] = {"problem": {"reason": NO_HOST.reason.value, "detail": NO_HOST.detail}}
        if data["info"].get("ControlAvailable"):
            for name in swarm.PARTS:
                data[name] = self._part(name)
        return {"data": data}

    def _part(self, name: swarm.Part) -> Any:
        try:
            return swarm.reduce_part(name, self.get(f"/{name}"))
        except _MissingError as error:
            return {"problem": {"reason": error.problem.reason.value, "detail": error.problem.detail}}
        except ValueError as error:
            return {"problem": {"reason": Reason.UNPARSABLE.value, "detail": f"GET /{name}: {error}"[:300]}}

    def get(self, path: str) -> bytes:
        """Return the body of an answer 200; raises `_MissingError` for every other end, bodies that are too large included."""
        import docker.errors
        import requests
        import urllib3.exceptions

        try:
            return self._read(path)
        except requests.Timeout:
            raise _MissingError(self._late(path)) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, docker.errors.DockerException, OSError) as error:
            if time.monotonic() >= self.deadline:
                raise _MissingError(self._late(path)) from None
            words = redact_url(" ".join(str(error).split()))[:200]
            raise _MissingError(Problem(Reason.UNREACHABLE, f"GET {path}: the connection was lost: {words}")) from None

    def _late(self, path: str) -> Problem:
        return Problem(Reason.TIMEOUT, f"GET {path}: no complete answer in the engine's time")

    def _read(self, path: str) -> bytes:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise _MissingError(self._late(path))
        url = f"{self.client.base_url}{self.prefix}{path}"
        # redirects are not followed: an engine has none, and a hostile one must not send us elsewhere
        with (
            self.timed.within(remaining) as expired,
            self.client.get(url, stream=True, timeout=remaining, allow_redirects=False) as response,
        ):
            body = bytearray()
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise _MissingError(Problem(Reason.TRUNCATED, f"GET {path}: the answer is larger than {MAX_ANSWER} bytes"))
                if time.monotonic() >= self.deadline:
                    raise _MissingError(self._late(path))
        if expired.is_set():  # which an answer without a length does not show
            raise _MissingError(self._late(path))
        if response.status_code == 200:
            return bytes(body)
        reason = Reason.DENIED if response.status_code in (401, 403) else Reason.ABSENT
        said = redact_url(" ".join(bytes(body[:300]).decode(errors="replace").split()))
        problem = Problem(reason, f"GET {path}: the engine answered {response.status_code} {said}")
        raise _MissingError(problem, gone=response.status_code == 404)
