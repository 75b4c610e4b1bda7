"""Times as text: RFC 3339 and nothing else, in an order that text keeps."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.clock import FixedClock, SystemClock, format_time, parse_time, parse_utc

_moments = st.datetimes(timezones=st.just(UTC))
_offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(_moments)
def test_round_trip(moment: datetime) -> None:
    """What is written is read back to the microsecond, in every year from 1 to 9999."""
    assert parse_time(format_time(moment)) == moment


@given(_moments, _moments)
def test_order_as_text_is_order_in_time(one: datetime, other: datetime) -> None:
    """Databases compare the text."""
    assert (format_time(one) < format_time(other)) == (one < other)


@given(_moments.filter(lambda moment: 1 < moment.year < 9999), _offsets)
def test_offsets_are_understood(moment: datetime, offset: timezone) -> None:
    """Any offset in hours and minutes is the same moment in UTC."""
    moment = moment.astimezone(offset)
    assert parse_time(moment.isoformat()) == moment
    assert format_time(moment) == format_time(moment.astimezone(UTC))


def test_forms_of_rfc_3339() -> None:
    """Small letters, fractions of any length and `Z` are RFC 3339."""
    expected = datetime(2026, 5, 8, 1, 2, 3, 500_000, tzinfo=UTC)
    for text in ("2026-05-08T01:02:03.5Z", "2026-05-08t01:02:03.500000z", "2026-05-08T03:02:03.500000999+02:00"):
        assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-05-08",
        "2026-05-08T01:02:03",
        "2026-05-08 01:02:03Z",
        "2026-05-08T01:02Z",
        "2026-05-08T010203Z",
        "20260508T010203Z",
        "2026-W19-5T01:02:03Z",
        "2026-128T01:02:03Z",
        "2026-05-08T01:02:03,5Z",
        "2026-05-08T01:02:03.Z",
        "2026-05-08T01:02:03+02",
        "2026-05-08T01:02:03+0200",
        "2026-05-08T01:02:03+02:00:30",
        "2026-05-08T25:02:03Z",
        "2026-02-29T01:02:03Z",
        "2026-05-08T01:02:03Z\n",
        "\uff12026-05-08T01:02:03Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "0000-01-01T00:00:00Z",
        "2026-05-08T01:02:03." + "9" * 40 + "Z",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """ISO 8601 has many more forms, and some moments are outside the calendar: `ValueError`, nothing else."""
    with pytest.raises(ValueError, match=r"not|must|range"):
        parse_time(text)


def test_clocks() -> None:
    """One stands still, the other is aware and in UTC."""
    at = datetime(2026, 5, 8, tzinfo=UTC)
    assert FixedClock(at).now() == at
    assert SystemClock().now().utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["2026-05-08T00:00:00+00:00", "2026-05-08T02:00:00+02:00", "2026-05-08T00:00:00z"])
def test_clients_write_times_in_utc_with_z(text: str) -> None:
    """What comes from clients has one way to say a time: other offsets, even of nothing, are refused."""
    with pytest.raises(ValueError, match="UTC with Z"):
        parse_utc(text)
    assert parse_utc("2026-05-08T00:00:00Z") == datetime(2026, 5, 8, tzinfo=UTC)
