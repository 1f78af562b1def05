"""Clusters over the Kubernetes API: only GETs, one paged LIST a kind, decoded straight to the fields that facts declare.

The ``kubernetes`` package reads the kubeconfig and authenticates. Its object models are left alone: building them costs
several times the CPU and memory of what is needed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from auditor.facts.components import ApiServerFlags, KubeletConfigs
from auditor.facts.kube_reduce import Alike
from auditor.facts.kubernetes import KINDS, SERVER_FIELDS, Kind, Objects, Server
from auditor.facts.projection import decoder
from auditor.facts.redact import redact_args, redact_data, redact_text
from auditor.model import Problem, Reason
from auditor.transports import kubelogin
from auditor.transports.base import TargetError, at_once, is_here
from auditor.transports.kubeaccount import account_of
from auditor.transports.timed import Timed

PAGE_OBJECTS = 500
MAX_PAGE_BYTES = 64 * 1024 * 1024
MAX_OBJECTS = 200_000  # of one kind
MAX_ERROR_BYTES = 64 * 1024
RESTARTS = 2  # of a list whose continue token expired
BUSY_WAITS = 3  # times to wait for a server that says it is busy, at most BUSY_SECONDS each
BUSY_SECONDS = 5.0
JSON = "application/json"
# The server leaves out all but the metadata, so that no value of a ConfigMap ever comes over.
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
# In any other form the server writes its flags for people alone, with a separator that it draws by lot.
FLAGZ = ", ".join(f"application/json;v={version};g=config.k8s.io;as=Flagz" for version in ("v1", "v1beta1", "v1alpha1"))
KUBELETS_AT_ONCE = 8
MAX_TIMEOUTS = 2  # kinds that may time out before the rest isn't asked for

_AS_WHICH = 'system:anonymous"'


class ClusterSpec(Protocol):
    """How to reach a cluster. ``timeout`` is seconds for one page; no kubeconfig and not in the cluster: the usual default."""

    @property
    def kubeconfig(self) -> str | Path | None: ...  # noqa: D102
    @property
    def context(self) -> str | None: ...  # noqa: D102
    @property
    def in_cluster(self) -> bool: ...  # noqa: D102
    @property
    def nodes_proxy(self) -> bool: ...  # noqa: D102
    @property
    def timeout(self) -> float: ...  # noqa: D102


class _Unanswered(Exception):  # noqa: N818 - not an error by itself: it says why there is no answer
    """A request without a usable answer; ``status`` is the HTTP status, 0 when there was none."""

    def __init__(self, status: int, reason: Reason, detail: str, retry_after: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(reason, detail)
        self.retry_after = retry_after


def collect_cluster(spec: ClusterSpec, wanted: frozenset[str], *, probe: bool = False) -> dict[str, Any]:
    """Return the answers to ``wanted`` fact keys and to ``server``: JSON values, or a `Problem` for what could not be read.

    With ``probe`` only to learn what may be read: the name of one object at most of each kind, and one kubelet.
    Raises `TargetError` when nothing can be read at all: a useless kubeconfig, an unreachable server, refused credentials.
    """
    reader = _Prober(spec) if probe else _Reader(spec)
    try:
        answers: dict[str, Any] = {Server().key: reader.server()}
        for key in sorted(wanted - {Server().key, KubeletConfigs().key}):
            if key == ApiServerFlags().key:
                answers[key] = reader.flags()
            else:
                answers[key] = reader.objects(key.removeprefix("objects:")) if key.startswith("objects:") else _unknown(key)
        if KubeletConfigs().key in wanted:
            answers[KubeletConfigs().key] = _kubelets(spec, reader, answers.get(Objects("nodes").key))
        return answers
    finally:
        reader.close()


def _kubelets(spec: ClusterSpec, reader: _Reader, nodes: Any) -> Any:
    """Return every kubelet's configuration; ``nodes`` is the answer to which nodes there are."""
    if not spec.nodes_proxy:
        detail = "kubelets are not asked over the API unless the inventory says nodes_proxy: true, since it takes a powerful right"
        return Problem(Reason.ABSENT, detail)
    if not isinstance(nodes, list):
        return nodes or Problem(Reason.ABSENT, "the nodes were not listed")
    names = [str(n.get("metadata", {}).get("name", "")) for n in nodes]
    return at_once(reader.kubelet, names, KUBELETS_AT_ONCE)


def _unknown(key: str) -> Problem:
    return Problem(Reason.ABSENT, f"{key!r} is not asked of a cluster")


def _configured(spec: ClusterSpec) -> tuple[Any, str, Callable[[], None]]:
    """Return the package's client for a spec, the kubeconfig's name of the user, and what frees the keys.

    Raises `TargetError` with one line.
    """
    from kubernetes import client  # imported here: it is slow, and only clusters need it
    from kubernetes import config as loaders

    config: Any = loaders  # has no types
    configuration = client.Configuration()
    named = f"kubeconfig {spec.kubeconfig}" if spec.kubeconfig else "the default kubeconfig"
    user, free = "", configuration.api_key.clear
    try:
        if spec.in_cluster:
            named = "the service account of this pod"
            config.load_incluster_config(client_configuration=configuration)
        else:
            path = str(Path(spec.kubeconfig).expanduser()) if spec.kubeconfig else None
            user, free = kubelogin.configured(path, spec.context, spec.timeout, configuration)
    except TargetError:
        raise
    except Exception as error:  # noqa: BLE001 - a foreign file and foreign plugins: whatever breaks in them is this target's error
        where = f"{named}, context {spec.context}" if spec.context else named
        # Other errors may quote the file, and tokens stand there; so does this one where a key is missing.
        said = f": {_line(str(error).partition('{')[0])}" if isinstance(error, config.ConfigException | OSError) else ""
        raise TargetError(Problem(Reason.UNREACHABLE, f"{where} can't be used ({type(error).__name__}){said}")) from None
    if why := _distrusted(str(configuration.host), verified=bool(configuration.verify_ssl)):
        free()
        raise TargetError(Problem(Reason.DENIED, f"{named}: {why}"))
    return client.ApiClient(configuration), user, free


def _distrusted(url: str, *, verified: bool) -> str:
    """Return why nothing is sent to a server of this address, empty where it is proven whose it is."""
    scheme, _, rest = url.partition("://")
    if "@" in rest.partition("/")[0]:
        return "no account belongs into the server's address, it is not sent"
    if scheme != "https" and not is_here(url):
        return "the server's address is not https://, and anybody on the way could answer"
    return "" if verified else "insecure-skip-tls-verify: whoever answers would get the credentials; name the certificate-authority"


class _Reader:
    """Reads one cluster, one request after the other over a connection that is kept."""

    def __init__(self, spec: ClusterSpec) -> None:
        self._client, self._user, self._free = _configured(spec)
        self._timeout = spec.timeout
        self._timed = Timed()
        self._timed.manager(self._client.rest_client.pool_manager)
        self._listed = False  # a list was answered: we are somebody to this server
        self._timeouts = 0
        self._groups: frozenset[str] | Problem | None = None

    def close(self) -> None:
        self._client.rest_client.pool_manager.clear()
        self._free()

    def server(self) -> Any:
        """Ask who is there. Nobody there is the end of this target's audit."""
        try:
            answer = _decode(decoder(SERVER_FIELDS), self._get("/version"), "/version")
        except _Unanswered as error:
            if error.status in (0, 401):
                raise TargetError(error.problem) from None
            return error.problem
        if "gitVersion" not in answer:
            return Problem(Reason.UNPARSABLE, "GET /version: the answer names no version")
        who = self._account()
        return {**answer, **({"account": who} if who else {})}

    def _account(self) -> str:
        certificate = self._client.configuration.cert_file
        return account_of(certificate, self._headers(JSON).get("authorization", ""), self._user)

    def flags(self) -> Any:
        """Return the flags of the API server that answers, or the problem."""
        try:
            answer = _decode(decoder(("kind", "flags")), self._get("/flagz", FLAGZ), "/flagz")
        except _Unanswered as error:
            if error.status in (404, 406):
                return Problem(Reason.ABSENT, "the API server doesn't serve its flags (/flagz) in a form made for programs")
            if error.status == 403:
                return Problem(Reason.DENIED, "the account may not get the path /flagz")
            return error.problem
        flags = answer.get("flags")
        if answer.get("kind") != "Flagz" or not isinstance(flags, dict) or not flags:
            return Problem(Reason.UNPARSABLE, "GET /flagz: the answer holds no flags")
        if not all(isinstance(value, str) for value in flags.values()):
            return Problem(Reason.UNPARSABLE, "GET /flagz: the answer holds flags whose values are no text")
        pairs = [redact_args([f"--{name}={value}"])[0].partition("=") for name, value in flags.items()]
        return {"flags": {name.removeprefix("--"): value for name, _, value in pairs}}

    def kubelet(self, node: str) -> dict[str, Any]:
        """Return the configuration in force of the kubelet of a node, or the problem."""
        path = f"/api/v1/nodes/{quote(node, safe='')}/proxy/configz"
        problem: Problem
        try:
            data = _decode(decoder(("kubeletconfig",)), self._get(path), path).get("kubeletconfig")
            if isinstance(data, dict) and data.get("kind") == "KubeletConfiguration":
                return {"node": node, "data": redact_data(data)}
            problem = Problem(Reason.UNPARSABLE, f"GET {path}: the answer is no kubelet's configuration")
        except _Unanswered as error:
            problem = error.problem
            if error.status == 403:
                problem = Problem(Reason.DENIED, 'the account may not get nodes/proxy in the API group "" cluster-wide')
        return {"node": node, "problem": {"reason": problem.reason.value, "detail": problem.detail}}

    def objects(self, name: str) -> Any:
        """Return every object of a kind, or the problem."""
        kind = KINDS.get(name)
        if kind is None:  # Secrets among them, whatever a benchmark may ask
            return _unknown(f"objects:{name}")
        if self._timeouts >= MAX_TIMEOUTS:
            return Problem(Reason.TIMEOUT, f"{name} were not asked for: the server had not answered in time before")
        try:
            if kind.addon:
                self._require(kind)
            return self._list(name, kind)
        except _Unanswered as error:
            return self._without(error, name, kind)

    def _without(self, error: _Unanswered, name: str, kind: Kind) -> Problem:
        if error.problem.reason is Reason.TIMEOUT:
            self._timeouts += 1
        if error.status == 401 and not self._listed:
            raise TargetError(error.problem) from None
        if error.status == 403:
            if _AS_WHICH in error.problem.detail and not self._listed:
                detail = "the API server knows no account behind these credentials (it takes us for system:anonymous)"
                raise TargetError(Problem(Reason.DENIED, detail)) from None
            where = f"in the namespace {kind.namespace}" if kind.namespace else "cluster-wide"
            return Problem(Reason.DENIED, f'the account may not list {kind.resource} in the API group "{kind.group}" {where}')
        if error.status == 404:
            return Problem(Reason.ABSENT, f"the API server does not serve {name} ({kind.group_version})")
        return error.problem

    def _require(self, kind: Kind) -> None:
        if self._groups is None:
            try:
                found = _decode(decoder(("kind", "groups[].versions[].groupVersion")), self._get("/apis"), "/apis")
                if found.get("kind") != "APIGroupList":
                    raise _Unanswered(200, Reason.UNPARSABLE, "GET /apis: the answer is not a list of API groups")  # noqa: TRY301
                groups = found.get("groups", ())
                self._groups = frozenset(v.get("groupVersion", "") for g in groups for v in g.get("versions", ()))
            except _Unanswered as error:
                self._groups = error.problem
        if isinstance(self._groups, Problem):
            raise _Unanswered(0, self._groups.reason, self._groups.detail)
        if kind.group_version not in self._groups:
            raise _Unanswered(404, Reason.ABSENT, "")

    def _list(self, name: str, kind: Kind) -> list[Any]:
        for _ in range(RESTARTS + 1):
            try:
                return self._pages(name, kind)
            except _Unanswered as error:
                if error.status != 410:
                    raise
        raise _Unanswered(410, Reason.TRUNCATED, f"{name} changed faster than they could be read: {RESTARTS + 1} attempts expired")

    def _pages(self, name: str, kind: Kind) -> list[Any]:
        decode = decoder(("kind", "metadata.continue", *(f"items[].{f}" for f in kind.fields)))
        found: list[Any] = []
        alike = Alike(kind.alike) if kind.alike else None
        read, token = 0, ""
        for _ in range(MAX_OBJECTS // PAGE_OBJECTS):
            query = {"limit": str(PAGE_OBJECTS), **({"continue": token} if token else {})}
            path = f"{kind.path}?{urlencode(query)}"
            page = _decode(decode, self._get(path, METADATA if kind.metadata_only else JSON), kind.path)
            # Any JSON object decodes; without this a proxy's "{}" would be an empty cluster.
            if not str(page.get("kind", "")).endswith("List"):
                raise _Unanswered(200, Reason.UNPARSABLE, f"GET {kind.path}: the answer is not a list")
            items = page.get("items", ())
            read += len(items)
            try:
                kept = items if kind.reduce is None else [k for i in items if (k := kind.reduce(i)) is not None]
                found.extend(alike.new(kept) if alike else kept)
            except (AttributeError, TypeError, ValueError, LookupError, RecursionError) as error:
                # Fields whose form no schema on the server holds: this kind is lost, the others aren't.
                detail = (
                    f"GET {kind.path}: an object is not of the form that this kind has ({type(error).__name__}: {_line(error)})"
                )
                raise _Unanswered(200, Reason.UNPARSABLE, detail) from None
            self._listed = True
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return found
        raise _Unanswered(200, Reason.TRUNCATED, f"there are more than {read} {name}; they were not all read")

    def _get(self, path: str, accept: str = JSON) -> bytes:
        """Return an answer's body, waiting a little where the server says that it is busy."""
        for attempt in range(BUSY_WAITS + 1):
            try:
                return self._ask(path, accept)
            except _Unanswered as error:
                wait = float(error.retry_after) if error.retry_after.isdigit() else 1.0
                if error.status not in (429, 503) or attempt == BUSY_WAITS or wait > BUSY_SECONDS:
                    raise
                time.sleep(wait)
        raise AssertionError(path)

    def _ask(self, path: str, accept: str) -> bytes:
        import urllib3  # comes with the kubernetes package

        started = time.monotonic()
        shown = path.partition("?")[0]
        configuration = self._client.configuration
        headers = self._headers(accept)
        with self._timed.within(self._timeout) as expired:
            try:
                response = self._client.rest_client.pool_manager.request(
                    "GET", configuration.host + path, headers=headers, preload_content=False, redirect=False, retries=False,
                    timeout=urllib3.Timeout(connect=self._timeout, read=self._timeout),
                )  # fmt: skip
                try:
                    body = self._read(response, shown, started)
                finally:
                    response.release_conn()
                if expired.is_set():  # an answer without a length does not show that it was cut off
                    raise TimeoutError
            except (urllib3.exceptions.HTTPError, OSError) as error:
                # A refused connection or unknown name is also a timeout to urllib3.
                new = isinstance(error, urllib3.exceptions.NewConnectionError)
                if (expired.is_set() or isinstance(error, urllib3.exceptions.TimeoutError)) and not new:
                    raise _Unanswered(0, Reason.TIMEOUT, f"GET {shown}: no answer within {self._timeout} s") from None
                raise _Unanswered(0, Reason.UNREACHABLE, f"{configuration.host}: {_cause(error)}") from None
        if response.status != 200:
            raise _refusal(response.status, shown, body, response.headers)
        return body

    def _headers(self, accept: str) -> dict[str, str]:
        """Return the headers of a request; the package renews tokens when it is asked for them."""
        headers = {"Accept": accept, "User-Agent": "cis-auditor"}
        try:
            settings = self._client.configuration.auth_settings()
        except TargetError as error:  # it had a token before, which is over
            raise _Unanswered(0, error.problem.reason, error.problem.detail) from None
        for setting in settings.values():
            if setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        return headers

    def _read(self, response: Any, shown: str, started: float) -> bytes:
        limit = MAX_PAGE_BYTES if response.status == 200 else MAX_ERROR_BYTES
        pieces: list[bytes] = []
        size = 0
        while piece := response.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                response.close()
                if response.status != 200:
                    break
                raise _Unanswered(200, Reason.TRUNCATED, f"GET {shown}: a page is larger than {limit} bytes")
            if time.monotonic() - started > self._timeout:
                response.close()
                raise _Unanswered(0, Reason.TIMEOUT, f"GET {shown}: the answer was not complete within {self._timeout} s")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Prober(_Reader):
    """Reads no more of a kind than shows that it may be listed."""

    def _list(self, name: str, kind: Kind) -> list[Any]:
        page = _decode(decoder(("kind", "items[].metadata.name")), self._get(f"{kind.path}?limit=1", METADATA), kind.path)
        if not str(page.get("kind", "")).endswith("List"):
            raise _Unanswered(200, Reason.UNPARSABLE, f"GET {kind.path}: the answer to a request for {name} is not a list")
        self._listed = True
        return list(page.get("items", ()))[:1]


def _decode(decode: Any, body: bytes, path: str) -> dict[str, Any]:
    try:
        return decode(body)  # type: ignore[no-any-return]
    except (ValueError, RecursionError) as error:
        raise _Unanswered(200, Reason.UNPARSABLE, f"GET {path}: {_line(error)}") from None


def _refusal(status: int, path: str, body: bytes, headers: Mapping[str, str]) -> _Unanswered:
    """Return what a status other than 200 means, with the message of its Status object, or the words where it is text."""
    try:
        said = _line(msgspec.json.decode(body)["message"])
    except (ValueError, TypeError, LookupError, RecursionError):
        said = _line(body.decode("utf-8", "replace")) if headers.get("Content-Type", "").startswith("text/plain") else ""
    if status == 401:
        return _Unanswered(status, Reason.DENIED, "the API server does not accept the credentials (401)")
    reason = {403: Reason.DENIED, 404: Reason.ABSENT, 504: Reason.TIMEOUT}.get(status, Reason.UNREACHABLE)
    detail = f"GET {path}: the API server answered {status}{': ' + said if said else ''}"
    return _Unanswered(status, reason, detail, headers.get("Retry-After", ""))


def _line(value: Any) -> str:
    """Return a foreign message as one line of bearable length without secrets."""
    text = redact_text(" ".join(str(value).split()))
    return text if len(text) <= 300 else text[:297] + "..."


def _cause(error: BaseException) -> str:
    """Return what went wrong at the bottom of urllib3's chain of errors, without addresses of objects."""
    inner = error
    while inner.args and isinstance(inner.args[-1], BaseException):
        inner = inner.args[-1]
    cause = inner.__cause__ or inner.__context__
    if cause is not None and isinstance(cause, OSError) and cause.strerror:
        inner = cause
    return _line(getattr(inner, "strerror", None) or str(inner).rpartition(">: ")[2] or type(inner).__name__)
