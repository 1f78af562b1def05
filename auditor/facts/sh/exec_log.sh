# The audit log's earliest moments, one a file, then the newest uses of "docker exec" in it.
b exec-log
if [ ! -d /var/log/audit ]; then echo none
elif [ ! -r /var/log/audit ] || [ ! -x /var/log/audit ]; then echo denied
else
  (set -- /var/log/audit/audit.log*
  [ -e "$1" ] || { echo none; exit 0; }
  t grep -h -m 1 -o 'audit([0-9]*' "$@"
  t grep -hE '^(node=[^ ]* )?type=EXECVE .*a0="([^"]*/)?docker" .*="exec"( |$)' "$@" | tail -n 1000 | cut -c 1-2000)
fi
b rc 0
