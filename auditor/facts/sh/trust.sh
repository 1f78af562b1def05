b trust-client
if have docker; then t docker --version; b rc $?; else echo none; fi
b trust-places
trust() { for file do [ ! -f "$file" ] || { [ -r "$file" ] || echo "denied $file"; t grep -HnF DOCKER_CONTENT_TRUST "$file" /dev/null; }; done 2>/dev/null; }
trust /etc/environment /etc/profile /etc/profile.d/* /etc/bash.bashrc /etc/bashrc /etc/zshenv /etc/zsh/zshenv /etc/zsh/zprofile \
  /etc/security/pam_env.conf
# those who may use the engine may decide otherwise in files of their own
names=$(sed -n 's/^docker:[^:]*:[^:]*://p' /etc/group | tr ',' '\n')
for home in $(while IFS=: read -r name p u g c h s; do
  [ "$name" != root ] || echo "$h"
  for member in $names; do [ "$name" != "$member" ] || echo "$h"; done
done </etc/passwd); do
  case $home in /*) trust "$home/.profile" "$home/.bash_profile" "$home/.bash_login" "$home/.bashrc" "$home/.zshenv" "$home/.zprofile" "$home/.zshrc" "$home/.pam_environment" ;; esac
done
b rc 0
