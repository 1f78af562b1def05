# What an engine really listens on: the sockets that it holds open, however it came by them.
scan() { # PID
  b listen "$1"
  inodes=" $(t ls -l "/proc/$1/fd" | sed -n 's/.* socket:\[\([0-9]*\)\].*/\1/p' | tr '\n' ' ')"
  [ "$inodes" != " " ] || { echo unread; return; }  # an engine without any socket does not work; so this account may not look
  echo read
  listed=$(t grep ' 00010000 ' "/proc/$1/net/unix")
  while read -r num ref protocol flags type state inode path; do
    case "$inodes|$path" in *" $inode "*"|/"*) printf 'u %s\n' "$path"; seen "$1" dockerd "$path"; printf '%s\n' "$x"; sockets="$sockets$x$nl" ;; esac
  done <<EOF
$listed
EOF
  listed=$(t grep -hs ' 0A ' "/proc/$1/net/tcp" "/proc/$1/net/tcp6")
  while read -r num local remote state queue timer again uid timeout inode rest; do
    case $inodes in *" $inode "*) printf 't %s\n' "$local" ;; esac
  done <<EOF
$listed
EOF
}
sockets=
pids dockerd
for pid in $v; do scan "$pid"; done
paths="$paths$sockets"
