# -- The run: what is asked for, each step and what follows it, and what came of them.

disruptive='' list='' only=''
store=/var/backups/cis-auditor lock=/run/cis-auditor-fix.lock
saved=''   # where this run's copies are
follows='' # the `after` of the step that is being done
would=''   # yes where --check found something to do after steps
# Lists (see `among`) of what is `after` steps: of all, of those that were asked for, that changed something, that failed, and those
# whose other steps must not be done; and of the services that were restarted.
afters=$newline named=$newline due=$newline broken=$newline unready=$newline restarted=$newline
counted_changed=0 counted_failed=0 counted_left=0 counted_ok=0 counted_hand=0 counted_owed=0

tell() { printf '%-13s %s\n' "$1" "$2"; } # tell WORD TEXT: what came of something
among() { case $1 in *"$newline$2$newline"*) return 0 ;; esac; return 1; } # among LIST WORD: in LIST each word has a line
one_line() { tr -d '\000-\011\013-\037\177' | tr '\n' ' '; }
usage() { say "usage: sh $0 [--list | --check] [--disruptive] [--only CONTROL]..."; }

# begin RUN TARGET KIND ARGUMENTS...: on a host as root; for a cluster as whoever may change it, with the kubectl that he has
begin() {
  run=$1 target=$2 kind=$3
  shift 3
  while [ $# -gt 0 ]; do
    case $1 in
      --check) check=yes ;;
      --disruptive) disruptive=yes ;;
      --list) list=yes ;;
      --only)
        [ $# -gt 1 ] || { usage >&2; exit 64; }
        only="$only$newline$2$newline"
        shift ;;
      -h | --help) usage; exit 0 ;;
      *) usage >&2; exit 64 ;;
    esac
    shift
  done
  [ -z "$list" ] || return 0
  if [ -n "$check" ]; then did='would change'; else did=changed; fi
  if [ "$kind" = cluster ]; then
    PATH=$their_path
    store=${XDG_STATE_HOME:-${HOME:?}/.local/state}/cis-auditor/fixes
    lock=$store.lock
    [ -n "$check" ] || mkdir -p -- "$store" || exit 1
  else
    [ "$(id -u)" = 0 ] || { say "$0: must be run as root" >&2; exit 1; }
    have stat && stat -c %u / >/dev/null 2>&1 || { say "$0: needs stat -c (GNU coreutils or busybox)" >&2; exit 1; }
  fi
  saved=$store/$run-$(date -u +%Y%m%dT%H%M%SZ)
  [ ! -e "$saved" ] || saved=$saved-$$ # a run before this one, in the same second
  [ -n "$check" ] || take_lock
}

# take_lock: only one script makes changes at a time; the lock goes when it ends
take_lock() {
  if ! mkdir -- "$lock" 2>/dev/null; then
    [ -d "$lock" ] || { say "$0: can't make the folder $lock" >&2; exit 1; }
    other=$(cat -- "$lock/pid" 2>/dev/null)
    case $other in *[!0-9]*) other='' ;; esac
    # Of several scripts that find what a killed one left, one gets it.
    if [ -z "$other" ] || kill -0 "$other" 2>/dev/null || ! mkdir -- "$lock/after-$other" 2>/dev/null ||
      [ "$(cat -- "$lock/pid")" != "$other" ]; then
      say "$0: another run is going on (process ${other:-unknown}); if there is none, remove $lock" >&2
      exit 1
    fi
    rm -rf -- "$lock/staged" # made of files as they were then
  fi
  trap 'rm -rf -- "$lock"' EXIT
  trap 'stopped 130' INT
  trap 'stopped 143' TERM HUP
  trap 'exit 141' PIPE
  printf '%s\n' "$$" >"$lock/pid" || exit 1
}

# stopped CODE: by Ctrl-C and the like
stopped() {
  say "stopped, with $counted_changed changed so far: run this script again to go on"
  say_back
  exit "$1"
}

# wanted CONTROLS: whether --only, if given, names one of them ("a 1;b 2")
wanted() {
  [ -n "$only" ] || return 0
  left="$1;"
  while [ -n "$left" ]; do
    one=${left%%;*} left=${left#*;}
    if among "$only" "$one" || among "$only" "${one##* }"; then return 0; fi
  done
  return 1
}

# step NUMBER EFFECT CONTROLS WORDS AFTER ACTION ARGUMENTS...: do it, if it is asked for, and say what came of it
#
# EFFECT is empty or says what is disturbed. AFTER is empty or the name of the `after` that takes the change up; that name is the same
# in every script, since what one left undone is noted by it in $store/due, for the next.
# ACTION is a function that returns 0 where there is nothing to do and 10 when it changed something, or would (--check). Else it failed
# and has said why. It runs in a shell of its own, so that nothing it sets is there afterwards.
step() {
  number=$1 effect=$2 controls=$3 words=$4 after=$5
  shift 5
  wanted "$controls" || return 0
  what="$number. [$controls] $words" named=$named$after$newline
  if [ -n "$list" ]; then
    say "$what${effect:+ (with --disruptive only: $effect)}"
    return 0
  fi
  if [ -n "$effect" ] && [ -z "$disruptive" ]; then
    counted_left=$((counted_left + 1))
    tell 'left out' "$what ($effect; --disruptive does it)"
    return 0
  fi
  follows=$after was=''
  [ ! -f "$store/due/$after" ] || was=yes
  if among "$unready" "$after"; then
    said='a step before it, which this one needs, failed' came=1
  else
    said=$("$@" 2>&1)
    came=$?
  fi
  case $came in
    0)
      counted_ok=$((counted_ok + 1))
      tell ok "$what"
      ;;
    10)
      counted_changed=$((counted_changed + 1))
      case $1 in own | keep_bits) pending=$pending$2$newline ;; esac
      among "$due" "$after" || due=$due$after$newline
      tell "$did" "$what"
      ;;
    *)
      counted_failed=$((counted_failed + 1))
      [ -n "$was" ] || [ "$came" != 1 ] || forget "$after" # it changed nothing; what was killed may have
      among "$broken" "$after" || broken=$broken$after$newline
      # A drop-in takes flags away that mustn't stand beside the keys that follow: dockerd wouldn't start with both.
      if [ "$1" = whole_file ] && [ -n "$after" ]; then unready=$unready$after$newline; fi
      tell failed "$what: $(printf '%s' "$said" | one_line)"
      ;;
  esac
}

# by_hand NUMBER EFFECT CONTROLS WORDS LINES...: what a person does; said in full with --list only, for it is the same after each run
by_hand() {
  number=$1 effect=$2 controls=$3 words=$4
  shift 4
  wanted "$controls" || return 0
  counted_hand=$((counted_hand + 1))
  [ -n "$list" ] || return 0
  tell 'by hand' "$number. [$controls] $words${effect:+ ($effect)}"
  for line in "$@"; do tell '' "    $line"; done
}

# after NAME EFFECT WORDS COMMAND...: done once, when a step that names it changed something and none of them failed; also what a run
# before left undone, unless that disturbs something and wasn't asked for. COMMAND is a function that returns 0 when it is done.
after() {
  name=$1 effect=$2 words=$3 follows='' since=''
  shift 3
  [ -z "$list" ] || return 0
  afters=$afters$name$newline
  if ! among "$due" "$name"; then
    [ -f "$store/due/$name" ] || return 0
    since=', due since a run before'
  fi
  if [ "$1 ${2-}" = 'service_do reload' ] && among "$restarted" "$3"; then return 0; fi
  if among "$broken" "$name"; then
    counted_failed=$((counted_failed + 1))
    tell 'not done' "$words: a step before it failed. Look at that, then run this script again or do it by hand: $*"
    say_owed "$name"
    return 0
  fi
  if [ -n "$since" ]; then
    left=''
    [ -z "$effect" ] || [ -n "$disruptive" ] || left="$effect; --disruptive does it"
    among "$named" "$name" || left='no step that --only leaves asks for it'
    if [ -n "$left" ]; then
      counted_owed=$((counted_owed + 1))
      tell 'left out' "$words$since ($left)"
      say_owed "$name"
      return 0
    fi
  fi
  if [ -n "$check" ]; then
    would=yes
    tell 'would be done' "$words$since"
    return 0
  fi
  if said=$("$@" 2>&1); then
    tell done "$words$since"
    forget "$name"
    if [ "$1 ${2-}" = 'service_do restart' ]; then
      restarted=$restarted$3$newline
      forget "reload-$3"
    fi
  else
    counted_failed=$((counted_failed + 1))
    tell failed "$words: $(printf '%s' "$said" | tail -n 5 | one_line)"
    [ ! -d "$saved" ] || tell '' "to go back: sh $saved/restore.sh, and do that again by hand"
    say_owed "$name"
  fi
}

# forget AFTER: it is done
forget() {
  [ -n "$1" ] && [ -f "$store/due/$1" ] || return 0
  rm -f -- "$store/due/$1"
  rmdir -- "$store/due" 2>/dev/null || :
}

# say_owed AFTER: that it is still due, if it is
say_owed() {
  [ ! -f "$store/due/$1" ] || tell '' "it stays due; if you do it by hand, remove $store/due/$1"
}

# finish OPEN: say what it all came to, and exit; OPEN is how many failures have no fix
finish() {
  [ -z "$list" ] || exit 0
  for one in "$store"/due/*; do # what another script left
    name=${one##*/}
    if among "$afters" "$name"; then continue; fi
    case $name in *[!A-Za-z0-9_.@-]*) continue ;; esac
    counted_owed=$((counted_owed + 1))
    tell 'not done' "$name, which another script left undone, and this one doesn't do"
    say_owed "$name"
  done
  [ "$counted_hand" = 0 ] || tell 'by hand' "$counted_hand step$([ "$counted_hand" = 1 ] || say s) for a person: --list shows what to do"
  owed=''
  [ "$counted_owed" = 0 ] || owed=", $counted_owed still due"
  say "$counted_changed $did, $counted_ok ok, $counted_failed failed, $counted_left left out, $counted_hand by hand, $1 without a fix$owed"
  say_back
  [ "$counted_failed$counted_owed" = 00 ] || exit 1
  [ -z "$check" ] || [ "$counted_changed$would" = 0 ] || exit 2
  exit 0
}

# say_back: how to put back what was changed, if anything was
say_back() {
  if [ ! -d "$saved" ]; then :
  elif [ "$kind" = cluster ]; then say "what was before stands in $saved/changes"
  else say "to put everything back: sh $saved/restore.sh"; fi
}
