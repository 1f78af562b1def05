# -- Actions (see `step`) and what follows them (see `after`): one value of a YAML file, by yaml_edit.

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
