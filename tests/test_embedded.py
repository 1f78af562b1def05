"""Programs inside others, and platforms: what is read of them, and what stays unknown, without a host."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.facts import embedded_answers, platforms
from auditor.facts.platforms import MANIFEST, UNIT
from auditor.facts.records import split
from tests.support import streams
from tests.support.kube_platforms import line

M = "0f" * 16
START = 1_700_000_000
K3S = {"pid": 5, "name": "k3s", "exe": "/d/data/x/bin/k3s", "args": ["server"], "uid": 0, "started": START, "contained": False,
       "namespace": "same", "environ": {}}  # fmt: skip
KUBELITE = {**K3S, "name": "kubelite", "args": [], "environ": {"SNAP_DATA": "/s/1", "SNAP": "/snap/1"}}


def found(process: dict[str, Any], *records: bytes) -> dict[str, Any]:
    """Return what is known of the programs inside a process, by name."""
    processes = [dict(process)]
    said = b"".join(b"\n" + M.encode() + b" " + r for r in (*records, b"end\n"))
    embedded_answers.add(split(said, streams.heard(said, M), M), processes)
    return {p["name"]: p for p in processes}


def journal(*lines: str, code: str = "0", late: int = 3) -> bytes:
    body = "".join(f"{START + late}.000001 host k3s[5]: {text}\n" for text in lines)
    return f"said 5 journal\n{body}code {code}\n".encode()


def server(store: str) -> str:
    return line("kube-apiserver", ["--anonymous-auth=false", f"--etcd-servers={store}"])


ETCD = b"etcd 5 /d/server/db/etcd/config\n%d 900 regular file\n"
NO_ETCD = b"etcd 5 /d/server/db/etcd/config\n"
GONE = b"rc 1\n"


def test_arguments_as_the_log_has_them() -> None:
    text = line("kubelet", ["--a=1", r"--b=x \"y\" z", "--token=planted", "--c"])
    kubelet = found(K3S, b"data 5\n/d\n", journal("first", text))["kubelet"]
    assert kubelet["args"] == ["--a=1", '--b=x "y" z', "--token=[redacted]", "--c"]
    assert kubelet["started"] == START + 3
    assert (kubelet["pid"], kubelet["origin"], kubelet["exe"]) == (5, "log of k3s (pid 5)", "/d/data/x/bin/k3s")
    assert found(K3S, b"data 5\n/d\n")["k3s"]["data_dir"] == "/d"


def test_the_first_line_counts_and_lines_of_others_do_not() -> None:
    injected = 'E1 got "Running kubelet --anonymous-auth=false"'
    both = found(K3S, journal(injected, line("kubelet", ["--a=1"]), line("kubelet", ["--a=2"])))
    assert both["kubelet"]["args"] == ["--a=1"]
    assert "unseen" in found(K3S, journal(injected))["kubelet"]
    assert "unseen" in found(K3S, journal(line("kubelet", ["--a=1"]), late=-60))["kubelet"]  # of a process before it


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (journal(), "has no message"),
        (journal("x", late=7200), "rotated away"),
        (journal("x"), "no line of this start"),
        (journal("x", code="124"), "took too long"),
        (journal("x", code="cut"), "first 20,000 messages"),
        (journal("x", code="127"), "could not be read"),
        (b"said 5 journal\nNo journal files were opened due to insufficient permissions.\ncode 1\n", "may not read its log"),
        (b"said 5 journal\nHint: You are currently not seeing messages from other users and the system.\ncode 0\n", "may not read"),
        (b"said 5 none\n", "no journal"),
        (b"said 5 file\ncode 1\n", "the file that it logs to"),
        (b"etcd 5 x\n", "was not asked for"),
    ],
)
def test_what_is_not_known_says_why(record: bytes, said: str) -> None:
    programs = found(K3S, record)
    assert said in programs["kubelet"]["unseen"]
    assert programs["kubelet"]["args"] == []
    assert "unseen" in programs["etcd"]


def test_a_file_has_lines_of_starts_before() -> None:
    old, new = line("kubelet", ["--a=1"], "2020-01-01T00:00:00Z"), line("kubelet", ["--a=2"], "2023-11-14T22:13:21Z")
    both = found(K3S, f"said 5 file\n{old}\n{new}\ncode 0\n".encode())
    assert both["kubelet"]["args"] == ["--a=2"]
    assert "unseen" in found(K3S, f"said 5 file\n{old}\ncode 0\n".encode())["kubelet"]


@pytest.mark.parametrize(
    ("records", "key", "said"),
    [
        ([journal(server("https://127.0.0.1:2379")), ETCD % (START + 1), b"rc 0\n"], "origin", "/d/server/db/etcd/config"),
        ([journal(server("https://[::1]:2379")), ETCD % (START + 1), b"rc 0\n"], "origin", "/d/server/db/etcd/config"),
        ([journal(server("https://127.0.0.1:2379")), NO_ETCD, GONE], "unseen", "looking for"),
        ([journal(server("https://127.0.0.1:2379"))], "unseen", "not looked for"),
        ([journal(server("unix://kine.sock")), ETCD % START, b"rc 0\n"], "elsewhere", "SQL database"),
        ([journal(server("https://u:planted@db.example:2379")), NO_ETCD, GONE], "elsewhere", "other hosts"),
        ([journal("x"), ETCD % (START + 1), b"rc 0\n"], "origin", "/d/server/db/etcd/config"),
        ([journal("x"), ETCD % (START - 900), b"rc 0\n"], "unseen", "isn't known"),
        ([journal("x"), NO_ETCD, GONE, b"sqlite 5\n1 1 regular file\n", b"rc 0\n"], "elsewhere", "SQLite"),
        ([journal("x"), NO_ETCD, GONE, b"sqlite 5\n", GONE], "unseen", "isn't known"),
    ],
)
def test_which_datastore_k3s_has(records: list[bytes], key: str, said: str) -> None:
    etcd = found(K3S, *records)["etcd"]
    assert said in etcd[key]
    assert "planted" not in str(etcd)
    assert {"origin", "unseen", "elsewhere"} & set(etcd) == {key}


def test_an_agent_has_no_control_plane_and_other_commands_have_nothing() -> None:
    assert set(found({**K3S, "args": ["agent"]}, journal())) == {"k3s", "kubelet", "kube-proxy"}
    assert set(found({**K3S, "args": ["kubectl"]}, journal())) == {"k3s"}
    assert set(found({**K3S, "contained": True}, journal())) == {"k3s"}


def test_arguments_from_files() -> None:
    text = (
        b'--cert-dir=${SNAP_DATA}/certs\n# --anonymous-auth=true\n\n  --a="b c"\n--bin=$SNAP/bin\n--x=$OTHER\n--password=planted\n'
    )
    record = b"af 5 kubelet /s/1/args/kubelet\n%d 90 regular file\n" % START
    kubelet = found(KUBELITE, record + text, b"rc 0\n")["kubelet"]
    assert kubelet["args"] == ["--cert-dir=/s/1/certs", "--a=b c", "--bin=/snap/1/bin", "--x=$OTHER", "--password=[redacted]"]
    assert kubelet["origin"] == "/s/1/args/kubelet of kubelite (pid 5)"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "not told of a file"),
        ([b"af 5 kubelet /a\n%d 9 regular file\n--a\n" % (START + 60), b"rc 0\n"], "restart pending"),
        ([b"af 5 kubelet /a\n", b"rc 1\n"], "/a"),
        ([b"af 5 kubelet /a\n1 9 regular file\n--a\n"], "did not arrive"),
        ([b"af 5 kubelet /a\n1 9 regular file\n" + b"-" * 2_000_000, b"rc 0\n"], "larger"),
    ],
)
def test_files_that_prove_nothing(records: list[bytes], said: str) -> None:
    assert said in found(KUBELITE, *records)["kubelet"]["unseen"]


def test_a_worker_of_microk8s_has_no_control_plane() -> None:
    programs = found({**KUBELITE, "args": ["--start-control-plane=false"]})
    assert "--start-control-plane=false" in programs["kube-apiserver"]["elsewhere"]
    assert "unseen" in programs["kubelet"]


@given(
    st.sampled_from([b"said 5 journal", b"said 5 file", b"said", b"etcd 5", b"af 5 kubelet", b"af 5 kubelet /a", b"data 5"]),
    st.binary(max_size=300),
)
def test_any_answer_is_read_without_raising(words: bytes, said: bytes) -> None:
    for process in (K3S, KUBELITE):
        found(process, words + b"\n" + said, b"rc 0\n")


def process(name: str, *args: str, **more: Any) -> dict[str, Any]:
    return {**K3S, "name": name, "args": list(args), **more}


@pytest.mark.parametrize(
    ("processes", "name"),
    [
        ([process("k3s", "server"), process("kubelet", "--node-labels=eks.amazonaws.com/x=y")], "k3s"),
        ([process("kubelet"), process("rke2", "server")], "RKE2"),
        ([process("kubelite")], "microk8s"),
        ([process("kubelet", "--config=/etc/kubernetes/kubelet.conf")], "OpenShift"),
        ([process("kubelet", "--config", "/etc/kubernetes/kubelet/config.json")], "EKS"),
        ([process("kubelet", "--node-labels=a=b,cloud.google.com/gke-nodepool=p")], "GKE"),
        ([process("kubelet", "--node-labels=kubernetes.azure.com/cluster=c")], "AKS"),
        ([process("kubelet", "--config=/etc/kubernetes/kubelet.yaml")], "Talos"),
        ([process("kubelet", "--kubeconfig=/etc/kubernetes/kubelet.conf",
                  "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf")], "kubeadm"),
        ([process("kube-apiserver", "--tls-cert-file=/etc/kubernetes/pki/apiserver.crt", contained=True)], "kubeadm"),
        ([process("kubelet", "--kubeconfig=/srv/x")], None),
        ([process("k3s", "server", contained=True)], None),
        ([process("dockerd", "--label=eks.amazonaws.com/x=y")], None),
        ([], None),
    ],
)  # fmt: skip
def test_platforms_are_told_by_what_runs(processes: list[dict[str, Any]], name: str | None) -> None:
    told = platforms.platform_of(processes)
    assert (told[0].name if told else None) == name
    if told:
        assert told[1]


def test_what_a_platform_has_not() -> None:
    managed = [process("kubelet", "/etc/eks/x")]
    assert "provider" in platforms.without(managed, "etcd")
    assert platforms.without(managed, UNIT) == ""
    assert "k3s" in platforms.without([process("k3s")], MANIFEST)
    assert platforms.without([], MANIFEST) == ""


def test_flags_that_stand_elsewhere_are_not_known_to_be_unset() -> None:
    assert "--openshift-config" in platforms.partial(process("kube-apiserver", "--openshift-config=/x"))
    assert platforms.partial(process("kube-apiserver", "--openshift-configs=/x")) == ""
    assert platforms.partial(process("kubelet", partial="why")) == "why"


def test_places_are_plain_lines() -> None:
    for row in platforms.places().splitlines():
        kind, program, path = row.split(" ")
        assert kind.replace("-", "").isalpha()
        assert program == "-" or any(p.program == program for p in platforms.PLATFORMS)
        assert path.startswith(("/", "@/"))
        assert not set(path) & set("*?$`'\"\\;&|<>")
