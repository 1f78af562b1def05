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
engine() { # PID ARGS ENVIRONMENT
  dockerd=$1 socket= tcp= execs= told= told_info=
  hosts=$(printf '%s\n' "$2" | sed -n -e 's/^\(-H\|--host\)=\{0,1\}//p' -e 's/^\(unix\|tcp\|fd\|npipe\):/&/p')
  flag "$2" --config-file; [ -n "$v" ] || own "$1" /etc/docker/daemon.json; seen "$1" dockerd "$v"
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
      swarm) b doc swarm; swarm "$dockerd" ;;
      info|version|networks|volumes)
        b doc $doc
        if [ -n "$curl" ] && [ $doc = info ]; then told_info=$(get "$url/info"); code=$?; printf '%s\n' "$told_info"; (exit $code)
        elif [ -n "$curl" ]; then get "$url/$doc"
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
        if have awk; then
          told=$curl
          [ $# -eq 0 ] || { execs=$({ inspect containers "$@" 3>&- 4>&- | first_processes "$dockerd" >&4; } 3>&1); } 4>&1
        elif [ $# -gt 0 ]; then inspect containers "$@"
        fi
        b rc 0 ;;
      execs)
        set -- $execs
        b doc execs $#
        if [ -z "$told" ]; then echo 'awk or curl, which this needs: not found' >&2; code=127
        else
          n=$#
          while [ "$n" -gt 0 ]; do i=$1; shift; set -- "$@" "$url/exec/$i/json"; n=$((n - 1)); done
          code=0; [ $# -eq 0 ] || { get "$@"; code=$?; }
        fi
        b rc $code ;;
      programs) b doc programs; container_programs; code=$?; b rc $code ;;
      images:history) image_history ;;
      images:layers-*) image_layers "$dockerd" "${doc#*-}" ;;
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
  eval "args=\$args_$pid"
  engine "$pid" "$args"
done
