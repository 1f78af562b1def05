"""What the commands of a build step do with packages: refresh an index, install, leave out the check of signatures."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from auditor.facts.shell_words import Command, commands, is_shell

_APT = ({"update"}, {"install", "upgrade", "dist-upgrade", "full-upgrade", "safe-upgrade", "build-dep", "satisfy", "reinstall"},
        {"remove", "purge", "clean", "autoclean", "autoremove", "list", "show", "search", "download", "source", "policy",
         "check"})  # fmt: skip
_DNF = ({"makecache", "check-update"}, {"install", "update", "upgrade", "localinstall", "groupinstall", "distro-sync", "reinstall",
        "update-minimal", "module", "group", "builddep", "swap", "downgrade"},
        {"remove", "erase", "clean", "list", "info", "repolist", "search", "config-manager", "history", "download",
         "autoremove"})  # fmt: skip
_APK = ({"update"}, {"add", "upgrade", "fix"}, {"del", "info", "search", "cache", "fetch", "list", "policy", "version", "audit"})
_ZYPPER = ({"refresh", "ref"}, {"install", "in", "update", "up", "patch", "dup", "dist-upgrade"},
           {"remove", "rm", "clean", "cc", "addrepo", "ar", "search", "se", "info", "modifyrepo", "mr", "lr", "repos"})  # fmt: skip
#: Program -> family, words that refresh an index, words that install, other verbs. The first verb of a command counts.
_MANAGERS: dict[str, tuple[str, set[str], set[str], set[str]]] = {
    **dict.fromkeys(("apt", "apt-get", "aptitude", "apt-fast"), ("apt", *_APT)),
    **dict.fromkeys(("yum", "dnf", "dnf5", "microdnf", "tdnf"), ("dnf", *_DNF)),
    "apk": ("apk", *_APK),
    "zypper": ("zypper", *_ZYPPER),
    "opkg": ("opkg", {"update"}, {"install", "upgrade"}, {"remove", "list", "info"}),
    "pkg": ("pkg", {"update"}, {"install", "add", "upgrade"}, {"delete", "info", "clean"}),
    **{name: ("pip", set(), {"install", "download", "wheel"}, {"uninstall", "config", "cache", "list"})
       for name in ("pip", "pip3", "pipx", "uv", "poetry")},
    **{name: ("npm", set(), {"install", "i", "ci", "add", "update"}, {"config", "run", "cache", "set", "rebuild", "audit"})
       for name in ("npm", "yarn", "pnpm")},
    "gem": ("gem", set(), {"install", "update"}, {"sources", "cleanup"}),
    "go": ("go", set(), {"get", "install"}, {"build", "env", "mod", "test", "run"}),
    "cargo": ("cargo", set(), {"install"}, {"build", "run", "test"}),
}  # fmt: skip
_MANAGER_LINE = re.compile(
    r"apt|aptitude|yum|dnf|apk|zypper|opkg|pkg|pip|uv\b|poetry|npm|yarn|gem\b|go\b|cargo|rpm|pacman|emerge|xbps|curl|wget|trusted"
    r"|gpgcheck|strict-ssl|sslVerify|SSL_NO_VERIFY|NODE_TLS|unauthenticated|sh\b|make|/"
)
#: Programs that only fetch or unpack; a file they bring is no package, but it is shown.
_DOWNLOADERS = frozenset({"curl", "wget", "aria2c", "git", "svn"})
#: Short options of curl that take a value.
_CURL_TAKES = frozenset("oHdXuAbceFmTwxCDEKPQrtUyYzh")
_SCRIPTS = frozenset({"make", "ansible-playbook", "python", "python3", "perl", "ruby", "node", "source", ".", "pwsh"})
_PLAIN_FOLDERS = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/")
_PLAIN_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh", "ksh"})

#: What a text says anywhere, quoted or written to a file: kind -> pattern.
_ON = r"[\s\"']*=?[\s\"']*(?:true|1|yes)"
_SAID: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("apt [trusted=yes]", re.compile(r"\[[^\]\n]{0,300}\btrusted\s*=\s*yes\b|(?mi:^|\\n|['\"])Trusted:\s*yes\b")),
    ("gpgcheck=0", re.compile(r"(?i)(?:(?<!\w)|(?<=\\n))gpgcheck\s*=\s*(?:0|no|false)\b")),
    ("apt AllowUnauthenticated", re.compile(r"(?i)APT::Get::AllowUnauthenticated" + _ON)),
    ("apt AllowInsecureRepositories",
     re.compile(r"(?i)Acquire::Allow(?:Insecure|Weak|DowngradeToInsecure)Repositories" + _ON)),
    ("npm strict-ssl false", re.compile(r"(?i)\bstrict-ssl[\s=\"']+false\b|NODE_TLS_REJECT_UNAUTHORIZED=[\"']?0")),
    ("pip trusted-host", re.compile(r"(?i)\btrusted-host\s*[=\s]\s*[\w*]|PIP_TRUSTED_HOST=[\"']?\w")),
    ("git sslVerify false", re.compile(r"(?i)\bhttp\.sslVerify[\s=\"']+(?:false|0)\b|GIT_SSL_NO_VERIFY=[\"']?(?:1|true)")),
    ("download run by a shell", re.compile(
        r"\b(?:ba|z|da|a)?sh\s+<\(\s*(?:curl|wget)\b|\b(?:ba|z|da|a)?sh\s+-\w*c\s+[\"']?\$\(\s*(?:curl|wget)\b")),
)  # fmt: skip
_FLAGS: dict[str, tuple[str, ...]] = {
    "apt": ("--allow-unauthenticated", "--force-yes", "--allow-insecure-repositories",
            "--allow-downgrade-to-insecure-repositories"),
    "dnf": ("--nogpgcheck", "--no-gpgchecks", "--skip-gpg-check"),
    "apk": ("--allow-untrusted",),
    "zypper": ("--no-gpg-checks", "--allow-unsigned-rpm", "--no-gpgcheck", "-G"),
    "rpm": ("--nosignature", "--nodigest", "--noverify"),
    }  # fmt: skip


@dataclass
class Seen:
    """What a step's commands do: families of package managers by deed, checks left out, and what can't be followed."""

    refresh: set[str] = field(default_factory=set)
    install: set[str] = field(default_factory=set)
    unverified: set[str] = field(default_factory=set)
    downloads: bool = False
    script: bool = False  # runs a file whose content is not known, which may install something

    def __or__(self, other: Seen) -> Seen:
        """Return what either does."""
        return Seen(self.refresh | other.refresh, self.install | other.install, self.unverified | other.unverified,
                    self.downloads or other.downloads, self.script or other.script)  # fmt: skip


def look(text: str) -> Seen:
    """Return what the commands of a shell text do."""
    seen = Seen()
    if not _MANAGER_LINE.search(text):
        return seen
    seen.unverified |= {kind for kind, pattern in _SAID if pattern.search(text)}
    before: Command | None = None
    for command in commands(text):
        _add(seen, command)
        if command.piped and before is not None and before.program in ("curl", "wget") and is_shell(command):
            seen.unverified.add("download run by a shell")
        before = command
    return seen


def _add(seen: Seen, command: Command) -> None:
    words = command.words[1:]
    name = command.program
    if re.fullmatch(r"python[0-9.]*", name) and words[:2] == ("-m", "pip"):
        name, words = "pip", words[2:]
    manager = _MANAGERS.get(name)
    if manager is not None:
        family, refresh, install, other = manager
        verb = next((w for w in words if w in refresh or w in install or w in other), "")
        if verb in refresh:
            seen.refresh.add(family)
        elif verb in install:
            seen.install.add(family)
        seen.unverified |= {f"{family} {flag}" for flag in _FLAGS.get(family, ()) if any(_is_flag(w, flag) for w in words)}
    elif name in _SPECIAL:
        _SPECIAL[name](seen, words)
    elif name in _DOWNLOADERS:
        seen.downloads = True
        if name == "curl" and _curl_insecure(words):
            seen.unverified.add("curl --insecure")
        if name == "wget" and "--no-check-certificate" in words:
            seen.unverified.add("wget --no-check-certificate")
    elif _is_script(command, words):
        seen.script = True


def _is_flag(word: str, flag: str) -> bool:
    """Return whether a word is a flag, alone or with a value that isn't a refusal."""
    name, equals, value = word.partition("=")
    return name == flag and (not equals or value.lower() not in ("false", "0", "no"))


def _curl_insecure(words: tuple[str, ...]) -> bool:
    """Return whether curl is told to take any certificate; letters of one word are options up to the first that takes a value."""
    skip = False
    for word in words:
        if skip:
            skip = False
            continue
        if word == "--insecure":
            return True
        if re.fullmatch(r"-[^-].*", word):
            letters = word[1:]
            taking = next((i for i, letter in enumerate(letters) if letter in _CURL_TAKES), len(letters))
            if "k" in letters[:taking]:
                return True
            skip = taking == len(letters) - 1
    return False


def _is_script(command: Command, words: tuple[str, ...]) -> bool:
    if command.program in _PLAIN_SHELLS:
        return any(not w.startswith("-") for w in words) and not any(re.fullmatch(r"-[a-zA-Z]*c", w) for w in words)
    if command.program in _SCRIPTS:
        return bool(words) and "-c" not in words and "--version" not in words
    path = command.words[0]
    return "/" in path and not path.startswith(_PLAIN_FOLDERS)


def _rpm(seen: Seen, words: tuple[str, ...]) -> None:
    short = any(re.fullmatch(r"-[a-zA-Z]*[iUF][a-zA-Z]*", w) for w in words if not w.startswith(("-q", "-e", "-V")))
    if short or {"--install", "--upgrade"} & set(words):
        seen.install.add("rpm")
        seen.unverified |= {f"rpm {flag}" for flag in _FLAGS["rpm"] if flag in words}


def _dpkg(seen: Seen, words: tuple[str, ...]) -> None:
    if {"-i", "--install", "--unpack"} & set(words):
        seen.install.add("dpkg")
        if "--force-bad-verify" in words:
            seen.unverified.add("dpkg --force-bad-verify")


def _pacman(seen: Seen, words: tuple[str, ...]) -> None:
    sync = next((w for w in words if re.fullmatch(r"-S[a-z]*", w)), None)
    if sync is None:
        if any(re.fullmatch(r"-U[a-z]*", w) for w in words):
            seen.install.add("pacman")
    elif "u" in sync or ("c" not in sync and any(not w.startswith("-") for w in words)):
        seen.install.add("pacman")
    elif "y" in sync:
        seen.refresh.add("pacman")


def _emerge(seen: Seen, words: tuple[str, ...]) -> None:
    (seen.refresh if {"--sync"} & set(words) else seen.install).add("portage")


def _xbps(seen: Seen, words: tuple[str, ...]) -> None:
    updates = any(re.fullmatch(r"-[a-zA-Z]*u[a-zA-Z]*", w) for w in words)
    (seen.install if updates or any(not w.startswith("-") for w in words) else seen.refresh).add("xbps")


_SPECIAL: dict[str, Callable[[Seen, tuple[str, ...]], None]] = {
    "rpm": _rpm, "dpkg": _dpkg, "pacman": _pacman, "emerge": _emerge, "xbps-install": _xbps,
    "emerge-webrsync": lambda seen, _: seen.refresh.add("portage"),
}  # fmt: skip
