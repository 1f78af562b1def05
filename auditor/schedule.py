"""Files that have an audit done again and again: systemd units, a line for cron, manifests for Kubernetes.

The files are templates in ``auditor/deploy``; what is filled in is quoted by the rules of whoever reads it. Nothing here is
installed anywhere: files are printed or written to a folder.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import yaml

from auditor import __version__
from auditor.databases import holds_password
from auditor.inventory import EngineSpec, HostSpec, Inventory, local_inventory
from auditor.privileges import Subject, cluster_role
from auditor.yamlfile import InputError, Mistake

NAME = "cis-auditor"
#: Where a unit with PrivateTmp= or a fresh /home finds nothing.
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - named to be refused
_HOMES = ("/home", "/root", "/run/user")
_CONFIG = "/etc/cis-auditor"
_HOME = "/home/auditor"
_IN_CLUSTER = "clusters:\n  - {name: this-cluster, in_cluster: true}\n"
_DNS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,400}(@sha256:[0-9a-f]{64})?")
_NICKNAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_FIELDS = (("minute", 0, 59, ""), ("hour", 0, 23, ""), ("day of the month", 1, 31, ""),
           ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
           ("day of the week", 0, 7, "sun mon tue wed thu fri sat"))  # fmt: skip
#: Options of the audit that stand in the command as they were given: option -> name of its value.
_PASSED = {"--benchmark": "benchmarks", "--only": "only", "--fail-on": "fail_on", "--min-score": "min_score",
           "--min-coverage": "min_coverage", "--limit": "limit", "--store": "store", "--format": "formats"}  # fmt: skip


def refuse(where: str, why: str) -> InputError:
    """Return the error of a mistake in an option."""
    return InputError([Mistake(where, 0, 0, why)])


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """An audit that is to be scheduled: what is audited, and the options of ``auditor audit`` as the command line gave them."""

    inventory: Inventory  # whose path is None where this machine (or this cluster) is audited
    options: Mapping[str, Any]

    def targets(self) -> str:
        """Say what is audited, for a comment."""
        where = f" of {_printable(str(self.inventory.path.resolve()))}" if self.inventory.path else ""
        count = len(self.inventory.specs())
        return f"{count} target{'s' if count != 1 else ''}{where}" if where else "this machine"

    def files(self) -> list[Path]:
        """Return the files that the audit reads, absolute: inventory, tailoring, registers."""
        named = [self.inventory.path, self.options["tailoring"], *self.options["waivers"]]
        return [Path(f).resolve() for f in named if f is not None]

    def local(self) -> bool:
        """Return whether the machine itself is a target."""
        return any(isinstance(s, HostSpec) and s.transport == "local" for s in self.inventory.specs())

    def arguments(self, moved: Mapping[Path, str] | None = None) -> list[str]:
        """Return the audit's arguments; ``moved`` says where files are there, else they are where they are."""
        where = moved or {f: str(f) for f in self.files()}
        found = ["audit"]
        for option, value in (("-i", self.inventory.path), ("--tailoring", self.options["tailoring"])):
            found += [option, where[Path(value).resolve()]] if value else []
        for value in self.options["waivers"]:
            found += ["--waivers", where[Path(value).resolve()]]
        if self.options["level"] != 2:
            found += ["--level", str(self.options["level"])]
        for option, name in _PASSED.items():
            given = self.options.get(name)
            values = given if isinstance(given, tuple) else () if given is None else (given,)
            # One word with an equals sign: a value may begin with a dash.
            found += [f"{option}={v:g}" if isinstance(v, float) else f"{option}={v}" for v in values]
        for word in found:
            if not word.isprintable():
                raise refuse("schedule", f"{_printable(word)!r} holds a control character")
        return found


def job(inventory: Inventory | None, options: Mapping[str, Any]) -> Job:
    """Return what is to be scheduled; None is the machine itself. Raises `InputError` for what must not stand in a command."""
    store = options.get("store")
    if store and holds_password(store):
        raise refuse("--store", "a password would stand in the file and in the list of processes; leave it to ~/.pgpass")
    try:
        _ = urlsplit(store or "").port
    except ValueError:
        raise refuse("--store", "is no database URL") from None
    for host in inventory.hosts if inventory else ():
        if host.ssh.password_prompt or host.ssh.passphrase_prompt:
            raise refuse(host.name, "nobody is there to answer a prompt: use a key, a file or an environment variable")
    return Job(inventory or local_inventory(), options)


def program(where: Path | None = None) -> list[str]:
    """Return how the auditor that is installed at ``where`` is started, or else this one, with absolute paths."""
    if where is not None:
        return [str(where.absolute())]
    started = Path(sys.argv[0])
    if started.name == "auditor" and (found := shutil.which(str(started.absolute() if started.exists() else started))):
        return [str(Path(found).absolute())]
    return [str(Path(sys.executable).absolute()), "-m", "auditor"]


def _filled(template: str, **values: str) -> str:
    text = (resources.files("auditor") / "deploy" / template).read_text(encoding="utf-8")
    lines = Template(text).substitute(version=__version__, **values).splitlines()
    return "\n".join(line for line in lines if line.strip() or "mounts" not in values) + "\n"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


# -- systemd ------------------------------------------------------------------


def systemd(wanted: Job, when: str, command: Sequence[str]) -> dict[str, str]:
    """Return a service, a timer and where needed an account, by file name. ``when`` is a calendar event, ``command`` the program.

    Raises `InputError` for a calendar event of more than one line, and for files that the unit could not see.
    """
    if not when.strip() or not when.isprintable():
        raise refuse("--on-calendar", "is not a calendar event; `systemd-analyze calendar` checks one")
    needed = [*wanted.files(), Path(command[0])]
    if hidden := [p for p in needed if _below(p, _TEMPORARY)]:
        raise refuse(str(hidden[0]), "the unit has a folder of its own there: put it elsewhere, such as below /etc/cis-auditor")
    if any(c in command[0] for c in "\"'\\"):
        raise refuse("--program", "systemd starts no program that has a quote or a backslash in its path")
    homes = "read-only" if any(_below(p, _HOMES) for p in needed) else "yes"
    first, *words = map(systemd_word, [*command, *wanted.arguments()])
    line = " ".join([first.replace("$$", "$"), *words])  # no variable is looked for in the program's path
    local = wanted.local()
    service = _filled("local.service" if local else "fleet.service", targets=wanted.targets(), command=line,
                      files=" and ".join(_printable(str(p)) for p in needed), **({} if local else {"homes": homes}))  # fmt: skip
    if not local and any(isinstance(s, EngineSpec) and s.url.startswith("unix:") for s in wanted.inventory.specs()):
        service = service.replace("Group=cis-auditor\n", "Group=cis-auditor\nSupplementaryGroups=docker\n")
    found = {f"{NAME}.service": service, f"{NAME}.timer": _filled("systemd.timer", when=when.strip().replace("%", "%%"))}
    return found if local else {**found, f"{NAME}.sysusers": _filled("sysusers.conf")}


def _below(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(f) for f in folders)


def systemd_word(word: str) -> str:
    """Return a word of a command line as systemd reads it (systemd.service(5), "Command lines"; specifiers)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9@%_+=:,./-]+", word) else f'"{escaped}"'


# -- cron ---------------------------------------------------------------------


def cron(wanted: Job, when: str, command: Sequence[str], folder: Path | None, user: str) -> dict[str, str]:
    """Return a crontab of one line. ``folder`` takes reports and lock (None: cis-audits in the home); ``user`` is for /etc/cron.d.

    Raises `InputError` for a time that cron doesn't take.
    """
    check_cron(when)
    if user and not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise refuse("--user", f"{user!r} is not the name of an account")
    there = '"$HOME/cis-audits"' if folder is None else shlex.quote(str(folder.absolute()))
    audit = shlex.join([*command, *wanted.arguments()])
    line = f"umask 077 && mkdir -p {there} && cd {there} && exec flock -n -E 75 .lock {audit}"
    # cron takes a bare % for the end of the command.
    fields = " ".join(when.split())
    text = f"{fields} {user} {line.replace('%', chr(92) + '%')}" if user else f"{fields} {line.replace('%', chr(92) + '%')}"
    place = f"/etc/cron.d/{NAME}" if user else "the crontab of the account that audits (crontab -e)"
    return {f"{NAME}.cron": _filled("crontab", targets=wanted.targets(), place=place, line=text)}


def check_cron(when: str) -> None:
    """Raise `InputError` unless this is a time that both cron and Kubernetes take: five fields or a nickname."""
    if when in _NICKNAMES:
        return
    words = when.split()
    if len(words) != len(_FIELDS) or not when.isprintable():
        raise refuse("--cron", f"{when!r} is not five fields: minute, hour, day of the month, month, day of the week")
    for word, (name, least, most, named) in zip(words, _FIELDS, strict=True):
        for part in word.lower().split(","):
            whole, slash, step = part.partition("/")
            ends = whole.split("-")
            numbers = [named.split().index(e) + least if e in named.split() else int(e) if _digits(e) else -1 for e in ends]
            ok = whole == "*" or (len(ends) <= 2 and all(least <= n <= most for n in numbers) and numbers == sorted(numbers))
            if not ok or (slash and not (_digits(step) and int(step) > 0)):
                raise refuse("--cron", f"{word!r} is not a {name}: numbers from {least} to {most}, ranges and lists of them")


def _digits(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}", text) is not None


# -- Kubernetes ---------------------------------------------------------------


def kubernetes(
    wanted: Job, when: str, namespace: str, image: str, cluster_facts: Any, selection: str, shards: int = 1
) -> dict[str, str]:
    """Return a Kustomize base by file name. ``cluster_facts`` are what the rights are for, ``selection`` says so in words.

    With several ``shards`` each run is an Indexed Job of so many pods, which split the targets and share one database.
    Raises `InputError` for a time or name that Kubernetes doesn't take, and for targets that a pod can't reach.
    """
    check_cron(when)
    if not _DNS.fullmatch(namespace) or namespace == "default" or namespace.startswith("kube-"):
        raise refuse("--namespace", f"{namespace!r} is not a namespace of the audit's own")
    if not _IMAGE.fullmatch(image):
        raise refuse("--image", f"{image!r} is not the name of an image")
    if shards > 1 and not str(wanted.options.get("store") or "").startswith("postgresql"):
        raise refuse("--shards", "takes a database that all of them reach: --store postgresql://...")
    inventory = wanted.inventory
    given = inventory.path is not None
    for spec in inventory.specs() if given else ():
        if isinstance(spec, HostSpec) and spec.transport == "local":
            raise refuse(spec.name, "transport: local would audit the pod; name the node's address and log in over SSH")
        if isinstance(spec, EngineSpec) and spec.url.startswith("unix:"):
            raise refuse(spec.name, "a pod has no engine's socket; name the host and log in over SSH")
        if isinstance(spec, HostSpec) and (spec.ssh.password_env or spec.ssh.passphrase_env):
            raise refuse(spec.name, "a pod has no such variable; name a file of the secret, such as password_file: ~/.ssh/password")
    inside = not given or any(c.in_cluster for c in inventory.clusters)
    folders = _secret_folders(wanted)
    moved = _moved(wanted.files())
    config = {v.rpartition("/")[2]: _read(k) for k, v in moved.items()} if given else {"inventory.yaml": _IN_CLUSTER}
    arguments = wanted.arguments(moved) if given else ["audit", "-i", f"{_CONFIG}/inventory.yaml", *wanted.arguments(moved)[1:]]
    arguments = [a.replace("$(", "$$(") for a in arguments]  # else Kubernetes takes it for a variable
    arguments += ["--run=$(AUDIT_RUN)", f"--shard=job/{shards}"] if shards > 1 else []
    mounts = [f"- {{name: {n}, mountPath: {p}, readOnly: true}}" for n, p in folders.items()]
    volumes = [f"- {{name: {n}, secret: {{secretName: cis-auditor-{n}, optional: true, defaultMode: 0440}}}}" for n in folders]
    nowhere = "automountServiceAccountToken: false"
    job_text = _filled(
        "cronjob.yaml.txt", namespace=namespace, when=json.dumps(when), image=json.dumps(image), args=json.dumps(arguments),
        automount="automountServiceAccountToken: true  # the audit asks this cluster's API" if inside else nowhere,
        mounts=_indented(mounts, 16), volumes=_indented(volumes, 12), **_split(shards, login="postgresql" in folders),
        targets=wanted.targets() if given else "this cluster",
    )  # fmt: skip
    ports = _indented([f"- {{protocol: TCP, port: {p}}}" for p in _ports(wanted, inside=inside)], 8)
    files = {
        **_rights(namespace, cluster_facts if inside else frozenset(), selection, inside=inside),
        "config.yaml": _config_map(namespace, config),
        **({"state.yaml": _filled("state.yaml.txt", namespace=namespace)} if shards == 1 else {}),
        "network.yaml": _filled("network.yaml.txt", namespace=namespace, ports=ports),
        "cronjob.yaml": job_text,
    }
    listed = [f"  - {f}" if not f.startswith("optional-") else f"  # - {f}" for f in files]
    return {"kustomization.yaml": _filled("kustomization.yaml.txt", resources="\n".join(listed)), **files}


def _split(shards: int, *, login: bool) -> dict[str, str]:
    """Return what differs in the manifest where one run is split among pods, and where there is a ``login`` to a database."""
    # The password file that psycopg would read has to be its reader's alone, which a secret's file is not; this one hasn't.
    more = [f"- {{name: PGSERVICEFILE, value: {_HOME}/.postgresql/pg_service.conf}}"] if login else []
    if shards == 1:  # the key that signs is kept with the reports
        more.append("- {name: XDG_CONFIG_HOME, value: /var/lib/cis-auditor}")
        return {"indexed": "", "more": _indented(more, 16), "retries": "backoffLimit: 0",
                "state": "persistentVolumeClaim: {claimName: cis-auditor}"}  # fmt: skip
    name = "- {name: AUDIT_RUN, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['batch.kubernetes.io/job-name']\"}}}"
    indexed = ["# The pods of a run split the targets; the run is named like the job.", "completionMode: Indexed",
               f"completions: {shards}", f"parallelism: {shards}"]  # fmt: skip
    # One that fails must not end the others; the limit of a single index is known from Kubernetes 1.29 on.
    retries = _indented(["backoffLimitPerIndex: 0", f"maxFailedIndexes: {shards}"], 6).lstrip()
    state = "emptyDir: {sizeLimit: 2Gi}"
    return {"indexed": _indented(indexed, 6), "more": _indented([name, *more], 16), "retries": retries, "state": state}


def _rights(namespace: str, facts: Any, selection: str, *, inside: bool) -> dict[str, str]:
    """Return the account and its rights; those in namespaces of extensions are in files of their own."""
    # The namespace's own account, which Kubernetes makes: no pod gets its token unasked.
    default = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
               "automountServiceAccountToken": False}  # fmt: skip
    found: dict[str, list[str]] = {"account.yaml": [], "rights.yaml": []}
    text = cluster_role(facts, selection, Subject("serviceaccount", NAME, namespace))
    for document in re.split(r"^---\n", text, flags=re.MULTILINE):
        content = yaml.safe_load(document)
        where = content["metadata"].get("namespace", "")
        if content["kind"] in ("Namespace", "ServiceAccount"):
            found["account.yaml"].append(document)
        elif inside:
            extension = where and where != "default" and not where.startswith("kube-")
            found.setdefault(f"optional-{where}.yaml" if extension else "rights.yaml", []).append(document)
    found["account.yaml"].append(str(yaml.safe_dump(default, sort_keys=False)))
    return {name: "---\n".join(documents) for name, documents in found.items() if documents}


def _config_map(namespace: str, files: Mapping[str, str]) -> str:
    metadata = {"name": NAME, "namespace": namespace, "labels": {"app.kubernetes.io/name": NAME}}
    head = yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, sort_keys=False)
    # As blocks of text where YAML can write them so, for a person to read.
    return str(head) + "data:\n" + "".join(f"  {name}: {_block(text)}" for name, text in files.items())


def _block(text: str) -> str:
    if not text.endswith("\n") or text.startswith((" ", "\n")) or not all(c.isprintable() or c == "\n" for c in text):
        return json.dumps(text) + "\n"
    return "|\n" + "".join(
        f"    {line}".rstrip(" ") + "\n" if not line.strip() else f"    {line}\n" for line in text[:-1].split("\n")
    )


def _moved(files: Sequence[Path]) -> dict[Path, str]:
    """Return where files are in the pod, under names that a config map takes."""
    found: dict[Path, str] = {}
    for file in files:
        name = "inventory.yaml" if not found else re.sub(r"[^A-Za-z0-9._-]", "-", file.name)
        while f"{_CONFIG}/{name}" in found.values():
            name = f"{len(found)}-{name}"
        found.setdefault(file, f"{_CONFIG}/{name}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refuse(str(path), f"can't be read: {error}") from None


def _secret_folders(wanted: Job) -> dict[str, str]:
    """Return the secrets that hold keys, by the end of their names, and where the pod sees them: the usual folders of a home."""
    inventory = wanted.inventory if wanted.inventory.path is not None else Inventory()
    ssh = inventory.hosts or any(e.url.startswith("ssh:") for e in inventory.engines)
    files = {"ssh": bool(ssh), "docker": any(e.tls_ca or e.tls_cert or e.tls_key for e in inventory.engines),
             "kube": any(not c.in_cluster for c in inventory.clusters),
             "postgresql": str(wanted.options.get("store") or "").startswith("postgresql")}  # fmt: skip
    return {name: f"{_HOME}/.{name}" for name, needed in files.items() if needed}


def _ports(wanted: Job, *, inside: bool) -> list[int]:
    """Return the ports that the audit connects to. 443 and 6443 are those of API servers."""
    inventory = wanted.inventory
    found = {443, 6443} if inside or inventory.clusters else set()
    if inventory.path is not None:
        for host in (*inventory.hosts, *(hop for h in inventory.hosts for hop in inventory.jumps(h))):
            found.add(host.ssh.port or 22)
        for engine in inventory.engines:
            found.add(urlsplit(engine.url).port or (22 if engine.url.startswith("ssh:") else 2376))
    store = urlsplit(str(wanted.options.get("store") or ""))
    if store.scheme.startswith("postgresql"):
        found.add(store.port or 5432)
    return sorted(found)


def _indented(lines: Sequence[str], width: int) -> str:
    return "\n".join(" " * width + line for line in lines)


# -- writing ------------------------------------------------------------------


def put(files: Mapping[str, str], folder: Path | None) -> list[Path]:
    """Write files into a folder and return their paths, or print them as one stream without a folder. Raises `InputError`."""
    if folder is None:
        manifests = "kustomization.yaml" in files
        shown = [text for name, text in files.items() if name != "kustomization.yaml" and not name.startswith("optional-")]
        sys.stdout.write(("---\n" if manifests else "\n").join(shown))
        return []
    from auditor.files import write_private

    try:
        for name, text in files.items():
            write_private(folder / name, text.encode())
    except OSError as error:
        raise refuse(str(folder), f"can't be written: {error.strerror}") from None
    return [folder / name for name in files]
