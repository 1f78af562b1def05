# What every script has. Steps follow at the end; each says what it is about and calls one of the functions named "Actions".
#
#   sh SCRIPT --list          what there is to do, in order, with what a person does by hand
#   sh SCRIPT --check         what would change; changes nothing; exit 0: nothing, 2: something, 1: something can't be done
#   sh SCRIPT                 do what disturbs nothing and reload what can be reloaded
#   sh SCRIPT --disruptive    do everything, restarts included
#   sh SCRIPT --only CONTROL  only steps of this control, by number, such as 2.2 or "cis-docker 2.2" (repeatable)
#
# A reload or restart that failed is noted in /var/backups/cis-auditor/due/ and done by the next run; exit 1 as long as it is due.
# Every file that is changed is copied to /var/backups/cis-auditor/RUN-TIME/ first; restore.sh there puts everything back.

set -u
their_path=${PATH-}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin
LC_ALL=C
export PATH LC_ALL
unset IFS CDPATH
umask 077

newline='
'
check='' disruptive='' list='' only=''
store=/var/backups/cis-auditor lock=/run/cis-auditor-fix.lock
saved='' pending='' due=$newline broken=$newline unready=$newline noted='' named=$newline afters=$newline follows='' would=''
counted_changed=0 counted_failed=0 counted_left=0 counted_ok=0 counted_hand=0 counted_owed=0
locked=''

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*"; }
why() { printf '%s\n' "$*"; }  # an action says with this why it failed
usage() {
  say "usage: sh $0 [--list | --check] [--disruptive] [--only CONTROL]..."
}

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
  if [ -z "$check" ]; then
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
    locked=yes
    trap 'tidy' EXIT
    trap 'stopped 130' INT
    trap 'stopped 143' TERM HUP
    trap 'exit 141' PIPE
    printf '%s\n' "$$" >"$lock/pid" || exit 1
  fi
}

# stopped CODE: by Ctrl-C and the like
stopped() {
  say "stopped, with $counted_changed changed so far: run this script again to go on"
  say_back
  exit "$1"
}

tidy() {
  [ -z "$locked" ] || rm -rf -- "$lock"
}

# wanted CONTROLS: whether --only, if given, names one of them ("a 1;b 2")
wanted() {
  [ -n "$only" ] || return 0
  left="$1;"
  while [ -n "$left" ]; do
    one=${left%%;*} left=${left#*;}
    case $only in *"$newline$one$newline"* | *"$newline${one##* }$newline"*) return 0 ;; esac
  done
  return 1
}

# step NUMBER EFFECT CONTROLS WORDS AFTER ACTION ARGUMENTS...; EFFECT is empty or says what is disturbed, AFTER names an `after`.
# An `after` has the same name in every script, since what one left undone is noted by it in $store/due, for the next.
step() {
  number=$1 effect=$2 controls=$3 words=$4 after=$5
  shift 5
  wanted "$controls" || return 0
  named="$named$after$newline"
  if [ -n "$list" ]; then
    say "$number. [$controls] $words${effect:+ (with --disruptive only: $effect)}"
    return 0
  fi
  if [ -n "$effect" ] && [ -z "$disruptive" ]; then
    counted_left=$((counted_left + 1))
    say "left out      $number. [$controls] $words ($effect; --disruptive does it)"
    return 0
  fi
  follows=$after was=''
  [ ! -f "$store/due/$after" ] || was=yes
  case $unready in
    *"$newline$after$newline"*) said='a step before it, which this one needs, failed' && false ;;
    *) said=$("$@" 2>&1) ;;
  esac
  came=$?
  case $came in
    0) counted_ok=$((counted_ok + 1)); say "ok            $number. [$controls] $words" ;;
    10)
      counted_changed=$((counted_changed + 1))
      case $1 in own | keep_bits) pending="$pending$2$newline" ;; esac
      case $due in *"$newline$after$newline"*) ;; *) due="$due$after$newline" ;; esac
      if [ -n "$check" ]; then say "would change  $number. [$controls] $words"; else say "changed       $number. [$controls] $words"; fi
      ;;
    *)
      counted_failed=$((counted_failed + 1))
      [ -n "$was" ] || [ "$came" != 1 ] || forget "$after" # it changed nothing; what was killed may have
      case $broken in *"$newline$after$newline"*) ;; *) broken="$broken$after$newline" ;; esac
      # A drop-in takes flags away that mustn't stand beside the keys that follow: dockerd wouldn't start with both.
      if [ "$1" = whole_file ] && [ -n "$after" ]; then unready="$unready$after$newline"; fi
      say "failed        $number. [$controls] $words: $(printf '%s' "$said" | tr -d '\000-\011\013-\037\177' | tr '\n' ' ')"
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
  say "by hand       $number. [$controls] $words${effect:+ ($effect)}"
  for line in "$@"; do say "                  $line"; done
}

# after NAME EFFECT WORDS COMMAND...: once, when a step that names it changed something and none of them failed; also what a run
# before left undone, unless that disturbs something and wasn't asked for
after() {
  name=$1 effect=$2 words=$3 follows='' since=''
  shift 3
  [ -z "$list" ] || return 0
  afters="$afters$name$newline"
  case $due in
    *"$newline$name$newline"*) ;;
    *)
      [ -f "$store/due/$name" ] || return 0
      since=', due since a run before' ;;
  esac
  if [ "$1 ${2-}" = 'service_do reload' ]; then
    case $noted in *"$newline$3$newline"*) return 0 ;; esac
  fi
  case $broken in
    *"$newline$name$newline"*)
      counted_failed=$((counted_failed + 1))
      say "not done      $words: a step before it failed. Look at that, then run this script again or do it by hand: $*"
      say_owed "$name"
      return 0 ;;
  esac
  if [ -n "$since" ]; then
    left=''
    [ -z "$effect" ] || [ -n "$disruptive" ] || left="$effect; --disruptive does it"
    case $named in *"$newline$name$newline"*) ;; *) left='no step that --only leaves asks for it' ;; esac
    if [ -n "$left" ]; then
      counted_owed=$((counted_owed + 1))
      say "left out      $words$since ($left)"
      say_owed "$name"
      return 0
    fi
  fi
  if [ -n "$check" ]; then
    would=yes
    say "would be done $words$since"
    return 0
  fi
  if said=$("$@" 2>&1); then
    say "done          $words$since"
    forget "$name"
    if [ "$1 ${2-}" = 'service_do restart' ]; then
      noted="$noted$newline$3$newline"
      forget "reload-$3"
    fi
  else
    counted_failed=$((counted_failed + 1))
    say "failed        $words: $(printf '%s' "$said" | tail -n 5 | tr -d '\000-\011\013-\037\177' | tr '\n' ' ')"
    [ ! -d "$saved" ] || say "              to go back: sh $saved/restore.sh, and do that again by hand"
    say_owed "$name"
  fi
}

# forget AFTER: it is done
forget() {
  [ -n "$1" ] && [ -f "$store/due/$1" ] || return 0
  rm -f -- "$store/due/$1"
  rmdir -- "$store/due" 2>/dev/null || :
}

say_owed() {
  [ ! -f "$store/due/$1" ] || say "              it stays due; if you do it by hand, remove $store/due/$1"
}

# finish OPEN: the last line; OPEN is how many failures have no fix
finish() {
  [ -z "$list" ] || exit 0
  for one in "$store"/due/*; do # what another script left
    case $afters in *"$newline${one##*/}$newline"*) continue ;; esac
    case ${one##*/} in *[!A-Za-z0-9_.@-]*) continue ;; esac
    counted_owed=$((counted_owed + 1))
    say "not done      ${one##*/}, which another script left undone, and this one doesn't do"
    say_owed "${one##*/}"
  done
  [ "$counted_hand" = 0 ] || say "by hand       $counted_hand step$([ "$counted_hand" = 1 ] || say s) for a person: --list shows what to do"
  if [ -n "$check" ]; then did='would change'; else did=changed; fi
  owed=''
  [ "$counted_owed" = 0 ] || owed=", $counted_owed still due"
  say "$counted_changed $did, $counted_ok ok, $counted_failed failed, $counted_left left out, $counted_hand by hand, $1 without a fix$owed"
  say_back
  [ "$counted_failed$counted_owed" = 00 ] || exit 1
  [ -z "$check" ] || [ "$counted_changed$would" = 0 ] || exit 2
  exit 0
}

say_back() {
  if [ ! -d "$saved" ]; then :
  elif [ "$kind" = cluster ]; then say "what was before stands in $saved/changes"
  else say "to put everything back: sh $saved/restore.sh"; fi
}

# -- what actions are made of ---------------------------------------------------------------------------------------------------

# quoted TEXT: as one word of a shell command
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# folder_ok FOLDER: it is root's, and nobody else may change what is in it
folder_ok() {
  if [ -n "$check" ]; then
    case $newline$pending in *"$newline$1$newline"*) return 0 ;; esac # a step before this one would see to it
  fi
  read -r folder_uid folder_gid folder_mode <<EOF
$(stat -c '%u %g %a' -- "$1" 2>/dev/null)
EOF
  [ -n "${folder_mode:-}" ] || { why "$1 is not there"; return 1; }
  if [ "$folder_uid" != 0 ] || [ $((0$folder_mode & 2)) != 0 ] || { [ $((0$folder_mode & 16)) != 0 ] && [ "$folder_gid" != 0 ]; }; then
    why "$1 can be written by others than root, who could put another file in the way"
    return 1
  fi
}

# trusted PATH: set $real to where PATH leads, through links that are root's and folders that only root may write to
trusted() {
  real='' rest=${1#/} hops=0
  folder_ok / || return 1
  while [ -n "$rest" ]; do
    part=${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest='' ;; esac
    case $part in '' | .) continue ;; ..) real=${real%/*}; continue ;; esac
    if [ -L "$real/$part" ]; then
      hops=$((hops + 1))
      [ "$hops" -le 20 ] || { why "$1 leads in circles"; return 1; }
      [ "$(stat -c %u -- "$real/$part")" = 0 ] || { why "$real/$part is a link that is not root's"; return 1; }
      to=$(readlink -- "$real/$part" && printf x) || { why "$real/$part can't be read"; return 1; }
      to=${to%"${newline}x"}
      case $to in /*) real='' ;; esac
      to=${to#/}
      rest=$to${rest:+/$rest}
      continue
    fi
    real=$real/$part
    [ -z "$rest" ] || [ -d "$real" ] || { why "$real is not a folder"; return 1; }
    [ -z "$rest" ] || folder_ok "$real" || return 1
  done
  [ -n "$real" ] || real=/
}

# one_name FILE: no other name of a file elsewhere means the same file
one_name() {
  [ ! -f "$1" ] || [ "$(stat -c %h -- "$1")" = 1 ] || { why "$1 has another name somewhere (hard link): look at it first"; return 1; }
}

# undo LINE: what puts back a change; restore.sh does the last change first
undo() {
  case $1 in *"$newline"*) why "a name in several lines is not for a script"; return 1 ;; esac
  [ -d "$store" ] || { (umask 022 && mkdir -p -- "${store%/*}") && mkdir -- "$store"; } || { why "can't make $store"; return 1; }
  if [ "$kind" != cluster ]; then (trusted "$store" && folder_ok "$real") || return 1; fi
  mkdir -p -- "$saved" || { why "can't make $saved"; return 1; }
  # Whole or not at all: on a full disk too, what was written before must put back what was changed before.
  if { { [ ! -f "$saved/changes" ] || cat -- "$saved/changes"; } && printf '%s\n' "$1"; } >"$saved/changes.new" &&
    { printf '%s\n' '#!/bin/sh' 'failed=0' && sed -n '1!G;h;$p' "$saved/changes.new" | sed '/^#/!s/$/ || failed=1/' &&
      say 'exit "$failed"'; } >"$saved/restore.new" &&
    mv -f -- "$saved/restore.new" "$saved/restore.sh" && mv -f -- "$saved/changes.new" "$saved/changes"; then
    return 0
  fi
  rm -f -- "$saved/changes.new" "$saved/restore.new"
  why "can't write to $saved"
  return 1
}

# owe: note what must follow the change that is made now; this script may be killed before that is done
owe() {
  [ -n "$follows" ] || return 0
  mkdir -p -- "$store/due" && printf '%s\n' "$run" >"$store/due/$follows" || { why "can't write to $store/due"; return 1; }
}

# keep_copy FILE: copy it aside, once a run
keep_copy() {
  [ ! -e "$saved/files$1" ] || return 0
  temporary=$(quoted "${1%/*}/.cis-auditor.restored")
  if ! mkdir -p -- "$saved/files${1%/*}" || ! cp -p -- "$1" "$saved/files$1"; then
    why "can't copy $1 to $saved"
  elif undo "cp -p -- $(quoted "$saved/files$1") $temporary && mv -f -- $temporary $(quoted "$1")"; then
    return 0
  fi
  rm -f -- "$saved/files$1" # else the next step would take it for the copy
  return 1
}

# replace FILE MODE VALIDATE...: standard input becomes the file's content, whole or not at all
replace() {
  file=$1 mode=$2
  shift 2
  folder=${file%/*}
  if [ ! -d "$folder" ]; then
    mkdir -m 0755 -- "$folder" || { why "can't make $folder"; return 1; }
    undo "rmdir -- $(quoted "$folder") || :" || return 1
  fi
  rm -f -- "$folder"/.cis-auditor.?????? # of a script that was killed
  scratch=$(mktemp "$folder/.cis-auditor.XXXXXX") || { why "can't write to $folder"; return 1; }
  if [ -e "$file" ]; then
    if ! keep_copy "$file" || ! cp -p -- "$file" "$scratch"; then rm -f -- "$scratch"; return 1; fi
  else
    if ! chmod "$mode" -- "$scratch" || ! undo "rm -f -- $(quoted "$file")"; then rm -f -- "$scratch"; return 1; fi
  fi
  if ! cat >"$scratch" || ! valid "$scratch" "$@" || ! owe || ! mv -f -- "$scratch" "$file"; then
    rm -f -- "$scratch"
    return 1
  fi
  if have restorecon; then restorecon -- "$file" >/dev/null 2>&1 || :; fi
}

# valid FILE COMMAND...: the command, if there is one, accepts the file
valid() {
  new=$1
  shift
  [ $# -gt 0 ] || return 0
  have "$1" || { why "$1 is not here to check the new file; nothing was changed"; return 1; }
  heard=$("$@" "$new" 2>&1) || { why "$1 refuses the new file, so nothing was changed: $heard"; return 1; }
}

# -- Actions: 0 nothing to do, 10 changed (or would be, with --check), else failed with a reason on standard output --------------

# keep_bits PATH MODE: the mode loses every bit that MODE hasn't
keep_bits() {
  trusted "$1" || return 1
  [ -e "$real" ] || return 0
  mode=$(stat -c %a -- "$real") || { why "can't be looked at"; return 1; }
  wants=$(printf '%04o' $((0$mode & 0$2)))
  [ $((0$mode)) != $((0$wants)) ] || return 0
  one_name "$real" || return 1
  [ -z "$check" ] || return 10
  undo "chmod 0$(printf '%04o' $((0$mode))) -- $(quoted "$real")" && owe || return 1
  chmod "0$wants" -- "$real" || return 1
  [ $((0$(stat -c %a -- "$real"))) = $((0$wants)) ] || { why "the file system did not take the mode"; return 1; }
  return 10
}

# number_of KIND NAME: the number of a user ("passwd") or a group ("group")
number_of() {
  if [ "$2" = root ]; then say 0; return 0; fi
  if have getent; then found=$(getent "$1" "$2"); else found=$(grep "^$2:" "/etc/$1"); fi
  found=$(printf '%s\n' "$found" | head -n 1 | cut -d : -f 3)
  case $found in '' | *[!0-9]*) return 1 ;; esac
  say "$found"
}

# own PATH USER GROUP: an empty user or group stays as it is
own() {
  trusted "$1" || return 1
  [ -e "$real" ] || return 0
  read -r uid gid mode <<EOF
$(stat -c '%u %g %a' -- "$real")
EOF
  user=$uid group=$gid
  if [ -n "$2" ]; then user=$(number_of passwd "$2") || { why "there is no user $2"; return 1; }; fi
  if [ -n "$3" ]; then group=$(number_of group "$3") || { why "there is no group $3"; return 1; }; fi
  [ "$uid:$gid" != "$user:$group" ] || return 0
  one_name "$real" || return 1
  [ -z "$check" ] || return 10
  undo "chown $uid:$gid -- $(quoted "$real") && chmod 0$(printf '%04o' $((0$mode))) -- $(quoted "$real")" && owe || return 1
  chown "$user:$group" -- "$real" || return 1
  [ "$(stat -c %u:%g -- "$real")" = "$user:$group" ] || { why "the file system did not take the owner"; return 1; }
  return 10
}

# place_of PATH: like trusted, also for a file whose folder is not there yet
place_of() {
  if [ -d "${1%/*}" ]; then trusted "$1" || return 1; else trusted "${1%/*/*}" && real=${real%/}/${1#"${1%/*/*}/"}; fi
}

# have_lines PATH MODE LINES...: the file holds these lines, whatever else it holds
have_lines() {
  place=$1 bits=$2 missing=''
  shift 2
  place_of "$place" || return 1
  target_file=$real
  for line in "$@"; do
    if [ ! -f "$target_file" ] || ! grep -Fxq -e "$line" -- "$target_file"; then missing="$missing$line$newline"; fi
  done
  [ -n "$missing" ] || return 0
  before=''
  if [ -f "$target_file" ]; then before=$(cat -- "$target_file") || return 1; fi
  new_content "${before:+$before$newline}$missing" "$bits"
}

# whole_file PATH MODE LINES...: the file holds these lines and nothing else
whole_file() {
  place=$1 bits=$2
  shift 2
  place_of "$place" || return 1
  target_file=$real
  content=$(printf '%s\n' "$@" && printf x)
  if [ -f "$target_file" ] && [ "$(cat -- "$target_file" && printf x)" = "$content" ]; then return 0; fi
  new_content "${content%x}" "$bits"
}

# new_content CONTENT MODE VALIDATE...: write $target_file unless this is a check
new_content() {
  content=$1
  shift
  [ ! -e "$target_file" ] || [ -f "$target_file" ] || { why "$target_file is not a file"; return 1; }
  one_name "$target_file" || return 1
  [ -z "$check" ] || return 10
  printf '%s' "$content" | replace "$target_file" "$@" || return 1
  return 10
}

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

# hang_up PROGRAM PIDFILES...: a SIGHUP to the process that one of them names, if that is this program, and on this host itself
hang_up() {
  program=$1 files=$*
  shift
  for file in "$@"; do
    [ -f "$file" ] || continue
    trusted "$file" || return 1
    pid=$(cat -- "$real")
    case $pid in '' | 0* | *[!0-9]*) continue ;; esac
    # The program's own short-lived children have the same file but another name, a container's processes other numbers.
    exe=$(readlink -- "/proc/$pid/exe")
    exe=${exe%" (deleted)"} # it was updated since
    [ "${exe##*/}" = "$program" ] && [ "$(cat -- "/proc/$pid/comm" 2>/dev/null)" = "$program" ] || continue
    [ "$(readlink -- "/proc/$pid/ns/pid")" = "$(readlink -- "/proc/$$/ns/pid")" ] || continue
    kill -HUP "$pid"
    return
  done
  why "no running $program is named by ${files#"$program "}: if it runs, send it a SIGHUP by hand"
  return 1
}

# service_do restart|reload NAME: by the host's service manager
service_do() {
  if have systemctl && [ -d /run/systemd/system ]; then
    [ "$1" = reload ] || systemctl daemon-reload || return 1
    systemctl "$1" "$2"
  elif have rc-service; then
    rc-service "$2" "$1"
  elif [ "$1 $2" = 'reload docker' ]; then
    # Debian's script of the service knows no reload. What dockerd itself calls one is this signal.
    hang_up dockerd /var/run/docker.pid /var/run/docker-ssd.pid
  elif have service; then
    service "$2" "$1"
  else
    why "no service manager is known here: $1 $2 by hand"
    return 1
  fi
}

# set_json PATH KEY VALUE VALIDATE...: KEY is a JSON array of names; VALUE is JSON, or empty to take the key out
set_json() {
  key=$2 value=$3
  place_of "$1" || return 1
  shift 3
  target_file=$real
  if have python3 && python3 -I -c '' >/dev/null 2>&1; then
    changed=$(python3 -I -c "$edit_json" "$target_file" "$key" "$value" && printf x)
  elif have jq; then
    changed=$(jq_json "$target_file" "$key" "$value" && printf x)
  else
    why "neither python3 nor jq is here to edit $target_file: set $key to ${value:-nothing} by hand"
    return 1
  fi
  [ -n "$changed" ] || { why "$target_file could not be read as JSON"; return 1; }
  changed=${changed%x}
  [ -n "$changed" ] || return 0
  new_content "$changed" 0600 "$@"
}

# set_yaml PATH DO AT TEXT VALIDATE...: what yaml_edit makes of the file with DO AT TEXT
set_yaml() {
  do=$2 at=$3 value=$4
  place_of "$1" || return 1
  shift 4
  target_file=$real from=/dev/null
  [ ! -e "$target_file" ] || from=$target_file
  heard=$(yaml_edit "$do" "$at" "$value" <"$from" 2>&1 && printf x)
  case $heard in *x) ;; *) why "$target_file was not changed: $heard"; return 1 ;; esac
  changed=$(yaml_edit "$do" "$at" "$value" <"$from" && printf x) || return 1
  [ "$changed" != "$(cat -- "$from" && printf x)" ] || return 0
  new_content "${changed%x}" 0600 "$@"
}

# stage_yaml PATH DO AT TEXT: as set_yaml, in a copy that `publish` puts in place, with all its changes at once
stage_yaml() {
  do=$2 at=$3 value=$4
  place_of "$1" || return 1
  [ -f "$real" ] || { why "$real is not there"; return 1; }
  one_name "$real" || return 1
  from=$real
  [ ! -f "$lock/staged$real" ] || [ -n "$check" ] || from=$lock/staged$real
  heard=$(yaml_edit "$do" "$at" "$value" <"$from" 2>&1 && printf x)
  case $heard in *x) ;; *) why "$real was not changed: $heard"; return 1 ;; esac
  changed=$(yaml_edit "$do" "$at" "$value" <"$from" && printf x) || return 1
  [ "$changed" != "$(cat -- "$from" && printf x)" ] || return 0
  [ -z "$check" ] || return 10
  mkdir -p -- "$lock/staged${real%/*}" && printf '%s' "${changed%x}" >"$lock/staged$real" || { why "can't write to $lock"; return 1; }
  return 10
}

# publish PATH: for `after`
publish() {
  place_of "$1" || return 1
  [ ! -f "$lock/staged$real" ] || replace "$real" 0600 <"$lock/staged$real"
}

# Prints the new content, nothing when the file is so already.
edit_json='
import json, re, sys
path, key, value = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
try:
    text = open(path, encoding="utf-8").read()
except FileNotFoundError:
    text = ""
except (OSError, ValueError) as error:
    sys.exit(f"{path} can not be read: {error}")
def once(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        sys.exit("a key stands in it twice: " + path)
    return dict(pairs)
try:
    document = json.loads(text, object_pairs_hook=once) if text.strip() else {}
except ValueError as error:
    sys.exit(f"{path} is not JSON: {error}")
place = document
for name in key[:-1]:
    if not isinstance(place, dict):
        break
    if name not in place and not value:
        sys.exit(0)
    place = place.setdefault(name, {})
if not isinstance(document, dict) or not isinstance(place, dict):
    sys.exit("is not the object that it should be: " + path)
if value:
    wanted = json.loads(value)
    if key[-1] in place and json.dumps(place[key[-1]], sort_keys=True) == json.dumps(wanted, sort_keys=True):
        sys.exit(0)
    place[key[-1]] = wanted
elif key[-1] in place:
    del place[key[-1]]
else:
    sys.exit(0)
indent = re.search("\n([ \t]+)\"", text)
sys.stdout.reconfigure(encoding="utf-8")
print(json.dumps(document, indent=indent[1] if indent else 2, ensure_ascii=False))
'

jq_json() {
  old='{}'
  if [ -f "$1" ] && grep -q '[^[:space:]]' "$1"; then old=$(cat -- "$1") || return 1; fi
  if [ -n "$3" ]; then
    new=$(printf '%s' "$old" | jq --argjson k "$2" --argjson v "$3" 'setpath($k; $v)') || return 1
  else
    new=$(printf '%s' "$old" | jq --argjson k "$2" 'delpaths([$k])') || return 1
  fi
  [ "$(printf '%s' "$old" | jq -cS .)" = "$(printf '%s' "$new" | jq -cS .)" ] || printf '%s\n' "$new"
}
