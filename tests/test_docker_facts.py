"""Documents of engines: what is kept, what is refused, and that no secret gets through."""

import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts.docker import DOCUMENTS, reduce
from auditor.facts.redact import REDACTED, is_secret_name, redact_args, redact_data, redact_text, redact_url
from checks.engines import look_up, parse_path

RECORDED = Path(__file__).parent / "recorded" / "docker"
API = json.loads((RECORDED / "engine-20.10-api.json").read_text())
CLI = json.loads((RECORDED / "engine-20.10-cli.json").read_text())
CONTAINERS = {c["Name"]: c for c in API["containers"].values()}
IMAGES = {i["RepoTags"][0]: i for i in API["images"].values()}


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def by_id(elements: list[dict[str, Any]]) -> dict[str, Any]:
    """Health is left out: it changes between two questions."""
    found = {}
    for element in elements:
        element.get("State", {}).pop("Health", None)
        found[element.get("Id") or element["Name"]] = element
    return found


@pytest.mark.parametrize("document", ["info", "version"])
def test_command_line_and_api_give_the_same_object(document: Any) -> None:
    api, cli = reduce(document, raw(API[document])), reduce(document, raw(CLI[document]))
    for told in (api, cli):
        told.pop("SystemTime", None)  # they were asked one after the other
    assert api == cli


@pytest.mark.parametrize("document", ["networks", "volumes"])
def test_command_line_and_api_give_the_same_list(document: Any) -> None:
    assert by_id(reduce(document, raw(API[document]))) == by_id(reduce(document, raw(CLI[document])))
    assert reduce(document, raw(API[document]))


@pytest.mark.parametrize("document", ["containers", "images"])
def test_command_line_and_api_give_the_same_elements(document: Any) -> None:
    api = by_id([reduce(document, raw(e)) for e in API[document].values()])
    assert api == by_id([reduce(document, raw(e)) for e in CLI[document]])
    assert len(api) > 3


def test_no_secret_of_a_recorded_engine_is_kept() -> None:
    documents = [reduce(d, raw(API[d])) for d in ("info", "version", "networks", "volumes")]
    documents += [reduce("containers", raw(c)) for c in API["containers"].values()]
    documents += [reduce("images", raw(i)) for i in API["images"].values()]
    for secret in ("hunter2", "abc123secret"):
        assert secret in json.dumps(API)
        assert secret not in json.dumps(documents)


def test_environment_is_names_only() -> None:
    assert reduce("containers", raw(CONTAINERS["/named"]))["Config"]["Env"][0] == "TOKEN"
    assert "DB_PASSWORD" in reduce("images", raw(IMAGES["app:1"]))["Config"]["Env"]


def test_commands_keep_their_first_word() -> None:
    image = reduce("images", raw(IMAGES["app:1"]))
    assert image["Config"]["Cmd"] == ["/bin/sleep", REDACTED]
    assert image["Config"]["Healthcheck"]["Test"] == ["CMD", REDACTED]
    assert reduce("images", raw(IMAGES["nocheck:1"]))["Config"]["Healthcheck"]["Test"] == ["NONE"]


def container(**host: Any) -> bytes:
    return raw({"Id": "a" * 64, "Name": "/c", "State": {"Running": False}, "Config": {}, "HostConfig": host})


def test_a_seccomp_profile_is_a_digest() -> None:
    one, other = (reduce("containers", container(SecurityOpt=[f'seccomp={{"x":"{x}"}}', "no-new-privileges"])) for x in "ab")
    assert one["HostConfig"]["SecurityOpt"][0].startswith("seccomp=[profile sha256:")
    assert one != other
    assert one["HostConfig"]["SecurityOpt"][1] == "no-new-privileges"
    assert reduce("containers", container(SecurityOpt=["seccomp=unconfined"]))["HostConfig"]["SecurityOpt"] == [
        "seccomp=unconfined"
    ]


def test_credentials_of_volumes_mirrors_and_networks_are_taken_out() -> None:
    options = {"type": "cifs", "o": "addr=nas,username=bob,password=hunter2", "device": "//nas/share"}
    mounts = [{"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}]
    reduced = [
        reduce("volumes", raw({"Volumes": [{"Name": "v", "Driver": "local", "Options": options}]})),
        reduce("containers", container(Mounts=mounts)),
        reduce("info", raw({"ServerVersion": "27", "RegistryConfig": {"Mirrors": ["https://bob:hunter2@mirror.example/"]}})),
        reduce("networks", raw([{"Id": "n", "Name": "n", "Options": {"auth-token": "hunter2", "mtu": "1450"}}])),
    ]
    assert "hunter2" not in json.dumps(reduced)
    assert reduced[0][0]["Options"]["o"] == f"addr=nas,username=bob,password={REDACTED}"
    assert reduced[3][0]["Options"]["mtu"] == "1450"


def test_no_volumes_at_all() -> None:
    """The engine writes null where it has none."""
    assert reduce("volumes", b'{"Volumes": null, "Warnings": null}') == []
    assert reduce("volumes", b"[]") == []


def test_the_command_line_without_an_engine_is_refused() -> None:
    """It prints a whole document of zeros, in which live restore is "false"."""
    with pytest.raises(ValueError, match="Cannot connect to the Docker daemon|no ServerVersion"):
        reduce("info", (RECORDED / "no-engine-info-cli.json").read_bytes())
    with pytest.raises(ValueError):
        reduce("version", b'{"Client": {"Version": "28.2.2"}, "Server": null}')


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"17", b'"x"', b"{}", b'{"message": "page not found"}', b"\xff\xfe", b"[1]", b"[" * 5000]
)
def test_other_shapes_are_refused(document: Any, body: bytes) -> None:
    with pytest.raises(ValueError):
        reduce(document, body)


def test_an_error_message_is_told() -> None:
    with pytest.raises(ValueError, match="authorization denied by plugin"):
        reduce("containers", b'{"message": "authorization denied by plugin x"}')


@pytest.mark.parametrize("missing", ["Id", "State", "Config", "HostConfig"])
def test_a_container_without_an_essential_part_is_refused(missing: str) -> None:
    document = {k: v for k, v in CONTAINERS["/good"].items() if k != missing}
    with pytest.raises(ValueError, match=missing):
        reduce("containers", raw(document))


@pytest.mark.parametrize(
    "host",
    [
        {"Privileged": "false"},
        {"Privileged": 0},
        {"Memory": "1"},
        {"Memory": True},
        {"CapAdd": "ALL"},
        {"CapAdd": [1]},
        {"Binds": {}},
    ],
)
def test_a_field_of_another_type_is_refused(host: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"HostConfig\."):
        reduce("containers", container(**host))


@given(st.binary(max_size=200), st.sampled_from(DOCUMENTS))
def test_bytes_are_read_or_refused(body: bytes, document: Any) -> None:
    with contextlib.suppress(ValueError):
        reduce(document, body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["Config", "HostConfig", "State", "Env", "Mounts", "x"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, JSON, JSON)
def test_any_json_in_the_essential_parts_is_read_or_refused(state: Any, config: Any, host: Any) -> None:
    with contextlib.suppress(ValueError):
        reduce("containers", raw({"Id": "a", "State": state, "Config": config, "HostConfig": host}))


SECRET_NAMES = [
    "token",
    "bootstrap-token",
    "oidc-client-secret",
    "clientSecret",
    "identitytoken",
    "SECRET_KEY_BASE",
    "AWS_SECRET_ACCESS_KEY",
    "dbPassword",
    "PGPASSWORD",
    "client-key-data",
    "api_key",
    "apiKey",
    "splunk-token",
    "awsSecretKey",
    "use-service-account-credentials",
    "auth",
    "Authorization",
    "passphrase",
    "db-pass",
]
OTHER_NAMES = [
    "token-auth-file",
    "authentication-token-webhook",
    "authentication-token-webhook-cache-ttl",
    "service-account-private-key-file",
    "tls-private-key-file",
    "tlsPrivateKeyFile",
    "kubelet-client-key",
    "tlskey",
    "key-file",
    "etcd-keyfile",
    "authorization-mode",
    "authorization-plugins",
    "authorization-plugin",
    "rotateCertificates",
    "service-account-lookup",
    "image-credential-provider-config",
    "no-new-privileges",
    "icc",
    "hosts",
    "keepalive",
    "secretName",
    "monkey",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)
    assert redact_args([f"--{name}=hunter2", f"--{name}", "hunter2"]) == [f"--{name}={REDACTED}", f"--{name}", REDACTED]
    assert redact_data({name: "hunter2"}) == {name: REDACTED}


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_names_that_only_sound_like_secrets(name: str) -> None:
    assert not is_secret_name(name)
    assert redact_args([f"--{name}=/etc/x", f"--{name}", "/etc/x"]) == [f"--{name}=/etc/x", f"--{name}", "/etc/x"]
    assert redact_data({name: ["a", 1, True]}) == {name: ["a", 1, True]}


@pytest.mark.parametrize("word", ["true", "False", "T", "f", "1", "0"])
def test_booleans_stay(word: str) -> None:
    args = [f"--use-service-account-credentials={word}", "--use-service-account-credentials", word, "--other"]
    assert redact_args(args) == args
    assert redact_args(["--use-service-account-credentials", "--other"]) == ["--use-service-account-credentials", "--other"]
    assert redact_data({"automountServiceAccountToken": False, "token": None}) == {
        "automountServiceAccountToken": False,
        "token": None,
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://bob:hunter2@h/x?y=1", f"https://{REDACTED}@h/x?y=1"),
        ("https://hunter2@github.com", f"https://{REDACTED}@github.com"),
        ("mysql://u:p@ss@tcp(h:3306)/db", f"mysql://{REDACTED}@tcp(h:3306)/db"),
        ("see http://a:b@c and http://d:e@f.", f"see http://{REDACTED}@c and http://{REDACTED}@f."),
        ("ssh://audit@10.0.0.1", "ssh://audit@10.0.0.1"),
        ("ssh://audit:hunter2@10.0.0.1", f"ssh://{REDACTED}@10.0.0.1"),
        ("unix:///run/docker.sock", "unix:///run/docker.sock"),
        ("nginx@sha256:abc", "nginx@sha256:abc"),
        ("https://h/a@b", "https://h/a@b"),
    ],
)
def test_urls(before: str, after: str) -> None:
    assert redact_url(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "splunk-token=hunter2,splunk-url=https://x", "a=b,password=hunter2", "PASSWORD='hunter2'", "Authorization: Bearer hunter2hunter2",
        '{"password":"hunter2"}', '{"a": {"password" : "hunter2"}}', "{'token': 'hunter2'}", r'"{\"token\":\"hunter2\"}"', "password = hunter2",
        'password="a\\"hunter2"', 'token="hunter2 cut off', "token='hunter2", 'TOKEN=$"hunter2"', "exec app --token hunter2 --x", "name=v,joinKey=hunter2",
        "Authorization: Token hunter2", "Authorization: Token a,hunter2", "bind_pw=hunter2", "--password\thunter2", "--password=a,hunter2", "x --password a,hunter2 y",
        "password: a,hunter2", "-e DB_PASS=a,hunter2", "name=v,joinKey=a,hunter2", "https://h/?token=a,hunter2", "{token:a,hunter2}",
        "--password=a,b=hunter2", "'DB_PASS=a,b=hunter2'",
        "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nhunter2 cut off",
    ],
)  # fmt: skip
def test_secrets_by_shape(text: str) -> None:
    assert "hunter2" not in redact_text(text)
    assert "hunter2" not in redact_args(["--log-opt", text])[1]


@given(st.text(min_size=1, max_size=12), st.sampled_from(["password", "apiToken", "DB_PASS"]))
def test_a_quoted_secret_is_taken_out_whole(rest: str, name: str) -> None:
    secret = f"zq{rest}qz"
    for text in (json.dumps({"a": {name: secret}, "b": 1}), json.dumps({name: [secret]}), f"x --{name}={shlex.quote(secret)} --y z",
                 f"{name}: {json.dumps(secret)}", f"-e {name}={shlex.quote(secret)}", f"x --{name} {shlex.quote(secret)}"):  # fmt: skip
        left = redact_text(text)
        assert "qz" not in left, text
        assert "zq" not in left


@given(st.text(max_size=12), st.sampled_from(["password", "apiToken", "DB_PASS"]))
def test_a_secret_among_arguments_is_taken_out_whole(rest: str, name: str) -> None:
    """What is no shell's text is not cut like it: a value goes on to the end of its word."""
    secret = f"zq{rest}qz"
    args = [["-e", f"{name}={secret}"], [f"{name}: {secret}"], ["--x", f"a.{name}={secret}"], [f"--{name}", secret, "--y"],
            [f"--{name}={secret}"], [f"--x=a.{name}={secret}"], ["sh", "-c", f"run --{name}={shlex.quote(secret)} x"]]  # fmt: skip
    for words in (
        *map(redact_args, args),
        redact_data({"l": args, "env": [{"name": name, "value": secret}, {"value": 1}], "t": f"{name}={secret}"}),
    ):
        left = json.dumps(words, ensure_ascii=False)
        assert "qz" not in left, words
        assert "zq" not in left


def test_what_a_shell_is_given_keeps_its_other_words() -> None:
    assert redact_args(["sh", "-ec", "TOKEN=zq qz; chmod 4755 /x"]) == ["sh", "-ec", f"TOKEN={REDACTED} qz; chmod 4755 /x"]
    assert redact_args(["token=true", "token: false", "a=b c", "docker://x"]) == [
        "token=true",
        "token: false",
        "a=b c",
        "docker://x",
    ]
    assert redact_data({"env": [{"name": "LANG", "value": "C"}], "v": [{"key": "token", "value": True}]}) == {
        "env": [{"name": "LANG", "value": "C"}], "v": [{"key": "token", "value": True}],
    }  # fmt: skip


def test_other_shapes() -> None:
    token, jwt = "abcdef.0123456789abcdef", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-1"
    assert redact_text(f"x {token} {jwt}") == f"x {REDACTED} {REDACTED}"
    for harmless in (
        "kubelet.conf",
        "docker.registryexample",
        "a=b",
        "-H",
        "tcp://0.0.0.0:2376",
        "seccomp=unconfined",
        "10.0.0.1:5000/a/b:1",
        "--service-account-lookup --anonymous-auth=false",
        "exec kube-apiserver --token-auth-file /etc/x --use-service-account-credentials --v 2",
        "the token of another account was refused",
        "a token: true",
        "a token: true, another: x",
        '{"token":true,"mode":"x"}',
    ):
        assert redact_text(harmless) == harmless


def test_what_stands_behind_a_secret_stays() -> None:
    for text in ("RUN export TOKEN=zq,qz;chmod 4755 /x", "{token: zq,mode: x}", '{"pin":1234,"mode":"x"}', '{"pin":1234, "mode":"x"}',
                 "name=v,joinKey=zq,mode=x", "https://h/?token=zq,qz&mode=x", "password=zq, mode=x", "[{token:zq},{mode:x}]"):  # fmt: skip
        left = redact_text(text)
        assert left.endswith(text[text.rindex("chmod") if "chmod" in text else text.index("mode") :]), left
        assert not {"zq", "qz", "1234"} & set(re.findall("[a-z0-9]+", left)), left


def test_headers_may_carry_anything() -> None:
    data = redact_data({"staticPodURLHeader": {"X-Custom": ["hunter2"]}, "log-opts": {"splunk-token": "hunter2", "tag": "x"}})
    assert data == {"staticPodURLHeader": {"X-Custom": [REDACTED]}, "log-opts": {"splunk-token": REDACTED, "tag": "x"}}


def test_nested_keys_of_an_encryption_configuration() -> None:
    data = {"resources": [{"resources": ["secrets"], "providers": [{"aescbc": {"keys": [{"name": "k1", "secret": "hunter2"}]}}]}]}
    reduced = redact_data(data)
    assert "hunter2" not in json.dumps(reduced)
    assert reduced["resources"][0]["resources"] == ["secrets"]
    assert reduced["resources"][0]["providers"][0]["aescbc"]["keys"][0]["name"] == "k1"


@given(st.lists(st.text(max_size=20), max_size=6))
def test_arguments_keep_their_number(args: list[str]) -> None:
    assert len(redact_args(args)) == len(args)


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=12).map(lambda x: f"zq{x}qz"))
def test_the_value_of_a_secret_flag_never_stays(secret: str) -> None:
    seen = json.dumps(
        [
            redact_args(["--password", secret, f"--token={secret}", f"http://u:{secret}@h/"]),
            redact_data({"a": [{"secret": [secret]}]}),
        ]
    )
    assert secret not in seen


def test_paths_into_documents() -> None:
    document = {"Options": {"com.docker.network.bridge.enable_icc": "false"}, "Name": "bridge"}
    assert look_up(document, parse_path("networks", 'Options["com.docker.network.bridge.enable_icc"]')) == "false"
    assert look_up(API["version"], parse_path("version", "Components[].Name"))[0] == "Engine"
    assert look_up(API["info"], parse_path("info", "RegistryConfig.IndexConfigs{}.Secure")) == [True]
    assert look_up(API["info"], parse_path("info", "Swarm.LocalNodeState")) == "inactive"
    assert look_up({}, parse_path("info", "Swarm.LocalNodeState")) is None


@pytest.mark.parametrize("path", ["", ".", "a..b", "LiveRestoreEnable", "Swarm.Nope", "HttpProxy", 'Options["x'])
def test_paths_that_lead_nowhere(path: str) -> None:
    """A field that is not read would always be missing: a mistake in the control, not in the evidence."""
    with pytest.raises(ValueError):
        parse_path("info", path)


def test_a_path_with_a_slip_is_helped() -> None:
    with pytest.raises(ValueError, match="did you mean 'LiveRestoreEnabled'"):
        parse_path("info", "LiveRestoreEnable")
