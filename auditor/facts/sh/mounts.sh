b mounts
t sed -n 's/^[^ ]* [^ ]* \([^ ]*\) \([^ ]*\) \([^ ]*\) .* - \([^ ]*\) .*/\4 \1 \2 \3/p' /proc/self/mountinfo
b rc $?
