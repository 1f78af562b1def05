# The very file that runs is asked, also when another stands in its place by now. As root nothing else may be run than what root
# already runs from the host's own files: not a container's program, and not a user's that is called like this.
b versions
for name in $versioned; do
  pids "$name"
  for pid in $v; do
    case $nl$found in *"$nl$pid $name$nl"*) ;; *) continue ;; esac  # inside a program that is asked itself
    eval "o=\${uid_$pid:-} c=\${contained_$pid:-} r=\${root_$pid:-}"
    b v "$pid" "$name"
    said=; code=3  # not asked
    if [ "$c" != no ] || [ -n "$r" ]; then echo 'it runs in a container, whose programs are not run from outside' >&2
    elif [ "$o" != 0 ]; then echo "it runs without root, so it is not run once more as root" >&2
    elif ! have timeout; then echo 'timeout: command not found' >&2; code=127
    else said=$(T=5; t env -i PATH="$PATH" LC_ALL=C "/proc/$pid/exe" --version); code=$?
    fi
    printf '%.500s\n' "$said"
    b rc $code
  done
done
