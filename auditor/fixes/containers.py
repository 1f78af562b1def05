"""Options of containers and instructions of images: little of it can be changed without making the container again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from auditor.facts.docker import Engine
from auditor.fixes.kinds import ContainerOption, ImageBuild
from auditor.fixes.plan import Case
from auditor.fixes.steps import ByHand, Effect, Override, Run, Step, safe_path
from auditor.model import Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,100}")
_DEFAULT = ("unix:///var/run/docker.sock", "unix:///run/docker.sock")
#: How ``docker inspect`` shows what an option of ``docker update`` sets, in the option's own words.
SHOWN = {
    "--restart": "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}",
    "--pids-limit": "{{.HostConfig.PidsLimit}}",
}
#: Keys of a Compose file that hold lists.
_LISTS = frozenset({"cap_drop", "security_opt"})
#: Keys that our values don't fit, since each container has its own.
_OWN = frozenset({"volumes"})


def container_option(fix: ContainerOption, case: Case) -> Iterator[Step]:
    """Update the failing containers where that can be done while they run, else say how they are made again."""
    for observation in case.failing("container"):
        name, _, url = observation.subject.removeprefix("container/").partition("@")
        labels = _labels(case, name, url)
        service = labels.get("com.docker.swarm.service.name", "")
        common: dict[str, Any] = {"controls": (case.label,), "subject": observation.subject}
        option = _option(fix)
        if not _NAME.fullmatch(name) or not _plain_url(url):
            yield case.unsafe(observation)
            continue
        if service:
            words = f"Change the swarm's service {service}, of which the container {name} is a task, so that it has {option}"
            yield case.by_hand(observation.subject, words, (_comment(case),), effect=Effect.WORKLOADS)
            continue
        updated = bool(fix.update) and fix.update in SHOWN
        if updated:
            docker = ("docker", *(("-H", url) if url and url not in _DEFAULT else ()))
            shows = (*docker, "inspect", "--type", "container", "--format", SHOWN[fix.update], name)
            command = (*docker, "update", fix.update, str(fix.value), name)
            words = f"Set {fix.update} {fix.value} of the container {name} while it runs"
            caution = "What creates the container must say so too, or the next one is as before."
            yield Step(action=Run(command, shows, str(fix.value)), words=words, caution=caution, **common)
        project = labels.get("com.docker.compose.project", "")
        override = _override(fix, project, labels.get("com.docker.compose.service", ""))
        if updated and override is None:
            continue
        yield _again(fix, case, name, option, override, common)


def _again(fix: ContainerOption, case: Case, name: str, option: str, override: Override | None, common: dict[str, Any]) -> Step:
    """Return what a person does to have the container made again with the option."""
    words = f"Make the container {name} again with {option}"
    lines: tuple[str, ...] = (_comment(case),)
    if override is not None:
        words = (
            f"Make the container {name} again (service {override.service} of the Compose project {override.project}) with {option}"
        )
        file = f"OVERRIDE (TARGET.compose-{override.project}.yaml, beside this file)"
        lines = (f"docker compose -f compose.yaml -f OVERRIDE up -d {override.service}", f"# in the project's folder, with {file}")
    caution = "What the container keeps outside of volumes is lost."
    if override is not None and fix.compose in _LISTS:
        caution += " Compose adds to the lists of the project's own file: take contrary entries out there."
    return Step(action=ByHand(words, lines, override), words=words, effect=Effect.WORKLOADS, caution=caution, **common)


def _comment(case: Case) -> str:
    """Return the control's own words as a line that may stand among commands."""
    return f"# {' '.join(case.control.remediation.text.split())}"


def _option(fix: ContainerOption) -> str:
    if fix.value is None:
        return f"another {fix.run}"
    if fix.value is False:
        return f"no {fix.run}"
    return fix.run if fix.value is True else f"{fix.run} {fix.value}"


def _override(fix: ContainerOption, project: str, service: str) -> Override | None:
    if fix.value is None or fix.compose in _OWN or not _PROJECT.fullmatch(project) or not _NAME.fullmatch(service):
        return None
    return Override(project, service, fix.compose, [fix.value] if fix.compose in _LISTS else fix.value)


def _plain_url(url: str) -> bool:
    return not url or (url.startswith("unix://") and safe_path(url.removeprefix("unix://")))


def _labels(case: Case, name: str, url: str) -> dict[str, str]:
    """Return what is known of a container's origin; nothing where the evidence doesn't say."""
    answers = case.facts.get(Engine("containers"))
    for engine in () if isinstance(answers, Problem) else answers:
        if "problem" in engine or (url and engine["engine"] != url):
            continue
        for container in engine["data"]:
            if str(container.get("Name") or "").lstrip("/") == name:
                return {str(k): str(v) for k, v in (container.get("Config", {}).get("Labels") or {}).items()}
    return {}


def image_build(fix: ImageBuild, case: Case) -> Iterator[Step]:
    """Say which images are to be built anew, and what in their Dockerfile is to change."""
    for observation in case.failing("image"):
        image = observation.subject.removeprefix("image/").encode("unicode_escape").decode()
        words = f"Build the image {image} anew with another {fix.instruction} in its Dockerfile, and its containers from it"
        yield case.by_hand(observation.subject, words, (_comment(case),), effect=Effect.WORKLOADS)
