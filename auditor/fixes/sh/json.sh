# -- Actions (see `step`): one key of a JSON file, by python3 or else by jq.

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
