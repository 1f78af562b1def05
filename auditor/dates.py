"""Days and moments as people write them in files, turned into instants. Pure: nothing here reads a clock.

A day such as ``2026-12-31`` begins at midnight of a stated zone and ends with that day's last instant there, so what expires on
it still holds at 23:59:59. A moment such as ``2026-12-31T18:00:00+01:00`` says its own offset. Instants are compared, never texts.
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

_DAY = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?([Zz]|[+-][0-9]{2}:[0-9]{2})?")
_OFFSET = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
#: Names that mean another zone on another machine.
_OF_A_MACHINE = ("localtime", "posixrules")
#: Years outside are slips of the pen, and would not survive being moved by an offset.
YEARS = (2000, 2999)


def zone_of(word: str) -> tzinfo:
    """Return the zone that a name means: ``UTC``, an offset such as ``+01:00``, or an IANA name such as ``Europe/Berlin``.

    Raises `ValueError` with what is wrong.
    """
    if word in ("UTC", "Z"):
        return UTC
    if _OFFSET.fullmatch(word):
        return _offset(word)
    from zoneinfo import ZoneInfo

    if re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", word) and word not in _OF_A_MACHINE:
        with contextlib.suppress(ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder is an OSError
            return ZoneInfo(word)
    raise ValueError(f"{word!r} is no time zone known here: write UTC, an offset such as +01:00, or a name such as Europe/Berlin")


def begin_of(text: str, zone: tzinfo) -> datetime:
    """Return the first instant of a day or the instant of a moment, in UTC; raises `ValueError` with what is wrong."""
    return _instant(text, zone, later=0)


def end_of(text: str, zone: tzinfo) -> datetime:
    """Return the first instant after a day, or the instant of a moment, in UTC: what ends there holds before it, not at it.

    Raises `ValueError` with what is wrong.
    """
    return _instant(text, zone, later=1)


def instant_of(text: str) -> datetime:
    """Return the instant of a time as runs have it (ISO 8601 in UTC); raises `ValueError`."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} doesn't say its offset")
    return found.astimezone(UTC)


def written(instant: datetime) -> str:
    """Return an instant as results have it: ISO 8601 in UTC with a trailing Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(text: str, zone: tzinfo, later: int) -> datetime:
    if _DAY.fullmatch(text):
        day = _day(text) + timedelta(days=later)
        # Where clocks skip midnight this is the instant at which they skip; where they repeat it, the first of the two.
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a day such as 2026-12-31 or a moment such as 2026-12-31T18:00:00Z, not {text[:40]!r}")
    day, hour, minute, second = _day(match[1]), int(match[2]), int(match[3]), int(match[4] or 0)
    if match[5] is None:
        raise ValueError("a time of day needs its offset: put Z (UTC) or for example +01:00 behind it")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"there is no time {hour:02}:{minute:02}:{second:02}: days go from 00:00:00 to 23:59:59")
    offset = UTC if match[5] in "Zz" else _offset(match[5])
    return datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=offset).astimezone(UTC)


def _day(text: str) -> date:
    year, month, day = map(int, text.split("-"))
    if not YEARS[0] <= year <= YEARS[1]:
        raise ValueError(f"the year {year} is not between {YEARS[0]} and {YEARS[1]}")
    try:
        return date(year, month, day)
    except ValueError:
        leap = ": it is no leap year" if (month, day) == (2, 29) else ""
        raise ValueError(f"there is no day {text}{leap}") from None


def _offset(word: str) -> timezone:
    match = _OFFSET.fullmatch(word)
    assert match is not None
    hours, minutes = int(match[2]), int(match[3])
    if hours * 60 + minutes > 14 * 60 or minutes > 59:
        raise ValueError(f"there is no offset {word}: they go from -14:00 to +14:00")
    return timezone(timedelta(hours=hours, minutes=minutes) * (-1 if match[1] == "-" else 1))
