"""The documents of findings in the history: compressed, some hundred together, beside rows that hold what is asked by.

Most of a finding's document stands in its neighbours' as well. Each in its own row they are most of what a history takes on the
disk; in packs they take a tenth of that. A run that an earlier version kept has them in the rows, and one that was gone on with
after an upgrade has both.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from auditor.databases import insert_all
from auditor.model import Finding
from auditor.rows import FINDING_COLUMNS, finding_values

if TYPE_CHECKING:
    import sqlalchemy as sa

    from auditor.tables import Tables

#: How many documents a pack holds at most, and from how many characters on it takes no more: what is read at once.
_MOST, _LARGE = 256, 1 << 20
#: The most that one pack may become, in bytes: more was not written by this program.
_LARGEST = 1 << 30


class DamagedError(Exception):
    """A pack of findings can't be read; the message is one line."""


def keep_findings(
    connection: sa.Connection, tables: Tables, run: str, first: int, findings: Sequence[Finding], texts: Sequence[str]
) -> None:
    """Write findings of a run from the position ``first`` on; ``texts`` are their documents (`auditor.results.text_of`)."""
    values = [finding_values(run, place, finding) for place, finding in enumerate(findings, first)]
    insert_all(connection, tables.findings, FINDING_COLUMNS, values)
    # The position of a pack is that of its first finding.
    insert_all(connection, tables.packs, ("run", "position", "document"), list(_packs(run, first, texts)))


def _packs(run: str, first: int, texts: Sequence[str]) -> Iterator[tuple[str, int, bytes]]:
    begin = size = 0
    for n, text in enumerate(texts, 1):
        size += len(text)
        if n == len(texts) or n - begin == _MOST or size > _LARGE:
            # The fastest level: the next ones save a tenth more and take two and three times as long.
            yield run, first + begin, zlib.compress("\n".join(texts[begin:n]).encode("ascii"), 1)
            begin, size = n, 0


def documents(connection: sa.Connection, tables: Tables, run: str, places: range | None = None) -> Iterator[tuple[int, str]]:
    """Yield the position and the document of each finding of a run in their order, or of those at some positions.

    ``places`` are those of whole packs. Raises `DamagedError`.
    """
    import sqlalchemy as sa

    def rows(table: sa.Table, at_once: int, *wanted: sa.ColumnElement[bool]) -> Iterator[tuple[int, Any]]:
        within = (table.c.position >= places.start, table.c.position < places.stop) if places is not None else ()
        query = sa.select(table.c.position, table.c.document).where(table.c.run == run, *within, *wanted)
        with connection.execute(query.order_by(table.c.position).execution_options(yield_per=at_once)) as found:
            yield from map(tuple, found)

    own = ((place, str(text)) for place, text in rows(tables.findings, 500, tables.findings.c.document != ""))
    packed = ((place + n, text) for place, pack in rows(tables.packs, 10) for n, text in enumerate(_texts(run, bytes(pack))))
    before = -1
    for place, text in heapq.merge(own, packed):
        if place <= before:
            raise DamagedError(f"findings of run {run} can't be read: there are two at place {place}")
        before = place
        yield place, text


def _texts(run: str, pack: bytes) -> list[str]:
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(pack, _LARGEST)
    except zlib.error as error:
        raise DamagedError(f"findings of run {run} can't be read: {error}") from None
    if not unpacking.eof:
        raise DamagedError(f"findings of run {run} can't be read: they are cut off, or too many")
    return data.decode("ascii", "replace").split("\n")
