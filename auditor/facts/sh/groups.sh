gids=$(IFS=$nl; set -f; [ -z "$sockets" ] || t stat -L -c %g -- $sockets 2>/dev/null)
b groups
if have getent; then t getent group docker $gids; else cat /etc/group; fi
b rc $?
b accounts
{ if have getent; then t getent passwd; else cat /etc/passwd; fi; } | cut -d: -f1,3,4
b rc $?
