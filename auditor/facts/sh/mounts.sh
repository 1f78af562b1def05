b mounts
t sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \([^ ]*\) .*/\2 \1/p' /proc/self/mountinfo
b rc $?
