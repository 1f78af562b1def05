"""What an operator does about failures: from controls' typed remediation to scripts, playbooks and words. Nothing is applied by us.

`kinds` is what a benchmark file may say under ``remediation: fix:``; `plan` turns that, a finding and the target's evidence into
`steps`, ordered and with all their values filled in; ``as_shell``, ``as_ansible`` and ``as_markdown`` write a plan down. Planning
is pure, like judging: no I/O, no clock. `planners` says which module plans which kind. The folder ``sh`` holds the shell that
scripts consist of and that playbooks run on hosts: each file a part, which begins by saying what it is for.
"""
