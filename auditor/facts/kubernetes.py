"""Facts about clusters, read from the Kubernetes API.

The value of an `Objects` fact is the list of all objects of one kind, in the API's own field names, reduced to the fields
declared here. Secrets are never read, and of the environment of containers only the names of the secrets that it comes from are
kept. Annotations are never kept, but for the arguments that k3s and RKE2 note on nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from auditor.facts import components
from auditor.facts.kube_reduce import constraint_template, kyverno_policy, pod_of_its_owner, secret_names


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
    """Ask the API server what it is: ``{"gitVersion": "v1.36.2", "platform": "linux/amd64", ...}``.

    ``account`` is in words as whom it was asked, where that is known.
    """

    @property
    def key(self) -> str:
        """The one name of this fact."""
        return "server"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where a kind is served, and what of it is kept.

    An ``addon`` kind comes with an extension or a later version of Kubernetes: it is asked for only where the server's discovery
    document names its group and version. Asking straight away would not do: an account without rights on a group gets 403 also
    where there is no group. Of a ``metadata_only`` kind the server is asked for nothing but names, labels and owners. ``reduce``
    takes out of a decoded object what must not be kept, and answers None for an object that isn't wanted at all. Objects that
    ``alike`` gives the same key are kept once, with their number under ``count``; None keeps an object by itself.
    """

    path: str
    fields: tuple[str, ...]
    addon: bool = False
    metadata_only: bool = False
    served_with: str = ""  # the group and version that stand for an addon, where its own say nothing
    reduce: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None
    alike: Callable[[dict[str, Any]], bytes | None] | None = None

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        parts = self.path.split("/")
        return parts[2] if parts[1] == "apis" else ""

    @property
    def group_version(self) -> str:
        """Group and version as discovery names them, for example ``apps/v1``."""
        if self.served_with:
            return self.served_with
        return "/".join(self.path.partition("/namespaces/")[0].split("/")[2 : 4 if self.group else 3])

    @property
    def namespace(self) -> str:
        """The one namespace that is read; empty for all of them."""
        _, found, rest = self.path.partition("/namespaces/")
        return rest.partition("/")[0] if found else ""

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
# Never env values, command or args: secrets stand there. Annotations are never kept either.
_CONTAINER = (
    "name",
    "image",
    "securityContext",
    "resources",
    "ports",
    "env[].valueFrom.secretKeyRef.name",
    "envFrom[].secretRef.name",
)
# What the restricted Pod Security level doesn't allow, and what tells where a volume comes from.
_VOLUME = (
    "hostPath.path", "secret.secretName", "csi.driver", "nfs.server", "iscsi.targetPortal", "fc.targetWWNs", "rbd.image",
    "cephfs.path", "glusterfs.path", "cinder.volumeID", "flexVolume.driver", "gitRepo.repository", "gcePersistentDisk.pdName",
    "awsElasticBlockStore.volumeID", "azureDisk.diskName", "azureFile.shareName", "vsphereVolume.volumePath",
    "portworxVolume.volumeID", "quobyte.volume", "scaleIO.volumeName", "storageos.volumeName", "flocker.datasetName",
    "photonPersistentDisk.pdID",
)  # fmt: skip


def _pod(prefix: str) -> tuple[str, ...]:
    lists = ("containers[]", "initContainers[]", "ephemeralContainers[]")
    return (
        *(f"{prefix}.{f}" for f in ("hostPID", "hostIPC", "hostNetwork", "hostUsers", "securityContext", "os.name",
                                    "serviceAccountName", "automountServiceAccountToken")),
        *(f"{prefix}.{c}.{f}" for c in lists for f in _CONTAINER),
        *(f"{prefix}.volumes[].{f}" for f in _VOLUME),
    )  # fmt: skip


def _workload(path: str, *more: str) -> Kind:
    template = "spec.jobTemplate.spec.template.spec" if path.endswith("/cronjobs") else "spec.template.spec"
    return Kind(path, (*_META, *_OWNER, *more, *_pod(template)), reduce=lambda item: secret_names(item, template))


def _in_default(path: str) -> Kind:
    head, _, plural = path.rpartition("/")
    return Kind(f"{head}/namespaces/default/{plural}", (*_META, *_OWNER), metadata_only=True)


_WEBHOOKS = (
    *_META,
    *(
        f"webhooks[].{f}"
        for f in ("name", "failurePolicy", "rules", "namespaceSelector", "objectSelector", "matchConditions[].name")
    ),
)

#: Kinds of Gatekeeper's constraints about pods, as they are served.
CONSTRAINTS = (
    "k8spspprivilegedcontainer", "k8spsphostnamespace", "k8spsphostnetworkingports", "k8spsphostfilesystem", "k8spspvolumetypes",
    "k8spspallowprivilegeescalationcontainer", "k8spspcapabilities", "k8spspprocmount", "k8spsphostprocess", "k8spspallowedusers",
    "k8spspseccomp", "k8spspseccompv2",
)  # fmt: skip
_CONSTRAINT = ("metadata.name", "spec.enforcementAction", "spec.match", "spec.parameters", "status.byPod[].enforced")
_KYVERNO = (
    "metadata.name", "metadata.namespace", "spec.validationFailureAction", "spec.validationFailureActionOverrides",
    "spec.failurePolicy", "spec.admission", "spec.applyRules", "spec.webhookConfiguration", "spec.rules[].name",
    "spec.rules[].match", "spec.rules[].exclude", "spec.rules[].preconditions", "spec.rules[].celPreconditions[].name",
    "spec.rules[].context[].name", "spec.rules[].validate",
)  # fmt: skip

KINDS: dict[str, Kind] = {
    "namespaces": Kind("/api/v1/namespaces", _META),
    "nodes": Kind(
        "/api/v1/nodes",
        (*_META, "metadata.annotations", "status.nodeInfo", "status.addresses", "spec.providerID"),
        reduce=components.node,
    ),
    # Without what tells the copies of one workload apart: labels, nodes, names of volumes.
    "pods": Kind(
        "/api/v1/pods",
        ("metadata.name", "metadata.namespace", *_OWNER, "status.phase", *_pod("spec")),
        reduce=lambda pod: secret_names(pod, "spec"),
        alike=pod_of_its_owner,
    ),
    "deployments": _workload("/apis/apps/v1/deployments", "spec.replicas"),
    "replicasets": _workload("/apis/apps/v1/replicasets", "spec.replicas"),
    "statefulsets": _workload("/apis/apps/v1/statefulsets", "spec.replicas"),
    "daemonsets": _workload("/apis/apps/v1/daemonsets", "status.desiredNumberScheduled", "status.numberReady"),
    "replicationcontrollers": _workload("/api/v1/replicationcontrollers", "spec.replicas"),
    "jobs": _workload("/apis/batch/v1/jobs"),
    "cronjobs": _workload("/apis/batch/v1/cronjobs", "spec.suspend"),
    "networkpolicies": Kind(
        "/apis/networking.k8s.io/v1/networkpolicies",
        (*_META, "spec.podSelector", "spec.policyTypes", "spec.ingress", "spec.egress"),
    ),
    "serviceaccounts": Kind("/api/v1/serviceaccounts", (*_META, "automountServiceAccountToken")),
    "clusterroles": Kind("/apis/rbac.authorization.k8s.io/v1/clusterroles", (*_META, "aggregationRule", *_RULES)),
    "roles": Kind("/apis/rbac.authorization.k8s.io/v1/roles", (*_META, *_RULES)),
    "clusterrolebindings": Kind("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", (*_META, *_BINDING)),
    "rolebindings": Kind("/apis/rbac.authorization.k8s.io/v1/rolebindings", (*_META, *_BINDING)),
    # The subject of a request stands in its PEM text, which holds a public key and no secret.
    "certificatesigningrequests": Kind(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        (*_META, "spec.username", "spec.groups", "spec.signerName", "spec.request", "status.conditions[].type"),
    ),
    # Programs of the control plane that run as static pods: what their manifests say.
    "components": Kind(
        "/api/v1/namespaces/kube-system/pods",
        (
            "metadata.name",
            "metadata.namespace",
            "metadata.annotations",
            *_OWNER,
            "spec.nodeName",
            "spec.containers[].name",
            "spec.containers[].command",
            "spec.containers[].args",
            "spec.containers[].env",
            "spec.containers[].envFrom",
            "status.podIP",
            "status.hostIP",
            "status.containerStatuses[].name",
            "status.containerStatuses[].state",
        ),
        reduce=components.component,
    ),
    "validatingwebhookconfigurations": Kind("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", _WEBHOOKS),
    "mutatingwebhookconfigurations": Kind("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", _WEBHOOKS),
    "validatingadmissionpolicies": Kind(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        (
            *_META,
            "spec.failurePolicy",
            "spec.paramKind",
            "spec.matchConditions[].name",
            "spec.matchConstraints",
            "spec.variables",
            "spec.validations[].expression",
        ),
        addon=True,
    ),
    "validatingadmissionpolicybindings": Kind(
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        (*_META, "spec.policyName", "spec.validationActions", "spec.paramRef", "spec.matchResources"),
        addon=True,
    ),
    "securitycontextconstraints": Kind(
        "/apis/security.openshift.io/v1/securitycontextconstraints",
        (
            "metadata.name",
            "allowPrivilegedContainer",
            "allowHostPID",
            "allowHostIPC",
            "allowHostNetwork",
            "allowHostPorts",
            "allowHostDirVolumePlugin",
            "allowPrivilegeEscalation",
            "volumes",
            "users",
            "groups",
        ),
        addon=True,
    ),
    # Gatekeeper: of a template what it is for and a digest of what it runs.
    "constrainttemplates": Kind(
        "/apis/templates.gatekeeper.sh/v1/constrainttemplates",
        ("metadata.name", "spec.crd.spec.names.kind", "spec.targets"),
        addon=True,
        reduce=constraint_template,
    ),
    "gatekeeperconfigs": Kind(
        "/apis/config.gatekeeper.sh/v1alpha1/configs",
        ("metadata.name", "spec.match[].excludedNamespaces", "spec.match[].processes"),
        addon=True,
    ),
    **{kind: Kind(f"/apis/constraints.gatekeeper.sh/v1beta1/{kind}", _CONSTRAINT, addon=True) for kind in CONSTRAINTS},
    # Kyverno.
    "clusterpolicies": Kind("/apis/kyverno.io/v1/clusterpolicies", _KYVERNO, addon=True, reduce=kyverno_policy),
    "kyvernopolicies": Kind("/apis/kyverno.io/v1/policies", _KYVERNO, addon=True, reduce=kyverno_policy),
    **{
        f"policyexceptions{suffix}": Kind(
            f"/apis/kyverno.io/{version}/policyexceptions",
            ("metadata.name", "metadata.namespace", "spec.exceptions[].policyName", "spec.exceptions[].ruleNames"),
            addon=True,
        )
        for version, suffix in (("v2", ""), ("v2beta1", "-v2beta1"), ("v2alpha1", "-v2alpha1"))
    },
    "kyvernoconfigs": Kind(
        "/api/v1/namespaces/kyverno/configmaps",
        (
            "metadata.name",
            *(f"data.{f}" for f in ("resourceFilters", "excludeGroups", "excludeUsernames", "excludeRoles", "excludeClusterRoles")),
        ),
        addon=True,
        served_with="kyverno.io/v1",
    ),
    "csidrivers": Kind("/apis/storage.k8s.io/v1/csidrivers", _META, metadata_only=True),
    "externalsecrets": Kind("/apis/external-secrets.io/v1/externalsecrets", _META, addon=True, metadata_only=True),
    "externalsecrets-v1beta1": Kind("/apis/external-secrets.io/v1beta1/externalsecrets", _META, addon=True, metadata_only=True),
    "secretproviderclasses": Kind(
        "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses", _META, addon=True, metadata_only=True
    ),
    "vaultstaticsecrets": Kind("/apis/secrets.hashicorp.com/v1beta1/vaultstaticsecrets", _META, addon=True, metadata_only=True),
    "vaultdynamicsecrets": Kind("/apis/secrets.hashicorp.com/v1beta1/vaultdynamicsecrets", _META, addon=True, metadata_only=True),
    # Where every API server of the cluster makes itself known.
    "apiserver-endpoints": Kind(
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        ("metadata.name", "metadata.labels", "addressType", "endpoints[].addresses"),
    ),
    "default/services": _in_default("/api/v1/services"),
    "default/configmaps": _in_default("/api/v1/configmaps"),
    "default/persistentvolumeclaims": _in_default("/api/v1/persistentvolumeclaims"),
    "default/ingresses": _in_default("/apis/networking.k8s.io/v1/ingresses"),
    "default/horizontalpodautoscalers": _in_default("/apis/autoscaling/v2/horizontalpodautoscalers"),
    "default/poddisruptionbudgets": _in_default("/apis/policy/v1/poddisruptionbudgets"),
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

#: What is asked besides lists, by the fact's key: a path that is no resource, or one of every node.
REQUESTS: dict[str, str] = {
    Server().key: "/version",
    components.ApiServerFlags().key: "/flagz",
    components.KubeletConfigs().key: "/api/v1/nodes/NODE/proxy/configz",
}
#: Asked before the first addon kind.
DISCOVERY = "/apis"
