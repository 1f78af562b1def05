# authority PID PROCESS PATH: the certificates in a file, and nothing else of it
authority() {
  [ -n "$3" ] || return 0
  b ca "$1" "$3"; code=1
  if hidden "$1"; then echo 'Permission denied' >&2
  else
    seen "$1" "$2" "$3"
    if [ -e "$x" ] && [ ! -f "$x" ]; then echo 'not a regular file' >&2
    else c=$(t head -c "$limit" "$x"); code=$?; printf '%s\n' "$c" | sed -n '/-----BEGIN CERTIFICATE-----/,/-----END CERTIFICATE-----/p'
    fi
  fi
  b rc $code
}
b authorities
pids kube-apiserver; all=$v
for pid in $all; do eval "args=\$args_$pid"; pflag "$args" --client-ca-file; authority "$pid" kube-apiserver "$v"; done
pids etcd; all=$v
for pid in $all; do
  eval "args=\$args_$pid"
  flag "$args" --config-file -config-file; [ -n "$v" ] || variable "$pid" ETCD_CONFIG_FILE
  if [ -n "$v" ]; then
    if hidden "$pid"; then continue; fi
    seen "$pid" etcd "$v"; { [ -f "$x" ] && [ -r "$x" ]; } || continue
    values "$x" trusted-ca-file; several=$v
    while IFS= read -r file; do authority "$pid" etcd "$file"; done <<EOF
$several
EOF
    continue
  fi
  flag "$args" --trusted-ca-file -trusted-ca-file; [ -n "$v" ] || variable "$pid" ETCD_TRUSTED_CA_FILE
  authority "$pid" etcd "$v"
done
