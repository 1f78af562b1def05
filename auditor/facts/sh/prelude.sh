LC_ALL=C; export LC_ALL; unset CDPATH ENV BASH_ENV DOCKER_HOST DOCKER_CONTEXT CURL_HOME
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin; export PATH
nl='
'
have() { command -v "$1" >/dev/null 2>&1; }
b() { printf '\n%s %s\n' "$M" "$*"; printf '\n%s %s\n' "$M" "$*" >&2; }
# By its path: a shell that runs busybox's timeout in itself hands its watcher every open pipe, and then waits a second for it.
limiter=timeout; [ ! -x /usr/bin/timeout ] || limiter=/usr/bin/timeout
# left: n = the seconds that a command may take; none are left when the answers must be on their way
read -r up rest </proc/uptime; end=$((${up%%.*} + seconds))
left() { read -r up rest </proc/uptime; n=$((end - ${up%%.*})); [ "$n" -lt "$T" ] || n=$T; [ "$n" -gt 0 ]; }
if $limiter 5 true 2>/dev/null; then t() { left || return 124; $limiter "$n" "$@"; }; else t() { left || return 124; "$@"; }; fi
# flag ARGS NAME [OTHER SPELLING]: v = value of its last occurrence
flag() {
  v= s=
  while IFS= read -r a; do
    if [ -n "$s" ]; then v=$a s=; continue; fi
    case $a in "$2="*|"${3:-$2}="*) v=${a#*=} ;; "$2"|"${3:-$2}") s=1 ;; esac
  done <<EOF
$1
EOF
}
# pflag ARGS --SOME-NAME: v = value of its last occurrence, spelled with dashes or underscores
pflag() {
  r=${2#--} u=--
  while :; do case $r in *-*) u=$u${r%%-*}_ r=${r#*-} ;; *) u=$u$r; break ;; esac; done
  flag "$1" "$2" "$u"
}
# values FILE KEY: v = what stands behind that key anywhere in a YAML, JSON or TOML file, a line each
values() {
  v=$(t head -c "$limit" "$1" | tr ',{}' '\n\n\n' | sed -n "s/^[[:space:]-]*[\"']\{0,1\}$2[\"']\{0,1\}[[:space:]]*[:=][[:space:]]*[\"']\{0,1\}\([^\"'#]*[^\"'#[:space:]]\).*/\1/p")
}
# seen PID NAME PATH: x = the path as that process sees it
seen() {
  eval "r=\${root_$1:-}"
  case $3 in /*) x=$r$3 ;; *) x=$r$(readlink "/proc/$1/cwd")/$3 ;; esac
}
b system
id -u
if [ "$become" = sudo ] && [ -n "${SUDO_USER:-}" ]; then printf '%s\n' "$SUDO_USER"; else id -un; fi
uname -n; uname -srm; printf '%s\n' "$become"
for f in /proc/sys/kernel/random/boot_id /etc/machine-id; do a=; read -r a <"$f"; printf '%s\n' "$a"; done 2>/dev/null
b os-release
head -c 8192 /etc/os-release 2>/dev/null
b boot
while read -r k v rest; do [ "$k" = btime ] && printf '%s\n' "$v"; done </proc/stat
t getconf CLK_TCK 2>/dev/null || echo 100
b proc-mount
while read -r a k rest; do [ "$k" = /proc ] && printf '%s\n' "$rest"; done </proc/self/mounts
own_mnt=$(readlink /proc/self/ns/mnt)
own_cg=; while IFS= read -r a; do own_cg=$own_cg$a; done </proc/self/cgroup
