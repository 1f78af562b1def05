"""Audit runs for tests: a small realistic one, one whose evidence is hostile, and large ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from auditor.holdings import Seen
from auditor.model import (
    AuditRun,
    BenchmarkInfo,
    ControlInfo,
    Finding,
    Observation,
    Severity,
    Status,
    TargetKind,
    TargetResult,
    TargetStatus,
    worst,
)
from auditor.score import scores

PASS, FAIL, ERROR, MANUAL, NONE = Status.PASS, Status.FAIL, Status.ERROR, Status.MANUAL, Status.NOT_APPLICABLE
DOCKER, KUBERNETES = ("cis-docker", "1.6.0"), ("cis-kubernetes", "1.12.0")
KERNEL = "Debian GNU/Linux 12 (bookworm), Linux 6.1.0-26-amd64"


def control(id_: str, key: str, severity: str, title: str, rationale: str, remediation: str, level: int = 1) -> ControlInfo:
    assessment = "manual" if id_ in ("2.14", "4.1", "5.2.1") else "automated"
    return ControlInfo(id_, key, title, level, assessment, Severity(severity), id_.rpartition(".")[0], rationale, remediation)


DOCKER_CONTROLS = (
    control("1.1.3", "docker-audit-dockerd", "medium", "The kernel's audit log records what is done with dockerd",
            "The engine runs as root. Without an audit rule there is no trace of who started or replaced it.",
            "Add the line -w /usr/bin/dockerd -k docker to a file in /etc/audit/rules.d and run augenrules --load."),
    control("2.2", "docker-daemon-icc", "medium", "Containers on the default bridge can't talk to each other unless linked",
            "One broken container can otherwise reach every port of its neighbours, published or not.",
            'Set "icc" to false in /etc/docker/daemon.json and restart the engine.'),
    control("2.7", "docker-daemon-tls", "critical", "The engine's TCP port asks clients for a certificate",
            "Whoever reaches an open engine port is root on this host within seconds.",
            "Start dockerd with --tlsverify, --tlscacert, --tlscert and --tlskey, or remove the tcp:// entry from hosts."),
    control("2.14", "docker-no-new-privileges", "high", "Containers can't gain privileges unless told otherwise",
            "A setuid program inside a container is a ladder to root there. The daemon can take the ladder away for all.",
            'Set "no-new-privileges" to true in /etc/docker/daemon.json and restart the engine.'),
    control("2.15", "docker-live-restore", "low", "Containers keep running while the daemon restarts",
            "Without it every security update of the engine is an outage, so updates are put off.",
            'Set "live-restore" to true in /etc/docker/daemon.json and reload the engine.'),
    control("3.5", "docker-etc-owner", "high", "The folder /etc/docker belongs to root",
            "Whoever owns this folder decides which registries and certificates the engine trusts.",
            "chown root:root /etc/docker"),
    control("3.18", "docker-daemon-json-mode", "medium", "daemon.json is writable by its owner alone",
            "The file decides how the engine starts; others must not be able to change it.",
            "chmod 0644 /etc/docker/daemon.json"),
    control("4.1", "docker-image-user", "medium", "Images run their program as a user other than root",
            "An attacker who breaks out of a program running as root starts with more than one who doesn't.",
            "Add a USER line to the Dockerfile of each image named here, and build it again."),
    control("5.3", "docker-container-capabilities", "high", "Containers hold only the kernel capabilities they need",
            "Added capabilities such as SYS_ADMIN or NET_ADMIN undo much of what a container isolates.",
            "Start the container with --cap-drop=ALL and add back, one by one, the capabilities that it fails without.", 1),
    control("5.4", "docker-container-privileged", "critical", "No container runs privileged",
            "A privileged container sees every device of the host and can mount its disks: it is root on the host.",
            "Run the container again without --privileged; give it single devices or capabilities instead."),
    control("5.10", "docker-container-memory", "medium", "Every container has a memory limit",
            "Without a limit one leaking container takes the host's memory and with it all its neighbours.",
            "Start the container with --memory and a value that fits it."),
    control("5.26", "docker-container-health", "low", "Containers report their own health",
            "The engine can't restart what it doesn't know to be broken.",
            "Add a HEALTHCHECK line to the image, or start the container with --health-cmd.", 2),
)  # fmt: skip
KUBERNETES_CONTROLS = (
    control("1.1.1", "kube-apiserver-manifest-mode", "high", "The API server's manifest is writable by its owner alone",
            "Whoever can write this file decides how the API server starts.",
            "chmod 600 /etc/kubernetes/manifests/kube-apiserver.yaml"),
    control("1.2.1", "kube-apiserver-anonymous", "high", "The API server refuses anonymous requests",
            "Requests without credentials should not be told anything, not even that a name exists.",
            "Start kube-apiserver with --anonymous-auth=false, or allow the health endpoints alone by an AuthenticationConfiguration."),
    control("1.2.6", "kube-apiserver-authorization", "critical", "The API server does not allow everything to everyone",
            "With AlwaysAllow any token is an administrator's.",
            "Start kube-apiserver with --authorization-mode=Node,RBAC."),
    control("4.2.1", "kubelet-anonymous", "critical", "The kubelet refuses anonymous requests",
            "The kubelet's port can run commands in every container of its node.",
            "Set authentication.anonymous.enabled to false in the kubelet's configuration file and restart it."),
    control("4.2.10", "kubelet-rotate-certificates", "medium", "The kubelet renews its client certificate by itself",
            "Certificates that are renewed by hand run out, or are made to last too long.",
            "Set rotateCertificates to true in the kubelet's configuration file."),
    control("5.1.1", "rbac-cluster-admin", "high", "cluster-admin is given only where it is needed",
            "This role may do everything to everything; each holder is another way to lose the cluster.",
            "Bind the subject to a smaller role and delete the binding named here."),
    control("5.1.2", "rbac-secrets", "high", "Few may read Secrets",
            "Reading Secrets in a namespace usually means owning all that runs in it.",
            "Remove get, list and watch on secrets from the roles named here."),
    control("5.2.1", "policy-mechanism", "medium", "Each namespace with user workloads has a pod security policy in force",
            "Something must refuse dangerous pods before they start.",
            "Label each namespace with pod-security.kubernetes.io/enforce, or run an admission policy that does the same."),
    control("5.2.2", "pods-privileged", "critical", "No pod runs a privileged container",
            "A privileged container is root on its node and from there usually on the cluster.",
            "Set securityContext.privileged to false in the workloads named here."),
    control("5.3.2", "network-policies", "medium", "Every namespace has a network policy",
            "Without one, every pod may talk to every other pod of the cluster.",
            "Create a NetworkPolicy that denies all ingress in each namespace named here, then allow what is needed.", 2),
)  # fmt: skip
DOCKER_SECTIONS = {"1.1": "Linux host", "2": "Docker daemon", "3": "Docker daemon configuration files",
                   "4": "Container images and build files", "5": "Container runtime"}  # fmt: skip
KUBERNETES_SECTIONS = {"1.1": "Control plane node files", "1.2": "API server", "4.2": "Kubelet", "5.1": "RBAC and service accounts",
                       "5.2": "Pod security", "5.3": "Network policies"}  # fmt: skip
BENCHMARKS = (
    BenchmarkInfo(*DOCKER, "CIS Docker Benchmark", "3f" * 32, "Docker 27.3.1 runs on web-1, cp-1; asked for by --benchmark", 117,
                  DOCKER_CONTROLS, DOCKER_SECTIONS),
    BenchmarkInfo(*KUBERNETES, "CIS Kubernetes Benchmark", "a9" * 32, "Kubernetes 1.33 was found on cp-1 and prod", 131,
                  KUBERNETES_CONTROLS, KUBERNETES_SECTIONS),
)  # fmt: skip
INFO = {(b.name, b.version, c.id): c for b in BENCHMARKS for c in b.controls}


def finding(
    target: str, benchmark: tuple[str, str], info: ControlInfo, observations: Iterable[Observation], reason: str = ""
) -> Finding:
    seen = tuple(sorted(observations, key=lambda o: ((FAIL, ERROR, MANUAL, PASS, NONE).index(o.status), o.subject)))
    return Finding(target, *benchmark, info.id, info.key, info.title, info.level, info.assessment, info.severity,
                   worst(o.status for o in seen), reason, seen)  # fmt: skip


def found(
    target: str, benchmark: tuple[str, str], id_: str, *observations: tuple[str, Status, str, str, str], reason: str = ""
) -> Finding:
    return finding(target, benchmark, INFO[*benchmark, id_], (Observation(*o) for o in observations), reason)


def target(name: str, kind: TargetKind = TargetKind.DOCKER_HOST, status: TargetStatus = TargetStatus.AUDITED, error: str | None = None,
           roles: tuple[str, ...] = (), groups: tuple[str, ...] = ("prod",), **facts: str) -> TargetResult:  # fmt: skip
    address = {"web-1": "10.0.0.11", "cp-1": "10.0.0.21", "db-7": "10.0.0.37", "prod": "https://10.0.0.21:6443"}.get(
        name, "10.9.9.9"
    )
    audited = status is TargetStatus.AUDITED
    digest = "".join(f"{(ord(c) * 7919) % 256:02x}" for c in (name * 32)[:32])
    return TargetResult(name, kind, address, "kubernetes" if kind is TargetKind.CLUSTER else "ssh", roles, groups, status, error,
                        digest if audited else None, "2026-03-14T05:00:07Z" if audited else "", facts)  # fmt: skip


def _docker(name: str) -> list[Finding]:
    daemon, file = "daemon/dockerd", "/etc/docker/daemon.json"
    return [
        found(name, DOCKER, "1.1.3", ("file//usr/bin/dockerd", FAIL, "a watch rule", "no rule", "auditctl -l")),
        found(name, DOCKER, "2.2", (daemon, FAIL, "false", "true", "built-in default")),
        found(name, DOCKER, "2.7", (daemon, FAIL, "--tlsverify on tcp://0.0.0.0:2375", "not set", f"flag of process 811 and {file}")),
        found(name, DOCKER, "2.14", (daemon, MANUAL, "true", "true", f"{file}: no-new-privileges")),
        found(name, DOCKER, "2.15", (daemon, PASS, "true", "true", f"{file}: live-restore")),
        found(name, DOCKER, "3.5", ("file//etc/docker", PASS, "root:root", "root:root", "stat")),
        found(name, DOCKER, "3.18", (f"file/{file}", PASS, "0644 or stricter", "0644", "stat")),
        found(name, DOCKER, "4.1", ("image/nginx:1.27", MANUAL, "not root", "no USER: root", "image configuration: User"),
              ("image/registry.example.net/shop/a-very-long-repository-name/with/many/parts/front-end:2026-03-01-build.4711", PASS,
               "not root", "10001:10001", "image configuration: User")),
        found(name, DOCKER, "5.3", ("container/web-1", FAIL, "only NET_BIND_SERVICE", "NET_ADMIN, SYS_ADMIN", "HostConfig.CapAdd"),
              ("container/cache", PASS, "only NET_BIND_SERVICE", "none added", "HostConfig.CapAdd")),
        found(name, DOCKER, "5.4", ("container/web-1", PASS, "false", "false", "HostConfig.Privileged"),
              ("container/agent", FAIL, "false", "true", "HostConfig.Privileged"),
              ("container/cache", PASS, "false", "false", "HostConfig.Privileged")),
        found(name, DOCKER, "5.10", ("container/web-1", FAIL, "set", "not set", "HostConfig.Memory"),
              ("container/agent", FAIL, "set", "not set", "HostConfig.Memory"),
              ("container/cache", PASS, "set", "268435456", "HostConfig.Memory")),
        found(name, DOCKER, "5.26", ("container/web-1", PASS, "set", "curl -f http://localhost/", "Config.Healthcheck")),
    ]  # fmt: skip


def _node(name: str) -> list[Finding]:
    config = "/var/lib/kubelet/config.yaml"
    return [
        found(name, KUBERNETES, "1.1.1", ("file//etc/kubernetes/manifests/kube-apiserver.yaml", PASS, "0600 or stricter", "0600", "stat")),
        found(name, KUBERNETES, "1.2.1", ("process/kube-apiserver", FAIL, "false", "true", "built-in default of --anonymous-auth")),
        found(name, KUBERNETES, "1.2.6", ("process/kube-apiserver", PASS, "contains none of AlwaysAllow", "Node, RBAC",
                                           "--authorization-mode")),
        found(name, KUBERNETES, "4.2.1", ("process/kubelet", ERROR, "false", f"denied: can't read {config}: Permission denied",
                                           f"{config}: authentication.anonymous.enabled")),
        found(name, KUBERNETES, "4.2.10", ("process/kubelet", ERROR, "true", f"denied: can't read {config}: Permission denied",
                                            f"{config}: rotateCertificates")),
    ]  # fmt: skip


def _cluster(name: str) -> list[Finding]:
    return [
        found(name, KUBERNETES, "5.1.1", ("clusterrolebinding/backup-admin", FAIL, "not bound to cluster-admin",
                                           "serviceaccount/data/backup", "ClusterRoleBinding"),
              ("clusterrolebinding/cluster-admin", PASS, "not bound to cluster-admin", "group system:masters (built in)",
               "ClusterRoleBinding")),
        found(name, KUBERNETES, "5.1.2", ("target", ERROR, "", "denied: roles is forbidden: the account may not list roles (403)",
                                           "GET /apis/rbac.authorization.k8s.io/v1/roles")),
        found(name, KUBERNETES, "5.2.1", ("namespace/shop", MANUAL, "a policy in force", "no pod-security label; 2 admission policies",
                                           "Namespace, ValidatingAdmissionPolicy")),
        found(name, KUBERNETES, "5.2.2", ("pod/shop/front-abc", FAIL, "not true", "true (container front)",
                                           "spec.containers[0].securityContext.privileged"),
              ("pod/kube-system/kube-proxy-x2x", FAIL, "not true", "true (container kube-proxy)",
               "spec.containers[0].securityContext.privileged"),
              ("pod/data/db-0", PASS, "not true", "not set", "spec.containers[0].securityContext.privileged")),
        found(name, KUBERNETES, "5.3.2", reason="does not apply: the network plugin (flannel) enforces no policies"),
    ]  # fmt: skip


def run_of_parts(
    targets: Iterable[TargetResult], findings: Iterable[Finding], benchmarks: tuple[BenchmarkInfo, ...] = BENCHMARKS
) -> AuditRun:
    listed = tuple(findings)
    return AuditRun("20260314T050000Z-7f3c", "2026-03-14T05:00:00Z", "2026-03-14T05:00:41Z", "0.1.0", "audit@ops-1 (uid 1001)",
                    tuple(targets), benchmarks, listed, scores(listed), {"level": 1, "limit": ["prod"]})  # fmt: skip


def small() -> AuditRun:
    """A Docker host, a control-plane node and a cluster; one host unreachable, one failed, one excluded."""
    held = (Seen("engine", 1, (("Docker 27.3.1", "containerd 1.7.22, runc 1.1.14, API 1.47"),)),
            Seen("container", 3, tuple((name, "nginx:1.27, running") for name in ("agent", "cache", "web-1"))),
            Seen("image", 900, (("nginx:1.27", "3f9a2b1c0d4e, linux/amd64, built 2026-02-01"),)))  # fmt: skip
    seen = (Seen("node", 1, (("cp-1", "v1.33.2, Debian GNU/Linux 12 (bookworm), containerd://1.7.22, amd64"),)),
            Seen("namespace", 2, (("data", "1 pod"), ("shop", "7 pods"))))  # fmt: skip
    audited = (
        replace(target("web-1", system=KERNEL, engine="Docker 27.3.1", account="audit (uid 1001), sudo as root"), seen=held),
        target("cp-1", TargetKind.NODE, roles=("control-plane", "kubelet"), system=KERNEL, kubelet="1.33.2",
               account="audit (uid 1001), without sudo"),
        replace(target("prod", TargetKind.CLUSTER, roles=(), Kubernetes="v1.33.2", nodes="1"), seen=seen),
    )  # fmt: skip
    others = (
        target("db-7", TargetKind.NODE, TargetStatus.UNREACHABLE, "unreachable: connect to 10.0.0.37 port 22: Connection refused"),
        target("old-3", TargetKind.DOCKER_HOST, TargetStatus.FAILED, "timeout: no answer within 120 s of logging in"),
        target("lab-1", TargetKind.DOCKER_HOST, TargetStatus.EXCLUDED, "not among the groups named by --limit", groups=("lab",)),
    )
    return run_of_parts((*audited, *others), [*_docker("web-1"), *_node("cp-1"), *_cluster("prod")])


def single() -> AuditRun:
    """One Docker host."""
    only = target("web-1", system=KERNEL, engine="Docker 27.3.1", account="root")
    return run_of_parts([only], _docker("web-1"), BENCHMARKS[:1])


#: Texts that a target could send to hurt who reads the report.
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    "<img src=x onerror=alert(2)>",
    "\"><a href='javascript:alert(3)'>x</a>",
    "javascript:alert(4)",
    "</style><style>*{display:none}</style>",
    "url(http://192.0.2.1/x) @import 'http://192.0.2.1/y';",
    "\x1b[2J\x1b]0;owned\x07\x1b[31mred",
    "nul\x00byte \x08\x7f\x9b31m",
    "lone \udc80\ud800 surrogates, \ufffd and \ufffe\uffff",
    "abc\u202etxt.exe\u202c \u2066x\u2069 \u200bz \u200f",
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
    "line\u2028separator\u2029 \r\n\ttab",
    '=HYPERLINK("http://192.0.2.1")',
    "a" * 3000,
    "]]>&amp;&#x3c;script&#x3e;",
    "\u0301" * 200,
)  # fmt: skip


def hostile(big: int = 5 * 1024 * 1024) -> AuditRun:
    """A run in which every text that a target or an inventory can influence is hostile, and one is ``big`` characters."""
    names = [f"host-{i}-{text[:200]}" for i, text in enumerate(HOSTILE)]
    targets = [target(name, system=text, engine=text) for name, text in zip(names, HOSTILE, strict=True)]
    targets = [replace(t, seen=(Seen("container", 1, ((x[:300], x[:300]),)), Seen(x[:80], 700, ((x[:300], ""),))))
               for t, x in zip(targets, HOSTILE, strict=True)]  # fmt: skip
    targets.append(target("broken " + HOSTILE[0], status=TargetStatus.UNREACHABLE, error=" ".join(HOSTILE)))
    info = DOCKER_CONTROLS[9]
    findings = []
    for name, text in zip(names, HOSTILE, strict=True):
        findings.append(finding(name, DOCKER, info, [Observation(f"container/{text}", FAIL, text, text, text)]))
        findings.append(finding(name, DOCKER, DOCKER_CONTROLS[2], [Observation(text, ERROR, text, f"denied: {text}", text)]))
        findings.append(finding(name, DOCKER, DOCKER_CONTROLS[4], [], text))
    huge = "5 MB " + "word<b> " * (big // 16) + "x" * (big // 2) + "END-OF-BIG"
    findings.append(finding(names[0], DOCKER, DOCKER_CONTROLS[1], [Observation("daemon/dockerd", FAIL, "false", huge, "file")]))
    words = " ".join(HOSTILE[:10])
    evil = ControlInfo("9.9", "evil", words, 1, "manual", Severity.CRITICAL, "9", words, words)
    findings.append(finding(names[0], DOCKER, evil, [Observation("daemon/dockerd", FAIL, "false", "true", "flag")]))
    docker = BENCHMARKS[0]
    benchmark = BenchmarkInfo(*DOCKER, words, "3f" * 32, words, 117, (*docker.controls, evil), {**docker.sections, "9": words})
    run = run_of_parts(targets, findings, (benchmark,))
    return AuditRun(**{**{f: getattr(run, f) for f in run.__slots__}, "operator": words, "selection": {"only": [words]}})


def large(hosts: int = 1000, controls: int = 117, containers: int = 0) -> AuditRun:
    """A fleet of Docker hosts with realistic evidence: most of it the same everywhere, containers and times of their own.

    Each host has so many ``containers``; with 0 there are one to three.
    """
    infos = tuple(_numbered(n) for n in range(controls))
    sections = {"1": "Host", "2": "Daemon", "3": "Files", "4": "Images", "5": "Containers"}
    benchmark = BenchmarkInfo(*DOCKER, "CIS Docker Benchmark", "3f" * 32, "Docker was found on every host", 117, infos, sections)
    targets, findings = [], []
    for h in range(hosts):
        name = f"node-{h:04d}.dc{h % 3 + 1}.example.net"
        targets.append(target(name, system=KERNEL, engine=f"Docker 27.{h % 4}.1", groups=(f"dc{h % 3 + 1}",)))
        targets[-1] = replace(targets[-1], seen=_held(h, containers))
        if h % 97 == 96:
            targets[-1] = target(name, status=TargetStatus.UNREACHABLE, error="unreachable: no route to host")
            continue
        findings += [finding(name, DOCKER, info, _seen(h, n, containers), "" if _seen(h, n) else "does not apply: not part of a swarm")
                     for n, info in enumerate(infos)]  # fmt: skip
    return run_of_parts(targets, findings, (benchmark,))


def _numbered(n: int) -> ControlInfo:
    model = DOCKER_CONTROLS[n % len(DOCKER_CONTROLS)]
    return ControlInfo(f"{n // 25 + 1}.{n % 25 + 1}", f"{model.key}-{n}", f"{model.title} ({n})", n % 5 // 4 + 1,
                       "manual" if n % 7 == 0 else "automated", tuple(Severity)[(n * 5 + n // 3) % 4], str(n // 25 + 1), model.rationale,
                       model.remediation)  # fmt: skip


APPS = ("front", "cart", "cache", "search", "mail", "queue", "auth", "metrics", "log-shipper", "proxy", "db", "backup")


def _held(h: int, containers: int) -> tuple[Seen, ...]:
    """What a host of the fleet holds."""
    names = [(f"{APPS[i % 12]}-{(h * 31 + i) % 977:03x}", f"registry.example.net/shop/{APPS[i % 12]}:4.{h % 5}, running")
             for i in range(containers or 3)]  # fmt: skip
    images = sorted({(about.rpartition(",")[0], f"{(h % 5) * 7919:012x}, linux/amd64") for _, about in names})
    engine = Seen("engine", 1, ((f"Docker 27.{h % 4}.1", "containerd 1.7.22, runc 1.1.14, API 1.47"),))
    return (engine, Seen("container", len(names), tuple(sorted(names))), Seen("image", len(images), tuple(images)))


def _seen(h: int, n: int, containers: int = 0) -> list[Observation]:
    mix = (h * 2654435761 + n * 40503) % 1000
    if n % 13 == 12:
        return []
    if n % 7 == 0:
        return [Observation("daemon/dockerd", MANUAL, "a decision", f"{h % 5} registries", "docker info: RegistryConfig")]
    if n % 3 == 0:  # containers: every host has its own
        names = [f"{APPS[i % 12]}-{(h * 31 + i) % 977:03x}" for i in range(containers or 1 + (h + n) % 3)]
        return [Observation(f"container/{c}", FAIL if (mix + i) % 9 == 0 else PASS, "set", "not set" if (mix + i) % 9 == 0 else "268435456",
                            "HostConfig.Memory") for i, c in enumerate(names)]  # fmt: skip
    path = f"/etc/docker/part-{n}.json"
    if mix < 30:
        return [Observation(f"file/{path}", ERROR, "0644 or stricter", f"denied: can't read {path}: Permission denied", "stat")]
    if mix < 200:
        return [Observation(f"file/{path}", FAIL, "0644 or stricter", ("0666", "0777", "0664")[mix % 3], "stat")]
    return [Observation(f"file/{path}", PASS, "0644 or stricter", "0644", "stat")]
