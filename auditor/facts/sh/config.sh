# content INDEX PID FROM SHOWN REAL
content() {
  b c "$1" "$2" "$3" "$4"
  s=$(t stat -L -c '%Y %s %F' "$5"); code=$?
  printf '%s\n' "$s"
  case $s$veil in
    *' regular '*veiled) c=$(take "$2" "$5"); code=$?; printf '%s\n' "$c" | veil ;;
    *' regular '*) take "$2" "$5"; code=$? ;;
  esac
  b rc $code
}
# veil: a file of keys without them, so that they never leave the host
veil() {
  sed -e "s/\([\"']\{0,1\}secret[\"']\{0,1\}[[:space:]]*:[[:space:]]*\)[^,}]*/\1\"[redacted]\"/g" \
    -e '/^[[:space:]]*[A-Za-z0-9+\/=]\{16,\}[[:space:]]*$/d'
}
# config INDEX PROCESS FLAG OTHER-SPELLING DEFAULT DROPINS OTHER-SPELLING PATTERN
config() {
  veil=; [ "$3" != --encryption-provider-config ] || veil=veiled
  pids "$2"; all=$v
  [ -n "$all" ] || { [ -n "$5" ] && content "$1" 0 default "$5" "$5"; return; }
  for pid in $all; do
    eval "args=\$args_$pid"
    flag "$args" "$3" "$4"; from=flag
    [ -n "$v" ] || { own "$pid" "$5"; from=default; }
    if [ -n "$v" ]; then seen "$pid" "$2" "$v"; content "$1" "$pid" $from "$v" "$x"; fi
    [ -n "$6" ] || continue
    flag "$args" "$6" "$7"
    [ -n "$v" ] || continue
    d=$v; seen "$pid" "$2" "$d"; base=$x
    # The kubelet walks the folder and those below it, without following links to folders.
    listed=; code=1
    if [ -d "$base" ]; then listed=$(t find "$base/" ! -type d -name "$8"); code=$?; fi
    [ $code = 0 ] || content "$1" "$pid" folder "$d" "$base"
    while IFS= read -r file; do
      [ -z "$file" ] || content "$1" "$pid" dropin "$d/${file#"$base/"}" "$file"
    done <<EOF
$listed
EOF
  done
}
