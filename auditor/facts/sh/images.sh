# Images are looked at from outside: how they were built by the engine's API, what they hold in the layer folders of overlay2 and
# fuse-overlayfs. No image is run. Every distinct folder is walked once, whichever images share it.
image_ids() { # ids = those that the engine lists
  if [ -n "$curl" ]; then l=$(get "$url/images/json"); else l=$(cli image ls -q --no-trunc); fi
  code=$?
  ids=$(printf '%s\n' "$l" | grep -oE '("Id":"|^)sha256:[0-9a-f]{64}' | grep -oE 'sha256:[0-9a-f]{64}' | sort -u)
  l="last ${l##*"$nl"}"
}
image_history() {
  image_ids
  b list images:history; printf '%s\n' "$l"; b rc $code
  set -- $ids
  b doc images:history $#
  [ $# -gt 0 ] || return
  if [ -n "$curl" ]; then
    n=$#
    while [ "$n" -gt 0 ]; do i=$1; shift; set -- "$@" "$url/images/$i/history"; n=$((n - 1)); done
    get "$@"
  else
    for i do
      cli history --no-trunc --format '{{json .}}' "$i" && printf '\n%s u 200 %s\n' "$M" "/images/$i/history"
    done
  fi
  b rc 0
}
image_layers() { # PID used|all
  if [ "$2" = all ]; then image_ids; set -- "$1" "$2" $ids
  elif [ -n "$curl" ]; then
    l=$(get "$url/containers/json?all=1"); code=$?
    set -- "$1" "$2" $(printf '%s\n' "$l" | grep -oE '"ImageID":"sha256:[0-9a-f]{64}"' | grep -oE 'sha256:[0-9a-f]{64}' | sort -u)
    l="last ${l##*"$nl"}"
  else
    l=$(cli ps -aq --no-trunc); code=$?
    [ -z "$l" ] || l=$(cli inspect --type container --format '{{.Image}}' $l)
    set -- "$1" "$2" $(printf '%s\n' "$l" | grep -oE '^sha256:[0-9a-f]{64}$' | sort -u)
    l="last"
  fi
  b list "images:layers-$2"; printf '%s\n' "$l"; b rc $code
  pid=$1 of=$2; shift 2
  b doc "images:layers-$of" $#
  [ $# -gt 0 ] || return
  have awk && have find && have stat || { echo 'awk, find or stat: command not found' >&2; b rc 127; return; }
  # Which folders belong to which image is read from their descriptions, not here: here only their distinct set counts.
  folders=$(inspect images "$@" | grep -oE '"(LowerDir|UpperDir)": ?"[^"]*"' | sed 's/^[^:]*: *"//; s/"$//' | tr ':' '\n' |
    grep -E '^/[A-Za-z0-9_./-]+/(overlay2|fuse-overlayfs)/[a-z0-9]+(-init)?/diff$' | grep -vF /../ | sort -u)
  set --
  b layer-folders "$of"
  for d in $folders; do
    seen "$pid" dockerd "$d"
    if [ -r "$x" ] && [ -x "$x" ]; then set -- "$@" "$x"; printf 'D %s %s\n' "$x" "$d"
    elif [ -d "$x" ] || [ "$(id -u)" != 0 ]; then printf 'X %s\n' "$d"
    else printf 'G %s\n' "$d"
    fi
  done
  [ $# -gt 0 ] || return
  b layer-files "$of"
  files=$(image_files "$@"); printf '%s\n' "$files"
  b layer-keys "$of"
  case $nl$files$nl in *"${nl}odd$nl"*)
    for d do
      [ -z "$(t find "$d" -xdev -type f -path "*$nl*" '(' -perm -4000 -o -perm -2000 ')' -exec stat -c odd {} +)" ] || printf 'odd %s\n' "$d"
    done ;;
  esac
  printf '%s\n' "$files" | sed -n 's/^k [0-7]* //p' | image_keys
  b layer-entries "$of"
  entries=$(names=$(printf '%s\n' "$files" | image_names); image_entries "$@"); printf '%s\n' "$entries"
  b layer-packages "$of"; printf '%s\n' "$entries" | sed -n 's/^P //p' | image_packages
  b rc 0
}
# image_files FOLDER...: "s MODE PATH" for setuid and setgid files, "k MODE PATH" for what is named like a key, "rc CODE" at the end.
# A path of two lines can't be told apart from two paths: only that there is one is told.
image_files() {
  polite=; ! have nice || polite='nice -n 19'
  keys='-name id_rsa -o -name id_dsa -o -name id_ecdsa -o -name id_ed25519 -o -name *.pem -o -name *.key -o -name .git-credentials
    -o -name .npmrc -o -name .netrc -o -name .pypirc -o -path */.aws/credentials -o -path */.docker/config.json'
  {
    set -f; T=40
    t $polite find "$@" -xdev -type f '(' -path "*$nl*" '(' -perm -4000 -o -perm -2000 ')' -exec stat -c odd {} + \
      -o ! -path "*$nl*" '(' -perm -4000 -o -perm -2000 ')' -exec stat -c 's %a %n' {} + \
      -o ! -path "*$nl*" -size -64 '(' $keys ')' -exec stat -c 'k %a %n' {} + ')'
    echo "rc $?"
  } | head -n 20000 | head -c 4000000
}
image_keys() { # paths on the standard input: "key PATH" and "credentials PATH" for those whose content says so; none of it is told
  list=$(cat)
  (
    IFS=$nl; set -f; set -- $list
    [ $# -gt 0 ] || exit 0
    t grep -lsE -e '-----BEGIN [A-Z ]*PRIVATE KEY' -- "$@" | sed 's/^/key /'
    t grep -lsE -e '(_authToken|_password|_auth|aws_secret_access_key|"auth"|^[ \t]*password|[ \t]password)[" ]*[:= ] *["A-Za-z0-9+/]' \
      -e '://[^/:@ ]+:[^/@ ]+@' -- "$@" |
      grep -E '/([.](npmrc|netrc|pypirc|git-credentials)|[.]aws/credentials|[.]docker/config[.]json)$' | sed 's/^/credentials /'
  )
}
databases='var/lib/dpkg/status var/lib/dpkg/status.d lib/apk/db/installed usr/lib/apk/db/installed var/lib/rpm/rpmdb.sqlite
  var/lib/rpm/Packages var/lib/rpm/Packages.db usr/lib/sysimage/rpm/rpmdb.sqlite usr/lib/sysimage/rpm/Packages.db
  usr/lib/sysimage/rpm/Packages var/lib/pacman/local'
# image_names: from lines of image_files, every setuid file's path within its folder, those of databases, and all folders above them,
# each before what is below it
image_names() {
  awk -v databases="$databases" '
    function add(path,  n, i, part, whole) {
      n = split(path, part, "/"); whole = ""
      for (i = 1; i <= n; i++) { whole = whole (i > 1 ? "\001" : "") part[i]; known[whole] = 1 }
    }
    BEGIN { n = split(databases, all, /[ \n]+/); for (i = 1; i <= n; i++) add(all[i]) }
    /^s / && match($0, /\/(overlay2|fuse-overlayfs)\/[a-z0-9]+(-init)?\/diff\//) { add(substr($0, RSTART + RLENGTH)) }
    END { for (path in known) print path }' | sort | tr '\001' /
}
# image_entries FOLDER...: for each folder "D FOLDER", then "o NAME" where it has something else than a folder of one of $names, which
# takes the place of what lower folders have there; "P PATH" for a database. Links are not followed: they lead into the host.
image_entries() {
  known=" $(echo $databases) "
  IFS=$nl; set -f
  for d do
    printf 'D %s\n' "$d"
    skip=//
    for p in $names; do
      case $p in "$skip"/*) continue ;; esac
      if [ -L "$d/$p" ]; then printf 'o %s\n' "$p"; skip=$p
      elif [ ! -e "$d/$p" ]; then skip=$p
      elif [ ! -d "$d/$p" ]; then
        printf 'o %s\n' "$p"
        [ ! -f "$d/$p" ] || case $known in *" $p "*) printf 'P %s\n' "$d/$p" ;; esac
      else
        case $p in
          var/lib/dpkg/status.d)
            set +f; for f in "$d/$p"/*; do case $f in *"$nl"*) echo odd ;; *) [ -f "$f" ] && [ ! -L "$f" ] && printf 'P %s\n' "$f" ;; esac; done; set -f ;;
          var/lib/pacman/local) printf 'P %s\n' "$d/$p" ;;
        esac
      fi
    done
  done
  echo end
}
image_packages() { # paths of databases on the standard input: "N PATH", then "n NAME" for each package
  list=$(grep -E '/(status|installed|status[.]d/[^/]*)$')
  (
    IFS=$nl; set -f; set -- $list
    [ $# -gt 0 ] || { echo end; exit 0; }
    t awk '
      function flush() { if (p != "" && ok) print "n " p; p = "" }
      FNR == 1 { flush(); print "N " FILENAME }
      /^Package:/ { flush(); p = $2; ok = 1 }
      /^Status:/ { ok = ($NF == "installed") }
      /^P:/ { print "n " substr($0, 3) }
      END { flush(); print "end" }' "$@" | head -c 4000000
  )
}
