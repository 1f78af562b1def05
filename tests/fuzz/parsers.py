"""Every parser of data from outside, with real inputs to begin with and the errors that it declares."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from auditor import catalogue, evidence, inventory, scan_formats, tailoring
from auditor.cli_history import find_run
from auditor.evidence import encode_answer
from auditor.facts import docker, host_answers, images, inside, inside_answers, node_answers, redact, swarm, system_answers
from auditor.facts.kubernetes import KINDS
from auditor.facts.records import Answers, Record
from auditor.model import Problem, Reason
from auditor.results import to_json
from auditor.transports import docker as engine_api
from auditor.transports import kubernetes as api
from auditor.transports.base import TargetError
from auditor.yamlfile import InputError
from auditor.yamltree import compose
from checks import check_types
from tests.support import sample_run, streams
from tests.support.apiserver import api_path
from tests.support.kube_node import certificate

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "recorded"


@dataclass(frozen=True)
class Parser:
    """A parser: how to call it, real inputs, the only errors that it may raise, and what separates an input's larger parts."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    declared: tuple[type[Exception], ...] = ()
    frame: bytes = b"\n\n"

    def try_one(self, data: bytes) -> None:
        """Parse; any error but a declared one comes out, and so does an answer that no bundle could hold."""
        try:
            found = self.run(data)
        except self.declared as error:
            assert str(error)
            return
        if isinstance(found, dict):
            json.dumps({k: encode_answer(v) for k, v in found.items()}).encode("ascii")


def _host(name: str, data: bytes) -> object:
    return streams.recorded(name).facts(data)


def _words(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _of_frame(kind: str, read: Callable[[Answers], object], data: bytes) -> object:
    """Give one frame's content to the reader of a whole answer."""
    stream = streams.recorded("docker")
    frames = [f if f.split(b"\n")[0].split(b" ")[0] != kind.encode() else kind.encode() + b"\n" + data for f in stream.frames]
    stdout = streams.joined(frames)
    return read(streams.answers.split(stdout, streams.heard(stdout), streams.MARKER))


def _bodies(*kinds: str) -> tuple[bytes, ...]:
    """Return what stands in the recorded frames of these kinds."""
    found = []
    for name in streams.NAMES:
        for frame in streams.recorded(name).frames[1:]:
            head, _, body = frame.partition(b"\n")
            if head.split(b" ")[0].decode() in kinds:
                found.append(body)
    return tuple(dict.fromkeys(found))


def _yaml(run: Callable[[str], object], data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.yaml"
        path.write_bytes(data)
        return run(str(path))


@cache
def _library() -> catalogue.Library:
    return catalogue.packaged(check_types())


_DAEMON = ROOT / "benchmarks" / "docker" / "daemon.yaml"


def _benchmark(data: bytes) -> object:
    return catalogue.parse([("controls.yaml", _words(data))], check_types()).definitions and [
        catalogue.decode_definition(*pair, check_types())
        for pair in catalogue.parse([("controls.yaml", _words(data))], check_types()).definitions.values()
    ]


class _Served(api._Reader):
    """Reads pages that are given to it."""

    def __init__(self, body: bytes) -> None:
        self._body, self._timeout, self._timeouts, self._listed = body, 1.0, 0, True
        self._groups = frozenset(kind.group_version for kind in KINDS.values())
        self._pages_left = 2

    def _get(self, path: str, accept: str = api.JSON) -> bytes:
        self._pages_left -= 1
        return self._body if self._pages_left >= 0 else b'{"kind": "List", "items": []}'

    def _account(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is open."""


def _page(kind: str, data: bytes) -> object:
    return {kind: _Served(data).objects(kind)}


def _api(name: str, data: bytes) -> object:
    reader = _Served(data)
    return {name: {"flags": reader.flags, "server": reader.server, "kubelet": lambda: reader.kubelet("n")}[name]()}


def _engine(data: bytes) -> object:
    reader = engine_api._Reader(SimpleNamespace(), 0.0, "")
    reader.get = lambda _path: data  # type: ignore[method-assign]
    found: dict[str, Any] = {"swarm": reader.membership()}
    for key in ("containers", "images"):
        try:
            found[key] = reader.elements(key)  # type: ignore[arg-type]
        except engine_api._MissingError as error:
            found[key] = error.problem
    for key in sorted(inside.FACTS):
        try:
            found[key] = reader.inside(key)
        except engine_api._MissingError as error:
            found[key] = error.problem
    return found


def _kubeconfig(path: str) -> object:
    return api._configured(SimpleNamespace(kubeconfig=path, context=None, in_cluster=False, nodes_proxy=False, timeout=1))


def _reduced(name: docker.Document, data: bytes) -> object:
    return {name: docker.reduce(name, data)}


def _certificates(data: bytes) -> object:
    return {"found": node_answers._keys(data)}


def _swarm_certificates(data: bytes) -> object:
    return {"found": swarm.certificates(data)}


def _log(data: bytes) -> object:
    return {"found": inside_answers.exec_log(Record(["exec-log"], data), Problem(Reason.ABSENT, ""))}


_CONFIG = (
    b'{"icc": false, "log-driver": "journald", "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1, "Soft": 1}}}',
    (
        b"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nauthentication:\n  anonymous: {enabled: false}\n"
        b"  webhook:\n    enabled: true\nreadOnlyPort: 0\ntlsCipherSuites: [A, 'B']\nstreamingConnectionIdleTimeout: 4h\n"
    ),
)
_TOML = b'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "x"\n[[a.b]]\nwhen = 2001-01-01T00:00:00Z\nn = [1, 2.5]\n'
_KUBECONFIG = (
    b"apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- {name: a, cluster: {server: 'https://127.0.0.1:1'}}\n"
    b"users:\n- {name: a, user: {token: abc}}\ncontexts:\n- {name: a, context: {cluster: a, user: a}}\n"
)
_TAILORING = (
    b"tailoring: 1\nparameters:\n  docker-container-capabilities: {}\nwaivers:\n"
    b"- {control: docker-live-restore, targets: ['*'], reason: r, owner: o, approver: p, ticket: T-1, starts: 2026-01-01, expires: 2027-01-01}\n"
)
_LOG = (
    b'audit(1700000000\nmsg=audit(1700000000.123:4): argc=4 a0="docker" a1="exec" a2="-it" a3="web"\n'
    b'msg=audit(1700000009.123:5): argc=4 a0="docker" a1=6578656320 a2="-u" a3=726F6F74\n'
)


def _recorded_documents(pattern: str) -> Iterator[tuple[str, bytes]]:
    for file in sorted((RECORDED / "kubernetes-1.36").glob(pattern)):
        yield api_path(file), file.read_bytes()


def _smaller(page: bytes) -> bytes:
    """Return a page with its first few objects."""
    document = json.loads(page)
    return json.dumps({**document, "items": document.get("items", [])[:3]}).encode()


def _pages() -> Iterator[Parser]:
    served = {path.partition("?")[0]: _smaller(body) for path, body in _recorded_documents("*.json") if b'"items"' in body[:200000]}
    other = json.dumps({"kind": "XList", "items": [{"metadata": {"name": "a", "ownerReferences": []}, "spec": {
        "targets": [{"rego": "x "}], "crd": {"spec": {"names": {"kind": "K"}}}, "match": [{"processes": ["*"]}],
        "rules": [{"name": "r", "validate": {"message": "m", "pattern": {}}}], "exceptions": [{"ruleNames": ["r"]}]}}]}).encode()  # fmt: skip
    for name, kind in KINDS.items():
        body = served.get(kind.path)
        if body is not None or kind.reduce is not None:
            yield Parser(f"API page: {name}", partial(_page, name), (body or other,))


def _document(*names: str) -> tuple[bytes, ...]:
    """Return documents of a recorded engine; of containers and images the first few, each by itself."""
    file = json.loads((RECORDED / "docker" / "engine-20.10-api.json").read_text())
    found = []
    for name in names:
        found += list(file[name].values())[:2] if name in ("containers", "images") else [file[name]]
    return tuple(json.dumps(f).encode() for f in found)


#: Results of Trivy, Grype and Clair, as small as they get.
_SCANS = (
    (b'{"SchemaVersion": 2, "CreatedAt": "2026-11-20T08:00:00Z", "ArtifactName": "web:1", "ArtifactType": "container_image", "Metadata": '
     b'{"OS": {"Family": "debian", "Name": "12", "EOSL": false}, "ImageID": "sha256:aa", "DiffIDs": ["sha256:bb"], "RepoTags": ["web:1"], '
     b'"RepoDigests": ["r/web@sha256:cc"], "ImageConfig": {"architecture": "amd64"}}, "Results": [{"Target": "t", "Class": "os-pkgs", '
     b'"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "PkgName": "p", "InstalledVersion": "1", "FixedVersion": "2", "Severity": "HIGH"}]}]}'),
    (b'{"matches": [{"vulnerability": {"id": "CVE-1", "severity": "High", "fix": {"versions": ["2"], "state": "fixed"}}, "artifact": '
     b'{"name": "p", "version": "1"}}], "source": {"type": "image", "target": {"imageID": "sha256:aa", "tags": ["web:1"]}}, "distro": '
     b'{"name": "debian", "version": "12"}, "descriptor": {"name": "grype", "timestamp": "2026-11-20T08:00:00.5Z", "configuration": {}}}'),
    (b'{"manifest_hash": "sha256:cc", "packages": {"1": {"name": "p", "version": "1"}}, "vulnerabilities": {"2": {"name": "CVE-1", '
     b'"normalized_severity": "High", "fixed_in_version": "2"}}, "package_vulnerabilities": {"1": ["2"]}}'),
)  # fmt: skip


@cache
def parsers() -> tuple[Parser, ...]:
    """Return every parser."""
    marker = f"\n{streams.MARKER} ".encode()
    run = to_json(sample_run.single())
    bundle = next((ROOT / "auditor" / "demo").glob("web-1.evidence.json")).read_bytes()
    found = [Parser(f"stream of a host: {n}", partial(_host, n), (streams.recorded(n).stdout,), (), marker) for n in streams.NAMES]
    readers: dict[str, Callable[[Answers], object]] = {
        "audit-rules": lambda a: {"found": host_answers.audit_rules(a)},
        "mounts": lambda a: {"found": system_answers.mounts(a)},
        "groups": lambda a: {"found": system_answers.socket_groups(a)},
        "accounts": lambda a: {"found": system_answers.socket_groups(a)},
        "hardening": lambda a: {"found": system_answers.hardening(a)},
        "packages": lambda a: {"found": system_answers.engine_packages(a)},
        "policy": lambda a: {"found": system_answers.engine_packages(a)},
    }
    rules = b"-w /etc/docker -p rwxa -k docker\n-a always,exit -F arch=b64 -S execve -F path=/usr/bin/docker\n"
    found += [Parser(f"frame: {k}", partial(_of_frame, k, r), _bodies(k) or (rules,)) for k, r in readers.items()]
    found += [
        Parser("daemon.json, kubelet's YAML", host_answers.parse_document, _CONFIG, (ValueError,)),
        Parser("containerd's TOML", host_answers.parse_toml, (_TOML,), (ValueError,)),
        Parser("certificates", _certificates, (certificate("a").encode(),)),
        Parser("certificates of a swarm", _swarm_certificates, (certificate("a").encode(),), (ValueError,)),
        Parser("log of docker exec", _log, (_LOG,)),
        Parser("kubeconfig", partial(_yaml, _kubeconfig), (_KUBECONFIG,), (TargetError,)),
        Parser("inventory", partial(_yaml, lambda p: inventory.load(Path(p), elsewhere=True)),
               ((ROOT / "inventory.example.yaml").read_bytes(),), (InputError,)),
        Parser("tailoring and waivers", partial(_yaml, lambda p: tailoring.load(_library(), Path(p))), (_TAILORING,), (InputError,)),
        Parser("benchmark", _benchmark, (b"\n- key:".join(_DAEMON.read_bytes().split(b"\n- key:")[:4]),), (InputError,)),
        Parser("YAML", lambda d: compose(_words(d), "x"), (_KUBECONFIG, _TAILORING), (InputError,)),
        Parser("evidence bundle", partial(_yaml, lambda p: evidence.load(Path(p)).facts), (bundle,), (InputError,)),
        Parser("results.json", partial(_yaml, lambda p: find_run(p, None)), (run,), (InputError,)),
        Parser("flags of an API server", partial(_api, "flags"), (b'{"kind": "Flagz", "flags": {"a": "b", "token": "c"}}',), ()),
        Parser("version of an API server", partial(_api, "server"), (b'{"gitVersion": "v1.36.2", "minor": "36"}',), (TargetError,)),
        Parser("configuration of a kubelet", partial(_api, "kubelet"),
               tuple(b for p, b in _recorded_documents("*configz.json"))),
        Parser("history of an image", lambda d: {"steps": images.reduce_history(d)},
               (b'[{"CreatedBy": "|1 A=b /bin/sh -c apt-get update && curl -k http://x | sh", "Size": 3, "Created": 5, "Comment": ""}]',
                *[b for b in _bodies("doc", "u") if b.startswith(b'[{"Comment')][:1]), (ValueError,)),
        Parser("processes of a container", lambda d: {"top": inside.reduce_top(d)},
               (b'{"Titles": ["PID", "COMMAND"], "Processes": [["1", "sh"], ["2", "/bin/x"]]}',), (ValueError,)),
        Parser("command in a container", lambda d: {"exec": inside.reduce_exec(d)},
               (b'{"ID": "a", "ContainerID": "b", "Running": true, "ProcessConfig": {"privileged": false, "user": "", "entrypoint": "sh"}}',),
               (ValueError,)),
        Parser("swarm of an engine", lambda d: {"info": swarm.reduce_info(d)},
               ((b'{"Swarm": {"LocalNodeState": "active", "ControlAvailable": true, "Nodes": 1, "Cluster": {"ID": "x"}}, '
                b'"SystemTime": "2026-01-01T00:00:00Z"}'),), (ValueError,)),
        Parser("services of a swarm", lambda d: {"services": swarm.reduce_part("services", d)},
               ((b'[{"ID": "s", "Spec": {"Name": "n", "TaskTemplate": {"ContainerSpec": {"Image": "i", "Env": ["A=b"], "Args": ["x"],'
                b' "Secrets": [{"File": {"Name": "f"}}]}, "RestartPolicy": {"Condition": "any"}}}}]'),), (ValueError,)),
        Parser("addresses of a swarm", lambda d: {"listeners": swarm.listeners("socket:[7]", _words(d)), "names": swarm.interfaces(_words(d))},
               (b"tcp\n0: 0100007F:0947 00000000:0000 0A 0 0 0 0 0 7\n2: eth0 inet 10.0.0.1/8\n",), (ValueError,)),
        Parser("scanner's result", scan_formats.reduce, _SCANS, (ValueError,)),
        Parser("free text", lambda d: {"text": redact.redact_text(_words(d)), "args": redact.redact_args(_words(d).split(" "))},
               (b"https://me:pw@x/?token=y --password=z eyJhbGciOiJI.eyJzdWIi.x bearer abcdefg",)),
        Parser("answers of an engine's API", _engine, (b'[{"Id": "a"}]', *_document("info", "containers", "images"))),
        *(Parser(f"Docker document: {n}", partial(_reduced, n), _document(n), (ValueError,)) for n in docker.DOCUMENTS),
        *_pages(),
    ]  # fmt: skip
    assert all(p.seeds for p in found), [p.name for p in found if not p.seeds]
    return tuple(found)
