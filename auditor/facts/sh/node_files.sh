# hidden PID: whether the files that it sees can't be seen from here
hidden() { eval "c=\${contained_$1:-no}"; [ "$c" = yes ] && ! readlink "/proc/$1/ns/mnt" >/dev/null 2>&1; }
once=$nl
# named INDEX PID PROCESS PATH: a file that a running program uses
named() {
  [ -n "$4" ] || return 0
  case $once in *"$nl$1 $2 $4$nl"*) return ;; esac
  once="$once$1 $2 $4$nl"
  looked "$1" "$4"
  if hidden "$2"; then closed "$1" "$4"; return; fi
  seen "$2" "$3" "$4"; base=$x
  # What a ConfigMap or a Secret puts into a container is no file of the host.
  case $(readlink "$base") in ..data/*) return ;; esac
  add "$1" "$4" "$base"
}
# told_in INDEX PID PROCESS FILE KEY: the files that a key of its configuration names; what the file says is judged elsewhere
told_in() {
  if hidden "$2"; then closed "$1" "$4"; return; fi
  seen "$2" "$3" "$4"; file=$x
  { [ -f "$file" ] && [ -r "$file" ]; } || { looked "$1" "$4"; closed "$1" "$4"; return; }
  values "$file" "$5"; told=$v
  while IFS= read -r line; do named "$1" "$2" "$3" "$line"; done <<EOF
$told
EOF
}
# by_key INDEX PROCESS KEY FLAG...: what the flags name, and a key of the configuration with its drop-ins
by_key() {
  i=$1 program=$2 key=$3; shift 3
  pids "$program"; all=$v
  for pid in $all; do
    eval "args=\$args_$pid"
    for f in "$@"; do pflag "$args" "$f"; named "$i" "$pid" "$program" "$v"; done
    [ -n "$key" ] || continue
    pflag "$args" --config
    [ -z "$v" ] || told_in "$i" "$pid" "$program" "$v" "$key"
    [ "$program" = kubelet ] || continue
    pflag "$args" --config-dir; d=$v
    [ -n "$d" ] || continue
    seen "$pid" "$program" "$d"; above=$x
    [ -d "$above" ] || continue
    listed=$(t find "$above/" ! -type d -name '*.conf') || closed "$i" "$d"
    while [ -n "$listed" ]; do
      dropin=${listed%%"$nl"*}
      case $listed in *"$nl"*) listed=${listed#*"$nl"} ;; *) listed= ;; esac
      told_in "$i" "$pid" "$program" "$d/${dropin#"$above/"}" "$key"
    done
  done
}
etcd_data() { # INDEX
  pids etcd; all=$v
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" --config-file -config-file; [ -n "$v" ] || variable "$pid" ETCD_CONFIG_FILE
    if [ -n "$v" ]; then told_in "$1" "$pid" etcd "$v" data-dir; continue; fi
    flag "$args" --data-dir -data-dir; [ -n "$v" ] || variable "$pid" ETCD_DATA_DIR
    if [ -z "$v" ]; then
      flag "$args" --name -name; [ -n "$v" ] || variable "$pid" ETCD_NAME
      v=${v:-default}.etcd
    fi
    named "$1" "$pid" etcd "$v"
  done
}
# below INDEX SHOWN REAL PATTERN: a folder and all below, or the files below that hold a line like PATTERN
below() {
  looked "$1" "$2"
  [ -d "$3" ] || { add "$1" "$2" "$3"; return 0; }  # stat tells whether it may not be seen or isn't there
  [ -n "$4" ] || add "$1" "$2" "$3"
  listed=$(t find -L "$3/" -maxdepth 4 ! -path "$3/" \( -type f -o -type d \)) || closed "$1" "$2"
  case $(t find -L "$3/" -maxdepth 4 -name "*$nl*") in ?*) closed "$1" "$2" ;; esac
  if [ -n "$4" ]; then holding "$1" "$2" "$4"; fi
  while IFS= read -r file; do [ -z "$file" ] || add "$1" "$2/${file#"$3/"}" "$file"; done <<EOF
$listed
EOF
}
# holding INDEX SHOWN PATTERN: listed = those of them that hold such a line
holding() {
  wanted=$3
  listed=$(IFS=$nl; set -f; set -- $listed; n=$#
    while [ "$n" -gt 0 ]; do [ ! -f "$1" ] || set -- "$@" "$1"; shift; n=$((n - 1)); done
    [ $# -eq 0 ] || t grep -lE -e "$wanted" -- "$@")
  [ $? -le 1 ] || closed "$1" "$2"
}
# within FOLDER: whether all of it was found already
within() {
  l=$folders
  while [ -n "$l" ]; do
    d=${l%%"$nl"*} l=${l#*"$nl"}
    [ -z "$d" ] || case $1/ in "$d"/*) return 0 ;; esac
  done
  return 1
}
pki() { # INDEX PATTERN
  i=$1 pattern=$2
  pids kube-apiserver; all=$v folders=
  for pid in $all; do
    if hidden "$pid"; then closed "$i" "/proc/$pid/root"; continue; fi
    eval "args=\$args_$pid"; folders=$nl
    for f in client-ca-file tls-cert-file tls-private-key-file etcd-cafile etcd-certfile etcd-keyfile kubelet-client-certificate \
      kubelet-client-key kubelet-certificate-authority proxy-client-cert-file proxy-client-key-file requestheader-client-ca-file \
      service-account-key-file service-account-signing-key-file; do
      pflag "$args" "--$f"; [ -n "$v" ] || continue
      shown=$v folder=${v%/*}
      case $f$folder in  # of a folder near the root, which holds other things too, only the file counts
        client-ca-file/*/*/*|tls-cert-file/*/*/*)
          within "$folder" || {
            folders=$folders$folder$nl
            seen "$pid" kube-apiserver "$folder"; below "$i" "$folder" "$x" "$pattern"
          } ;;
      esac
      within "$folder" && continue
      seen "$pid" kube-apiserver "$shown"; looked "$i" "$shown"; listed=$x
      [ -z "$pattern" ] || [ ! -e "$x" ] || holding "$i" "$shown" "$pattern"
      [ -z "$listed" ] || add "$i" "$shown" "$listed"
    done
  done
  known_places pki  # more of them lie there than the API server's flags, or its container, tell of
  more=$v
  while [ -n "$more" ]; do
    folder=${more%%"$nl"*} more=${more#*"$nl"}
    case $folder in
      /*) within "$folder" || [ ! -d "$folder" ] || below "$i" "$folder" "$folder" "$pattern" ;;
      *) closed "$i" "$folder" ;;
    esac
  done
}
# known_places KIND: v = where the platforms that run here, or no one in particular, keep such files, a line each
known_places() {
  w=$1 lines=
  while read -r kind program path; do
    [ "$kind" = "$w" ] || continue
    [ "$program" = - ] || { pids "$program"; [ -n "$v" ] || continue; }
    eval "d=\${data_$program:-}"
    case $path in @*) path=${d:-(data folder of $program)}${path#@} ;; esac
    lines=$lines$path$nl
  done <<EOF
$places$more_places
EOF
  v=$lines
}
# placed INDEX KIND
placed() {
  known_places "$2"
  while IFS= read -r file; do
    case $file in /*) looked "$1" "$file"; add "$1" "$file" "$file" ;; ?*) closed "$1" "$file" ;; esac
  done <<EOF
$v
EOF
}
# told_or_placed INDEX KIND PROCESS KEY FLAG...: what the program was told counts; where nothing of it is known, its usual place
told_or_placed() {
  i=$1 kind=$2; shift 2
  pids "$1"
  if [ -n "$v" ]; then by_key "$i" "$@"; else placed "$i" "$kind"; fi
}
cni() { # INDEX
  known_places cni; dirs=$v
  pids containerd; all=$v
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" --config -c; file=${v:-/etc/containerd/config.toml}
    [ -e "$file" ] || continue
    { [ -f "$file" ] && [ -r "$file" ]; } || { closed "$1" "$file"; continue; }
    values "$file" conf_dir; dirs=$dirs$v$nl
  done
  while [ -n "$dirs" ]; do
    d=${dirs%%"$nl"*} dirs=${dirs#*"$nl"}
    case $d in '') continue ;; '('*) closed "$1" "$d"; continue ;; esac
    looked "$1" "$d"
    [ -d "$d" ] || { add "$1" "$d" "$d"; continue; }
    listed=$(t find -L "$d/" -maxdepth 3 -type f ! -name '*lock') || closed "$1" "$d"
    case $(t find -L "$d/" -maxdepth 3 -name "*$nl*") in ?*) closed "$1" "$d" ;; esac
    while IFS= read -r file; do [ -z "$file" ] || add "$1" "$file" "$file"; done <<EOL
$listed
EOL
  done
}
node_file() { # INDEX KIND
  case $2 in
    pki) pki "$1" '' ;;
    pki-certificates) pki "$1" '-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----' ;;
    pki-keys) pki "$1" '-----BEGIN ([A-Z]+ )*PRIVATE KEY-----' ;;
    etcd-data) etcd_data "$1" ;;
    admin-kubeconfig) placed "$1" "$2" ;;
    scheduler-kubeconfig)
      told_or_placed "$1" "$2" kube-scheduler kubeconfig --kubeconfig --authentication-kubeconfig --authorization-kubeconfig ;;
    controller-manager-kubeconfig)
      told_or_placed "$1" "$2" kube-controller-manager kubeconfig --kubeconfig --authentication-kubeconfig \
        --authorization-kubeconfig ;;
    kube-proxy-kubeconfig) told_or_placed "$1" "$2" kube-proxy kubeconfig --kubeconfig ;;
    kubelet-kubeconfig) told_or_placed "$1" "$2" kubelet '' --kubeconfig ;;
    kubelet-client-ca) told_or_placed "$1" "$2" kubelet clientCAFile --client-ca-file ;;
    cni) cni "$1" ;;
  esac
}
