"""Logging in to a cluster: the ``kubernetes`` package reads the kubeconfig, but writes no key to a disk and starts no program.

Left to itself it puts a client's key into a temporary file, which a kill leaves there; a login plugin may take for ever, is left
running, and what it says on its standard error, which may be a token, is logged.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auditor.model import Problem, Reason
from auditor.transports import local
from auditor.transports.base import TargetError
from auditor.transports.kubeaccount import user_of

#: A kubeconfig is read by Python alone: a larger one takes minutes.
MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40


def configured(path: str | None, context: str | None, timeout: float, configuration: Any) -> tuple[str, Callable[[], None]]:
    """Fill the package's configuration from a kubeconfig, by default the usual one; a login plugin has ``timeout`` seconds.

    Return the kubeconfig's name of the user, and what frees the keys. Raises `TargetError` for a plugin that fails, and whatever
    the package raises.
    """
    package = _package()
    path = path or package.KUBE_CONFIG_DEFAULT_LOCATION
    for part in filter(None, path.split(package.ENV_KUBECONFIG_PATH_SEPARATOR)):
        if why := _unread(Path(part).expanduser()):
            raise package.ConfigException(why)
    merged = package.KubeConfigMerger(path).config
    if merged is None:
        raise package.ConfigException("Invalid kube-config file. No configuration found.")
    loader = _loader()(merged, context or None, timeout)
    try:
        loader.load_and_set(configuration)
        return user_of((loader.list_contexts(), loader.current_context), context), loader.free
    except BaseException:
        loader.free()
        raise


def _unread(path: Path) -> str:
    """Return why a file is no plain YAML of a bearable size, without a word of it; empty when it is. Raises OSError."""
    import yaml

    if not path.exists():  # the package passes over it
        return ""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        return f"it is larger than {MAX_BYTES} bytes"
    line = depth = 0
    try:
        for event in yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else line
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
                return f"line {line}: anchors, aliases and tags are not read"  # some lines of them are gigabytes
            if depth > MAX_DEPTH:
                return f"line {line}: it is nested more than {MAX_DEPTH} deep"
    except (yaml.YAMLError, RecursionError):
        return f"after line {line}: it is no YAML"
    return ""


def _package() -> Any:  # has no types
    from kubernetes.config import kube_config

    return kube_config


@functools.cache
def _loader() -> Any:
    package = _package()
    base: Any = package.KubeConfigLoader

    class Loader(base):  # type: ignore[misc]
        def __init__(self, config: Any, context: str | None, timeout: float) -> None:
            self._timeout = timeout
            self._open: list[int] = []
            super().__init__(config, context, config_base_path=None)

        def free(self) -> None:
            while self._open:
                os.close(self._open.pop())

        def _kept(self, content: bytes) -> str:
            descriptor = os.memfd_create("kubeconfig")
            self._open.append(descriptor)
            with open(descriptor, "wb", closefd=False) as file:
                file.write(content)
            return f"/proc/self/fd/{descriptor}"

        def _load_cluster_info(self) -> None:
            names = ((self._cluster, ("certificate-authority",)), (self._user, ("client-certificate", "client-key")))
            for node, kinds in names if hasattr(os, "memfd_create") else ():
                for kind in kinds:
                    if node is not None and node.value.get(f"{kind}-data"):
                        node.value[kind] = self._kept(base64.standard_b64decode(node.value.pop(f"{kind}-data")))
            super()._load_cluster_info()

        def _load_from_exec_plugin(self) -> bool | None:
            if "exec" not in self._user:
                return None
            wanted = self._user["exec"]
            status = _asked(package.ExecProvider(wanted, self._get_base_path(self._cluster.path), self._cluster), self._timeout)
            if status.get("token"):
                self.token = f"Bearer {status['token']}"
            elif status.get("clientCertificateData") and status.get("clientKeyData"):
                for name, key in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
                    self._user.value[f"{name}-data"] = base64.standard_b64encode(status[key].encode()).decode()
            else:
                raise _failed(wanted["command"], "gave neither a token nor a certificate with its key")
            if status.get("expirationTimestamp"):
                self.expiry = package.parse_rfc3339(status["expirationTimestamp"])
            return True

    return Loader


def _failed(command: str, why: str, reason: Reason = Reason.DENIED) -> TargetError:
    return TargetError(Problem(reason, f"the kubeconfig's login plugin {Path(command).name} {why}"))


def _asked(plugin: Any, timeout: float) -> dict[str, Any]:
    """Run a login plugin, which has no terminal and whose messages nobody sees, and return what it gives. Raises `TargetError`."""
    asked: dict[str, Any] = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if plugin.cluster:
        extensions = plugin.cluster.value.get("extensions") or ()
        config = next((e["extension"] for e in extensions if e.get("name") == "client.authentication.k8s.io/exec"), None)
        asked["spec"]["cluster"] = {**plugin.cluster.value, **({"config": config} if config is not None else {})}
    command = plugin.args[0]
    if "/" in command and plugin.cwd:  # relative to the file that names it, as kubectl takes it
        command = os.path.join(plugin.cwd, command)  # noqa: PTH118
    env = {**plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(asked)}
    try:
        stdout, _, code, late = local.output([command, *map(str, plugin.args[1:])], b"", timeout, env=env, cwd=plugin.cwd)
    except (OSError, ValueError) as error:
        raise _failed(command, f"can't be started: {getattr(error, 'strerror', None) or 'its words are no text'}") from None
    if late:
        raise _failed(command, f"did not end within {timeout:g} s", Reason.TIMEOUT)
    if code:
        raise _failed(command, f"ended with the code {code}; it is not asked on a terminal, and its messages are not shown")
    answer = None
    with contextlib.suppress(ValueError, RecursionError):
        answer = json.loads(stdout)
    if not isinstance(answer, dict) or not isinstance(answer.get("status"), dict) or answer.get("kind") != "ExecCredential":
        raise _failed(command, "gave no ExecCredential", Reason.UNPARSABLE)
    if answer.get("apiVersion") != plugin.api_version:
        raise _failed(command, "gave an ExecCredential of another version than the kubeconfig names", Reason.UNPARSABLE)
    return dict(answer["status"])
