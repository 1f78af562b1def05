"""The check types: one a file, each a frozen dataclass whose fields are its keys in a benchmark file."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

#: Check type -> where its class is. Entry points of the group ``auditor.checks`` add to this.
BUILT_IN = {
    "all": "checks.combine:All",
    "any": "checks.combine:AnyOf",
    "audit_rule": "checks.audit_rule:AuditRule",
    "container": "checks.container:Container",
    "daemon_listener": "checks.daemon_listener:DaemonListener",
    "docker_exec": "checks.docker_exec:DockerExec",
    "docker_info": "checks.docker_info:DockerInfo",
    "file_mode": "checks.files:FileMode",
    "file_owner": "checks.files:FileOwner",
    "first": "checks.combine:First",
    "image": "checks.image:Image",
    "manual": "checks.manual:Manual",
    "namespace": "checks.namespace:Namespace",
    "process_flag": "checks.setting:ProcessFlag",
    "rbac": "checks.rbac:Rbac",
    "setting": "checks.setting:Setting",
    "stopped_containers": "checks.sprawl:StoppedContainers",
    "unused_images": "checks.sprawl:UnusedImages",
    "swarm": "checks.swarm:Swarm",
    "workload": "checks.workload:Workload",
}


@cache
def check_types() -> dict[str, type]:
    """Return every known check type by name; raises ImportError or AttributeError for a broken one from outside."""
    found = {}
    for name, where in BUILT_IN.items():
        module, _, attribute = where.partition(":")
        found[name] = getattr(import_module(module), attribute)
    for point in entry_points(group="auditor.checks"):
        if point.name not in found:
            found[point.name] = point.load()
    return dict(sorted(found.items()))
