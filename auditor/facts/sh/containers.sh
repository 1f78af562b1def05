# first_processes DOCKERD: the documents as they come, then /proc of the containers' first processes and which namespaces they
# share with dockerd. The commands that run in the containers (docker exec) go to descriptor 3.
first_processes() {
  awk -v m="$M" -v d="$1" '
    { print }
    match($0, /"Pid": ?[1-9][0-9]*/) { p = substr($0, RSTART, RLENGTH); sub(/^.*: ?/, "", p); pid[++n] = p }
    match($0, /"ExecIDs": ?\[[0-9a-f", ]+\]/) { x = substr($0, RSTART + 9, RLENGTH - 9); gsub(/[^0-9a-f]+/, " ", x); print x | "cat >&3 " }
    END { for (i = 1; i <= n; i++) {
      printf "\n%s s %s\n", m, pid[i]
      file = "/proc/" pid[i] "/status"
      while ((getline line < file) > 0) if (line ~ /^(Uid|Gid|CapEff|CapBnd|NoNewPrivs|Seccomp):/) print line
      close(file); file = "/proc/" pid[i] "/uid_map"
      while ((getline line < file) > 0) print "map " line
      close(file) }
      if (n) {
        printf "\n%s n %s\n", m, d; fflush()
        pid[0] = d
        for (i = 0; i <= n; i++) printf "/proc/%s/ns/net /proc/%s/ns/pid /proc/%s/ns/ipc /proc/%s/ns/uts /proc/%s/ns/user\n",
          pid[i], pid[i], pid[i], pid[i], pid[i] | "xargs stat -L -c \"%i %n\" 2>/dev/null " } }'
}
# container_programs: container, process and name of each program in each container, then links to the files that they execute
container_programs() {
  awk '
    BEGIN {
      list = "printf \"%s\\n\" /proc/[0-9]*/cgroup"
      while ((list | getline file) > 0) {
        id = ""
        while (id == "" && (getline line < file) > 0) {
          n = split(line, part, /[^0-9a-f]+/)
          for (j = 1; j <= n; j++) if (length(part[j]) == 64) { id = part[j]; break } }
        close(file)
        if (id == "") continue
        split(file, part, "/")
        name = ""; file = "/proc/" part[3] "/comm"
        getline name < file; close(file)
        if (name == "" || ((id, name) in seen)) continue
        seen[id, name] = 1
        print id, part[3], name
        links[++l] = "/proc/" part[3] "/exe" }
      fflush()
      for (i = 1; i <= l; i++) print links[i] | "xargs stat -c %N 2>/dev/null " }'
}
