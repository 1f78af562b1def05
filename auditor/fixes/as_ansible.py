"""A plan as an Ansible playbook of modules that come with ansible-core. What comes from evidence is data in it, never a template.

JSON is changed by Ansible itself, which loses nothing of it. YAML is changed by the same awk as in the scripts, on the host: what
Ansible would write has lost its comments. Either way it is `copy` that writes, so that check mode and ``--diff`` work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import yaml

from auditor import __version__
from auditor.fixes import words
from auditor.fixes.as_shell import part
from auditor.fixes.steps import REMOVED, After, ByHand, HaveLines, KeepBits, Own, Plan, Run, SetFlag, SetKey, Step
from auditor.fixes.words import DISTURBS, line, origin
from auditor.fixes.yamltext import change_of

_SYSTEMD = "cis_auditor_systemd.stat.exists"
#: Names that mean more hosts than the one that bears it.
_GROUPS = frozenset({"all", "ungrouped"})
#: What runs a function of ours on the host.
_SHELL = ("/bin/sh", "-c", "{{ cis_auditor_shell }}")
_LEAVE_OUT = {"cis_auditor_left_out": "{{ cis_auditor_left_out | default([]) + [cis_auditor_path] }}"}
_LEFT_OUT = (
    "Left out, each for a reason that is said here or by a failure above: {{ cis_auditor_left_out | unique | join(', ') }}. "
    "{{ cis_auditor_look.stderr_lines | unique | join('. ') }}"
)
_USE = (
    "    ansible-playbook -i inventory.yml THIS --check --diff          what would change; changes nothing",
    "    ansible-playbook -i inventory.yml THIS                         do what disturbs nothing and reload what can be reloaded",
    "    ansible-playbook -i inventory.yml THIS --tags all,disruptive   do everything, restarts included",
    "    ansible-playbook -i inventory.yml THIS --tags cis-docker-2.2   only what this control asks for, restarts included",
    "Every file that is changed is copied to /var/backups/cis-auditor/ on its host first.",
)


class _Inert(str):
    """Text that Ansible must not take for a template."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes inert text with its tag, and text of several lines as such."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write everything out: nobody should have to look for what a name stands for."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    tag = "!unsafe" if isinstance(text, _Inert) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, str(text), style="|" if "\n" in text else '"' if isinstance(text, _Inert) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Inert, _text)


def _inert(value: Any) -> Any:
    """Return a value whose texts mean themselves; only texts that look like templates are marked, which keeps the rest readable."""
    if isinstance(value, str):
        return _Inert(value) if "{" in value or value.startswith("!") else value
    if isinstance(value, dict):
        return {_inert(k): _inert(v) for k, v in value.items()}
    return [_inert(v) for v in value] if isinstance(value, list | tuple) else value


def _said(text: str) -> str:
    """Return the name of a task. Names are templates too, so that braces become parentheses."""
    return line(text).translate({ord("{"): "(", ord("}"): ")"}) or "-"


def alias(target: str) -> str:
    """Return a target's name as inventories and playbooks have it: Ansible reads some characters as patterns."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", target).lstrip("-.") or "_"
    return plain if plain == target and target not in _GROUPS else f"{plain[:80]}-{sha256(target.encode()).hexdigest()[:8]}"


def inventory(plans: Iterable[Plan]) -> str:
    """Return the inventory for the playbooks of some plans."""
    hosts: dict[str, Any] = {}
    for plan in plans:
        where = (
            {"ansible_connection": "local"}
            if plan.kind == "cluster"
            else {"ansible_host": _inert(line(plan.address or plan.target))}
        )
        hosts[alias(plan.target)] = where
    head = "# How to log in is yours to add: ansible_user, ansible_port, ansible_become_method and so on.\n"
    return head + yaml.dump({"all": {"hosts": hosts}}, Dumper=_Dumper, sort_keys=True)


def render(plan: Plan) -> str:
    """Return the playbook."""
    cluster = plan.kind == "cluster"
    made = [(n, step) for n, step in enumerate(plan.steps, 1) if not isinstance(step.action, ByHand)]
    by_hand = [step for step in plan.steps if isinstance(step.action, ByHand)]
    afters = {after: _said(after.words) for after in plan.afters}
    paths = list(dict.fromkeys(path for _, s in made if (path := getattr(s.action, "path", None)) is not None))
    files: dict[str, list[Step]] = {}  # with the changes that ``yaml_edit`` makes
    for _, step in made:
        if isinstance(step.action, SetFlag | SetKey) and change_of(step.action):
            files.setdefault(step.action.path, []).append(step)
    tasks: list[dict[str, Any]] = [_time(plan.run), _look(paths)] if paths else []
    services = any(after.service for after in afters)
    if services:
        tasks.append({"name": "Look for systemd", "tags": ["always"], "register": "cis_auditor_systemd",
                      "ansible.builtin.stat": {"path": "/run/systemd/system"}})  # fmt: skip
    tasks += _blocks(made, paths, afters)
    tasks += [_in_place(path, steps, afters) for path, steps in files.items()]
    tasks += _left_out(step for _, step in made)
    tasks += [_message(step) for step in by_hand]
    play: dict[str, Any] = {"name": _said(f"Fixes for {plan.target} from run {plan.run}"), "hosts": alias(plan.target),
                            "become": not cluster, "gather_facts": False}  # fmt: skip
    if paths or services:
        parts = ["prelude", "paths", *["yaml"] * bool(files), *["services"] * services, "playbook"]
        pending = dict.fromkeys(s.action.path for _, s in made if isinstance(s.action, KeepBits | Own))
        play["vars"] = {"cis_auditor_shell": _Inert("\n".join(map(part, parts))), "cis_auditor_newline": "\n",
                        "cis_auditor_pending": _inert(list(pending))}  # fmt: skip
    play["tasks"] = tasks
    play["handlers"] = [handler for after, name in afters.items() if not after.path for handler in _handlers(after, name)]
    if paths:  # after the handlers, so that all that could be done was done
        play["post_tasks"] = [{"name": "Say what was left out", "tags": ["always"], "ansible.builtin.fail": {"msg": _LEFT_OUT},
                               "when": "cis_auditor_left_out is defined"}]  # fmt: skip
    head = [*origin(plan, __version__), *_USE, *(f"Without a fix: {line(label)} {line(title)}" for label, title, _ in plan.open)]
    text = yaml.dump([play], Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=False)
    return "".join(f"# {h}\n" for h in head) + "---\n" + text


def _time(run: str) -> dict[str, Any]:
    where = f"/var/backups/cis-auditor/{words.folder(run)}-{{{{ now(utc=true).strftime('%Y%m%dT%H%M%SZ') }}}}"
    return {"name": "Choose where back-ups go", "tags": ["always"], "ansible.builtin.set_fact": {"cis_auditor_backup": where}}


def _look(paths: Sequence[str]) -> dict[str, Any]:
    """Return the task that finds out which paths nobody but root can have tampered with.

    In check mode folders count as put right that a step sees to. The input is never empty: the command would be given Ansible's.
    """
    pending = "{{ (cis_auditor_pending if ansible_check_mode else []) | join(cis_auditor_newline) ~ cis_auditor_newline }}"
    return {
        "name": "Look for paths that others could put other files in the place of, or that have a second name: these are left out",
        "ansible.builtin.command": {"argv": [*_SHELL, "look", *map(_inert, paths)], "stdin": pending},
        "register": "cis_auditor_look", "check_mode": False, "changed_when": False, "tags": ["always"],
    }  # fmt: skip


def _blocks(made: Sequence[tuple[int, Step]], paths: Sequence[str], afters: dict[After, str]) -> Iterator[dict[str, Any]]:
    """Yield the tasks of all steps. Once steps may have put a folder right, what is in it is looked at anew."""
    # What a file of our own takes away (flags) must be gone before others say the same: without that file they would do harm.
    needs = {s.after: s.action.path for _, s in made if s.after is not None and isinstance(s.action, HaveLines) and s.action.whole}
    fresh: set[str] = set()
    for number, step in made:
        path = str(getattr(step.action, "path", ""))
        if any(path.startswith(f"{folder}/") for folder in fresh):
            yield _look(paths)
            fresh.clear()
        yield _block(number, step, afters, needs)
        if isinstance(step.action, KeepBits | Own):
            fresh.add(path)


def _block(number: int, step: Step, afters: dict[After, str], needs: dict[After, str]) -> dict[str, Any]:
    notify = afters[step.after] if step.after is not None and not step.after.path else ""
    tasks = _action(number, step, notify)
    block: dict[str, Any] = {"name": _said(step.words), "tags": _tags(step)}
    path = getattr(step.action, "path", None)
    if path is not None:
        block["vars"] = {"cis_auditor_path": _inert(path)}
        block["when"] = "cis_auditor_path not in cis_auditor_look.stdout_lines"
    if step.after in needs:
        block["vars"] = {**block.get("vars", {}), "cis_auditor_needs": _inert(needs[step.after])}
        block["when"] = [*([block["when"]] if path is not None else []), "cis_auditor_needs not in cis_auditor_look.stdout_lines"]
    return {**block, "block": tasks}


def _left_out(made: Iterable[Step]) -> Iterator[dict[str, Any]]:
    """Yield the tasks that note which paths were left out of the steps that were asked for, by their tags."""
    tags: dict[tuple[str, bool], dict[str, None]] = {}
    for step in made:
        path = getattr(step.action, "path", None)
        if path is not None:
            tags.setdefault((path, step.effect.disruptive), {}).update(dict.fromkeys(_tags(step)))
    for (path, _), asked in tags.items():
        yield {"name": _said(f"Note {path} if it is left out"), "tags": list(asked), "vars": {"cis_auditor_path": _inert(path)},
               "ansible.builtin.set_fact": _LEAVE_OUT, "when": "cis_auditor_path in cis_auditor_look.stdout_lines"}  # fmt: skip


def _labels(step: Step) -> list[str]:
    return [re.sub(r"[^A-Za-z0-9_.-]+", "-", label) for label in step.controls]


def _tags(step: Step) -> list[str]:
    return [*_labels(step), *(["disruptive", "never"] if step.effect.disruptive else [])]


def _message(step: Step) -> dict[str, Any]:
    assert isinstance(step.action, ByHand)
    said = [_inert(line(t, 2000)) for t in (step.action.words, *(["Look before: " + step.caution] if step.caution else []))]
    return {"name": f"By hand: {_said(', '.join(step.controls))}",
            "ansible.builtin.debug": {"msg": [*said, *map(_inert, words.lines(step.action))]},
            "tags": [*_labels(step), "by-hand"]}  # fmt: skip


def _handlers(after: After, name: str) -> list[dict[str, Any]]:
    if not after.service:
        return [{"name": name, "ansible.builtin.command": {"argv": _inert(after.command)}, "changed_when": True}]
    mark = "cis_auditor_restarted_" + re.sub(r"[^A-Za-z0-9]", "_", after.service)
    module = {"name": after.service, "state": f"{after.verb}ed", "daemon_reload": True}
    argv = [*_SHELL, "service_do", after.verb, _inert(after.service)]
    other = {"ansible.builtin.command": {"argv": argv}, "changed_when": True}
    found = []
    for way, task, condition in (("systemd", {"ansible.builtin.systemd_service": module}, _SYSTEMD),
                                 ("its service manager", other, f"not {_SYSTEMD}")):  # fmt: skip
        handler = {"name": f"{name}, by {way}", "listen": name, "when": [condition], **task}
        if after.verb == "restart":
            handler["register"] = f"{mark}_{way[:3]}"
        else:
            handler["when"] = [condition, *(f"{mark}_{w} | default({{}}) is not changed" for w in ("sys", "its"))]
        found.append(handler)
    return found


def _action(number: int, step: Step, notify: str) -> list[dict[str, Any]]:
    """Return the tasks of an action. The one that changes something notifies; its name is the step's."""
    name = _said(step.words) + (f" ({DISTURBS[step.effect]})" if step.effect.disruptive else "")
    change: dict[str, Any] = {"name": name, **({"notify": [notify]} if notify else {})}
    mark = f"cis_auditor_{number}"
    change_yaml = change_of(step.action)
    there = {"register": mark, "failed_when": f"{mark} is failed and 'is absent' not in {mark}.msg"}
    match step.action:
        case KeepBits(path=path, keep=keep):
            return [{**change, "ansible.builtin.file": {"path": _inert(path), "mode": words.symbolic(keep)}, **there}]
        case Own(path=path, user=user, group=group):
            owner = {**({"owner": user} if user else {}), **({"group": group} if group else {})}
            return [{**change, "ansible.builtin.file": {"path": _inert(path), **owner}, **there}]
        case HaveLines():
            return _lines(step.action, change)
        case SetKey(format="json", path=path, key=key, value=value, validate=validate):
            return _json(mark, change, path, key, value, validate)
        case SetKey(path=path) | SetFlag(path=path) if change_yaml:
            return _yaml(name, path, change_yaml)
        case Run():
            return _run(mark, change, step.action)
    raise TypeError(f"no way to write {type(step.action).__name__} in a playbook")


def _copy_aside(path: str, when: str) -> dict[str, Any]:
    """Return the task that copies a file to this run's folder, when it is about to change."""
    script = 'umask 077; [ -e "$0$1" ] || { mkdir -p -- "$0${1%/*}" && cp -p -- "$1" "$0$1"; }'
    argv = ["/bin/sh", "-c", script, "{{ cis_auditor_backup }}/files", _inert(path)]
    return {"name": "Copy the file aside", "ansible.builtin.command": {"argv": argv}, "when": when}


def _yaml(name: str, path: str, do: Sequence[str]) -> list[dict[str, Any]]:
    """Return the task that notes a change of a file, for `_in_place` to make all of them at once."""
    noted = _mark_of(path) + "_changes"
    fact = {noted: f"{{{{ {noted} | default([]) + cis_auditor_change }}}}"}
    return [{"name": name, "vars": {"cis_auditor_change": _inert(list(do))}, "ansible.builtin.set_fact": fact}]


def _mark_of(path: str) -> str:
    return f"cis_auditor_{sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _in_place(path: str, steps: Sequence[Step], afters: dict[After, str]) -> dict[str, Any]:
    """Return the tasks that make the changes of a file, all or none."""
    mark = _mark_of(path)
    differs = f"{mark}.rc | default(1) == 0 and {mark}.stdout != ''"
    notify = list(dict.fromkeys(afters[s.after] for s in steps if s.after is not None and not s.after.path))
    argv = [*_SHELL, "edit", _inert(path)]
    changes = {"stdin": f"{{{{ {mark}_changes | join(cis_auditor_newline) }}}}", "strip_empty_ends": False}
    write: dict[str, Any] = {"name": _said(f"Put the new {path} in place"), **({"notify": notify} if notify else {}),
                             "ansible.builtin.copy": {"content": f"{{{{ {mark}.stdout }}}}", "dest": _inert(path),
                                                      "follow": True}}  # fmt: skip
    return {
        "name": _said(f"Change {path}"), "tags": list(dict.fromkeys(tag for s in steps for tag in _tags(s))),
        "when": f"{mark}_changes is defined", "vars": {"cis_auditor_path": _inert(path)},
        "block": [
            {"name": _said(f"Work out what {path} becomes"), "ansible.builtin.command": {"argv": argv, **changes},
             "register": mark, "check_mode": False, "changed_when": False, "ignore_errors": True},
            {"name": _said(f"Note {path} if it is left out"), "ansible.builtin.set_fact": _LEAVE_OUT, "when": f"{mark} is failed"},
            _copy_aside(path, differs),
            {**write, "when": differs},
        ],
    }  # fmt: skip


def _json(
    mark: str, change: dict[str, Any], path: str, key: Sequence[str], value: Any, validate: Sequence[str]
) -> list[dict[str, Any]]:
    keys = [f"cis_auditor_key[{n}]" for n in range(len(key))]
    wanted, here = "", "cis_auditor_old"
    places = []
    for k in keys:
        places.append((here, k))
        here = f"({here}[{k}] | default({{}}))"
    for place, k in reversed(places):
        if not wanted and value is REMOVED:
            wanted = f"({place} | dict2items | rejectattr('key', 'equalto', {k}) | items2dict)"
        else:
            wanted = f"({place} | combine({{{k}: {wanted or 'cis_auditor_value'}}}))"
    values = {
        "cis_auditor_old": f"{{{{ ({mark}.content | default('e30=') | b64decode | trim) | default('{{}}', true) | from_json }}}}",
        "cis_auditor_key": [_inert(k) for k in key],
        "cis_auditor_value": "" if value is REMOVED else _inert(value),
        "cis_auditor_new": f"{{{{ {wanted} }}}}",
    }
    file = {"content": "{{ cis_auditor_new | to_nice_json(indent=2, sort_keys=false) }}\n", "dest": _inert(path), "follow": True,
            "mode": f"{{{{ '0600' if {mark} is failed else omit }}}}"}  # fmt: skip
    if validate:
        file["validate"] = " ".join((*validate, "%s"))
    differs = "(cis_auditor_new | to_json(sort_keys=true)) != (cis_auditor_old | to_json(sort_keys=true))"
    return [
        {"name": "Read the file", "ansible.builtin.slurp": {"path": _inert(path)}, "register": mark,
         "failed_when": f"{mark} is failed and 'not found' not in {mark}.msg"},
        {"name": "Compare it", "vars": values, "block": [
            _copy_aside(path, f"{differs} and {mark}.content is defined"),
            {**change, "ansible.builtin.copy": file, "when": differs},
        ]},
    ]  # fmt: skip


def _lines(action: HaveLines, change: dict[str, Any]) -> list[dict[str, Any]]:
    folder = {"name": "Make its folder", "ansible.builtin.file": {"path": "{{ cis_auditor_path | dirname }}", "state": "directory"}}
    mode = f"{action.mode:04o}"
    if action.whole:
        text = "".join(f"{text}\n" for text in action.lines)
        file = {"content": _inert(text), "dest": _inert(action.path), "mode": mode, "follow": True}
        return [folder, {**change, "ansible.builtin.copy": file}]
    one = {"path": _inert(action.path), "line": "{{ item }}", "create": True, "mode": mode}
    return [folder, {**change, "ansible.builtin.lineinfile": one, "loop": [_inert(text) for text in action.lines]}]


def _run(mark: str, change: dict[str, Any], action: Run) -> list[dict[str, Any]]:
    differs = f"{mark}.rc | default(1) != 0 or {mark}.stdout not in cis_auditor_wanted"
    command: dict[str, Any] = {"argv": [_inert(a) for a in action.command]}
    if action.stdin:
        command |= {"stdin": _inert(action.stdin), "stdin_add_newline": False}
    shown = {"argv": [_inert(a) for a in action.shows]}
    wanted = {"cis_auditor_wanted": _inert([action.wanted, *action.also])}
    return [
        {"name": "Look whether it is so already", "ansible.builtin.command": shown, "register": mark, "check_mode": False,
         "changed_when": False, "failed_when": False},
        {"name": "Say what would be done", "ansible.builtin.debug": {"msg": _inert(list(action.command))}, "changed_when": True,
         "vars": wanted, "when": [f"({differs})", "ansible_check_mode"]},
        {**change, "ansible.builtin.command": command, "changed_when": True, "vars": wanted, "when": differs},
    ]  # fmt: skip
