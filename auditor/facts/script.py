"""All host facts of a target as one POSIX sh script.

The script arrives on the standard input of one shell. It is one compound command, so a shell that got only a part of it runs
nothing, and what it runs can't read the rest. Every answer is framed on both streams by a marker that is fresh for each run, so
nothing on the host can forge one. Nothing is written, every command that could hang has a time limit, every content a size limit.

Records (a line ``MARKER word ...``, then bytes up to the next record; see `auditor.facts.answers` for their meaning)::

    system | os-release | boot | proc-mount        about the host
    p PID UID CONTAINED NS | a PID | e PID           a program: exe, stat; its command line; its environment
    c INDEX PID FROM PATH                            a configuration file: a line of stat, then its content
    plan | stat                                      which files belong to which question; what stat says of them
    audit-status | audit-rules | audit-none          auditctl
    engine PID SOCKET | doc NAME | list NAME | u CODE URL | s PID   an engine's answers
    rc CODE                                          the exit code of the command before it
    end                                              all is said
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Literal

from auditor.facts.docker import Engine
from auditor.facts.host import CONFIG_FLAGS, CONTENT_PATHS, ENVIRONMENT, PROGRAMS, AuditRules, Config, Files
from auditor.model import Fact

#: Bytes of one configuration file; more is said to be truncated.
CONTENT_LIMIT = 1024 * 1024
#: Bytes of everything a host says on one stream.
STREAM_LIMIT = 64 * 1024 * 1024
#: Seconds that one command on the host may take.
COMMAND_SECONDS = 20

_UNIT_FOLDERS = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early",
    "/etc/systemd/system", "/run/systemd/system", "/run/systemd/generator", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
)  # fmt: skip

_PRELUDE = r"""
LC_ALL=C; export LC_ALL; unset CDPATH ENV BASH_ENV DOCKER_HOST DOCKER_CONTEXT CURL_HOME
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin; export PATH
nl='
'
have() { command -v "$1" >/dev/null 2>&1; }
b() { printf '\n%s %s\n' "$M" "$*"; printf '\n%s %s\n' "$M" "$*" >&2; }
# By its path: a shell that runs busybox's timeout in itself hands its watcher every open pipe, and then waits a second for it.
limiter=timeout; [ ! -x /usr/bin/timeout ] || limiter=/usr/bin/timeout
# left: n = the seconds that a command may take; none are left when the answers must be on their way
read -r up rest </proc/uptime; end=$((${up%%.*} + seconds))
left() { read -r up rest </proc/uptime; n=$((end - ${up%%.*})); [ "$n" -lt "$T" ] || n=$T; [ "$n" -gt 0 ]; }
if $limiter 5 true 2>/dev/null; then t() { left || return 124; $limiter "$n" "$@"; }; else t() { left || return 124; "$@"; }; fi
# flag ARGS NAME [OTHER SPELLING]: v = value of its last occurrence
flag() {
  v= s=
  while IFS= read -r a; do
    if [ -n "$s" ]; then v=$a s=; continue; fi
    case $a in "$2="*|"${3:-$2}="*) v=${a#*=} ;; "$2"|"${3:-$2}") s=1 ;; esac
  done <<EOF
$1
EOF
}
# seen PID NAME PATH: x = the path as that process sees it
seen() {
  eval "r=\${root_$1:-}"
  case $3 in /*) x=$r$3 ;; *) x=$r$(readlink "/proc/$1/cwd")/$3 ;; esac
}
b system
id -u
if [ "$become" = sudo ] && [ -n "${SUDO_USER:-}" ]; then printf '%s\n' "$SUDO_USER"; else id -un; fi
uname -n; uname -srm; printf '%s\n' "$become"
b os-release
head -c 8192 /etc/os-release 2>/dev/null
b boot
while read -r k v rest; do [ "$k" = btime ] && printf '%s\n' "$v"; done </proc/stat
t getconf CLK_TCK 2>/dev/null || echo 100
b proc-mount
while read -r a k rest; do [ "$k" = /proc ] && printf '%s\n' "$rest"; done </proc/self/mounts
own_mnt=$(readlink /proc/self/ns/mnt)
own_cg=; while IFS= read -r a; do own_cg=$own_cg$a; done </proc/self/cgroup
"""

_PROCESSES = r"""
found=
for file in $(grep -lsE "$programs" /proc/[0-9]*/cmdline); do
  pid=${file#/proc/}; pid=${pid%/cmdline}
  comm=; read -r comm 2>/dev/null <"/proc/$pid/comm"
  case $comm in containerd-shim*|runc*|grep) continue ;; esac
  args=$(tr '\000' '\n' <"$file" 2>/dev/null)
  name=${args%%"$nl"*}; name=${name%% *}; name=${name##*/}
  exe=$(readlink "/proc/$pid/exe" 2>/dev/null)
  known "$name" || { name=${exe% (deleted)}; name=${name##*/}; known "$name" || continue; }
  uid=; while read -r k v rest; do [ "$k" = Uid: ] && { uid=$v; break; }; done 2>/dev/null <"/proc/$pid/status"
  [ -n "$uid" ] || continue
  cg=; while IFS= read -r a; do cg=$cg$a; done 2>/dev/null <"/proc/$pid/cgroup"
  contained=no
  [ "$cg" = "$own_cg" ] || case $cg in
    */docker/[0-9a-f][0-9a-f]*|*docker-[0-9a-f][0-9a-f]*|*kubepods*|*libpod-*|*cri-containerd*|*crio-*|*/lxc/*) contained=yes ;;
  esac
  mnt=$(readlink "/proc/$pid/ns/mnt" 2>/dev/null)
  case $mnt in '') ns=unknown ;; "$own_mnt") ns=same ;; *) ns=other; eval "root_$pid=/proc/$pid/root" ;; esac
  b p "$pid" "$uid" "$contained" "$ns" "$name"
  printf '%s\n' "$exe"; head -c 4096 "/proc/$pid/stat"
  b a "$pid"
  head -c 262144 "$file"
  b rc $?
  b e "$pid"
  tr '\000' '\n' <"/proc/$pid/environ" | grep -E "$environment"
  found="$found$pid $name$nl"
  eval "args_$pid=\$args uid_$pid=\$uid contained_$pid=\$contained"
done
b scanned
# pids NAME: v = the processes of that name
pids() {
  v=
  while read -r p n; do [ "$n" = "$1" ] && v="$v $p"; done <<EOF
$found
EOF
}
"""

_CONTENT = r"""
# content INDEX PID FROM SHOWN REAL
content() {
  b c "$1" "$2" "$3" "$4"
  s=$(t stat -L -c '%Y %s %F' "$5"); code=$?
  printf '%s\n' "$s"
  case $s in *' regular '*) t head -c "$limit" "$5"; code=$? ;; esac
  b rc $code
}
# config INDEX PROCESS FLAG OTHER-SPELLING DEFAULT DROPINS OTHER-SPELLING PATTERN
config() {
  pids "$2"; all=$v
  [ -n "$all" ] || { [ -n "$5" ] && content "$1" 0 default "$5" "$5"; return; }
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" "$3" "$4"; from=flag
    [ -n "$v" ] || { v=$5; from=default; }
    if [ -n "$v" ]; then seen "$pid" "$2" "$v"; content "$1" "$pid" $from "$v" "$x"; fi
    [ -n "$6" ] || continue
    flag "$args" "$6" "$7"
    [ -n "$v" ] || continue
    d=$v; seen "$pid" "$2" "$d"; base=$x
    if [ -d "$base" ] && [ -r "$base" ] && [ -x "$base" ]; then
      for file in "$base"/*; do
        case ${file##*/} in $8) content "$1" "$pid" dropin "$d/${file##*/}" "$file" ;; esac
      done
    else content "$1" "$pid" folder "$d" "$base"
    fi
  done
}
"""

_FILES = r"""
b plan
paths=
# add INDEX SHOWN REAL / looked INDEX PATH / closed INDEX PATH
add() { printf 'F %s %s\n%s\n' "$1" "$2" "$3"; paths="$paths$3$nl"; }
looked() { printf 'S %s %s\n' "$1" "$2"; }
closed() { printf 'D %s %s\n' "$1" "$2"; }
# folder INDEX SHOWN REAL PATTERN
folder() {
  looked "$1" "$2"
  if [ -d "$3" ]; then
    if [ -r "$3" ] && [ -x "$3" ]; then
      for file in "$3"/*; do case ${file##*/} in $4) [ -e "$file" ] && add "$1" "$2/${file##*/}" "$file" ;; esac; done
    else closed "$1" "$2"
    fi
  fi
}
by_flag() { # INDEX PROCESS FLAG OTHER-SPELLING DEFAULT PATTERN
  pids "$2"; all=$v
  [ -n "$all" ] || { [ -z "$5" ] || { looked "$1" "$5"; add "$1" "$5" "$5"; }; return; }
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" "$3" "$4"; [ -n "$v" ] || v=$5
    [ -n "$v" ] || continue
    shown=$v; seen "$pid" "$2" "$v"
    if [ -n "$6" ]; then folder "$1" "$shown" "$x" "$6"; else looked "$1" "$shown"; add "$1" "$shown" "$x"; fi
  done
}
unit() { # INDEX NAME
  main=
  for d in $unit_folders; do
    [ "$d" = /lib/systemd/system ] && [ -L /lib ] && continue
    looked "$1" "$d/$2"
    [ -z "$main" ] && [ -e "$d/$2" ] && { main=1; add "$1" "$d/$2" "$d/$2"; }
    for file in "$d/$2.d"/*.conf; do [ -e "$file" ] && add "$1" "$file" "$file"; done
  done
}
static_pod() { # INDEX COMPONENT
  pids kubelet; all=$v; dirs=
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" --pod-manifest-path --pod_manifest_path; d=$v
    flag "$args" --config
    if [ -z "$d" ] && [ -n "$v" ]; then
      seen "$pid" kubelet "$v"
      d=$(t sed -n 's/^[" \t]*staticPodPath"*[ ]*:[ ]*"*\([^",]*\)"*,*[ ]*$/\1/p' "$x" 2>/dev/null | head -n 1)
    fi
    [ -n "$d" ] && dirs="$dirs$d$nl"
  done
  [ -n "$dirs" ] || dirs="/etc/kubernetes/manifests$nl"
  while IFS= read -r d; do
    [ -n "$d" ] || continue
    looked "$1" "$d"
    [ -d "$d" ] && { [ ! -r "$d" ] || [ ! -x "$d" ]; } && { closed "$1" "$d"; continue; }
    pattern="^[[:space:]\"]*(- )?\"?(name|component)\"?[[:space:]]*:[[:space:]]*\"?$2\"?,?[[:space:]]*\$"
    # Not within the here-document: busybox's timeout would keep that open for a second.
    listed=$(set --; for file in "$d"/*; do [ ! -f "$file" ] || set -- "$@" "$file"; done; [ $# -eq 0 ] || t grep -lE "$pattern" "$@")
    [ $? -le 1 ] || closed "$1" "$d"  # a manifest that could not be read may be the one
    while IFS= read -r file; do [ -z "$file" ] || add "$1" "$file" "$file"; done <<EOL
$listed
EOL
  done <<EOF
$dirs
EOF
}
executable() { # INDEX NAME
  pids "$2"
  for pid in $v; do
    exe=$(readlink "/proc/$pid/exe"); [ -n "$exe" ] || { closed "$1" "/proc/$pid/exe"; continue; }
    seen "$pid" "$2" "$exe"; looked "$1" "$exe"; add "$1" "$exe" "$x"
  done
}
"""

_STAT = r"""
b stat
(IFS=$nl; set -f; [ -z "$paths" ] || t stat -L -c '%a|%u|%g|%U|%G|%Y|%F|%n' -- $paths)
b rc $?
"""

_AUDIT = r"""
if have auditctl; then
  b audit-status; t auditctl -s; b rc $?
  b audit-rules; t auditctl -l; b rc $?
else
  b audit-none; [ -e /etc/audit ] && echo configured
fi
"""

_ENGINES = r"""
url=http://localhost
get() { t curl -q -sS -m "$T" --unix-socket "$socket" -w "\n$M u %{http_code} %{url_effective}\n" "$@"; }
cli() { t docker -H "unix://$socket" "$@"; }
# inspect NAME ID...: every object's document, then (containers) /proc of their first processes
inspect() {
  kind=$1; shift
  if [ -n "$curl" ]; then
    n=$#
    while [ "$n" -gt 0 ]; do i=$1; shift; set -- "$@" "$url/$kind/$i/json"; n=$((n - 1)); done
    get "$@"
  elif [ "$kind" = containers ]; then cli inspect --type container "$@"
  else cli inspect --type image "$@"
  fi
}
first_processes() {
  awk -v m="$M" '
    { print }
    match($0, /"Pid": ?[1-9][0-9]*/) { p = substr($0, RSTART, RLENGTH); sub(/^.*: ?/, "", p); pid[++n] = p }
    END { for (i = 1; i <= n; i++) {
      printf "\n%s s %s\n", m, pid[i]
      file = "/proc/" pid[i] "/status"
      while ((getline line < file) > 0) if (line ~ /^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):/) print line
      close(file); file = "/proc/" pid[i] "/uid_map"
      while ((getline line < file) > 0) print "map " line
      close(file) } }'
}
engine() { # PID ARGS ENVIRONMENT
  socket=; tcp=
  hosts=$(printf '%s\n' "$2" | sed -n -e 's/^\(-H\|--host\)=\{0,1\}//p' -e 's/^\(unix\|tcp\|fd\|npipe\):/&/p')
  flag "$2" --config-file; seen "$1" dockerd "${v:-/etc/docker/daemon.json}"
  [ -n "$hosts" ] || hosts=$(t tr ',[' '\n\n' 2>/dev/null <"$x" | sed -n 's/^[ \t]*"\(\(unix\|tcp\|fd\):[^"]*\)".*/\1/p')
  while IFS= read -r h; do
    case $h in
      unix://*) [ -n "$socket" ] || socket=${h#unix://} ;;
      /*) [ -n "$socket" ] || socket=$h ;;
      fd:*) [ -n "$socket" ] || socket=/var/run/docker.sock ;;
      tcp:*) tcp=1 ;;
    esac
  done <<EOF
$hosts
EOF
  if [ -z "$socket" ] && [ -z "$tcp" ]; then
    d=$(tr '\000' '\n' <"/proc/$1/environ" 2>/dev/null | sed -n 's/^XDG_RUNTIME_DIR=//p' | head -n 1)
    eval "o=\${uid_$1:-0}"
    if [ "$o" != 0 ] && [ -n "$d" ]; then socket=$d/docker.sock; else socket=/var/run/docker.sock; fi
  fi
  b engine "$1" "$socket"
  [ -n "$socket" ] || { echo tcp-only; return; }
  [ -w "$socket" ] || { if [ -e "$socket" ]; then echo no-access; else echo no-socket; fi; return; }
  curl=; if have curl; then curl=1; elif ! have docker; then echo no-client; return; fi
  late=
  for doc in $documents; do
    [ -z "$late" ] || { b doc $doc 0; b rc 124; continue; }  # an engine that let one question wait is not asked another
    case $doc in
      info|version|networks|volumes)
        b doc $doc
        if [ -n "$curl" ]; then get "$url/$doc"
        elif [ $doc = info ]; then cli info --format '{{json .}}'
        elif [ $doc = version ]; then cli version --format '{{json .Server}}'
        elif [ $doc = networks ]; then cli network inspect $(cli network ls -q)
        elif ids=$(cli volume ls -q) && [ -n "$ids" ]; then cli volume inspect $ids
        else echo '[]'
        fi
        code=$?; b rc $code ;;
      containers)
        if [ -n "$curl" ]; then l=$(get "$url/containers/json?all=1"); else l=$(cli ps -aq --no-trunc); fi
        code=$?
        b list containers; printf 'last %s\n' "${l##*"$nl"}"; b rc $code
        ids=$(printf '%s\n' "$l" | grep -oE '("Id":"|^)[0-9a-f]{64}' | grep -oE '[0-9a-f]{64}')
        set -- $ids
        b doc containers $#
        if [ $# -gt 0 ]; then if have awk; then inspect containers "$@" | first_processes; else inspect containers "$@"; fi; fi
        b rc 0 ;;
      images)
        if [ -n "$curl" ]; then l=$(get "$url/images/json"); else l=$(cli image ls -q --no-trunc); fi
        code=$?
        b list images; printf 'last %s\n' "${l##*"$nl"}"; b rc $code
        ids=$(printf '%s\n' "$l" | grep -oE '("Id":"|^)sha256:[0-9a-f]{64}' | grep -oE 'sha256:[0-9a-f]{64}' | sort -u)
        set -- $ids
        b doc images $#
        [ $# -eq 0 ] || inspect images "$@"
        b rc 0 ;;
    esac
    case $code in 28|124) late=1 ;; esac
  done
}
pids dockerd
for pid in $v; do
  eval "args=\$args_$pid; c=\${contained_$pid:-no}"
  [ "$c" = yes ] || engine "$pid" "$args"
done
"""


class UnsafeQuestionError(ValueError):
    """A question names a file that a benchmark may not ask for."""


def compose(facts: Iterable[Fact], marker: str, timeout: float = 120) -> tuple[bytes, list[Fact]]:
    """Return the script for some facts and the facts in the order of the indices in its records.

    ``marker`` is a fresh random word of hexadecimal digits. ``timeout`` is how many seconds the transport waits for all answers:
    the script starts no command after four fifths of them, so that what it learnt until then arrives. Facts that no host answers (objects of a cluster) are left out.
    Raises `UnsafeQuestionError` for a configuration file outside those that may be read.
    """
    ordered = sorted(facts, key=lambda f: f.key)
    documents = [f.document for f in ordered if isinstance(f, Engine)]
    configs = [(i, f) for i, f in enumerate(ordered) if isinstance(f, Config)]
    files = [(i, f) for i, f in enumerate(ordered) if isinstance(f, Files)]
    q = shlex.quote
    numbers = f"T={COMMAND_SECONDS} seconds={max(1, int(timeout * 4 / 5))} limit={CONTENT_LIMIT + 1}"
    lines = ["{ {", f"M={q(marker)} {numbers} become=${{1:-none}}", _PRELUDE]
    lines += [f"programs={q('(^|/)(' + '|'.join(PROGRAMS) + ')')}", f"environment={q('^(' + '|'.join(ENVIRONMENT) + ')=')}"]
    lines += [f"known() {{ case $1 in {'|'.join(PROGRAMS)}) return 0 ;; esac; return 1; }}"]
    lines.append(_PROCESSES)
    if configs:
        lines.append(_CONTENT)
        lines += [f"config {i} {' '.join(map(q, _config_words(f)))}" for i, f in configs]
    if files:
        lines.append(_FILES)
        lines.append(f"unit_folders={q(' '.join(_UNIT_FOLDERS))}")
        lines += [_file_line(i, f) for i, f in files]
        lines.append(_STAT)
    if any(isinstance(f, AuditRules) for f in ordered):
        lines.append(_AUDIT)
    if documents:
        lines += [f"documents={q(' '.join(documents))}", _ENGINES]
    # Both streams go through head: it bounds them, and it makes few large packets of many small writes.
    bounded = f"2>&1 >&3 3>&- | head -c {STREAM_LIMIT} >&2; }} 3>&1 | head -c {STREAM_LIMIT}"
    lines += ["b end", f"}} </dev/null {bounded}", "exit 0", ""]
    return "\n".join(lines).encode(), ordered


def _config_words(fact: Config) -> tuple[str, ...]:
    if fact.flag not in CONFIG_FLAGS or (fact.dropins and fact.dropins not in CONFIG_FLAGS):
        raise UnsafeQuestionError(f"the flag {fact.flag or fact.dropins} names no configuration that may be read")
    if fact.path and fact.path not in CONTENT_PATHS:
        raise UnsafeQuestionError(f"the content of {fact.path} may not be read")
    return fact.process, fact.flag, _underscored(fact.flag), fact.path, fact.dropins, _underscored(fact.dropins), fact.match


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
    if fact.process:
        words = (fact.process, fact.flag, _underscored(fact.flag), fact.path, fact.match)
        return f"by_flag {index} {' '.join(map(q, words))}"
    if fact.path.endswith("/*"):
        folder = fact.path[:-2]
        return f"folder {index} {q(folder)} {q(folder)} '*'"
    return f"looked {index} {q(fact.path)}; add {index} {q(fact.path)} {q(fact.path)}"


def bootstrap(become: Literal["sudo", "none"]) -> str:
    """Return the command that reads the script: as root where we are or may become root, else as we are.

    sudo is asked once, never for a password; it fails with exit code 1 before it reads anything, the script never ends with 1.
    The shell gets as its argument how it came to its rights: root, sudo, denied, nosudo or none.
    """
    if become == "none":
        inner = 'if [ "$(id -u)" = 0 ]; then exec sh -s root; fi; exec sh -s none'
    else:
        inner = (
            'if [ "$(id -u)" = 0 ]; then exec sh -s root; fi; '
            "command -v sudo >/dev/null 2>&1 || exec sh -s nosudo; "
            "sudo -n sh -s sudo; r=$?; [ $r = 1 ] || exit $r; exec sh -s denied"
        )
    return f"exec sh -c {shlex.quote(inner)}"
