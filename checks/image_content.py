"""Rules about what is in an image: files with setuid bits and packages, read from its layers' folders without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from auditor.facts.images import Images
from auditor.model import Fact, Observation, Problem, Reason
from checks import base
from checks.image_view import ImageView, Scope, is_hidden, visible

LAYERS = "layer folders of the image"
#: Package manager -> where its database is; several: any of them.
_DATABASES = {
    "dpkg": ("/var/lib/dpkg/status",),
    "dpkg.d": ("/var/lib/dpkg/status.d",),
    "apk": ("/lib/apk/db/installed", "/usr/lib/apk/db/installed"),
    "rpm": tuple(f"{folder}/{name}" for folder in ("/var/lib/rpm", "/usr/lib/sysimage/rpm") for name in (
        "rpmdb.sqlite", "Packages", "Packages.db")),
    "pacman": ("/var/lib/pacman/local",),
}  # fmt: skip
_ODD = Problem(Reason.UNPARSABLE, "a layer holds setuid files or packages under names of two lines, which can't be told apart")


def _layers(scope: Scope) -> Images:
    return Images("layers-used" if scope == "used" else "layers-all")


@dataclass(frozen=True, slots=True)
class SetuidFiles:
    """No regular file of an image has a setuid or setgid bit, but for the paths in ``allowed``."""

    with_bases: ClassVar[bool] = False
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if wrong := [path for path in self.allowed if not path.startswith("/")]:
            raise ValueError(f"allowed names files by their whole path, such as /bin/su: {wrong[0]!r}")

    def needs(self, scope: Scope) -> frozenset[Fact]:
        """What the layers hold."""
        return frozenset({_layers(scope)})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Look at the files that no upper layer replaces or removes."""
        expected = "no setuid or setgid file"
        stack = view.stack(image)
        if isinstance(stack, Problem):
            return base.error(subject, stack, expected=expected, source=LAYERS)
        found = {file["path"]: file["mode"] for folder, hidden in visible(stack) for file in folder.get("setuid") or ()
                 if not is_hidden(file["path"], hidden)}  # fmt: skip
        wrong = [f"{path} ({mode})" for path, mode in sorted(found.items()) if path not in self.allowed]
        if wrong:
            actual = base.short(f"{len(wrong)}: {', '.join(wrong)}")
            return base.verdict(subject, ok=False, expected=expected, actual=actual, source=LAYERS)
        if any(folder.get("odd") for folder in stack):
            return base.error(subject, _ODD, expected=expected, source=LAYERS)
        actual = f"none in {len(stack)} layers" + (f" but {len(found)} that the site allows" if found else "")
        return base.verdict(subject, ok=True, expected=expected, actual=actual, source=LAYERS)


@dataclass(frozen=True, slots=True)
class Packages:
    """An image has none of the packages in ``denied``, and at most ``most`` packages (null: any number).

    Without either a person decides from the list that is shown. So it is where the list can't be read (rpm).
    """

    with_bases: ClassVar[bool] = False
    denied: tuple[str, ...] = ()
    most: int | None = None

    def needs(self, scope: Scope) -> frozenset[Fact]:
        """What the layers hold, and how the image was built."""
        return frozenset({_layers(scope), Images("history")})

    def judge(self, subject: str, image: dict[str, Any], view: ImageView) -> Observation:
        """Read the package managers' databases as the topmost layer leaves them."""
        expected = self._expected()
        stack = view.stack(image)
        if isinstance(stack, Problem):
            return base.error(subject, stack, expected=expected, source=LAYERS)
        databases = _databases(stack)
        names = sorted({name for listed in databases.values() for name in listed or ()})
        if wrong := [name for name in names if name in self.denied]:
            return base.verdict(
                subject, ok=False, expected=expected, actual=base.short("installed: " + ", ".join(wrong)), source=LAYERS
            )
        if self.most is not None and len(names) > self.most:
            return base.verdict(subject, ok=False, expected=expected, actual=f"{len(names)} packages", source=LAYERS)
        if any(folder.get("odd") for folder in stack):
            return base.error(subject, _ODD, expected=expected, source=LAYERS)
        if not databases:
            return self._without_database(subject, image, view, len(stack))
        managers = ", ".join(sorted(name.removesuffix(".d") for name in databases))
        unread = [name for name, listed in databases.items() if listed is None]
        if unread:
            actual = f"has a database of {', '.join(unread)}, whose packages are not read"
            return base.manual(subject, expected=expected, actual=actual, source=LAYERS)
        if not self.denied and self.most is None:
            actual = base.short(f"{len(names)} packages ({managers}): {', '.join(names)}")
            return base.manual(subject, expected=expected, actual=actual, source=LAYERS)
        return base.verdict(subject, ok=True, expected=expected, actual=f"{len(names)} packages ({managers})", source=LAYERS)

    def _expected(self) -> str:
        parts = [f"none of {base.show(self.denied)}"] * bool(self.denied)
        parts += [f"at most {self.most} packages"] * (self.most is not None)
        return " and ".join(parts) or "no package that the service doesn't need"

    def _without_database(self, subject: str, image: dict[str, Any], view: ImageView, layers: int) -> Observation:
        """An image without a package database has no packages, unless its database was removed after they were installed."""
        expected = self._expected()
        steps = view.steps(image, own=False)
        if isinstance(steps, Problem):
            return base.error(subject, steps, expected=expected, source="docker history")
        actual = f"no package database in {layers} layer{'s' * (layers != 1)}"
        doubtful = ("install", "script", "comment", "root")
        plain = not any(step.get(key) for _, step in steps.steps for key in doubtful)
        if plain and steps.told and not steps.untold:
            actual += ", and no step installs packages"
            return base.verdict(subject, ok=True, expected=expected, actual=actual, source=LAYERS)
        return base.manual(subject, expected=expected, actual=f"{actual}; it may have been removed", source=LAYERS)


def _databases(stack: list[dict[str, Any]]) -> dict[str, list[str] | None]:
    """Return package manager -> its packages (None: not read). One database file takes the place of those below it."""
    found: dict[str, list[str] | None] = {}
    for folder, hidden in visible(stack):
        for manager, names in (folder.get("databases") or {}).items():
            if all(is_hidden(path, hidden) for path in _DATABASES.get(manager, ())):
                continue
            if manager == "dpkg.d":  # a file a package
                found[manager] = sorted({*(found.get(manager) or ()), *(names or ())})
            else:
                found.setdefault(manager, names)
    return found
