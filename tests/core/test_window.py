"""The hours in which a run may work: over midnight, over the change of clocks, in any zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.window import Window

MINUTE = timedelta(minutes=1)
ZONES = ["Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
CLOCK = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda at: f"{at[0]:02}:{at[1]:02}")
MOMENTS = st.integers(0, 2 * 365 * 24 * 3600).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


@given(CLOCK, CLOCK, st.sampled_from(ZONES), MOMENTS)
def test_open_is_what_the_wall_clock_says(start: str, end: str, zone: str, now: datetime) -> None:
    """Of the hours and their complement exactly one is open at any moment, whatever clocks are set to."""
    if start == end:
        return
    there = Window.parse(f"{start}-{end} {zone}")
    back = Window.parse(f"{end}-{start} {zone}")
    assert there.is_open(now) is not back.is_open(now)
    wall = f"{now.astimezone(ZoneInfo(zone)):%H:%M}"
    assert there.is_open(now) is (start <= wall < end if start < end else wall >= start or wall < end)


@given(CLOCK, CLOCK, st.sampled_from(ZONES), MOMENTS)
def test_it_opens_when_it_says(start: str, end: str, zone: str, now: datetime) -> None:
    """At that minute it is open, a minute before it is not, unless that is now."""
    if start == end:
        return
    window = Window.parse(f"{start}-{end} {zone}")
    opens = window.opens_at(now)
    assert window.is_open(opens)
    assert opens == now if window.is_open(now) else not window.is_open(opens - MINUTE)


@pytest.mark.parametrize(
    ("text", "closed", "opens"),
    [
        # Clocks go from 02:00 to 03:00 on 29 March 2026: there is no 02:30, the window begins with 03:00.
        ("02:30-05:00 Europe/Paris", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
        # On that day there is nothing of this one: it opens a day later.
        ("02:10-02:50 Europe/Paris", "2026-03-29T00:30:00Z", "2026-03-30T00:10:00Z"),
        # Clocks go from 03:00 back to 02:00 on 25 October 2026: this hour is there twice.
        ("02:00-02:30 Europe/Paris", "2026-10-25T00:45:00Z", "2026-10-25T01:00:00Z"),
        ("22:00-06:00 Europe/Paris", "2026-07-01T12:00:00Z", "2026-07-01T20:00:00Z"),
        ("22:00-06:00 Europe/Paris", "2026-12-01T12:00:00Z", "2026-12-01T21:00:00Z"),
    ],
)
def test_the_change_of_clocks(text: str, closed: str, opens: str) -> None:
    """By hand: spring, autumn, and the same hours in summer and winter."""
    window, now = Window.parse(text), datetime.fromisoformat(closed)
    assert not window.is_open(now)
    assert window.opens_at(now) == datetime.fromisoformat(opens)


@pytest.mark.parametrize(
    "text",
    ["", "22:00-06:00", "22:00-06:00 ", "22-06 UTC", "24:00-06:00 UTC", "22:00-22:00 UTC", "22:00-06:60 UTC",
     "22:00-06:00 Europe/Atlantis", "22:00-06:00 ../../etc/passwd", "22:00-06:00 Europe", "22:00-06:00 UTC\n",
     "x22:00-06:00 UTC", "2٢:00-06:00 UTC", "22:00-06:00 " + "A" * 65, "٢٢:00-06:00 UTC", "22:00-06:00 /etc/passwd"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """With words, never with another kind of error."""
    with pytest.raises(ValueError, match=r"window|zone"):
        Window.parse(text)
