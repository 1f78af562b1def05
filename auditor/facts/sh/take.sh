# take PID PATH: at most $limit bytes of a file that a program names. Whoever may run this script, and nothing else, as root must not
# learn by it what it can't read otherwise, from a program of its own that names a file. So with sudo, what a program of another
# account than root names is read only if that account may read it. That is looked up of the file once it is open, so that no other
# can take its place.
take() {
  eval "o=\${uid_$1:-0}"
  [ "$become" = sudo ] && [ "$o" != 0 ] || { t head -c "$limit" "$2"; return; }
  case $o in *[!0-9]*) echo 'Permission denied: whose program it is that names it could not be told' >&2; return 1 ;; esac
  groups=; while read -r key ids; do case $key in Gid:|Groups:) groups="$groups $ids" ;; esac; done 2>/dev/null <"/proc/$1/status"
  t sh -c '
may() { # MODE UID GID WHAT
  case $2 in
    "$o") p=${1#?} ;;
    *) case $groups in *" $3 "*) p=${1#????} ;; *) p=${1#???????} ;; esac ;;
  esac
  case $4$p in rr*|x??[xst]*) ;; *) echo "Permission denied: the program that names it may not read it" >&2; exit 1 ;; esac
}
o=$2 groups=" $(echo $3) "
exec <"$1" || exit 1
may $(stat -L -c "%A %u %g" /proc/self/fd/0) r
p=$(readlink /proc/self/fd/0); set -- "$4"
while [ -n "$p" ]; do p=${p%/*}; set -- "$@" "${p:-/}"; done
limit=$1; shift
for p do may $(stat -c "%A %u %g" "$p") x; done
exec head -c "$limit"' sh "$2" "$o" "$groups" "$limit"
}
