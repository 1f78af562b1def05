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
  case $contained$name in yesdockerd|yescontainerd|yeskubelet) continue ;; esac  # somebody's workload, not the host's own
  found="$found$pid $name$nl"
  # sudo itself can be started under any name with any words, and it runs as root; what runs it may turn into another program.
  if [ "$become" = sudo ] && { [ -u "/proc/$pid/exe" ] || [ "$args" != "$(tr '\000' '\n' <"$file" 2>/dev/null)" ]; }; then uid=unsure; fi
  eval "args_$pid=\$args uid_$pid=\$uid contained_$pid=\$contained"
done
b scanned
# pids NAME: v = the processes of that name; of one inside another, args_PID are its own from now on
pids() {
  v=
  while read -r p n nested; do
    [ "$n" = "$1" ] || continue
    v="$v $p"; [ -z "$nested" ] || eval "args_$p=\$args_${p}_$nested"
  done <<EOF
$found
EOF
}
# variable PID NAME: v = the value of an environment variable of that process
variable() { v=$(tr '\000' '\n' 2>/dev/null <"/proc/$1/environ" | sed -n "s/^$2=//p"); v=${v%%"$nl"*}; }
# own PID DEFAULT: v = the default file of that process: a rootless engine's is in the home of its user
own() {
  v=$2; eval "o=\${uid_$1:-0}"
  [ "$2" = /etc/docker/daemon.json ] && [ "$o" != 0 ] || return 0
  variable "$1" XDG_CONFIG_HOME
  [ -n "$v" ] || { variable "$1" HOME; v=${v:+$v/.config}; }
  v=${v:+$v/docker/daemon.json}; v=${v:-$2}
}
# told PID KEY: v = a text in the engine's configuration file
told() {
  eval "args=\$args_$1"
  flag "$args" --config-file; [ -n "$v" ] || own "$1" /etc/docker/daemon.json
  seen "$1" dockerd "$v"; v=
  [ ! -r "$x" ] || v=$(tr ',{}' '\n\n\n' <"$x" | sed -n "s/^[[:space:]]*\"$2\"[[:space:]]*:[[:space:]]*\"\([^\"]*\)\".*/\1/p")
  v=${v##*"$nl"}
}
