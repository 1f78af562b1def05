"""Facts about images: build steps by their history's text, secrets by name and kind, and hosts' answers about layers."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import image_answers, image_secrets, images
from auditor.facts.build_commands import look
from auditor.facts.images import reduce_history
from auditor.facts.records import split
from auditor.facts.shell_words import commands
from auditor.model import Problem, Reason
from checks.image_content import SetuidFiles
from checks.image_origin import ApprovedBase, VerifiedSignature, is_within, repository
from tests.support import streams


def step(text: str, **entry: Any) -> dict[str, Any]:
    (found,) = reduce_history(json.dumps([{"CreatedBy": text, "Created": 7, "Size": 3, **entry}]).encode())
    return found


@pytest.mark.parametrize(
    ("text", "refresh", "install"),
    [
        ("/bin/sh -c apt-get update", ["apt"], []),
        ("apt-get update", ["apt"], []),
        ("/bin/sh -c apt-get -qq -o Acquire::Retries=3 update", ["apt"], []),
        ("/bin/sh -c DEBIAN_FRONTEND=noninteractive apt-get update && rm -rf /x", ["apt"], []),
        (
            "/bin/sh -c set -eux; apt-get update; apt-get install -y --no-install-recommends x; rm -rf /var/lib/apt",
            ["apt"],
            ["apt"],
        ),
        ("RUN /bin/sh -c apt update # buildkit", ["apt"], []),
        ("RUN |2 A=1 B=two words /bin/sh -c apt update # buildkit", ["apt"], []),
        ("RUN /bin/sh -c apt-get update\napt-get install -y x\n # buildkit", ["apt"], ["apt"]),
        ("RUN /bin/bash -euo pipefail -c apt-get update # buildkit", ["apt"], []),
        ("RUN conda run -n x /bin/bash -c apt-get update # buildkit", ["apt"], []),
        ("/usr/bin/env bash -c apt-get update", ["apt"], []),
        ("|1 A=b c /usr/bin/env bash -ex -c apt-get update", ["apt"], []),
        ("powershell -NoProfile -Command apt-get update", ["apt"], []),
        ("RUN --mount=type=cache,target=/x /bin/sh -c apt-get update # buildkit", ["apt"], []),
        ("/bin/sh -c sudo -E sh -c 'yum makecache && yum -y install x'", ["dnf"], ["dnf"]),
        ("/bin/sh -c if true; then apk update; fi", ["apk"], []),
        ("/bin/sh -c (apk update) 2>/dev/null || true", ["apk"], []),
        ("/bin/sh -c x=$(apt-get update)", ["apt"], []),
        ('/bin/sh -c echo "$(apt-get update)"', ["apt"], []),
        ("/bin/sh -c apk add --no-cache x", [], ["apk"]),
        ("/bin/sh -c apk --update add x", [], ["apk"]),
        ("/bin/sh -c zypper --non-interactive ref && zypper in -y x", ["zypper"], ["zypper"]),
        ("/bin/sh -c pacman -Sy", ["pacman"], []),
        ("/bin/sh -c pacman -Syu --noconfirm", [], ["pacman"]),
        ("/bin/sh -c pacman -Sy x", [], ["pacman"]),
        ("/bin/sh -c yum check-update; yum update -y", ["dnf"], ["dnf"]),
        ("/bin/sh -c python3 -m pip install x", [], ["pip"]),
        ("/bin/sh -c cat list | xargs -n 5 apt-get install -y", [], ["apt"]),
        ("/bin/sh -c timeout 60 apt-get update", ["apt"], []),
        ("/bin/sh -c apt-get \\\n update", ["apt"], []),
        ("/bin/sh -c apt-get 'update'", ["apt"], []),
        ("/bin/sh -c echo apt-get update", [], []),
        ("/bin/sh -c echo 'apt-get update' >> /etc/motd", [], []),
        ("/bin/sh -c update-ca-certificates", [], []),
        ("/bin/sh -c apt-get install -y update", [], ["apt"]),
        ("/bin/sh -c true # apt-get update", [], []),
        ("/bin/sh -c curl http://x/#apt-get && apt-get update", ["apt"], []),
        ("COPY apt-get update # buildkit", [], []),
        ("ENV X=apt-get update", [], []),
    ],
)
def test_what_a_step_does_with_packages(text: str, refresh: list[str], install: list[str]) -> None:
    found = step(text)
    assert (found.get("refresh", []), found.get("install", [])) == (refresh, install)


@pytest.mark.parametrize(
    ("text", "instruction", "sources"),
    [
        ("/bin/sh -c #(nop) ADD file:ab in /x ", "ADD", ["local"]),
        ("/bin/sh -c #(nop) ADD dir:ab in / ", "ADD", ["local"]),
        ("/bin/sh -c #(nop) ADD " + "ab" * 32 + " in /x ", "ADD", ["remote"]),
        ("/bin/bash -o pipefail -c #(nop) ADD file:ab in /x", "ADD", ["local"]),
        ("ADD a b /x/ # buildkit", "ADD", ["local"]),
        ("ADD --chown=1:1 https://x.example/a /a # buildkit", "ADD", ["remote"]),
        ("ADD https://git.example/a.git#v1 /a # buildkit", "ADD", ["git"]),
        ("ADD git@git.example:a/b /a # buildkit", "ADD", ["git"]),
        ("ADD rootfs.tar.xz / # buildkit", "ADD", ["archive"]),
        ("/bin/sh -c #(nop) COPY file:ab in /x", "COPY", None),
        ('/bin/sh -c #(nop)  CMD ["bash"]', "CMD", None),
        ("/bin/sh -c ADD file:ab in /x", "RUN", None),
        ("ADDRESS=5 run", "RUN", None),
        ("", "", None),
    ],
)  # fmt: skip
def test_instructions(text: str, instruction: str, sources: list[str] | None) -> None:
    found = step(text)
    assert (found["instruction"], found.get("sources")) == (instruction, sources)


SECRET = "hunter2hunter2"
HOLDERS = [
    f"ENV DB_PASSWORD={SECRET}", f"/bin/sh -c #(nop)  ENV DB_PASSWORD={SECRET} A=1", f"ENV DB_PASSWORD {SECRET}",
    f"ARG NPM_TOKEN={SECRET}", f"RUN |1 NPM_TOKEN={SECRET} /bin/sh -c npm ci # buildkit", f"LABEL api.token={SECRET}",
    f"|1 NPM_TOKEN={SECRET} npm ci", f"/bin/sh -c export PGPASSWORD={SECRET}; psql", f"/bin/sh -c mysql --password={SECRET}",
    f"/bin/sh -c mysql --password '{SECRET}'", f"/bin/sh -c curl -u me:{SECRET} https://x", f"/bin/sh -c git clone https://me:{SECRET}@x/y",
    f"/bin/sh -c curl -H 'Authorization: Bearer {SECRET}' https://x", f"ADD https://me:{SECRET}@x.example/a /a # buildkit",
    f"/bin/sh -c echo '-----BEGIN RSA PRIVATE KEY-----\n{SECRET}' > /k", f'CMD ["/app", "--api-token={SECRET}"]',
    f'RUN /bin/sh -c password="{SECRET}" ./x # buildkit', f"/bin/sh -c #(nop)  LABEL x=https://a:{SECRET}@b/",
]  # fmt: skip


@pytest.mark.parametrize("text", HOLDERS)
def test_secrets_are_found_and_never_kept(text: str) -> None:
    found = step(text)
    assert found["secrets"]
    assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize(
    "text",
    [
        "ARG NPM_TOKEN", "ENV PASSWORD_FILE=/run/secrets/x TOKEN_TTL=60 GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D",
        "ENV DB_PASSWORD= A=1", "ENV USE_TOKEN=true", "RUN /bin/sh -c export TOKEN=$(cat /run/secrets/t) # buildkit",
        "/bin/sh -c mysql --password=$PW", "/bin/sh -c useradd --password '' x", "/bin/sh -c passwd -l root",
        "ENV DB_PASSWORD=${PW}", "ENV VAULT_TOKEN=/var/run/secrets/token", "/bin/sh -c openssl genrsa -out server.key",
        "/bin/sh -c git clone https://x.example/a@b:c", "ENV URL=http://x:8080/",
    ],
)  # fmt: skip
def test_what_is_no_secret(text: str) -> None:
    assert "secrets" not in step(text)


def test_an_images_configuration() -> None:
    config = {
        "Env": ["PATH=/bin", f"API_KEY={SECRET}", "AWS=AKIA" + "A" * 16],
        "Labels": {"a.password": SECRET, "b": "c"},
        "Entrypoint": ["/app", f"--token={SECRET}"],
        "Cmd": "x",
        "Healthcheck": {"Test": ["CMD-SHELL", f"curl -u a:{SECRET} http://x"]},
    }
    found = image_secrets.of_config(config)
    assert [hit["name"] for hit in found] == ["API_KEY", "AWS", "a.password", "--token", "curl --user"]
    assert image_secrets.of_config({"Env": None, "Labels": None, "Healthcheck": None}) == []


def test_a_history_of_the_command_line_is_read_too() -> None:
    lines = b'{"CreatedBy":"/bin/sh -c apt-get update","Size":"1.2MB","Comment":""}\n{"CreatedBy":"","Size":"0B","Comment":"Imported from -"}\n'
    assert reduce_history(lines) == [
        {"instruction": "", "created": 0, "size": 0, "comment": "import", "text": 0},
        {"instruction": "RUN", "created": 0, "size": 1, "refresh": ["apt"], "text": 1},
    ]


def test_the_same_text_has_the_same_number() -> None:
    numbers: dict[str, int] = {}
    one, other = (
        [step["text"] for step in reduce_history(json.dumps([{"CreatedBy": t} for t in texts]).encode(), numbers)]
        for texts in (["b", "a"], ["c", "b", "a"])
    )
    assert one == other[:2]
    assert other[2] not in one


@pytest.mark.parametrize("raw", [b"{}x", b'[{"CreatedBy": 5}]', b"[1]", b'"a"', b'{"message": 5, "CreatedBy": {}}'])
def test_what_is_no_history_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        reduce_history(raw)


def test_a_step_that_is_too_long_is_told() -> None:
    assert step("/bin/sh -c " + "a" * images.STEP_LIMIT)["cut"] is True
    many = reduce_history(json.dumps([{"CreatedBy": "ENV A=1"}] * (images.STEPS_LIMIT + 5)).encode())
    assert many[0]["cut"] is True
    assert len(many) == images.STEPS_LIMIT + 1


@given(st.text(max_size=300))
def test_any_text_is_read(text: str) -> None:
    list(commands(text))
    look(text)
    assert step(text)["created"] == 7


@pytest.mark.parametrize(
    "unit",
    [
        "curl ",
        "[",
        "eyJ",
        '"',
        "'",
        "$(",
        "`",
        "/a ",
        " -a",
        "TOKEN=",
        "--password ",
        "a://b",
        "sh -c ",
        "apt-get ",
        "\\",
        "xoxb-",
        "# ",
    ],
)
def test_no_text_takes_long(unit: str) -> None:
    """A hostile build file must not stop an audit."""
    text = "RUN /bin/sh -c " + unit * (images.STEP_LIMIT // len(unit) - 20)
    start = time.process_time()
    step(text)
    assert time.process_time() - start < 2


FOLDER = "/var/lib/docker/overlay2/abc/diff"


def layers(*records: str, code: str = "rc 0") -> Any:
    said = "".join(f"\nfeed {record}" for record in ("doc images:layers-used 1\n", *records, code, "end\n")).encode()
    found = split(said, streams.heard(said, "feed"), "feed").records
    return image_answers.about(found[0], found[1:], Problem(Reason.TRUNCATED, "cut"))


WHOLE = (
    f"layer-folders used\nD /proc/9/root{FOLDER} {FOLDER}\n",
    f"layer-files used\ns 4755 /proc/9/root{FOLDER}/bin/su\nk 600 /proc/9/root{FOLDER}/root/.ssh/id_rsa\nrc 0\n",
    f"layer-keys used\nkey /proc/9/root{FOLDER}/root/.ssh/id_rsa\n",
    f"layer-entries used\nD /proc/9/root{FOLDER}\no bin/su\no var/lib/dpkg/status\nP /proc/9/root{FOLDER}/var/lib/dpkg/status\nend\n",
    f"layer-packages used\nN /proc/9/root{FOLDER}/var/lib/dpkg/status\nn zlib1g\nn bash\nn <script>\nend\n",
)


def test_layers_of_an_engine_with_mounts_of_its_own() -> None:
    assert layers(*WHOLE) == {
        "folders": {
            FOLDER: {
                "setuid": [{"path": "/bin/su", "mode": "4755"}],
                "hides": ["/bin/su", "/var/lib/dpkg/status"],
                "secrets": [{"path": "/root/.ssh/id_rsa", "kind": "private key"}],
                "databases": {"dpkg": ["bash", "zlib1g"]},
            }
        },
        "problems": [],
    }


@pytest.mark.parametrize("missing", range(5))
def test_a_part_that_is_missing_is_no_answer(missing: int) -> None:
    assert isinstance(layers(*(r for i, r in enumerate(WHOLE) if i != missing)), Problem)


@pytest.mark.parametrize(
    ("part", "cut", "reason"),
    [(1, "rc 0", Reason.TRUNCATED), (3, "end", Reason.TRUNCATED), (4, "end", Reason.TRUNCATED)],
)
def test_a_part_that_was_cut_is_no_answer(part: int, cut: str, reason: Reason) -> None:
    records = list(WHOLE)
    records[part] = records[part].replace(f"{cut}\n", "")
    found = layers(*records)
    assert isinstance(found, Problem)
    assert found.reason is reason


@pytest.mark.parametrize(("code", "reason"), [("124", Reason.TIMEOUT), ("1", Reason.ABSENT)])
def test_a_search_that_failed_is_no_answer(code: str, reason: Reason) -> None:
    found = layers(WHOLE[0], WHOLE[1].replace("rc 0", f"rc {code}"), *WHOLE[2:])
    assert isinstance(found, Problem)
    assert found.reason is reason


@pytest.mark.parametrize(
    ("line", "form", "value"),
    [
        ("export DOCKER_CONTENT_TRUST=1", "export", "1"),
        ("DOCKER_CONTENT_TRUST=1; export DOCKER_CONTENT_TRUST", "export", "1"),
        ('declare -x DOCKER_CONTENT_TRUST="true"  # trust', "export", "1"),
        ("DOCKER_CONTENT_TRUST=1", "assign", "1"),
        ("export DOCKER_CONTENT_TRUST=0", "export", "0"),
        ("export DOCKER_CONTENT_TRUST", "exported", ""),
        ("unset DOCKER_CONTENT_TRUST", "unset", ""),
        ("  export DOCKER_CONTENT_TRUST=1", "other", "other"),
        ("[ -z x ] || export DOCKER_CONTENT_TRUST=1", "other", "other"),
        ("export TOKEN=abc DOCKER_CONTENT_TRUST=1", "other", "other"),
        ("export DOCKER_CONTENT_TRUST_SERVER=https://x", "other", "other"),
        ("export DOCKER_CONTENT_TRUST=$X", "other", "other"),
    ],
)
def test_lines_of_profiles(line: str, form: str, value: str) -> None:
    said = f"\nfeed trust-client\nDocker version 28.2.2, build x\n\nfeed rc 0\nfeed trust-places\n/etc/profile:3:{line}\n/etc/profile:4:# {line}\n\nfeed end\n"
    found = image_answers.content_trust(split(said.encode(), streams.heard(said.encode(), "feed"), "feed"))
    assert found == {
        "client": "28.2.2",
        "places": [{"path": "/etc/profile", "line": 3, "form": form, "value": value}],
        "denied": [],
    }


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1", "docker.io/library/nginx"),
        ("nginx@sha256:ab", "docker.io/library/nginx"),
        ("a/b:1", "docker.io/a/b"),
        ("docker.io/nginx", "docker.io/library/nginx"),
        ("index.docker.io/a/b", "docker.io/a/b"),
        ("localhost/a", "localhost/a"),
        ("localhost:5000/a:1", "localhost:5000/a"),
        ("r.example/a/b@sha256:ab", "r.example/a/b"),
    ],
)
def test_repositories(name: str, whole: str) -> None:
    assert repository(name) == whole


def test_within() -> None:
    assert is_within("r.example/a", ("r.example",))
    assert is_within("r.example/a", ("r.example/a",))
    assert not is_within("r.example.evil/a", ("r.example",))
    assert not is_within("r.example/ab", ("r.example/a",))
    assert not is_within("r.example/a", ())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ApprovedBase("a", ()),
        lambda: ApprovedBase("a", ("ab",)),
        lambda: VerifiedSignature(("ab",)),
        lambda: SetuidFiles(("bin/su",)),
    ],
)
def test_what_can_not_be_meant_is_refused(make: Any) -> None:
    with pytest.raises(ValueError):
        make()
