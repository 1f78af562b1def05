# content INDEX PID FROM SHOWN REAL
content() {
  b c "$1" "$2" "$3" "$4"
  s=$(t stat -L -c '%Y %s %F' "$5"); code=$?
  printf '%s\n' "$s"
  case $s in *' regular '*) t head -c "$limit" "$5"; code=$? ;; esac
  b rc $code
}
# config INDEX PROCESS FLAG OTHER-SPELLING DEFAULT DROPINS OTHER-SPELLING PATTERN
config() {
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
