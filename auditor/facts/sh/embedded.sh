# Programs inside another one have no command line: k3s says in its log how it starts them, kubelite reads a file for each.
b embedded
while read -r k v rest; do [ "$k" != btime ] || btime=$v; done </proc/stat
ticks=$(getconf CLK_TCK 2>/dev/null) || ticks=100
many=0 more_places=
# inside PID PROGRAM ARGS: from now on it is found like the others
inside() { many=$((many + 1)); found="$found$1 $2 $many$nl"; eval "args_${1}_$many=\$3"; }
# data PID NAME: v = where k3s or RKE2 keeps its data: its programs were unpacked there; what it was told; the default. Empty where
# this account may not see it.
data() {
  exe=$(readlink "/proc/$1/exe")
  case $exe in */data/*/bin/*) v=${exe%/data/*/bin/*}; return ;; esac
  eval "args=\$args_$1 o=\${uid_$1:-0}"
  v=${exe:+/var/lib/rancher/$2}; [ "$o" = 0 ] || return 0
  flag "$args" --data-dir -d; [ -z "$v" ] || return 0
  flag "$args" --config -c; told=
  for file in "${v:-/etc/rancher/$2/config.yaml}" "${v:-/etc/rancher/$2/config.yaml}.d"/*.yaml; do
    [ ! -r "$file" ] || { values "$file" data-dir; told=${v:-$told}; }
  done
  v=${told:-${exe:+/var/lib/rancher/$2}}
}
# written NAME: where k3s or RKE2 was told to leave the administrator's credentials
written() {
  for file in "/etc/rancher/$1/config.yaml" "/etc/rancher/$1/config.yaml.d"/*.yaml; do
    [ ! -r "$file" ] || { values "$file" write-kubeconfig; more_places="$more_places${v:+admin-kubeconfig $1 $v$nl}"; }
  done
}
starts='Running (kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy) --'
said() { # PID: its own words about what it starts, oldest first, and how looking for them ended
  if [ -f "/proc/$1/fd/2" ]; then b said "$1" file; t grep -E "$starts" "/proc/$1/fd/2" 2>&1; echo "code $?"
  elif have journalctl; then
    b said "$1" journal
    read -r s <"/proc/$1/stat"; since=$(set -f; set -- ${s##*) }; shift 19; echo $((btime + $1 / ticks - 2)))
    { t journalctl --no-pager -a -o short-unix "_PID=$1" --since="@$since" 2>&1; echo "code $?"; } | head -n 20001 |
      sed -n -E -e '1,2p' -e "/$starts/p" -e '/^code /p' -e '/^[A-Z].*([Jj]ournal|permission)/p' -e '20001s/.*/code cut/p'
  else b said "$1" none
  fi
}
k3s() { # PID
  eval "args=\$args_$1 c=\$contained_$1"
  [ "$c" = no ] || return 0
  case $args in *' server'|*"${nl}server"|*"${nl}server$nl"*) ;; *' agent'|*"${nl}agent"|*"${nl}agent$nl"*) ;; *) return 0 ;; esac
  data "$1" k3s; folder=$v; eval "o=\$uid_$1"
  # Nobody but root says where root's k3s keeps its files.
  if [ "$o" = 0 ] || [ -z "${data_k3s:-}" ]; then data_k3s=$folder; fi
  written k3s
  b data "$1"; printf '%s\n' "$folder"
  lines=$(said "$1" 2>/dev/null); printf '%s\n' "$lines"
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    args=$(printf '%s\n' "$lines" | sed -n -E "s/^.*(msg=\"|INFO[^ ]* )Running $name (--.*[^\"])\"?\$/\2/p" | head -n 1 | sed 's/ --/\
--/g')
    [ -z "$args" ] || inside "$1" $name "$args"
  done
  file=$folder/server/db/etcd/config
  b etcd "$1" "$file"; t stat -L -c '%Y %s %F' "$file"; b rc $?
  b sqlite "$1"; t stat -L -c '%Y %s %F' "$folder/server/db/state.db"; b rc $?
  [ ! -f "$file" ] || inside "$1" etcd "--config-file=$file"
}
# put TEXT WORD VALUE: v = the text with the value wherever the word stands; never by sed, to which a value could give commands
put() {
  v= rest=$1
  while :; do case $rest in *"$2"*) v=$v${rest%%"$2"*}$3 rest=${rest#*"$2"} ;; *) v=$v$rest; return ;; esac; done
}
kubelite() { # PID
  eval "given=\$args_$1 o=\$uid_$1"
  variable "$1" SNAP; snap=$v; variable "$1" SNAP_COMMON; common=$v; variable "$1" SNAP_DATA; folder=$v
  if [ "$o" = 0 ] || [ -z "${data_kubelite:-}" ]; then data_kubelite=$folder; fi
  b data "$1"; printf '%s\n' "$folder"
  flag "$given" --start-control-plane; plane=$v
  for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy; do
    case $plane$name in false*r) continue ;; esac
    flag "$given" "--${name#kube-}-args-file"; shown=$v
    [ -n "$shown" ] || continue
    seen "$1" kubelite "$shown"
    args=; b af "$1" "$name" "$shown"; t stat -L -c '%Y %s %F' "$x" && args=$(take "$1" "$x"); code=$?
    printf '%s\n' "$args"; b rc $code
    [ $code = 0 ] || continue
    v=$(printf '%s\n' "$args" | sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' -e '/^#/d' -e '/^$/d' -e "s/[\"']//g")
    put "$v" '${SNAP_DATA}' "$folder"; put "$v" '$SNAP_DATA' "$folder"; put "$v" '${SNAP_COMMON}' "$common"
    put "$v" '$SNAP_COMMON' "$common"; put "$v" '${SNAP}' "$snap"; put "$v" '$SNAP/' "$snap/"
    args=$v
    inside "$1" "$name" "$args"
  done
}
pids k3s; for pid in $v; do k3s "$pid"; done
pids kubelite; for pid in $v; do kubelite "$pid"; done
pids rke2; ours=$v
for pid in $ours; do
  pids kubelet; exe=; for p in $v; do exe=$(readlink "/proc/$p/exe"); done
  case $exe in */data/*/bin/*) v=${exe%/data/*/bin/*} ;; *) data "$pid" rke2 ;; esac
  data_rke2=$v; written rke2
  b data "$pid"; printf '%s\n' "$data_rke2"
done
