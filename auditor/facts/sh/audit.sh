if have auditctl; then
  b audit-status; t auditctl -s; b rc $?
  b audit-rules; t auditctl -l; b rc $?
else
  b audit-none; [ -e /etc/audit ] && echo configured
fi
