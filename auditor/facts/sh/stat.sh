b stat
(IFS=$nl; set -f; [ -z "$paths" ] || t stat -L -c '%a|%u|%g|%U|%G|%Y|%F|%n' -- $paths)
b rc $?
