"""Everything a host says is hostile: names, paths, arguments and files that try to become markup, terminal control or code."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.auditing import Result, audit, auditor, collect, host_entry
from tests.support.collecting import judged
from tests.support.engine import BASE, UNIT_FILES, DockerHost
from tests.support.host import Entry
from tests.support.kube_node import APISERVER, COMPONENTS, KUBELET, KubeNode
from tests.support.pdf import squeezed

pytestmark = pytest.mark.live

SCRIPT = "<script>alert(1)</script>"
TAG = "<img src=x onerror=alert(1)>"
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred"
RAW = "\udcff\udcfe"  # bytes that are no UTF-8, as Python names them in arguments
FORMULA = "=cmd|'/c calc'!A0"
BIDI = "\u202egnp.exe"

DROP_INS = (
    f"/etc/systemd/system/docker.service.d/{TAG}.conf",
    f"/etc/systemd/system/docker.service.d/a{ESCAPE}.conf",
    f"/etc/systemd/system/docker.service.d/{FORMULA.replace('/', '')}.conf",
    f"/etc/systemd/system/docker.service.d/{BIDI}.conf",
    "/etc/systemd/system/docker.service.d/two\nlines.conf",
)
LABELS = ("--label", f"{SCRIPT}={SCRIPT}", "--label", f"x={ESCAPE}")
SOURCE = f"/etc/{SCRIPT.replace('/', '')}{ESCAPE}"
CONTAINERS = {
    "hostile": ("run", "-d", *LABELS, "-e", f"A={SCRIPT}", "--mount", f"type=bind,source={SOURCE},target=/x", "--user", SCRIPT[:8], BASE, "sleep", "1"),
    "mounts": ("create", "--mount", f"type=bind,source={SOURCE},target=/{SCRIPT.replace('/', '')}", BASE, "sleep", "100000"),
    "commanded": ("run", "-d", BASE, "sleep", "100000", SCRIPT, ESCAPE),
}  # fmt: skip
RELEASE = f'PRETTY_NAME="{SCRIPT}{ESCAPE}{FORMULA}"\nID=debian\n'


class Hostile(DockerHost):
    """A Docker host whose owner wants the auditor's reader to regret it."""

    def _fill(self) -> None:
        self.place(
            *(Entry(path, "[Service]\n", 0o666) for path in DROP_INS),
            Entry(SOURCE, "", 0o600),
            Entry("/etc/os-release", RELEASE.encode()),
        )
        chosen, self.containers = self.containers, {}
        super()._fill()
        from tests.support.engine import root_archive

        self.docker("import", "-", BASE, stdin=root_archive())
        for name, (verb, *rest) in chosen.items():
            # A container that does not start is hostile too; what counts is what the engine says of it.
            self.docker(verb, "--name", name, *rest, check=False)
        self.place(Entry("/etc/docker/daemon.json", b'{"log-level": "' + b"<script>\x1b[2J\xff" * 500_000 + b'"}'))


def hostile_components() -> dict[str, list[str]]:
    """Every program is told what its author never wanted to read."""
    return {
        "kubelet": [
            *KUBELET,
            f"--node-labels={SCRIPT}{ESCAPE}",
            f"--hostname-override={RAW}",
            "--anonymous-auth",
            f"{SCRIPT}\ntrue",
        ],
        "kube-apiserver": [*APISERVER, f"--authorization-mode={SCRIPT}{ESCAPE}{RAW}\n{FORMULA}", "--anonymous-auth=" + BIDI],
        "kube-controller-manager": ["kube-controller-manager", "--profiling=" + TAG * 4000],
        "etcd": ["etcd", "--cert-file", "", "--key-file=" + "\t\r\x00".replace("\x00", "") + SCRIPT],
    }


@pytest.fixture(scope="module")
def hostile(needs_docker: None, tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("hostile")
    with Hostile(hostname="docker", containers=CONTAINERS) as docker, KubeNode(components=hostile_components()) as node:
        names = set(docker.docker("ps", "-a", "--format", "{{.Names}}").split())
        assert names == set(CONTAINERS)
        group = {"groups": [SCRIPT]}
        return audit(folder, [host_entry(docker) | group, host_entry(node)], formats="html,pdf,json")


def test_it_is_audited(hostile: Result) -> None:
    assert hostile.code == 0, hostile.stdout + hostile.stderr
    assert [t["status"] for t in hostile.document["targets"]] == ["audited", "audited"]
    # The hostile texts are there to be seen, so that this test is about something.
    text = json.dumps(hostile.document)
    assert all(json.dumps(wanted)[1:-1] in text for wanted in (SCRIPT, TAG))


def test_terminal(hostile: Result) -> None:
    """No control character but the newline reaches the terminal, and no sign that changes the direction of text."""
    for stream in (hostile.stdout, hostile.stderr):
        found = re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", stream)
        assert found == []


class Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_html(hostile: Result) -> None:
    page = (hostile.folder / "report.html").read_bytes().decode("utf-8")
    assert "<script>alert" not in page
    tags = Tags()
    tags.feed(page)
    assert tags.seen
    handlers = [(tag, name) for tag, attrs in tags.seen for name in attrs if name.startswith("on")]
    assert handlers == []
    assert [attrs for tag, attrs in tags.seen if tag == "img" and attrs.get("src") == "x"] == []
    links = [value for _, attrs in tags.seen for name, value in attrs.items() if name in ("href", "src", "action") and value]
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    assert "\x1b" not in page
    assert "\x00" not in page


def test_data_in_the_page_stays_data(hostile: Result) -> None:
    """JSON within a script element must not be able to end it."""
    page = (hostile.folder / "report.html").read_text(encoding="utf-8")
    for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script", page, re.DOTALL):
        if "json" in attributes:
            json.loads(body)
        assert "<!--" not in body
        assert "alert(1)" not in body or "json" in attributes


def test_pdf(hostile: Result) -> None:
    import pypdf

    raw = (hostile.folder / "report.pdf").read_bytes()
    reader = pypdf.PdfReader(io.BytesIO(raw))
    text = squeezed(raw)
    assert "\x1b" not in text
    assert "<script>alert(1)" in text or "scriptalert" in text  # shown as what it is
    catalog = reader.trailer["/Root"]
    assert "/OpenAction" not in catalog or "/JavaScript" not in str(catalog["/OpenAction"])
    assert "/AA" not in catalog
    for page in reader.pages:
        for annotation in page.get("/Annots") or ():
            action = annotation.get_object().get("/A")
            assert action is None or action.get("/S") in ("/GoTo", "/URI")
            assert action is None or "alert" not in str(action.get("/URI", ""))


def test_results_are_plain_json(hostile: Result) -> None:
    raw = (hostile.folder / "results.json").read_bytes()
    document = json.loads(raw.decode("utf-8"))
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", raw)
    json.dumps(document, ensure_ascii=False).encode("utf-8")  # no lone surrogate is left that another program would choke on


def test_large_file_is_truncated_and_said_so(hostile: Result) -> None:
    (config,) = hostile.evidence("docker")["config:dockerd --config-file=/etc/docker/daemon.json"]
    (document,) = config["documents"]
    assert document["problem"]["reason"] == "truncated"
    assert len((hostile.folder / "evidence/docker.evidence.json").read_bytes()) < 1_000_000
    statuses = hostile.statuses("docker")
    assert statuses["docker-daemon-userland-proxy"] == "error"
    (observation,) = hostile.findings("docker")["docker-daemon-userland-proxy"]["observations"]
    assert observation["actual"].startswith("truncated: /etc/docker/daemon.json")


def test_open_files_with_odd_names_are_found(hostile: Result) -> None:
    """A name that breaks lines or terminals does not hide a file that anybody may write."""
    observations = hostile.findings("docker")["docker-service-mode"]["observations"]
    judged = [o["subject"] for o in observations if o["status"] in ("fail", "error")]
    assert len(judged) >= len(DROP_INS), judged
    assert hostile.statuses("docker")["docker-service-mode"] == "fail"


def test_a_file_cannot_hide_behind_its_name(needs_docker: None) -> None:
    """The only open file has a name of two lines: an error that names it, not a pass of the others."""
    odd = Entry("/etc/systemd/system/docker.service.d/two\nlines.conf", "[Service]\n", 0o666)
    with DockerHost(containers={}, unit_files=(*UNIT_FILES, odd)) as host:
        finding = judged(host)["docker-service-mode"]
    assert finding.status == "error", finding
    assert any("two?lines.conf" in o.subject for o in finding.observations if o.status == "error")


def test_odd_values_do_not_pass(hostile: Result) -> None:
    found = hostile.statuses("cp-1")
    assert found["k8s-apiserver-anonymous-auth"] in ("fail", "error")
    assert found["k8s-kubelet-anonymous-auth"] in ("fail", "error")
    assert found["k8s-apiserver-authorization-rbac"] in ("fail", "error")
    assert found["k8s-controller-manager-profiling"] in ("fail", "error")
    assert found["k8s-etcd-client-tls"] in ("fail", "error")


SECRETS = {
    "environment of a container": "planted-env-5Hq",
    "command of a container": "planted-cmd-7Tw",
    "flag of the API server": "planted-flag-9Zk",
    "word after a flag": "planted-word-2Lm",
    "URL with a password": "planted-url-4Rv",
    "daemon.json": "planted-file-8Yc",
    "environment of the engine": "planted-proxy-1Nd",
    "unit file": "planted-unit-6Gs",
    "kubelet's configuration": "planted-kubelet-3Bx",
    "label": "planted-label-0Pf",
    "health check": "planted-health-5Je",
    "log option": "planted-log-7Qa",
    "static token in a manifest": "planted-manifest-9Wu",
    "private key": "planted-private-key",
    "kubeconfig": "planted-kubeconfig-token",
}


def secret_containers() -> dict[str, tuple[str, ...]]:
    s = SECRETS
    options = ("-e", f"DB_PASSWORD={s['environment of a container']}", "--label", f"token={s['label']}", "--log-opt", f"env={s['log option']}",
               "--health-cmd", f"curl -u admin:{s['health check']} http://localhost")  # fmt: skip
    return {"secretive": ("run", "-d", *options, BASE, "sleep", "100000", "--token", s["command of a container"])}


def secret_components() -> dict[str, list[str]]:
    s = SECRETS
    server = [*APISERVER, f"--token={s['flag of the API server']}", "--password", s["word after a flag"],
              f"--etcd-servers=https://root:{s['URL with a password']}@10.0.0.1:2379"]  # fmt: skip
    return {**{c: list(a) for c, a in COMPONENTS.items()}, "kube-apiserver": server}


def test_secrets_are_in_no_output(needs_docker: None, tmp_path: Path) -> None:
    """Planted values are on the hosts wherever secrets are, and in nothing that is written or printed."""
    s = SECRETS
    proxy = {"HTTPS_PROXY": f"http://user:{s['environment of the engine']}@proxy.test:3128"}
    daemon = {
        "proxies": {"http-proxy": f"http://user:{s['daemon.json']}@proxy.test"},
        "log-opts": {"splunk-token": s["daemon.json"]},
    }
    unit = Entry("/etc/systemd/system/docker.service.d/proxy.conf", f"[Service]\nEnvironment=TOKEN={s['unit file']}\n")
    docker_host = DockerHost(
        hostname="docker", containers=secret_containers(), daemon_environment=proxy, unit_files=(*UNIT_FILES, unit)
    )
    with docker_host as docker, KubeNode(components=secret_components()) as node:
        docker.place(Entry("/etc/docker/daemon.json", json.dumps(daemon)))
        kubelet = (
            "kind: KubeletConfiguration\nauthentication: {anonymous: {enabled: false}}\nstaticPodURLHeader: {Authorization: [%s]}\n"
        )
        node.place(Entry("/var/lib/kubelet/config.yaml", kubelet % s["kubelet's configuration"]))
        node.place(
            Entry(
                "/etc/kubernetes/manifests/kube-apiserver.yaml",
                f"metadata: {{name: kube-apiserver}}\n# {s['static token in a manifest']}\n",
            )
        )
        assert s["environment of a container"] in json.dumps(docker.inspect("secretive"))
        assert any(s["flag of the API server"] in " ".join(argv) for argv in node.processes().values())
        hosts = [host_entry(docker), host_entry(docker, "by-sudo", user="auditor"), host_entry(node)]
        result = audit(tmp_path, hosts, "--log-json", formats="html,pdf,json")
    assert result.code == 0, result.stderr
    pdf = squeezed((result.folder / "report.pdf").read_bytes())
    everything = {
        **result.written(),
        "stdout": result.stdout.encode(),
        "stderr": result.stderr.encode(),
        "text of the PDF": pdf.encode(),
    }
    found = {(what, where) for what, value in SECRETS.items() for where, content in everything.items() if value.encode() in content}
    assert found == set()
    # And the audit did read the places where they stand.
    assert result.statuses("cp-1")["k8s-kubelet-anonymous-auth"] == "pass"
    assert '"token"' in str(result.written()["results.json"]) or "--token" in json.dumps(result.evidence("cp-1"))


def findings(folder: Path) -> bytes:
    document = json.loads((folder / "results.json").read_text())
    return json.dumps(document["findings"]).encode()


def test_evidence_gives_the_same_findings_later(needs_docker: None, tmp_path: Path) -> None:
    """Judging the bundles again, with the hosts gone, gives the live audit's findings and scores, byte for byte."""
    with (
        Hostile(hostname="docker", containers=CONTAINERS) as docker,
        KubeNode(components=hostile_components()) as node,
        KubeNode() as good,
    ):
        hosts = [host_entry(docker), host_entry(node, "odd"), host_entry(good, "good"), host_entry(good, "less", user="plain")]
        live = audit(tmp_path, hosts)
        (tmp_path / "second").mkdir()
        collected = collect(tmp_path / "second", hosts)
    assert (live.code, collected.code) == (0, 0)
    for name, bundles in (("again", live.folder / "evidence"), ("separate", collected.folder)):
        out = tmp_path / name
        replayed = auditor(tmp_path, "evaluate", str(bundles), "-o", str(out), "--format", "json")
        assert replayed.code == 0, replayed.stderr
        order = [t["name"] for t in json.loads((out / "results.json").read_text())["targets"]]
        assert sorted(order) == sorted(t["name"] for t in live.document["targets"])
        by_target = {name: [f for f in live.document["findings"] if f["target"] == name] for name in order}
        expected = json.dumps([f for name in order for f in by_target[name]]).encode()
        assert findings(out) == expected


def test_altered_evidence_is_refused(needs_hosts: None, tmp_path: Path) -> None:
    with KubeNode() as node:
        collected = collect(tmp_path, [host_entry(node)])
    assert collected.code == 0, collected.stdout
    (bundle,) = collected.folder.glob("*.evidence.json")
    bundle.write_text(bundle.read_text().replace("Node,RBAC", "AlwaysAll"))
    result = auditor(tmp_path, "evaluate", str(collected.folder), "-o", str(tmp_path / "x"), "--format", "json")
    assert result.code == 2
    assert "altered" in result.stderr
