# -- Actions (see `step`) and what follows them (see `after`): one value of a YAML file, by yaml_edit.

# yaml_of FILE DO AT TEXT: set $changed to what yaml_edit makes of FILE, and an x behind it; to nothing where FILE is so already
yaml_of() {
  if ! changed=$(yaml_edit "$2" "$3" "$4" <"$1" 2>/dev/null && printf x); then
    why "$real was not changed: $(yaml_edit "$2" "$3" "$4" <"$1" 2>&1)"
    return 1
  fi
  [ "$changed" != "$(cat -- "$1" && printf x)" ] || changed=''
}

# set_yaml PATH DO AT TEXT VALIDATE...: what yaml_edit makes of the file with DO AT TEXT
set_yaml() {
  place_of "$1" || return 1
  target_file=$real from=/dev/null
  [ ! -e "$real" ] || from=$real
  yaml_of "$from" "$2" "$3" "$4" || return 1
  [ -n "$changed" ] || return 0
  shift 4
  new_content "${changed%x}" 0600 "$@"
}

# stage_yaml PATH DO AT TEXT: as set_yaml, in a copy that `publish` puts in place, with all its changes at once
stage_yaml() {
  place_of "$1" || return 1
  [ -f "$real" ] || { why "$real is not there"; return 1; }
  one_name "$real" || return 1
  from=$real
  [ ! -f "$lock/staged$real" ] || [ -n "$check" ] || from=$lock/staged$real
  yaml_of "$from" "$2" "$3" "$4" || return 1
  [ -n "$changed" ] || return 0
  [ -z "$check" ] || return 10
  mkdir -p -- "$lock/staged${real%/*}" && printf '%s' "${changed%x}" >"$lock/staged$real" || { why "can't write to $lock"; return 1; }
  return 10
}

# publish PATH: for `after`
publish() {
  place_of "$1" || return 1
  [ ! -f "$lock/staged$real" ] || replace "$real" 0600 <"$lock/staged$real"
}
