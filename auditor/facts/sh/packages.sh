# By the package manager's own cache: nothing is refreshed and no dependency resolved. apt writes a cache that is out of date anew,
# so it is asked only where that can't happen; an empty pkgcache is made in memory.
b packages
if have dpkg-query; then
  echo dpkg
  t dpkg-query -W -f '${db:Status-Status} ${binary:Package} ${Version}\n' | sed -n 's/^installed //p'
elif have rpm; then echo rpm; t rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE}\n' $engine_packages
fi
fresh() { # FILE: newer than everything that apt makes it from
  [ -s "$1" ] || return 1
  for file in /var/lib/apt/lists /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d; do [ ! "$file" -nt "$1" ] || return 1; done
}
b policy
cache=/var/cache/apt
if have apt-cache && have awk && fresh $cache/srcpkgcache.bin; then
  option=; { fresh $cache/pkgcache.bin && [ $cache/pkgcache.bin -nt /var/lib/dpkg/status ]; } || option='-o Dir::Cache::pkgcache='
  t dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | t xargs apt-cache $option policy | awk '
    /^[^ ]/ { name = $1; sub(/:$/, "", name); next }
    /^  Installed: / { installed = $2; next }
    /^  Candidate: / { candidate = $2; seen++; new = candidate != installed && candidate != "(none)"
                       if (new) print "new", name, installed, candidate; next }
    new && /^ (\*\*\*|   ) / { at = $1 == "***" ? $2 : $1; next }
    new && at == candidate && /security/ { print "security", name; new = 0 }
    END { print "looked", seen + 0 }'
fi
