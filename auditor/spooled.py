"""A run's targets and findings on disk instead of in memory: each is read when somebody asks for it, and made anew every time.

Of a finding some 20 bytes stay in memory, which say where it is and whose; of a target none of what was seen there.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # what json itself reads a string with
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from auditor.model import Finding, Observation, Status, TargetResult
from auditor.queries import INDEXED, Positions
from auditor.results import finding_document, finding_of, target_of, text_of
from auditor.scratch import Scratch

_T = TypeVar("_T")

#: How many bytes are read at once by who goes from one thing to the next.
_AHEAD = 1 << 16
#: How many characters of findings that were made lately are kept to be made again at once, which most of a fleet's are.
_LATELY = 1 << 20


class _Spooled(Sequence[_T], Generic[_T]):
    """Things that lie in a scratch file, one behind the other in the order in which they were added."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._places, self._sizes = array("Q"), array("I")
        self._ahead, self._begins, self._next = b"", 0, 0  # what was read beyond what was asked for, by who goes on in order

    def _put(self, texts: Sequence[str]) -> None:
        data = [t.encode("ascii") for t in texts]
        place = self._scratch.put(b"".join(data))
        for part in data:
            self._places.append(place)
            self._sizes.append(len(part))
            place += len(part)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, n: int) -> _T: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[_T]: ...
    def __getitem__(self, n: int | slice) -> _T | Sequence[_T]:
        if isinstance(n, slice):
            return [self._made(i) for i in range(*n.indices(len(self)))]
        return self._made(range(len(self))[n] if n < 0 else n)

    def __iter__(self) -> Iterator[_T]:
        return map(self._made, range(len(self)))

    def _made(self, n: int) -> _T:
        raise NotImplementedError

    def _text(self, n: int) -> bytes:
        place, size = self._places[n], self._sizes[n]
        at = place - self._begins
        if at < 0 or at + size > len(self._ahead):
            if n != self._next:
                self._next = n + 1
                return self._scratch.get(place, size)
            self._ahead, self._begins, at = self._scratch.get(place, max(size, _AHEAD)), place, 0
        self._next = n + 1
        return self._ahead[at : at + size]


class Targets(_Spooled[TargetResult]):
    """The targets of a run. Raises what ``refuse`` makes of a document that is none."""

    def __init__(self, scratch: Scratch, refuse: Callable[[Exception], Exception]) -> None:
        super().__init__(scratch)
        self._refuse = refuse

    def add(self, text: str) -> None:
        """Take in the next target, as `auditor.results.text_of` writes its document."""
        self._put((text,))

    def _made(self, n: int) -> TargetResult:
        try:
            return target_of(json.loads(self._text(n)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._refuse(error) from None


_FIELDS = list(Finding.__dataclass_fields__)
_HEAD, _REST = (attrgetter(*_FIELDS[a:b]) for a, b in ((1, _FIELDS.index("reason")), (_FIELDS.index("reason"), None)))
_decoded = json.JSONDecoder().raw_decode
_STATUS = {s.value: s for s in Status}
_PLAIN = ("reason", "observations", "parameters", "tailored", "waiver", "attestation")
_BEGINNING, _MIDDLE = '{"target":"', ',"reason":'


class Findings(_Spooled[Finding]):
    """The findings of a run, which `auditor.queries` finds. Raises what ``refuse`` makes of a document that is none.

    The document of a finding begins with its target and ends, from the reason on, with its evidence; what is between is the same
    for all findings of a control with one status, and kept once.
    """

    def __init__(self, scratch: Scratch, refuse: Callable[[Exception], Exception]) -> None:
        super().__init__(scratch)
        self._refuse = refuse
        self._target, self._head = array("I"), array("I")
        self._targets: dict[str, int] = {}
        self._names: list[str] = []
        self._heads: dict[str, int] = {}
        self._texts: list[str] = []
        self._fields: list[dict[str, Any]] = []
        self._words: list[tuple[Any, ...]] = []
        self._lately: dict[tuple[int, bytes], tuple[Any, ...]] = {}
        self._room = _LATELY

    def add(self, texts: Iterable[str]) -> None:
        """Take in the next findings, each as `auditor.results.text_of` writes its document."""
        try:
            self._put([self._noted(text) for text in texts])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._refuse(error) from None

    def _noted(self, text: str) -> str:
        """Note whose a finding is and of what control; return the rest of its document."""
        if not text.startswith(_BEGINNING) or _MIDDLE not in text:  # another program's hand was in it
            text = text_of(finding_document(finding_of(json.loads(text))))
        target, end = scanstring(text, len(_BEGINNING))
        middle = text.index(_MIDDLE, end)
        head = text[end:middle]
        n = self._heads.get(head)
        if n is None:
            made = finding_of(json.loads(f'{_BEGINNING}"{head}{text[middle:]}'))
            n = self._heads[head] = len(self._heads)
            self._texts.append(head)
            self._fields.append({name: getattr(made, name) for name in INDEXED})
            self._words.append(_HEAD(made))
        whose = self._targets.setdefault(target, len(self._targets))
        if whose == len(self._names):
            self._names.append(target)
        self._target.append(whose)
        self._head.append(n)
        return text[middle:]

    def _made(self, n: int) -> Finding:
        head, text = self._head[n], self._text(n)
        rest = self._lately.get((head, text))
        if rest is None:
            try:
                rest = (*self._words[head], *self._evidence(head, text))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._refuse(error) from None
            self._room -= len(text)
            if self._room < 0:
                self._lately.clear()
                self._room = _LATELY - len(text)
            self._lately[head, text] = rest
        return Finding(self._names[self._target[n]], *rest)

    def _evidence(self, head: int, text: bytes) -> tuple[Any, ...]:
        """Return what of a finding comes from the reason on. Most are without a mark, which is read without a detour."""
        whole = "{" + text[1:].decode("ascii")
        d, end = _decoded(whole)
        if end != len(whole):
            raise ValueError("something follows the document")
        if len(d) != len(_PLAIN) or d["waiver"] is not None or d["attestation"] is not None:
            rest: tuple[Any, ...] = _REST(finding_of(json.loads(f'{_BEGINNING}"{self._texts[head]}{text.decode("ascii")}')))
            return rest
        seen = [Observation(o["subject"], _STATUS[o["status"]], o["expected"], o["actual"], o["source"]) for o in d["observations"]]
        return (d["reason"], tuple(seen), d["parameters"], d["tailored"], None, None)

    def positions(self, *fields: str) -> Positions:
        """Answer `auditor.queries.positions`."""
        parts: dict[tuple[Any, ...], int] = {}
        part = [parts.setdefault(tuple(f[n] for n in fields if n != "target"), len(parts)) for f in self._fields]
        whose = self._target if "target" in fields else bytes(len(self))
        by_code: dict[int, array[int]] = {}
        found: dict[tuple[Any, ...], array[int]] = {}
        for n, (target, head) in enumerate(zip(whose, self._head, strict=True)):
            code = target * len(parts) + part[head]
            places = by_code.get(code)
            if places is None:
                known = {**self._fields[head], "target": self._names[self._target[n]]}
                places = by_code[code] = found.setdefault(tuple(known[f] for f in fields), array("I"))
            places.append(n)
        return found


def spooled(folder: Path, refuse: Callable[[Exception], Exception] = lambda error: error) -> tuple[Targets, Findings]:
    """Return targets and findings, none yet, in a file in a folder."""
    scratch = Scratch(folder)
    return Targets(scratch, refuse), Findings(scratch, refuse)
