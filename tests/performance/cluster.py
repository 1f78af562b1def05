"""Client CPU and memory for 5,000 pods of a served cluster, beside the floor: the same client reading the same pages, and json.loads.

Then everything that the cluster's own controls need, collected and judged: once as served (eight pods to a workload), once with
every pod a workload of its own that differs from all others, the worst case there is.

``python -m tests.performance.cluster [PODS [RUNS]]``. The server runs in a process of its own, every measurement in a fresh one.
CPU is user and system time of the client from when its libraries are loaded; the memory is the highest of the whole process.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

AIM_RATIO = 1.5
AIM_MEGABYTES = 200


def read_and_parse(kubeconfig: str) -> dict[str, float]:
    """The floor: every page whole, parsed with the standard library, one page in memory at a time."""
    from kubernetes import client, config

    configuration = client.Configuration()
    config.load_kube_config(kubeconfig, None, configuration, persist_config=False)
    pool = client.ApiClient(configuration).rest_client.pool_manager
    headers = {s["key"]: s["value"] for s in configuration.auth_settings().values()}
    count, size, parsing, more = 0, 0, 0.0, ""
    while True:
        page = pool.request("GET", f"{configuration.host}/api/v1/pods?limit=500{more}", headers=headers).data
        started = time.process_time()
        document = json.loads(page)
        parsing += time.process_time() - started
        count += len(document["items"])
        size += len(page)
        token = document["metadata"].get("continue")
        if not token:
            return {"pods": count, "megabytes": size / 1e6, "parsing": parsing}
        more = f"&continue={token}"


def collect(kubeconfig: str) -> dict[str, float]:
    """What an audit does: every pod kept, reduced to the fields that facts declare."""
    from auditor.transports.kubernetes import collect_cluster
    from tests.support.cluster import Spec

    pods = collect_cluster(Spec(kubeconfig, timeout=60), frozenset({"objects:pods"}))["objects:pods"]
    return {"pods": sum(p.get("count", 1) for p in pods)}


def judge(kubeconfig: str, *, apart: bool) -> dict[str, float]:
    """Judge the cluster's own controls; ``apart`` makes every pod one of its own first."""
    from auditor import engine
    from auditor.model import Benchmark, Evidence, Target
    from auditor.transports.kubernetes import collect_cluster
    from tests.support.cluster import EVERYTHING, Spec, controls

    facts = collect_cluster(Spec(kubeconfig, timeout=60), EVERYTHING)
    if apart:
        copies = [json.dumps(p) for p in facts["objects:pods"] for _ in range(p.pop("count", 1))]
        facts["objects:pods"] = [json.loads(c) for c in copies]
        for number, pod in enumerate(facts["objects:pods"]):
            pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"own-{number}", "controller": True}]
            pod["spec"]["containers"][0]["name"] = f"main-{number}"
    chosen = tuple(controls().values())
    started = time.process_time()
    findings = engine.judge([Benchmark("policies", "1", "", chosen, len(chosen), "")],
                            Evidence(Target("cluster", "kubernetes"), "", facts))  # fmt: skip
    return {"pods": 0, "controls": len(findings), "judging": time.process_time() - started}


def child(what: str, kubeconfig: str) -> None:
    import kubernetes.client
    import kubernetes.config  # noqa: F401 - loaded before the clock starts

    import tests.support.cluster  # noqa: F401

    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    asked = {"floor": read_and_parse, "collect": collect, "judge": partial(judge, apart=False), "apart": partial(judge, apart=True)}
    found = asked[what](kubeconfig)
    spent = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**found, "cpu": spent, "peak_mb": peak / 1024, "loaded_mb": loaded / 1024}))


def measure(what: str, kubeconfig: str, runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.performance.cluster", what, kubeconfig]
    seen = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(runs)]
    return {k: statistics.median(s[k] for s in seen) for k in seen[0]}


def main(pods: int = 5000, runs: int = 5) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.apiserver", str(Path(folder) / "server"), str(pods)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            kubeconfig = server.stdout.readline().strip()
            floor, ours, judged, apart = (measure(what, kubeconfig, runs) for what in ("floor", "collect", "judge", "apart"))
            server.stdin.close()
    assert floor["pods"] == ours["pods"] == pods
    ratio = ours["cpu"] / floor["cpu"]
    print(f"{pods} pods in pages of 500, {floor['megabytes']:.0f} MB of JSON, median of {runs} runs")
    print(f"  floor (same client, json.loads): {floor['cpu'] * 1000:7.1f} ms CPU, peak {floor['peak_mb']:6.1f} MB")
    print(f"  collecting:                      {ours['cpu'] * 1000:7.1f} ms CPU, peak {ours['peak_mb']:6.1f} MB"
          f" (with the libraries loaded: {ours['loaded_mb']:.1f} MB)")  # fmt: skip
    print(f"  of the floor, reading without parsing is {(floor['cpu'] - floor['parsing']) * 1000:.1f} ms")
    print(f"  judging {judged['controls']:.0f} controls: {judged['judging'] * 1000:.0f} ms CPU, with everything collected peak "
          f"{judged['peak_mb']:.0f} MB; every pod a workload of its own: {apart['judging'] * 1000:.0f} ms")  # fmt: skip
    print(f"  ratio {ratio:.2f} (aim at most {AIM_RATIO}), peak {ours['peak_mb']:.0f} MB (aim under {AIM_MEGABYTES} MB)")
    return ratio <= AIM_RATIO and ours["peak_mb"] < AIM_MEGABYTES


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in ("floor", "collect", "judge", "apart"):
        child(sys.argv[1], sys.argv[2])
    else:
        sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
