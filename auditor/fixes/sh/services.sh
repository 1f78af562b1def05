# -- What follows actions (see `after`): services restart or read their files again. Playbooks have this part too.

# hang_up PROGRAM PIDFILES...: a SIGHUP to the process that one of them names, if that is this program, and on this host itself
hang_up() {
  program=$1 files=$*
  shift
  for file in "$@"; do
    [ -f "$file" ] || continue
    trusted "$file" || return 1
    pid=$(cat -- "$real")
    case $pid in '' | 0* | *[!0-9]*) continue ;; esac
    # The program's own short-lived children have the same file but another name, a container's processes other numbers.
    exe=$(readlink -- "/proc/$pid/exe")
    exe=${exe%" (deleted)"} # it was updated since
    [ "${exe##*/}" = "$program" ] && [ "$(cat -- "/proc/$pid/comm" 2>/dev/null)" = "$program" ] || continue
    [ "$(readlink -- "/proc/$pid/ns/pid")" = "$(readlink -- "/proc/$$/ns/pid")" ] || continue
    kill -HUP "$pid"
    return
  done
  why "no running $program is named by ${files#"$program "}: if it runs, send it a SIGHUP by hand"
  return 1
}

# service_do restart|reload NAME: by the host's service manager
service_do() {
  umask 022 # without systemd the service has it from here
  if have systemctl && [ -d /run/systemd/system ]; then
    [ "$1" = reload ] || systemctl daemon-reload || return 1
    systemctl "$1" "$2"
  elif have rc-service; then
    rc-service "$2" "$1"
  elif [ "$1 $2" = 'reload docker' ]; then
    # Debian's script of the service knows no reload. What dockerd itself calls one is this signal.
    hang_up dockerd /var/run/docker.pid /var/run/docker-ssd.pid
  elif have service; then
    service "$2" "$1"
  else
    why "no service manager is known here: $1 $2 by hand"
    return 1
  fi
}
