"""A Kubernetes API server for tests: recorded answers over HTTPS, with real paging, users and refusals (seen with 1.20.2).

In a process of its own: ``python -m tests.support.apiserver FOLDER [PODS]`` prints the path of a kubeconfig and serves until its
standard input ends.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

RECORDED = Path(__file__).parent.parent / "recorded" / "kubernetes-1.36"
NODES = "/api/v1/nodes"
PODS = "/api/v1/pods"
CHUNK = 32 * 1024
BUFFER = 2048  # what is no longer is sent in one piece, with its length, as Go's servers do
TEXT = "text/plain; charset=utf-8"
# With a token that continues with what there is now: whoever takes it gets a list that no moment had.
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue "
    "parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided "
    "token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was "
    "returned and now may show up in the list."
)


def api_path(file: Path) -> str:
    """Return the API path that a recorded file answers: its name with slashes for underscores."""
    return "/" + file.stem.replace("_", "/")


@dataclass
class ListKind:
    """A list as the server holds it: every item already written as JSON."""

    kind: str
    api_version: str
    items: list[bytes]

    def page(self, start: int, limit: int) -> bytes:
        end = min(start + limit, len(self.items)) if limit else len(self.items)
        metadata: dict[str, Any] = {"resourceVersion": "928"}
        if end < len(self.items):
            token = json.dumps({"v": "meta.k8s.io/v1", "rv": 928, "start": str(end)}).encode()
            metadata |= {
                "continue": base64.urlsafe_b64encode(token).decode().rstrip("="),
                "remainingItemCount": len(self.items) - end,
            }
        head = f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}","metadata":{json.dumps(metadata)},"items":['
        return head.encode() + b",".join(self.items[start:end]) + b"]}\n"

    def metadata_only(self) -> ListKind:
        items = [{"kind": "PartialObjectMetadata", "metadata": json.loads(i)["metadata"]} for i in self.items]
        return ListKind("PartialObjectMetadataList", "meta.k8s.io/v1", [json.dumps(i).encode() for i in items])

    def of_namespace(self, name: str) -> ListKind:
        items = [i for i in self.items if json.loads(i)["metadata"].get("namespace") == name]
        return ListKind(self.kind, self.api_version, items)


@dataclass
class Behaviour:
    """What a test wants to go wrong, by API path."""

    denied: dict[str, set[str]] = field(default_factory=dict)  # user -> paths
    expired: Counter[str] = field(default_factory=Counter)  # how many continue tokens are too old
    busy: Counter[str] = field(default_factory=Counter)  # how many requests get 429
    slow: dict[str, float] = field(default_factory=dict)  # seconds before the answer
    bodies: dict[str, bytes] = field(default_factory=dict)  # answered with 200, as they are
    statuses: dict[str, int] = field(default_factory=dict)  # answered with this status
    max_page: int = 0  # pages are smaller than asked for


class ApiServer(Behaviour):
    """Serves on 127.0.0.1 while its context lasts; ``requests`` counts (user, path), ``queries`` keeps every query."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.users = {"token-auditor": "auditor", "token-limited": "limited"}
        self.lists: dict[str, ListKind] = {}
        self.documents: dict[str, bytes] = {}
        self.requests: Counter[tuple[str, str]] = Counter()
        self.methods: Counter[str] = Counter()
        self.connections = 0
        self.queries: list[tuple[str, dict[str, list[str]]]] = []
        for file in RECORDED.glob("*.json"):
            document = json.loads(file.read_bytes())
            if str(document.get("kind", "")).endswith("List") and "items" in document:
                items = [json.dumps(i, separators=(",", ":")).encode() for i in document["items"]]
                self.lists[api_path(file)] = ListKind(document["kind"], document["apiVersion"], items)
            else:
                self.documents[api_path(file)] = json.dumps(document).encode()

    def generate_pods(self, count: int, path: str = PODS) -> None:
        """Serve this many pods: copies of a recorded one (about 6 KB each), eight to a ReplicaSet."""
        pods = (json.loads(i) for i in self.lists[PODS].items)
        model = next(p for p in pods if p["metadata"]["name"].startswith("api-"))
        model["metadata"]["name"] = "@NAME@"
        model["metadata"]["ownerReferences"][0]["name"] = "@OWNER@"
        text = json.dumps(model, separators=(",", ":")).encode()
        self.lists[path].items = [
            text.replace(b"@NAME@", b"web-%d-%d" % (i // 8, i)).replace(b"@OWNER@", b"web-%d" % (i // 8)) for i in range(count)
        ]

    def show_node(self, name: str, components: Mapping[str, Sequence[str]], version: str = "") -> None:
        """Call the recorded cluster's only node by this name; its mirror pods show these command lines."""
        (node,) = (json.loads(i) for i in self.lists[NODES].items)
        before = node["metadata"]["name"]
        node["metadata"]["name"] = name
        node["status"]["nodeInfo"]["bootID"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # a test host's too
        self.lists[NODES].items = [json.dumps(node).encode()]
        pods = [json.loads(i) for i in self.lists[PODS].items]
        for pod in pods:
            component = pod["metadata"].get("labels", {}).get("component")
            if component in components:
                pod["metadata"]["name"] = f"{component}-{name}"
                pod["metadata"]["ownerReferences"][0]["name"] = pod["spec"]["nodeName"] = name
                pod["spec"]["containers"][0]["command"] = list(components[component])
        self.lists[PODS].items = [json.dumps(p).encode() for p in pods]
        if f"{NODES}/{before}/proxy/configz" in self.documents:
            self.documents[f"{NODES}/{name}/proxy/configz"] = self.documents.pop(f"{NODES}/{before}/proxy/configz")
        if version:
            self.be_version(version)

    def be_version(self, version: str) -> None:
        """Let the API server and its kubelet be another version of Kubernetes, such as ``v1.33.2``."""
        recorded, minor = json.loads(self.documents["/version"]), version.split(".")[1]
        old = recorded["gitVersion"].encode()
        self.documents["/version"] = json.dumps({**recorded, "gitVersion": version, "minor": minor}).encode()
        for path in (NODES, PODS):
            self.lists[path].items = [i.replace(old, version.encode()) for i in self.lists[path].items]

    def configz(self, node: str, **settings: Any) -> None:
        """Let a kubelet's configuration in force hold these settings too; a mapping is merged into the one that is there."""
        path = f"{NODES}/{node}/proxy/configz"
        config = json.loads(self.documents[path])["kubeletconfig"]
        for key, value in settings.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        self.documents[path] = json.dumps({"kubeletconfig": config}).encode()

    def list_kind(self, path: str) -> ListKind | None:
        """Return what is listed at a path, of one namespace for ``.../namespaces/NAME/KIND``."""
        if path in self.lists:
            return self.lists[path]
        head, named, rest = path.partition("/namespaces/")
        name, _, plural = rest.partition("/")
        whole = self.lists.get(f"{head}/{plural}") if named else None
        return whole.of_namespace(name) if whole else None

    def __enter__(self) -> Self:
        ca, certificate, key = write_certificates(self.folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.ca = ca
        self._http = _Server(("127.0.0.1", 0), self)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, token: str | None = "token-auditor", *, url: str = "", ca: Path | None = None) -> Path:
        """Write a kubeconfig with one context ``test`` and return its path."""
        path = self.folder / f"kubeconfig-{len(list(self.folder.glob('kubeconfig-*')))}"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "clusters": [
                        {"name": "c", "cluster": {"server": url or self.url, "certificate-authority": str(ca or self.ca)}}
                    ],
                    "users": [{"name": "u", "user": {"token": token} if token else {}}],
                    "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
                }
            )
        )
        return path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], api: ApiServer) -> None:
        self.api = api
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.api.connections += 1

    def do_GET(self) -> None:
        api = self.server.api
        url = urlsplit(self.path)
        path, query = url.path, parse_qs(url.query)
        api.methods["GET"] += 1
        api.queries.append((path, query))
        authorization, accept = self.headers.get("Authorization", ""), self.headers.get("Accept", "")
        token = authorization.removeprefix("Bearer ")
        user = api.users.get(token, "") if authorization else "system:anonymous"
        api.requests[user, path] += 1
        time.sleep(api.slow.get(path, 0))
        if not user:
            self._refuse(401, "Unauthorized", "Unauthorized")
        elif path in api.bodies:
            self._answer(200, api.bodies[path])
        elif path in api.statuses:
            self._refuse(api.statuses[path], "InternalError", "an error on the server")
        elif path != "/version" and (user == "system:anonymous" or path in api.denied.get(user, ())):
            self._forbid(user, path)
        elif api.busy[path]:
            api.busy[path] -= 1
            self._answer(429, b"Too many requests, please try again later.\n", {"Retry-After": "0"}, TEXT)
        elif path in api.documents:
            self._answer(200, api.documents[path])
        elif (found := api.list_kind(path)) is not None:
            self._list(api, path, query, found.metadata_only() if "as=PartialObjectMetadataList" in accept else found)
        elif path == "/flagz":
            self._answer(404, b'{"paths":["/apis","/healthz","/version"]}')
        elif any(p.startswith(f"{path.rpartition('/')[0].partition('/namespaces/')[0]}/") for p in api.lists):
            self._refuse(404, "NotFound", "the server could not find the requested resource")
        else:  # not even its group and version are served
            self._answer(404, b"404 page not found\n", None, TEXT)

    def _method_seen(self) -> None:
        self.server.api.methods[self.command] += 1
        self._refuse(405, "MethodNotAllowed", "this server is read-only")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _method_seen  # noqa: N815 - http.server asks for these names

    def _list(self, api: ApiServer, path: str, query: dict[str, list[str]], found: ListKind) -> None:
        start = 0
        limit = int(query.get("limit", ["0"])[0])
        if token := query.get("continue", [""])[0]:
            if api.expired[path]:
                api.expired[path] -= 1
                self._refuse(410, "Expired", EXPIRED, {"continue": token})
                return
            start = int(json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))["start"])
        self._answer(200, found.page(start, min(limit, api.max_page) if api.max_page else limit))

    def _forbid(self, user: str, path: str) -> None:
        parts = path.split("/")
        kind, group = parts[-1], parts[2] if parts[1] == "apis" and len(parts) > 3 else ""
        where = f'in the namespace "{parts[-2]}"' if "namespaces" in parts[:-1] else "at the cluster scope"
        text = f'{kind} is forbidden: User "{user}" cannot list resource "{kind}" in API group "{group}" {where}'
        if "proxy" in parts:
            node = parts[parts.index("proxy") - 1]
            text = (
                f'nodes "{node}" is forbidden: User "{user}" cannot get resource "nodes/proxy" in API group "" at the cluster scope'
            )
        elif parts[1] not in ("api", "apis") or len(parts) < 4:
            text = f'forbidden: User "{user}" cannot get path "{path}"'
        self._refuse(403, "Forbidden", text)

    def _refuse(self, code: int, reason: str, message: str, metadata: dict[str, str] | None = None) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure", "message": message,
                  "reason": reason, "code": code}  # fmt: skip
        self._answer(code, json.dumps(status).encode())

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None, form: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("Cache-Control", "no-cache, private")
        self.send_header("Content-Type", form)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if len(body) <= BUFFER:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), CHUNK):
            piece = body[at : at + CHUNK]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Tests are quiet."""


def write_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Make a CA and a certificate of it for 127.0.0.1; return the paths of CA, certificate and key."""
    folder.mkdir(parents=True, exist_ok=True)
    now = dt.datetime.now(dt.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])

    def build(subject: x509.Name, public: Any, extension: x509.ExtensionType) -> x509.Certificate:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=subject == ca_name)
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        for more, critical in (
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), False),
            *(((_ca_usage(), True),) if subject == ca_name else ()),
        ):
            builder = builder.add_extension(more, critical=critical)
        return builder.sign(ca_key, hashes.SHA256())

    ca = build(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    certificate = build(name, key.public_key(), x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]))
    paths = folder / "ca.crt", folder / "server.crt", folder / "server.key"
    pem = serialization.Encoding.PEM
    paths[0].write_bytes(ca.public_bytes(pem))
    paths[1].write_bytes(certificate.public_bytes(pem))
    paths[2].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


def _ca_usage() -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**{n: n in ("key_cert_sign", "crl_sign") for n in names})


@contextlib.contextmanager
def serving(folder: Path, pods: int = 0) -> Iterator[ApiServer]:
    """Serve the recorded cluster, with ``pods`` generated ones where given."""
    server = ApiServer(folder)
    if pods:
        server.generate_pods(pods)
    with server:
        yield server


if __name__ == "__main__":
    with serving(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) as running:
        print(running.kubeconfig(), flush=True)
        sys.stdin.read()
