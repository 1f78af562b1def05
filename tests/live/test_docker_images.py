"""Real images, built on a real engine: the verdict of every control of section 4 by the image's name, as root, sudo, user and API."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from auditor.catalogue import packaged
from auditor.engine import judge, needs
from auditor.facts.docker import Engine
from auditor.facts.images import ContentTrust, Images
from auditor.facts.script import compose
from auditor.model import Finding, Problem
from auditor.tailoring import load
from auditor.transports.docker import collect_engine
from checks import check_types
from tests.support.auditing import Result, audit, host_entry
from tests.support.collecting import collect, judged, spec
from tests.support.engine import BASE, DockerHost

pytestmark = pytest.mark.live

PASSWORD, ARGUMENT, KEY = "correct-horse-battery", "staple-of-the-build", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
#: Programs named like package managers: the image's busybox does nothing under these names, but a step says what it says.
TOOLS = f"FROM {BASE}\n" + "".join(
    f"RUN /bin/busybox printf '#!/bin/sh\\n' > /bin/{name} && /bin/busybox chmod 755 /bin/{name}\n"
    for name in ("apt-get", "apk", "curl")
)
STATUS = "Package: bash\\nStatus: install ok installed\\n\\nPackage: telnet\\nStatus: {} ok {}\\n\\n"
#: Image -> its build file.
BUILD_FILES = {
    "tools:1": TOOLS,
    "clean:1": "FROM tools:1\nRUN /bin/busybox mkdir /data\nCOPY a.txt /data/a.txt\nUSER 1000\n",
    "spare:1": "FROM tools:1\nRUN /bin/busybox mkdir /spare\n",
    "lone:1": "FROM tools:1\nRUN apt-get update\nRUN apt-get install -y x\n",
    "joined:1": "FROM tools:1\nRUN apt-get update && apt-get install -y x\n",
    "nocache:1": "FROM tools:1\nRUN apk add --no-cache x\n",
    "on-lone:1": "FROM lone:1\nRUN /bin/busybox mkdir /x\n",
    "added:1": "FROM tools:1\nADD a.txt /a.txt\n",
    "fetched:1": "FROM tools:1\nADD http://127.0.0.1:8099/a.txt /a.txt\n",
    "setuid:1": "FROM tools:1\nRUN /bin/busybox cp /bin/busybox /bin/su && /bin/busybox chmod 4755 /bin/su\n",
    "cleared:1": "FROM setuid:1\nRUN /bin/busybox chmod 755 /bin/su\n",
    "removed:1": "FROM setuid:1\nRUN /bin/busybox rm /bin/su\n",
    "folder:1": "FROM tools:1\nRUN /bin/busybox mkdir /deep && /bin/busybox cp /bin/busybox /deep/s && /bin/busybox chmod 2755 /deep/s\n"
                "RUN /bin/busybox rm -r /deep\n",
    "linked:1": "FROM tools:1\nRUN /bin/busybox mkdir /opt && /bin/busybox cp /bin/busybox /opt/su && /bin/busybox chmod 4755 /opt/su\n"
                "RUN /bin/busybox rm -r /opt && /bin/busybox ln -s /usr/bin /opt\n",
    "again:1": "FROM removed:1\nRUN /bin/busybox cp /bin/busybox /bin/su && /bin/busybox chmod 6755 /bin/su\n",
    "odd:1": "FROM tools:1\nRUN /bin/busybox cp /bin/busybox \"$(printf '/bin/a\\nb')\" && /bin/busybox chmod 4755 /bin/a?b\n",
    "variable:1": f"FROM tools:1\nENV DB_PASSWORD={PASSWORD}\n",
    "argument:1": "FROM tools:1\nARG NPM_TOKEN\nRUN /bin/busybox true\n",
    "key:1": f"FROM tools:1\nRUN /bin/busybox mkdir -p /root/.ssh && printf -- '-----BEGIN OPENSSH %s KEY-----\\n{KEY}\\n' PRIVATE"
             " > /root/.ssh/id_rsa\nRUN /bin/busybox rm /root/.ssh/id_rsa\n",
    "unsigned:1": "FROM tools:1\nRUN apk add --allow-untrusted /x.apk\n",
    "piped:1": "FROM tools:1\nRUN curl -fsSL https://x.example/i.sh | sh\n",
    "telnet:1": "FROM tools:1\nRUN /bin/busybox mkdir -p /var/lib/dpkg && printf '" + STATUS.format("install", "installed")
                + "' > /var/lib/dpkg/status\n",
    "no-telnet:1": "FROM telnet:1\nRUN printf '" + STATUS.format("deinstall", "config-files") + "' > /var/lib/dpkg/status\n",
    "alpine:1": "FROM tools:1\nRUN /bin/busybox mkdir -p /lib/apk/db && printf 'P:musl\\nV:1\\n\\nP:telnet\\nV:2\\n' > /lib/apk/db/installed\n",
    "scratch:1": 'FROM scratch\nCOPY a.txt /a.txt\nCMD ["/a.txt"]\n',
}  # fmt: skip
#: Used by nobody: judged only where it is the base of one in use.
UNUSED = {"tools:1", "telnet:1", "setuid:1", "removed:1", "lone:1", "spare:1"}
USED = set(BUILD_FILES) - UNUSED

#: Control -> image -> verdict. Images that are not named here have the verdict under "".
EXPECTED: dict[str, dict[str, str]] = {
    "docker-image-lone-update": {"": "pass", "lone:1": "fail", "tools:1": "pass", "setuid:1": "pass", "removed:1": "pass",
                                 "telnet:1": "pass", BASE: "not_applicable"},
    "docker-image-copy-not-add": {"": "pass", "added:1": "fail", "fetched:1": "fail", "lone:1": "pass", "tools:1": "pass",
                                  "setuid:1": "pass", "removed:1": "pass", "telnet:1": "pass", BASE: "not_applicable"},
    "docker-image-setuid-files": {"": "pass", "again:1": "fail", "odd:1": "error"},  # its name can't be told from two names
    "docker-image-secrets": {"": "manual", "variable:1": "fail", "argument:1": "fail", "key:1": "fail"},
    "docker-image-verified-packages": {"": "pass", "unsigned:1": "fail", "piped:1": "fail", "joined:1": "manual",
                                       "nocache:1": "manual", "on-lone:1": "manual"},
    "docker-image-trusted-source": {"": "manual"},
    "docker-image-packages": {"": "manual", "scratch:1": "pass", "odd:1": "error"},
    "docker-image-rebuilt": {"": "manual"},
    "docker-image-signatures": {"": "manual"},
}  # fmt: skip


def context(build_file: str) -> bytes:
    """Return a build's context as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (("Dockerfile", build_file.encode()), ("a.txt", b"a\n")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def build(host: DockerHost, name: str, build_file: str, *options: str) -> None:
    host.docker("build", "-q", "-t", name, *options, "-", stdin=context(build_file))


@pytest.fixture(scope="module")
def host(needs_docker: None) -> Iterator[DockerHost]:
    with DockerHost(containers={"plain": ("create", BASE, "true")}) as host:
        host.run("mkdir", "-p", "/srv/web")
        host.run("sh", "-c", "echo a > /srv/web/a.txt")
        host.spawn(["/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8099", "-h", "/srv/web"], log="httpd")
        host.docker("rm", "plain")
        for name, build_file in BUILD_FILES.items():
            build(host, name, build_file, *(("--build-arg", f"NPM_TOKEN={ARGUMENT}") if name == "argument:1" else ()))
        for name in sorted(USED):
            host.docker("create", "--name", f"of-{name.partition(':')[0]}", name, "true")
        yield host


def verdicts(finding: Finding | Mapping[str, Any]) -> dict[str, str]:
    observations = finding.observations if isinstance(finding, Finding) else finding["observations"]
    pairs = [(o.subject, o.status) if not isinstance(o, dict) else (o["subject"], o["status"]) for o in observations]
    return {subject.removeprefix("image/"): str(status) for subject, status in pairs}


def expected(control: str, of: Mapping[str, Mapping[str, str]] = EXPECTED) -> dict[str, str]:
    listed = of[control]
    return {**dict.fromkeys(USED, listed[""]), **{name: status for name, status in listed.items() if name}}


@pytest.fixture(scope="module")
def audited(host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> Result:
    hosts = [host_entry(host, "by-root"), host_entry(host, "by-sudo", user="auditor")]
    return audit(tmp_path_factory.mktemp("images"), hosts, formats="json,html")


@pytest.mark.parametrize("target", ["by-root", "by-sudo"])
@pytest.mark.parametrize("control", EXPECTED)
def test_verdict_by_image(audited: Result, target: str, control: str) -> None:
    finding = audited.findings(target)[control]
    assert verdicts(finding) == expected(control), finding


def test_no_secret_is_anywhere(audited: Result) -> None:
    """The values stand in the engine's answers; neither evidence nor report holds them."""
    written = audited.written()
    assert any(name.endswith(".evidence.json") for name in written)
    for name, content in written.items():
        for secret in (PASSWORD, ARGUMENT, KEY):
            assert secret.encode() not in content, name
    for name in ("DB_PASSWORD", "NPM_TOKEN", "/root/.ssh/id_rsa"):
        assert name in written["results.json"].decode()


def test_with_a_policy(host: DockerHost, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the site allows, denies and trusts decides what was left to a person."""
    layers = json.loads(host.docker("image", "inspect", BASE))[0]["RootFS"]["Layers"]
    file = tmp_path_factory.mktemp("policy") / "tailoring.yaml"
    chosen = {
        "docker-image-packages": {"denied": ["telnet"]},
        "docker-image-setuid-files": {"allowed": ["/bin/su"]},
        "docker-image-trusted-source": {"bases": [{"name": "the base", "layers": layers}]},
        "docker-image-verified-packages": {"none_found": "pass"},
        "docker-image-secrets": {"none_found": "pass", "allowed": ["DB_PASSWORD", "NPM_TOKEN", "/root/.ssh/id_rsa", "private key"]},
    }
    file.write_text(json.dumps({"tailoring": 1, "parameters": chosen}))
    library = load(packaged(check_types()), file).library
    benchmarks = [library.load("cis-docker")]
    (evidence,) = collect(spec(host), facts=needs(benchmarks, "host")).values()
    found = {finding.control: verdicts(finding) for finding in judge(benchmarks, evidence)}
    passing = dict.fromkeys(USED, "pass")
    denied = {**dict.fromkeys(USED, "manual"), "alpine:1": "fail", "no-telnet:1": "pass", "scratch:1": "pass", "odd:1": "error"}
    assert found["docker-image-packages"] == denied
    assert found["docker-image-setuid-files"] == {**passing, "odd:1": "error"}
    assert found["docker-image-trusted-source"] == {**passing, "scratch:1": "fail"}
    assert found["docker-image-verified-packages"] == {**passing, "unsigned:1": "fail", "piped:1": "fail"}
    assert found["docker-image-secrets"] == passing


def test_all_images(host: DockerHost) -> None:
    """The other question has the layers of every image, the first just those of images in use."""
    facts = frozenset({Images("layers-used"), Images("layers-all"), Engine("images")})
    (evidence,) = collect(spec(host), facts=facts).values()
    used, every = (set(evidence.facts[Images(p).key][0]["data"]["folders"]) for p in ("layers-used", "layers-all"))
    named = {
        folder
        for image in evidence.facts["engine:images"][0]["data"]
        for key in ("UpperDir", "LowerDir")
        for folder in (image["GraphDriver"]["Data"].get(key) or "").split(":")
        if folder
    }
    assert used < every == named


def test_a_user_who_may_use_the_engine_only(host: DockerHost) -> None:
    """Membership in the docker group gives no access to the layers' folders: an error, never a pass."""
    host.run("sh", "-c", "sed -i 's/^docker:.*/docker:x:995:plain/' /etc/group; chgrp docker /var/run/docker.sock")
    try:
        found = judged(host, user="plain", become="none")
        assert set(verdicts(found["docker-image-setuid-files"]).values()) == {"error"}
        assert "root or sudo is needed" in found["docker-image-setuid-files"].observations[0].actual
        assert verdicts(found["docker-image-lone-update"]) == expected("docker-image-lone-update")
    finally:
        host.run("sh", "-c", "sed -i 's/^docker:.*/docker:x:995:/' /etc/group")


def test_an_engine_by_its_address_alone(host: DockerHost) -> None:
    """The API tells how images were built, and not what is in them."""

    class Spec:
        url = f"unix:///proc/{host.pid}/root/run/docker.sock"
        tls_ca = tls_cert = tls_key = None
        timeout = 30.0

    over_ssh = collect(spec(host), facts=frozenset({Images("history"), Engine("images")}))[host.hostname].facts
    facts = collect_engine(
        Spec(), frozenset({Images("history").key, "engine:images", Images("layers-used").key, ContentTrust().key})
    )
    for key in (Images("history").key, "engine:images"):
        assert sorted(facts[key][0]["data"], key=lambda e: e["Id"]) == sorted(over_ssh[key][0]["data"], key=lambda e: e["Id"])
    for key in (Images("layers-used").key, ContentTrust().key):
        assert isinstance(facts[key], Problem)


def test_without_curl_the_client_tells_the_same_steps(host: DockerHost) -> None:
    """The docker client's own history lacks the times; what steps do is the same."""

    def told() -> dict[str, list[dict[str, Any]]]:
        facts = collect(spec(host), facts=frozenset({Images("history"), Images("layers-used")}))[host.hostname].facts
        assert len(facts[Images("layers-used").key][0]["data"]["folders"]) > 20
        return {
            image["Id"]: [{k: v for k, v in step.items() if k not in ("created", "size")} for step in image["steps"]]
            for image in facts[Images("history").key][0]["data"]
        }

    by_curl = told()
    where = host.run("sh", "-c", "command -v curl").strip()
    host.run("mv", where, "/usr/bin/not-curl")
    try:
        assert told() == by_curl
    finally:
        host.run("mv", "/usr/bin/not-curl", where)
    assert len(by_curl) > 20


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_finds_the_same(host: DockerHost, shell: str) -> None:
    facts = frozenset({Images("history"), Images("layers-used"), ContentTrust()})
    script, _ = compose(facts, "feed")
    argv = ["busybox", "sh", "-s", "root"] if shell == "busybox" else [shell, "-s", "root"]
    said = host.run(*argv, stdin=script)
    counts = {word: said.count(f"\n{word} ") for word in ("s", "o", "P", "N", "n", "key", "D")}
    assert counts == {"s": 4, "o": counts["o"], "P": 3, "N": 3, "n": 5, "key": 1, "D": counts["D"]}
    assert counts["o"] > 10
    assert "\nodd\n" in said


def test_content_trust_follows_the_host(host: DockerHost) -> None:
    """The client here still has it: set for every login, taken back by one, gone."""

    def now() -> str:
        return str(judged(host)["docker-content-trust"].status)

    assert now() == "fail"
    host.run("sh", "-c", "mkdir -p /etc/profile.d; echo 'export DOCKER_CONTENT_TRUST=1' > /etc/profile.d/trust.sh")
    assert now() == "pass"
    host.run("sh", "-c", "echo 'unset DOCKER_CONTENT_TRUST' > /root/.profile")
    assert now() == "fail"
    host.run("rm", "/root/.profile", "/etc/profile.d/trust.sh")
    client = host.run("sh", "-c", "command -v docker").strip()
    host.run("mv", client, "/usr/bin/docker-28")
    try:
        host.run("sh", "-c", f"printf '#!/bin/sh\\necho Docker version 29.0.1, build x\\n' > {client}; chmod 755 {client}")
        finding = judged(host)["docker-content-trust"]
        assert (finding.status, "ignores DOCKER_CONTENT_TRUST" in finding.reason) == ("not_applicable", True)
    finally:
        host.run("mv", "/usr/bin/docker-28", client)
