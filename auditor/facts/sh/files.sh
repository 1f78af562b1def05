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
      [ -r "$x" ] || closed "$1" "$v"  # it may name another folder than the usual one
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
