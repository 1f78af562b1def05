"""The check types: one a file, each a frozen dataclass whose fields are its keys in a benchmark file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Check type -> where its class is. Entry points of the group ``auditor.checks`` add to this.
BUILT_IN = {
    "admission_configuration": "checks.admission_plugins:AdmissionConfiguration",
    "admission_plugin": "checks.admission_plugins:AdmissionPlugin",
    "all": "checks.combine:All",
    "any": "checks.combine:AnyOf",
    "audit_policy": "checks.audit_policy:AuditPolicy",
    "audit_rule": "checks.audit_rule:AuditRule",
    "authorization_plugins": "checks.authorization_plugins:AuthorizationPlugins",
    "container": "checks.container:Container",
    "content_trust": "checks.content_trust:ContentTrust",
    "daemon_listener": "checks.daemon_listener:DaemonListener",
    "data_root_mount": "checks.data_root_mount:DataRootMount",
    "default_service_accounts": "checks.default_service_accounts:DefaultServiceAccounts",
    "default_ulimits": "checks.default_ulimits:DefaultUlimits",
    "docker_exec": "checks.docker_exec:DockerExec",
    "docker_info": "checks.docker_info:DockerInfo",
    "encryption_at_rest": "checks.encryption:EncryptionAtRest",
    "engine_version": "checks.engine_version:EngineVersion",
    "etcd_data_owner": "checks.etcd_data_owner:EtcdDataOwner",
    "etcd_own_ca": "checks.etcd_own_ca:EtcdOwnCa",
    "etcd_peers": "checks.etcd_peers:EtcdPeers",
    "external_secrets": "checks.external_secrets:ExternalSecrets",
    "feature_gate": "checks.feature_gate:FeatureGate",
    "file_mode": "checks.files:FileMode",
    "file_owner": "checks.files:FileOwner",
    "first": "checks.combine:First",
    "host_hardening": "checks.host_hardening:HostHardening",
    "host_runs": "checks.host_runs:HostRuns",
    "image": "checks.image:Image",
    "image_admission": "checks.image_admission:ImageAdmission",
    "insecure_registries": "checks.insecure_registries:InsecureRegistries",
    "log_shipping": "checks.log_shipping:LogShipping",
    "loopback": "checks.loopback:Loopback",
    "manual": "checks.manual:Manual",
    "masters_group": "checks.masters_group:MastersGroup",
    "namespace": "checks.namespace:Namespace",
    "namespace_use": "checks.namespace_use:NamespaceUse",
    "network_plugin": "checks.network_plugin:NetworkPlugins",
    "node_system": "checks.node_system:NodeSystem",
    "nodes_alike": "checks.nodes_alike:NodesAlike",
    "nodes_known": "checks.nodes_known:NodesKnown",
    "pod_admission": "checks.pod_admission:PodAdmission",
    "process_flag": "checks.setting:ProcessFlag",
    "rbac": "checks.rbac:Rbac",
    "review": "checks.review:Review",
    "seccomp_default": "checks.seccomp_default:SeccompDefault",
    "service_account_tokens": "checks.service_account_tokens:ServiceAccountTokens",
    "setting": "checks.setting:Setting",
    "sides_agree": "checks.sides_agree:SidesAgree",
    "socket_owner": "checks.socket_owner:SocketOwner",
    "socket_users": "checks.socket_users:SocketUsers",
    "stopped_containers": "checks.sprawl:StoppedContainers",
    "swarm": "checks.swarm:Swarm",
    "unit_ip_filter": "checks.unit_ip_filter:UnitIpFilter",
    "unused_images": "checks.sprawl:UnusedImages",
    "unused_namespace": "checks.unused_namespace:UnusedNamespace",
    "workload": "checks.workload:Workload",
}


class CheckTypes(Mapping[str, type]):
    """Every known check type by name. The module of one is imported when it is asked for, so that an audit loads what it uses.

    Entry points are looked for when a name isn't built in. Asking for a broken one raises ImportError or AttributeError.
    """

    def __getitem__(self, name: str) -> type:
        return _loaded(name)

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN or name in _from_outside()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*BUILT_IN, *_from_outside()}))

    def __len__(self) -> int:
        return len({*BUILT_IN, *_from_outside()})

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other  # comparing what they hold would load it


@cache
def _loaded(name: str) -> type:
    if name not in BUILT_IN:
        return _from_outside()[name].load()  # type: ignore[no-any-return]
    module, _, attribute = BUILT_IN[name].partition(":")
    return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


@cache
def _from_outside() -> dict[str, EntryPoint]:
    """Return the check types of other packages, which can't take a built-in name."""
    from importlib.metadata import entry_points  # takes long, and is mostly not needed

    return {point.name: point for point in entry_points(group="auditor.checks") if point.name not in BUILT_IN}


@cache
def check_types() -> CheckTypes:
    """Return every known check type by name."""
    return CheckTypes()
