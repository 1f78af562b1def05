"""Which controls' fixes are proven on real hosts, and why others are not. Tests hold these lists to what they really exercise."""

from __future__ import annotations

#: Fixed by the script as it comes, without a restart (tests/live/test_fix_docker.py).
DOCKER_QUIET = (
    "docker-service-owner", "docker-service-mode", "docker-socket-unit-owner", "docker-socket-unit-mode", "docker-etc-owner",
    "docker-etc-mode", "docker-daemon-json-owner", "docker-daemon-json-mode", "docker-registry-certs-owner",
    "docker-registry-certs-mode", "docker-tls-ca-owner", "docker-tls-ca-mode", "docker-tls-cert-owner", "docker-tls-cert-mode",
    "docker-tls-key-owner", "docker-tls-key-mode", "docker-socket-owner", "docker-socket-mode", "docker-etc-default-owner",
    "docker-etc-default-mode", "docker-etc-sysconfig-owner", "docker-etc-sysconfig-mode", "docker-containerd-socket-owner",
    "docker-containerd-socket-mode", "docker-live-restore", "docker-daemon-insecure-registries", "docker-container-pids-limit",
    "docker-container-restart-policy",
    "docker-audit-dockerd", "docker-audit-containerd-state", "docker-audit-data-root", "docker-audit-config-folder",
    "docker-audit-service-unit", "docker-audit-containerd-socket", "docker-audit-engine-socket", "docker-audit-etc-default",
    "docker-audit-daemon-json", "docker-audit-containerd-config", "docker-audit-etc-sysconfig", "docker-audit-containerd",
    "docker-audit-shim", "docker-audit-shim-runc-v1", "docker-audit-shim-runc-v2", "docker-audit-runc",
)  # fmt: skip
#: Fixed by it with --disruptive.
DOCKER_DISRUPTIVE = (
    "docker-daemon-icc", "docker-daemon-no-new-privileges", "docker-daemon-userland-proxy", "docker-daemon-log-level",
    "docker-daemon-iptables", "docker-daemon-cgroup-parent", "docker-daemon-experimental", "docker-daemon-userns-remap",
)  # fmt: skip
