# -- Changes: what was there is copied, or noted, before anything is changed, and a file is written whole or not at all.

# quoted TEXT: as one word of a shell command
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# restoring: print the script that puts back what the lines of standard input say, the last first
restoring() {
  say '#!/bin/sh' && say 'failed=0' && sed -n '1!G;h;$p' | sed '/^#/!s/$/ || failed=1/' && say 'exit "$failed"'
}

# undo LINE: what puts back a change; restore.sh does the last change first
undo() {
  case $1 in *"$newline"*) why "a name in several lines is not for a script"; return 1 ;; esac
  [ -d "$store" ] || { (umask 022 && mkdir -p -- "${store%/*}") && mkdir -- "$store"; } || { why "can't make $store"; return 1; }
  if [ "$kind" != cluster ]; then (trusted "$store" && folder_ok "$real") || return 1; fi
  mkdir -p -- "$saved" || { why "can't make $saved"; return 1; }
  # Whole or not at all: on a full disk too, what was written before must put back what was changed before.
  if { { [ ! -f "$saved/changes" ] || cat -- "$saved/changes"; } && say "$1"; } >"$saved/changes.new" &&
    restoring <"$saved/changes.new" >"$saved/restore.new" &&
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
