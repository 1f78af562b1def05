# Config data is taken out before it leaves the host. Secrets are listed without theirs by the engine. Neither GET /swarm nor
# GET /swarm/unlockkey is ever asked: what they say beyond GET /info is join tokens and the unlock key.
swarm_list() { # KIND COMMAND: every object that a manager manages
  b w "$1"
  if [ -n "$curl" ]; then get "$url/$1"
  elif ids=$(cli "$2" ls -q) && [ -n "$ids" ]; then cli "$2" inspect $(printf '%s\n' "$ids" | sed 's/ .*//')
  elif [ $? = 0 ]; then echo '[]'
  else false
  fi | sed 's/"Data": *"[^"]*"/"Data":""/g'
  b rc 0
}
swarm() { # PID
  b w info
  i=$told_info code=0  # already asked for as a document: 20.10 starts three programs to answer it
  if [ -n "$i" ]; then :
  elif [ -n "$curl" ]; then i=$(get "$url/info"); code=$?
  else i=$(cli info --format '{{json .}}'); code=$?
  fi
  printf '%s\n' "$i"
  b rc $code
  [ $code = 0 ] || return
  case $i in *'"LocalNodeState":"inactive"'*) return ;; esac
  folder=$(printf '%s\n' "$i" | sed -n 's/.*"DockerRootDir":"\([^"\\]*\)".*/\1/p')/swarm
  seen "$1" dockerd "$folder"
  for file in docker-state.json certificates/swarm-node.crt certificates/swarm-root-ca.crt; do
    b w "${file##*/}" "$folder/$file"; take "$1" "$x/$file"; b rc $?
  done
  b w sockets; t ls -l "/proc/$1/fd/"; b rc $?
  b w bound
  # in state listening, or a UDP socket, which has no peer
  for file in tcp tcp6 udp udp6; do echo "$file"; t grep -E '^ *[0-9]+: [0-9A-F]+:[0-9A-F]{4} 0+:0000 ' "/proc/$1/net/$file"; done
  b rc 0
  b w interfaces
  if ! have ip; then echo 'ip: command not found' >&2; b rc 127
  elif [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ]; then echo 'the engine has a network of its own' >&2; b rc 1
  else t ip -o addr show; b rc $?
  fi
  case $i in *'"ControlAvailable":true'*) ;; *) return ;; esac
  swarm_list nodes node; swarm_list services service; swarm_list secrets secret; swarm_list configs config
}
