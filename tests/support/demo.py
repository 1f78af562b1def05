"""Makes the demo's evidence anew: collected from real test hosts and a served recording, then given neutral names.

``python -m tests.support.demo`` as root; commit what it writes to auditor/demo.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import tempfile
from pathlib import Path
from typing import Any

from auditor import engine, evidence, inventory
from auditor.audit import Selection
from auditor.catalogue import packaged
from auditor.collect import Collector
from auditor.model import Evidence
from checks import check_types
from tests.support.apiserver import serving
from tests.support.auditing import host_entry
from tests.support.engine import DockerHost
from tests.support.host import Entry
from tests.support.kube_node import APISERVER, CONFIGZ, STATIC, KubeNode

FOLDER = Path(__file__).parents[2] / "auditor" / "demo"
WHEN = "2026-11-21T09:00:00Z"
VERSION = "v1.35.2"
KERNEL = "6.1.0-28-amd64"
ADDRESSES = {"web-1": "10.0.0.11", "cp-1": "10.0.0.21", "shop": "prod"}


def neutral(found: Evidence) -> Evidence:
    """Give evidence the demo's own time, addresses and kernel."""
    text = json.dumps({k: evidence.encode_answer(v) for k, v in found.facts.items()})
    text = text.replace(platform.release(), KERNEL)
    facts: dict[str, Any] = {k: evidence.decode_answer(v) for k, v in json.loads(text).items()}
    if isinstance(facts.get("mounts"), list):  # the test host's own root is mounted below this machine's
        facts["mounts"] = [m for m in facts["mounts"] if not m["path"].startswith("/dev/shm")]
    target = dataclasses.replace(found.target, address=ADDRESSES[found.target.name], groups=("demo",))
    return dataclasses.replace(found, target=target, facts=facts, collected_at=WHEN)


def main() -> None:
    """Start the hosts, collect, save."""
    library = packaged(check_types())
    benchmarks = [library.load(f"{n}@{v}") for n, versions in library.names().items() for v in versions]
    with tempfile.TemporaryDirectory() as temporary, DockerHost(hostname="web-1", settings={"log-level": "info"}) as docker:
        folder = Path(temporary)
        with KubeNode(hostname="cp-1", version=VERSION) as node, serving(folder / "api") as server:
            said = {c: node.components[c] for c in STATIC}
            # Somebody switched profiling off in the manifest, and the program was never restarted.
            server.show_node("cp-1", {**said, "kube-apiserver": [*APISERVER, "--profiling=false"]}, VERSION)
            server.configz("cp-1", **CONFIGZ)
            node.place(
                Entry(
                    "/etc/kubernetes/manifests/kube-apiserver.yaml",
                    node.run("cat", "/etc/kubernetes/manifests/kube-apiserver.yaml"),
                    0o644,
                )
            )
            hosts = [host_entry(docker, "web-1"), host_entry(node, "cp-1")]
            cluster = {"name": "shop", "kubeconfig": str(server.kubeconfig()), "nodes": ["cp-1"], "nodes_proxy": True}
            path = folder / "inventory.yaml"
            path.write_text(json.dumps({"hosts": hosts, "clusters": [cluster]}))
            chosen = inventory.load(path)
            used = Selection().resolve(library)
            collector = Collector(
                chosen,
                engine.needs(benchmarks, "host") | used.needs("host"),
                engine.needs(benchmarks, "cluster") | used.needs("cluster"),
            )
            for found in collector.run(list(chosen.specs())):
                assert found.error is None, found.error
                made = neutral(found)
                assert not re.search(r"auditor-host-|/tmp/|/dev/shm|127\.0\.[1-9]", json.dumps(dict(made.facts), default=str)), (
                    made.target.name
                )
                print(evidence.save(made, FOLDER))


if __name__ == "__main__":
    main()
