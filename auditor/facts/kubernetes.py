"""Facts about clusters, read from the Kubernetes API.

The value of an `Objects` fact is the list of all objects of one kind, in the API's own field names, reduced to the fields
declared here. Secret values and annotations are never among them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Objects:
    """Ask for every object of one kind, named by its plural, as in ``pods`` or ``clusterroles``."""

    kind: str

    @property
    def key(self) -> str:
        """``objects:pods`` and so on."""
        return f"objects:{self.kind}"


@dataclass(frozen=True, slots=True)
class Server:
    """Ask the API server what it is: ``{"gitVersion": "v1.36.2", "platform": "linux/amd64", ...}``."""

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "server"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind is served, and what of it is kept.

    An ``addon`` kind comes with a network plugin: it is asked for only where the server's discovery document names its group
    and version. Asking straight away would not do: an account without rights on a group gets 403 also where there is no group.
    """

    path: str
    fields: tuple[str, ...]
    addon: bool = False

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        parts = self.path.split("/")
        return parts[2] if parts[1] == "apis" else ""

    @property
    def group_version(self) -> str:
        """Group and version as discovery names them, for example ``apps/v1``."""
        return "/".join(self.path.split("/")[2:-1])

    @property
    def resource(self) -> str:
        """The plural name in the API."""
        return self.path.rpartition("/")[2]


_RULES = tuple(f"rules[].{f}" for f in ("apiGroups", "resources", "resourceNames", "verbs", "nonResourceURLs"))
_META = ("metadata.name", "metadata.namespace", "metadata.labels")
_OWNER = tuple(f"metadata.ownerReferences[].{f}" for f in ("apiVersion", "kind", "name", "controller"))
_BINDING = (
    "roleRef.apiGroup", "roleRef.kind", "roleRef.name",
    "subjects[].kind", "subjects[].apiGroup", "subjects[].name", "subjects[].namespace",
)  # fmt: skip
# Never env, envFrom, command or args: values and secrets stand there. Annotations are never kept either.
_CONTAINER = ("name", "image", "securityContext", "resources", "ports")


def _pod(prefix: str) -> tuple[str, ...]:
    lists = ("containers[]", "initContainers[]", "ephemeralContainers[]")
    return (
        *(f"{prefix}.{f}" for f in ("hostPID", "hostIPC", "hostNetwork", "hostUsers", "securityContext", "os.name", "nodeName",
                                    "serviceAccountName", "automountServiceAccountToken")),
        *(f"{prefix}.{c}.{f}" for c in lists for f in _CONTAINER),
        *(f"{prefix}.volumes[].{f}" for f in ("name", "hostPath.path", "secret.secretName")),
    )  # fmt: skip


KINDS: dict[str, Kind] = {
    "namespaces": Kind("/api/v1/namespaces", _META),
    "nodes": Kind("/api/v1/nodes", (*_META, "status.nodeInfo", "spec.providerID")),
    "pods": Kind("/api/v1/pods", (*_META, *_OWNER, "status.phase", *_pod("spec"))),
    "deployments": Kind("/apis/apps/v1/deployments", (*_META, *_OWNER, "spec.replicas", *_pod("spec.template.spec"))),
    "replicasets": Kind("/apis/apps/v1/replicasets", (*_META, *_OWNER, "spec.replicas", *_pod("spec.template.spec"))),
    "statefulsets": Kind("/apis/apps/v1/statefulsets", (*_META, *_OWNER, "spec.replicas", *_pod("spec.template.spec"))),
    "daemonsets": Kind("/apis/apps/v1/daemonsets", (*_META, *_OWNER, *_pod("spec.template.spec"))),
    "replicationcontrollers": Kind(
        "/api/v1/replicationcontrollers", (*_META, *_OWNER, "spec.replicas", *_pod("spec.template.spec"))
    ),
    "jobs": Kind("/apis/batch/v1/jobs", (*_META, *_OWNER, *_pod("spec.template.spec"))),
    "cronjobs": Kind("/apis/batch/v1/cronjobs", (*_META, *_OWNER, "spec.suspend", *_pod("spec.jobTemplate.spec.template.spec"))),
    "networkpolicies": Kind(
        "/apis/networking.k8s.io/v1/networkpolicies",
        (*_META, "spec.podSelector", "spec.policyTypes", "spec.ingress", "spec.egress"),
    ),
    "serviceaccounts": Kind("/api/v1/serviceaccounts", (*_META, "automountServiceAccountToken")),
    "clusterroles": Kind("/apis/rbac.authorization.k8s.io/v1/clusterroles", (*_META, "aggregationRule", *_RULES)),
    "roles": Kind("/apis/rbac.authorization.k8s.io/v1/roles", (*_META, *_RULES)),
    "clusterrolebindings": Kind("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", (*_META, *_BINDING)),
    "rolebindings": Kind("/apis/rbac.authorization.k8s.io/v1/rolebindings", (*_META, *_BINDING)),
    "ciliumnetworkpolicies": Kind("/apis/cilium.io/v2/ciliumnetworkpolicies", _META, addon=True),
    "ciliumclusterwidenetworkpolicies": Kind("/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies", _META, addon=True),
    "caliconetworkpolicies": Kind("/apis/crd.projectcalico.org/v1/networkpolicies", _META, addon=True),
    "calicoglobalnetworkpolicies": Kind("/apis/crd.projectcalico.org/v1/globalnetworkpolicies", _META, addon=True),
}

#: Workload kinds by the name that owner references use, and where their pod template stands.
WORKLOADS: dict[str, tuple[str, str]] = {
    "Deployment": ("deployments", "spec.template.spec"),
    "ReplicaSet": ("replicasets", "spec.template.spec"),
    "StatefulSet": ("statefulsets", "spec.template.spec"),
    "DaemonSet": ("daemonsets", "spec.template.spec"),
    "ReplicationController": ("replicationcontrollers", "spec.template.spec"),
    "Job": ("jobs", "spec.template.spec"),
    "CronJob": ("cronjobs", "spec.jobTemplate.spec.template.spec"),
}

#: What is kept of GET /version.
SERVER_FIELDS = ("gitVersion", "major", "minor", "platform", "gitCommit", "buildDate")
