"""What is due when: by hand for each rule, and by hypothesis over accounts, zones and times."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.schedule import Case, Due, QuietHours, Schedule, StepKind, due

CUTOVER = datetime(2026, 5, 8, tzinfo=UTC)
SCHEDULE = Schedule.parse({})
NIGHT = QuietHours.parse("21:00-08:00")
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = sorted(available_timezones())
DAY = timedelta(days=1)


def _due(now: datetime, quiet: QuietHours | None = None, **case: object) -> list[Due]:
    return due(Case(zone=BERLIN, **case), SCHEDULE, quiet, CUTOVER, now)  # type: ignore[arg-type]


@pytest.mark.parametrize("days", [-300, -60, -10, -1, 3, 50])
def test_the_first_notice_comes_first(days: int) -> None:
    """Whenever it is: who was never told is told what everybody was told, and nothing else."""
    assert _due(CUTOVER + days * DAY, moved=1, sealed=1) == [Due(StepKind.FIRST)]


@pytest.mark.parametrize(
    ("days", "told", "expected"),
    [
        (-40, -60, []),
        (-30, -60, [Due(StepKind.REMINDER, "T-30")]),
        (-29, -30, []),
        (-14, -60, [Due(StepKind.REMINDER, "T-14")]),
        (-7, -14, [Due(StepKind.REMINDER, "T-7")]),
        (-13, -13.5, []),
        (-1, -7, [Due(StepKind.LAST_CALL)]),
        (-0.5, -1, []),
        (-0.1, -60, [Due(StepKind.LAST_CALL)]),
        (0, -60, []),
    ],
)
def test_reminders_follow_their_days(days: float, told: float, expected: list[Due]) -> None:
    """Each once, of several missed ones the newest, none that lies before what the account was last told."""
    assert _due(CUTOVER + days * DAY, told_at=CUTOVER + told * DAY) == expected


def test_an_answer_ends_them() -> None:
    """Reminders and the last call."""
    for days in (-30, -14, -7, -1):
        assert _due(CUTOVER + days * DAY, told_at=CUTOVER - 60 * DAY, answered=True) == []


def test_an_opt_out_never_silences_the_first_and_the_last() -> None:
    """Only what is between."""
    assert _due(CUTOVER - 60 * DAY, reminders_off=True) == [Due(StepKind.FIRST)]
    assert _due(CUTOVER - 14 * DAY, told_at=CUTOVER - 60 * DAY, reminders_off=True) == []
    assert _due(CUTOVER - DAY, told_at=CUTOVER - 60 * DAY, reminders_off=True) == [Due(StepKind.LAST_CALL)]


@pytest.mark.parametrize(
    ("days", "case", "expected"),
    [
        (0.5, {"moved": 1, "sealed": 1}, []),
        (1, {}, []),
        (1, {"moved": 2, "sealed": 1}, [Due(StepKind.MOVED, "T+1")]),
        (1, {"moved": 2, "sealed": 1, "had": frozenset({"T+1", "moved"})}, []),
        (1, {"moved": 0, "sealed": 3}, [Due(StepKind.SEALED, "T+1")]),
        (1, {"moved": 0, "sealed": 3, "answered": True}, [Due(StepKind.SEALED, "T+1")]),
        (1, {"moved": 0, "sealed": 0}, []),
        (30, {"moved": 2, "sealed": 1, "had": frozenset({"T+1", "moved"})}, [Due(StepKind.SEALED, "T+30")]),
        (30, {"moved": 0, "sealed": 3, "had": frozenset({"T+1"}), "answered": True}, []),
        (90, {"moved": 2, "sealed": 0}, [Due(StepKind.MOVED, "T+30")]),
    ],
)
def test_after_the_cutover(days: float, case: dict[str, Any], expected: list[Due]) -> None:
    """What became of it, once it is known; that something is still sealed again, to those who have not answered."""
    assert _due(CUTOVER + days * DAY, told_at=CUTOVER - 60 * DAY, **case) == expected


def test_answers_are_confirmed() -> None:
    """Whatever else is due."""
    assert _due(CUTOVER - 40 * DAY, unconfirmed=("r1", "r2")) == [
        Due(StepKind.RECEIVED, "r1"),
        Due(StepKind.RECEIVED, "r2"),
        Due(StepKind.FIRST),
    ]


@pytest.mark.parametrize(
    ("hour", "quiet"), [(18, False), (19, True), (23, True), (3, True), (5, True), (6, False), (12, False)]
)
def test_the_readers_own_night(hour: int, quiet: bool) -> None:
    """21 to 8 in Berlin is 19 to 6 UTC in summer; the last call does not wait."""
    now = (CUTOVER - 20 * DAY).replace(hour=hour)
    assert _due(now, NIGHT) == ([] if quiet else [Due(StepKind.FIRST)])
    last = (CUTOVER - DAY).replace(hour=hour)
    assert _due(last, NIGHT, told_at=CUTOVER - 60 * DAY) == [Due(StepKind.LAST_CALL)]


TELLING = (StepKind.FIRST, StepKind.REMINDER, StepKind.LAST_CALL)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(zone=st.sampled_from(ZONES), now=MOMENTS)
def test_nobody_is_held_back_for_longer_than_a_night(zone: str, now: datetime) -> None:
    """In any zone, over its changes of clocks: within 13 hours there is a moment when it is not quiet."""
    there = ZoneInfo(zone)
    assert any(not NIGHT.hold(now + timedelta(minutes=30 * n), there) for n in range(26))


@given(zone=st.sampled_from(ZONES), now=MOMENTS)
def test_quiet_is_what_the_wall_clock_says(zone: str, now: datetime) -> None:
    """Also in hours that a change of clocks leaves out or has twice."""
    wall = now.astimezone(ZoneInfo(zone))
    assert NIGHT.hold(now, ZoneInfo(zone)) == (wall.hour >= 21 or wall.hour < 8)


@given(
    now=MOMENTS, told=st.none() | MOMENTS, answered=st.booleans(), off=st.booleans(),
    moved=st.none() | st.integers(0, 2), sealed=st.integers(0, 2), zone=st.sampled_from(ZONES),
)  # fmt: skip
def test_sending_what_is_due_makes_it_not_due(
    now: datetime, told: datetime | None, answered: bool, off: bool, moved: int | None, sealed: int, zone: str
) -> None:
    """Whatever the case: once it has been sent, the same moment asks for nothing more, or for less."""
    case = Case(
        zone=ZoneInfo(zone), told_at=told, answered=answered, reminders_off=off, moved=moved,
        sealed=None if moved is None else sealed,
    )  # fmt: skip
    steps = due(case, SCHEDULE, NIGHT, CUTOVER, now)
    assert len(steps) <= 1
    for step in steps:
        had = {step.occasion, *(["moved"] if step.kind is StepKind.MOVED else [])}
        after = Case(
            zone=case.zone, told_at=now if step.kind in TELLING else told,
            answered=answered, reminders_off=off, moved=moved, sealed=case.sealed, had=frozenset(had),
        )  # fmt: skip
        assert step not in due(after, SCHEDULE, NIGHT, CUTOVER, now)


@pytest.mark.parametrize(
    "given",
    [{"first": "T-5"}, {"last_call": "T+1"}, {"after": "T-1"}, {"reminders": "T-7 T-30"}, {"reminders": "30"},
     {"first": "T-60 T-50"}, {"second": "T-3"}, {"last_call": ""}, {"reminders": "T-30 T-30"}],
)  # fmt: skip
def test_schedules_that_make_no_sense(given: dict[str, str]) -> None:
    """Refused when they are read."""
    with pytest.raises(ValueError, match=r"."):
        Schedule.parse(given)


def test_what_is_left_out_is_the_default() -> None:
    """A list may be empty, commas are welcome."""
    found = Schedule.parse({"reminders": "T-20, T-10", "after": ""})
    assert (found.reminders, found.after, found.first) == ((-20 * DAY, -10 * DAY), (), -60 * DAY)


@pytest.mark.parametrize("text", ["21:00", "21:00-21:00", "24:00-08:00", "9-17", ""])
def test_quiet_hours_that_are_none(text: str) -> None:
    """Refused when they are read."""
    with pytest.raises(ValueError, match="quiet hours"):
        QuietHours.parse(text)
