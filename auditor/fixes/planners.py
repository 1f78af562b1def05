"""Which planner makes steps of which kind of fix. A kind that has none here is left to a person, with the control's own words."""

from __future__ import annotations

from auditor.fixes.audit import audit_watch
from auditor.fixes.containers import container_option, image_build
from auditor.fixes.engine import engine_settings
from auditor.fixes.files import file_mode, file_owner
from auditor.fixes.kinds import (
    AuditWatch,
    Chmod,
    Chown,
    ContainerOption,
    DenyTraffic,
    EngineSetting,
    GrantReview,
    ImageBuild,
    KubeletSetting,
    NamespaceLabel,
    ObjectField,
    ProgramFlag,
    WorkloadField,
)
from auditor.fixes.kubelet import kubelet_setting
from auditor.fixes.manifests import program_flags
from auditor.fixes.objects import deny_traffic, grant_review, namespace_labels, object_field, workload_fields
from auditor.fixes.plan import Planner, Together

PLANNERS: dict[type, Planner | Together] = {
    AuditWatch: audit_watch,
    Chmod: file_mode,
    Chown: file_owner,
    ContainerOption: container_option,
    EngineSetting: Together(engine_settings),
    ImageBuild: image_build,
    KubeletSetting: kubelet_setting,
    ProgramFlag: Together(program_flags),
    ObjectField: object_field,
    WorkloadField: Together(workload_fields),
    NamespaceLabel: Together(namespace_labels),
    DenyTraffic: deny_traffic,
    GrantReview: grant_review,
}
