# -- Actions (see `step`): modes, owners and lines of files.

# octal MODE: in five digits; with fewer, chmod leaves a folder the special bits that it has
octal() { printf '0%04o' $((0$1)); }

# keep_bits PATH MODE: the mode loses every bit that MODE hasn't
keep_bits() {
  trusted "$1" || return 1
  [ -e "$real" ] || return 0
  mode=$(stat -c %a -- "$real") || { why "can't be looked at"; return 1; }
  wants=$(printf '%o' $((0$mode & 0$2)))
  [ $((0$mode)) != $((0$wants)) ] || return 0
  one_name "$real" || return 1
  [ -z "$check" ] || return 10
  undo "chmod $(octal "$mode") -- $(quoted "$real")" && owe || return 1
  chmod "$(octal "$wants")" -- "$real" || return 1
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
  undo "chown $uid:$gid -- $(quoted "$real") && chmod $(octal "$mode") -- $(quoted "$real")" && owe || return 1
  chown "$user:$group" -- "$real" || return 1
  [ "$(stat -c %u:%g -- "$real")" = "$user:$group" ] || { why "the file system did not take the owner"; return 1; }
  return 10
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
