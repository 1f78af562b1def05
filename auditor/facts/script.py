"""All host facts of a target as one POSIX sh script.

The script arrives on the standard input of one shell. Its first line holds what differs from run to run (the marker, the time
that is left); all the rest, the body, depends on the questions and on our version alone, so that a sudoers rule can name its
digest (see `bootstrap`). The body is one compound command, so a shell that got only a part of it runs nothing, and what it runs
can't read the rest. Every answer is framed on both streams by a marker that is fresh for each run, so nothing on the host can
forge one. Nothing is written, every command that could hang has a time limit, every content a size limit.

Records (a line ``MARKER word ...``, then bytes up to the next record; see `auditor.facts.answers` for their meaning)::

    system | os-release | boot | proc-mount        about the host
    p PID UID CONTAINED NS | a PID | e PID           a program: exe, stat; its command line; its environment
    data PID | said PID HOW | etcd PID PATH | sqlite PID | af PID NAME PATH   what runs inside others: data folder, log, files
    c INDEX PID FROM PATH                            a configuration file: a line of stat, then its content
    plan | stat                                      which files belong to which question; what stat says of them
    listen PID | groups | accounts                   sockets that an engine listens on; who is in the groups that own them
    mounts | hardening | packages | policy           about the host as a whole
    audit-status | audit-rules | audit-none          auditctl
    authorities | ca PID PATH | address-filter UNIT  the CAs that programs trust; which addresses a unit may talk to
    versions | v PID NAME                            which Kubernetes the running programs say they are
    exec-log                                         uses of docker exec in the audit log
    engine PID SOCKET | doc NAME | list NAME | u CODE URL | s PID | n PID   an engine's answers
    layer-folders | layer-files | layer-keys | layer-entries | layer-packages    what the folders of images' layers hold
    trust-client | trust-places                      the docker client; what turns its content trust on for logins
    w PART PATH                                      what an engine and its host say of a swarm
    rc CODE                                          the exit code of the command before it
    end                                              all is said
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib import resources
from typing import Literal

from auditor.facts import platforms
from auditor.facts.docker import Engine
from auditor.facts.host import (
    BINARIES,
    CONFIG_FLAGS,
    CONTENT_PATHS,
    ENGINE_PACKAGES,
    ENVIRONMENT,
    NODE_FILES,
    PROGRAMS,
    SETTING_FILES,
    TREES,
    AuditRules,
    Config,
    EnginePackages,
    Files,
    Hardening,
    Listeners,
    Mounts,
    SocketGroups,
)
from auditor.facts.images import ContentTrust, Images
from auditor.facts.inside import FACTS as INSIDE
from auditor.facts.inside import ExecLog
from auditor.facts.node import UNITS, VERSIONED, AddressFilter, Authorities, KubernetesVersion
from auditor.facts.swarm import Swarm
from auditor.model import Fact

#: Bytes of one configuration file; more is said to be truncated.
CONTENT_LIMIT = 1024 * 1024
#: Bytes of everything a host says on one stream.
STREAM_LIMIT = 64 * 1024 * 1024
#: Bytes of a script that root's shell takes from an account that may run only this one.
SCRIPT_LIMIT = 1024 * 1024
#: How the words begin that root's shell is told (see `pinned`).
PINNED = "true && PATH="
#: Seconds that one command on the host may take.
COMMAND_SECONDS = 20

_ROOTS_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
# A login that may run nothing but this script as root writes the first line itself: it must not become part of what is run.
_DISTRUST = 'LC_ALL=C; case $2 in "" | *[!0-9a-f]*) exit 3 ;; esac; case $3 in "" | *[!0-9]*) exit 3 ;; esac'
_KNOWN = f"M=$2 seconds=$3 T={COMMAND_SECONDS} limit={CONTENT_LIMIT + 1} become=${{1:-none}}"
_UNIT_FOLDERS = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
    "/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
)  # fmt: skip


@cache
def _part(name: str) -> str:
    """Return one part of the script from the folder ``sh``; the values it uses are set before it, quoted."""
    return (resources.files("auditor.facts") / "sh" / f"{name}.sh").read_text(encoding="utf-8")


class UnsafeQuestionError(ValueError):
    """A question names a file that a benchmark may not ask for."""


def compose(facts: Iterable[Fact], marker: str, timeout: float = 120) -> tuple[bytes, list[Fact]]:
    """Return the script for some facts and the facts in the order of the indices in its records.

    ``marker`` is a fresh random word of hexadecimal digits. ``timeout`` is how many seconds the transport waits for all answers:
    the script starts no command after four fifths of them, so that what it learnt until then arrives. Facts that no host answers
    (objects of a cluster) are left out.
    Raises `UnsafeQuestionError` for a configuration file outside those that may be read.
    """
    text, ordered = _composed(frozenset(facts))
    first = f'set -- "${{1:-none}}" {shlex.quote(marker)} {max(1, int(timeout * 4 / 5))}\n'
    return first.encode() + text, list(ordered)


@lru_cache(maxsize=16)
def _composed(facts: frozenset[Fact]) -> tuple[bytes, tuple[Fact, ...]]:
    """Return all but the first line of the script, which is the same for every host that is asked the same."""
    ordered = sorted(facts, key=lambda f: f.key)
    documents: list[str] = [f.document for f in ordered if isinstance(f, Engine)]
    configs = [(i, f) for i, f in enumerate(ordered) if isinstance(f, Config)]
    files = [(i, f) for i, f in enumerate(ordered) if isinstance(f, Files)]
    q = shlex.quote
    lines = ["{ {", _DISTRUST, _KNOWN, _part("prelude")]
    lines += [f"programs={q('(^|/)(' + '|'.join(PROGRAMS) + ')')}", f"environment={q('^(' + '|'.join(ENVIRONMENT) + ')=')}"]
    lines += [f"known() {{ case $1 in {'|'.join(PROGRAMS)}) return 0 ;; esac; return 1; }}"]
    lines += [_part("processes"), _part("take"), _part("embedded")]
    if configs:
        lines.append(_part("config"))
        lines += [f"config {i} {' '.join(map(q, _config_words(f)))}" for i, f in configs]
    kinds = {type(f) for f in ordered}
    listening = bool(kinds & {Listeners, SocketGroups}) or any(f.listener == "dockerd" for _, f in files)
    if Authorities in kinds or any(f.node for _, f in files):
        lines += [f"places={q(platforms.places())}", _part("node_files")]
    if files or listening:
        lines.append(_part("files"))
        lines.append(f"unit_folders={q(' '.join(_UNIT_FOLDERS))}")
        lines += [_file_line(i, f) for i, f in files]
        lines += [_part("listeners")] * listening
        lines.append(_part("stat"))
    lines += [_part("groups")] * (SocketGroups in kinds)
    lines += [_part("mounts")] * (Mounts in kinds)
    lines += [_part("hardening")] * (Hardening in kinds)
    if kinds & {Hardening, EnginePackages}:
        lines += [f"engine_packages={q(' '.join(ENGINE_PACKAGES))}", _part("packages")]
    lines += [_part("audit")] * (AuditRules in kinds)
    lines += [_part("authorities")] * (Authorities in kinds)
    lines += [f"versioned={q(' '.join(VERSIONED))}", _part("version")] * (KubernetesVersion in kinds)
    if units := [f.unit for f in ordered if isinstance(f, AddressFilter)]:
        if not set(units) <= set(UNITS):
            raise UnsafeQuestionError(f"{', '.join(units)}: may not be asked for")
        lines += [_part("address_filter"), *(f"address_filter {q(u)}" for u in units)]
    if any(isinstance(f, Swarm) for f in ordered):
        documents.append("swarm")
        lines.append(_part("swarm"))
    if about_images := [f.key for f in ordered if isinstance(f, Images)]:
        documents += about_images
        lines.append(_part("images"))
    lines += [_part("trust")] * (ContentTrust in kinds)
    documents += [f.key for f in ordered if f.key in INSIDE]  # after the containers, which tell what to ask for
    if any(isinstance(f, ExecLog) for f in ordered):
        lines.append(_part("exec_log"))
    if documents:
        lines += [f"documents={q(' '.join(documents))}", _part("containers"), _part("engines")]
    # Both streams go through head: it bounds them, and it makes few large packets of many small writes.
    bounded = f"2>&1 >&3 3>&- | head -c {STREAM_LIMIT} >&2; }} 3>&1 | head -c {STREAM_LIMIT}"
    lines += ["b end", f"}} </dev/null {bounded}", "exit 0", ""]
    return "\n".join(lines).encode(), tuple(ordered)


def body(script: bytes) -> bytes:
    """Return what of a script is the same in every run, as root's shell gets it: without the end of its last line."""
    return script.partition(b"\n")[2].rstrip(b"\n")


def digest(script: bytes) -> str:
    """Return the SHA-256 of a script's body in hexadecimal digits."""
    return hashlib.sha256(body(script)).hexdigest()


def _config_words(fact: Config) -> tuple[str, ...]:
    if fact.flag not in CONFIG_FLAGS or (fact.dropins and fact.dropins not in CONFIG_FLAGS):
        raise UnsafeQuestionError(f"the flag {fact.flag or fact.dropins} names no configuration that may be read")
    if fact.path and fact.path not in CONTENT_PATHS:
        raise UnsafeQuestionError(f"the content of {fact.path} may not be read")
    spelling = _spelling(fact.process, fact.flag)
    return fact.process, fact.flag, spelling, fact.path, fact.dropins, _underscored(fact.dropins), fact.match


def _spelling(process: str, flag: str) -> str:
    """Return the other way in which a program takes a flag: etcd takes ``-config-file``."""
    if process == "containerd":
        return "-c"
    return flag[1:] if process == "etcd" else _underscored(flag)


def _underscored(flag: str) -> str:
    """Kubernetes components take ``--config_dir`` for ``--config-dir``."""
    return flag[:2] + flag[2:].replace("-", "_")


def _file_line(index: int, fact: Files) -> str:
    q = shlex.quote
    if fact.unit:
        return f"unit {index} {q(fact.unit)}"
    if fact.static_pod:
        return f"static_pod {index} {q(fact.static_pod)}"
    if fact.executable:
        return f"executable {index} {q(fact.executable)}"
    if fact.listener == "containerd":
        return f"containerd_socket {index}"
    if fact.listener:
        return ":"  # what is listened on is found for every such question at once
    for kind, value, known in (("tree", fact.tree, TREES), ("binary", fact.binary, BINARIES)):
        if value:
            if value not in known:
                raise UnsafeQuestionError(f"{value} may not be asked for")
            return f"{kind} {index} {q(value)}"
    if fact.node:
        if fact.node not in NODE_FILES:
            raise UnsafeQuestionError(f"{fact.node} may not be asked for")
        return f"node_file {index} {q(fact.node)}"
    if fact.setting:
        if fact.setting not in SETTING_FILES:
            raise UnsafeQuestionError(f"the file of {fact.setting} may not be asked for")
        return f"by_setting {index} {q(fact.process)} {q(fact.setting)} {q(SETTING_FILES[fact.setting])}"
    if fact.process:
        words = (fact.process, fact.flag, _spelling(fact.process, fact.flag), fact.path, fact.match)
        return f"by_flag {index} {' '.join(map(q, words))}"
    if fact.path.endswith("/*"):
        folder = fact.path[:-2]
        return f"folder {index} {q(folder)} {q(folder)} '*'"
    return f"looked {index} {q(fact.path)}; add {index} {q(fact.path)} {q(fact.path)}"


def pinned(script_digest: str) -> str:
    """Return what root's shell is told: read the script and run it only if its body has this digest.

    A sudoers rule for exactly these words lets an account run that one script as root and nothing else. sudo compares arguments
    joined by spaces, so an account may cut them elsewhere and have the shell run any first words of this; therefore nothing
    comes from the account before the digest was compared. ``sudo -s`` quotes every word but lets it pass for the same command;
    therefore the first one is a builtin that does nothing. Commands are found on root's own paths alone.
    """
    return (
        f"{PINNED}{_ROOTS_PATH} && export PATH && read -r x x x m t && s=$(head -c {SCRIPT_LIMIT}) && "
        f'set -- $(printf %s "$s" | sha256sum) && test "$1" = {script_digest} && set -- sudo "$m" "$t" && eval "$s" || exit 3'
    )


def bootstrap(become: Literal["sudo", "none"], script: bytes) -> str:
    """Return the command that reads ``script``: as root where we are or may become root, else as we are.

    sudo is asked once, never for a password, and for the same command whether it allows everything or this script alone. It fails
    with exit code 1 before it reads anything, the script never ends with 1. Where there is no sha256sum, only a sudo that allows
    everything helps. The shell gets as its argument how it came to its rights: root, sudo, denied, nosudo or none.
    """
    if become == "none":
        inner = 'if [ "$(id -u)" = 0 ]; then exec sh -s root; fi; exec sh -s none'
    else:
        inner = (
            'if [ "$(id -u)" = 0 ]; then exec sh -s root; fi; '
            "command -v sudo >/dev/null 2>&1 || exec sh -s nosudo; "
            f"set -- sh -s sudo; command -v sha256sum >/dev/null 2>&1 && set -- /bin/sh -c {shlex.quote(pinned(digest(script)))}; "
            'sudo -n "$@"; r=$?; '
            '[ $r != 3 ] || echo "what arrived is not the script that sudo was asked to run" >&2; '
            "[ $r = 1 ] || exit $r; exec sh -s denied"
        )
    return f"exec sh -c {shlex.quote(inner)}"
