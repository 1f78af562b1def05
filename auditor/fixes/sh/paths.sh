# -- Paths: where they lead, and whether anybody but root could change that. Playbooks have this part too.

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

# place_of PATH: like trusted, also for a file whose folder is not there yet
place_of() {
  if [ -d "${1%/*}" ]; then trusted "$1" || return 1; else trusted "${1%/*/*}" && real=${real%/}/${1#"${1%/*/*}/"}; fi
}
