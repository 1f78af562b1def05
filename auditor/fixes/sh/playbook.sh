# -- What a playbook runs on a host: one of these functions, or of the parts before.

# look PATHS...: print those that others could put another file in the place of, that have a second name, or that have no folder; on
# standard error why. Standard input has the paths that the playbook sees to.
look() {
  check=yes pending=$(cat)$newline
  for path in "$@"; do
    { place_of "$path" && one_name "$real"; } >&2 || say "$path"
  done
}

# edit FILE: print what FILE becomes by the changes of standard input, three lines each for yaml_edit; nothing where it is so already
edit() {
  text=$(cat -- "$1" && printf x) || exit 3
  old=$text
  while IFS= read -r do && IFS= read -r at && IFS= read -r value; do
    text=$(printf '%s' "${text%x}" | yaml_edit "$do" "$at" "$value" && printf x) || exit 3
  done
  [ -z "$do" ] || { say 'not three lines a change' >&2; exit 3; }
  [ "$text" = "$old" ] || printf '%s' "${text%x}"
}

"$0" "$@"
