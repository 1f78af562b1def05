# -- What all shell of fixes begins with: that of a script, and that which playbooks run on a host.

set -u
their_path=${PATH-}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL
unset IFS CDPATH
umask 077

newline='
'
check=''   # yes where nothing is to be changed
pending='' # paths that steps before this one see to, or would; each has a line

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*"; }
why() { printf '%s\n' "$*"; } # why something can't be done
