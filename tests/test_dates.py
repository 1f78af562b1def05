"""Days and moments: zones, ends of days, leap days, days on which clocks change."""

from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.dates import begin_of, end_of, instant_of, written, zone_of

ZONES = [
    "UTC",
    "+14:00",
    "-12:00",
    "+05:45",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "America/St_Johns",
    "Asia/Tehran",
]
DAYS = st.dates(date(2000, 1, 2), date(2998, 12, 30))
NAMES = st.sampled_from(ZONES)


@pytest.mark.parametrize(
    ("text", "zone", "begin", "end"),
    [
        ("2026-12-31", "UTC", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        ("2026-12-31", "Europe/Berlin", "2026-12-30T23:00:00Z", "2026-12-31T23:00:00Z"),
        ("2026-07-01", "Europe/Berlin", "2026-06-30T22:00:00Z", "2026-07-01T22:00:00Z"),
        ("2026-12-31", "+14:00", "2026-12-30T10:00:00Z", "2026-12-31T10:00:00Z"),
        ("2026-12-31", "-12:00", "2026-12-31T12:00:00Z", "2027-01-01T12:00:00Z"),
        ("2028-02-29", "UTC", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
        ("2028-02-28", "UTC", "2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("2027-02-28", "UTC", "2027-02-28T00:00:00Z", "2027-03-01T00:00:00Z"),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),  # 23 hours
        ("2026-10-25", "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),  # 25 hours
        ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"),  # began at 01:00
        ("2026-12-31T18:00:00+01:00", "-12:00", "2026-12-31T17:00:00Z", "2026-12-31T17:00:00Z"),
        ("2026-12-31T18:00Z", "Europe/Berlin", "2026-12-31T18:00:00Z", "2026-12-31T18:00:00Z"),
    ],
)
def test_day_or_moment(text: str, zone: str, begin: str, end: str) -> None:
    assert written(begin_of(text, zone_of(zone))) == begin
    assert written(end_of(text, zone_of(zone))) == end


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2027-02-29", "there is no day 2027-02-29: it is no leap year"),
        ("2100-02-29", "it is no leap year"),
        ("2028-02-30", "there is no day 2028-02-30"),
        ("2026-13-01", "there is no day"),
        ("2026-04-31", "there is no day"),
        ("2026-00-10", "there is no day"),
        ("1999-12-31", "the year 1999 is not between"),
        ("3000-01-01", "the year 3000 is not between"),
        ("2026-12-31T18:00:00", "a time of day needs its offset"),
        ("2026-12-31T24:00:00Z", "there is no time 24:00:00"),
        ("2026-12-31T23:59:60Z", "there is no time 23:59:60"),
        ("2026-12-31T23:00:00+15:00", "there is no offset +15:00"),
        ("2026-12-31T23:00:00+01:60", "there is no offset +01:60"),
        ("31.12.2026", "must be a day such as 2026-12-31"),
        ("2026-1-1", "must be a day"),
        ("20261231", "must be a day"),
        ("2026-12-31 ", "must be a day"),
        ("٢٠٢٦-12-31", "must be a day"),
        ("never", "must be a day"),
        ("", "must be a day"),
    ],
)
def test_what_is_no_day(text: str, said: str) -> None:
    for read in (begin_of, end_of):
        with pytest.raises(ValueError, match=".") as raised:
            read(text, UTC)
        assert said in str(raised.value)


@pytest.mark.parametrize(
    "word",
    [
        "Europe/Berln",
        "CET+1",
        "",
        "../../etc/passwd",
        "/etc/localtime",
        "+1:00",
        "Europe",
        "+25:00",
        "a b",
        "localtime",
        "posixrules",
    ],
)
def test_what_is_no_zone(word: str) -> None:
    with pytest.raises(ValueError, match="no time zone|no offset"):
        zone_of(word)


@given(DAYS, NAMES)
def test_days_follow_each_other_without_gap_or_overlap(day: date, name: str) -> None:
    zone = zone_of(name)
    following = (day + timedelta(days=1)).isoformat()
    assert end_of(day.isoformat(), zone) == begin_of(following, zone)
    # A zone that moves over the date line skips a whole day.
    assert begin_of(day.isoformat(), zone) <= end_of(day.isoformat(), zone)


@given(DAYS, NAMES)
def test_the_last_second_of_a_day_is_before_its_end_and_the_next_is_not(day: date, name: str) -> None:
    zone = zone_of(name)
    begin, end = begin_of(day.isoformat(), zone), end_of(day.isoformat(), zone)
    if begin < end:
        assert (end - timedelta(seconds=1)).astimezone(zone).date() <= day
    assert end.astimezone(zone).date() > day


@given(
    st.datetimes(datetime.fromisoformat("2000-01-02"), datetime.fromisoformat("2998-01-01")), st.integers(-14 * 60, 14 * 60), NAMES
)
def test_a_moment_is_the_same_in_every_zone(naive: datetime, minutes: int, name: str) -> None:
    moment = naive.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
    for read in (begin_of, end_of):
        assert read(moment.isoformat(), zone_of(name)) == moment
    assert instant_of(written(moment)) == moment


@given(st.text(max_size=30))
def test_any_text_is_an_instant_or_a_clear_mistake(text: str) -> None:
    try:
        assert end_of(text, ZoneInfo("Europe/Berlin")).tzinfo is UTC
    except ValueError as error:
        assert "\n" not in str(error)
