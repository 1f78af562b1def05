b plan
paths=
# add INDEX SHOWN REAL / looked INDEX PATH / closed INDEX PATH
add() {
  case $2$3 in *"$nl"*) closed "$1" "$(printf '%s' "$2" | tr '\n' '?')"; return ;; esac  # a name of two lines can't be told apart
  printf 'F %s %s\n%s\n' "$1" "$2" "$3"; paths="$paths$3$nl"
}
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
    flag "$args" "$3" "$4"; [ -n "$v" ] || own "$pid" "$5"
    [ -n "$v" ] || continue
    shown=$v; seen "$pid" "$2" "$v"
    eval "c=\${contained_$pid:-no}"  # without its namespace, the path would be another file than the program's
    if [ "$c" = yes ] && ! readlink "/proc/$pid/ns/mnt" >/dev/null 2>&1; then looked "$1" "$shown"; closed "$1" "$shown"; continue; fi
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
    d=
    flag "$args" --config
    if [ -n "$v" ]; then
      seen "$pid" kubelet "$v"
      [ -r "$x" ] || closed "$1" "$v"  # it may name another folder than the usual one
      d=$(t sed -n 's/^[" \t]*staticPodPath"*[ ]*:[ ]*"*\([^",]*\)"*,*[ ]*$/\1/p' "$x" 2>/dev/null | head -n 1)
    fi
    pflag "$args" --config-dir
    if [ -n "$v" ]; then  # drop-ins override the file, and the flag both
      told=$v; seen "$pid" kubelet "$v"
      for file in "$x"/*.conf; do
        [ -e "$file" ] || continue
        [ -r "$file" ] || { closed "$1" "$told"; continue; }
        values "$file" staticPodPath; d=${v:-$d}
      done
    fi
    pflag "$args" --pod-manifest-path; d=${v:-$d}
    [ -n "$d" ] && dirs="$dirs$d$nl"
  done
  [ -n "$dirs" ] || dirs="/etc/kubernetes/manifests$nl"
  while IFS= read -r d; do
    [ -n "$d" ] || continue
    looked "$1" "$d"
    [ -d "$d" ] && { [ ! -r "$d" ] || [ ! -x "$d" ]; } && { closed "$1" "$d"; continue; }
    pattern="^[[:space:]\"]*(- )?\"?(name|component)\"?[[:space:]]*:[[:space:]]*\"?$2\"?,?[[:space:]]*\$"
    pattern="$pattern|[{,][[:space:]]*\"(name|component)\"[[:space:]]*:[[:space:]]*\"$2\"[[:space:]]*[,}]"  # all in one line
    # Not within the here-document: busybox's timeout would keep that open for a second.
    for file in "$d"/*; do case $file in *"$nl"*) closed "$1" "$d" ;; esac; done
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
by_setting() { # INDEX PROCESS NAME DEFAULT-NAME: the file that a flag or a key of the configuration names
  pids "$2"; all=$v
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" "--$3"; [ -n "$v" ] || told "$pid" "$3"
    [ -n "$v" ] || { variable "$pid" DOCKER_CERT_PATH; v=${v:+$v/$4}; }
    [ -n "$v" ] || { variable "$pid" DOCKER_CONFIG; v=${v:+$v/$4}; }
    [ -n "$v" ] || { variable "$pid" HOME; v=${v:-/root}/.docker/$4; }
    shown=$v; seen "$pid" "$2" "$v"; looked "$1" "$shown"; add "$1" "$shown" "$x"
  done
}
tree() { # INDEX FOLDER
  looked "$1" "$2"
  [ -e "$2" ] || return 0
  listed=$(t find -L "$2" -type f) || closed "$1" "$2"
  while IFS= read -r file; do [ -z "$file" ] || add "$1" "$file" "$file"; done <<EOF
$listed
EOF
}
binary() { # INDEX NAME
  file=$(command -v "$2"); looked "$1" "${file:-$2}"
  case $file in /*) add "$1" "$file" "$file" ;; esac
}
containerd_socket() { # INDEX: as dockerd chooses it: what it is told, else one that runs by itself, else its own child
  pids dockerd; all=$v
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" --containerd; [ -n "$v" ] || told "$pid" containerd
    socket=$v
    if [ -z "$socket" ]; then
      eval "args=\$args_$pid"
      flag "$args" --exec-root; [ -n "$v" ] || told "$pid" exec-root
      root=$v run=; eval "o=\${uid_$pid:-0}"
      [ "$o" = 0 ] || { variable "$pid" XDG_RUNTIME_DIR; run=$v; }
      [ -n "$root" ] || root=${run:-/var/run}/docker
      socket=${run:-/run}/containerd/containerd.sock
      pids containerd
      for p in $v; do eval "args=\$args_$p"; case $args in *"$root/containerd/containerd.toml"*) socket=$root/containerd/containerd.sock ;; esac; done
    fi
    shown=${socket#unix://}; seen "$pid" dockerd "$shown"; looked "$1" "$shown"; add "$1" "$shown" "$x"
  done
}
