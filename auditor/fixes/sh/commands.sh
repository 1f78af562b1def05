# -- Actions (see `step`) and what follows them (see `after`): commands.

# first COUNT COMMAND... REST...: run the first COUNT words
first() {
  count=$1 seen=0
  shift
  total=$#
  while [ "$seen" -lt "$total" ]; do
    if [ "$seen" -lt "$count" ]; then set -- "$@" "$1"; fi
    shift
    seen=$((seen + 1))
  done
  "$@"
}

# unless WANTED INPUT COUNT SHOWS... COMMAND...: give INPUT to COMMAND unless SHOWS, which has COUNT words, prints a line of WANTED
unless() {
  goal=$1 input=$2 length=$3
  shift 3
  if ! now=$(first "$length" "$@" 2>/dev/null); then
    now='not known'
    [ -z "$check" ] || { first "$length" "$@"; return 1; } # it says why
  fi
  case $newline$goal$newline in *"$newline$now$newline"*) return 0 ;; esac
  [ -z "$check" ] || return 10
  shift "$length"
  have "$1" || { why "there is no $1 here"; return 1; }
  undo "# $(printf '%s' "$words: $*; before it was: ${now:-nothing}" | tr '\000-\037\177' ' ')" && owe || return 1
  if [ -n "$input" ]; then printf '%s' "$input" | "$@" || return 1; else "$@" </dev/null || return 1; fi
  return 10
}

# command_do COMMAND...: for `after`
command_do() {
  have "$1" || { why "there is no $1 here"; return 1; }
  "$@"
}
