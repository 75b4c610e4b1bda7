"""How far, how fast, how long still: never over the whole, never backwards, and words instead of lies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.estimate import KNOWN_FRACTION, STALE, WINDOW, Advance, Eta, EtaState, Rate, Sample, eta, rate

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
NUMBERS = st.integers(min_value=0, max_value=10**12)
STEADY = Rate(messages=1000, window_seconds=10.0, held_seconds=0.0)


def sample(ago: float, messages: int, held: float = 0.0) -> Sample:
    """A sample that was taken so many seconds ago."""
    return Sample(at=NOW - timedelta(seconds=ago), messages=messages, held_seconds=held)


def left(done: int, total: int | None = 1000, found: Rate | None = STEADY, **circumstances: bool) -> Eta:
    """The time left of a run that is at work unless said otherwise."""
    return eta(Advance(done=done, total=total), found, NOW, **{"at_work": True, **circumstances})  # type: ignore[arg-type]


# --- how far ---


@given(NUMBERS, st.none() | NUMBERS, st.booleans())
def test_never_over_the_whole(done: int, total: int | None, complete: bool) -> None:
    """Whatever was expected and whatever came."""
    fraction = Advance(done=done, total=total, complete=complete).fraction
    assert fraction is None or 0.0 <= fraction <= 1.0
    assert (fraction is None) == (total is None and not complete)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_more_done_is_never_less_far(done: int, more: int, total: int) -> None:
    """Monotone in what is done."""
    before, after = Advance(done=done, total=total).fraction, Advance(done=done + more, total=total).fraction
    assert before is not None
    assert after is not None
    assert before <= after


def test_more_than_expected_is_known_as_such() -> None:
    """So that it can be said in words."""
    assert Advance(done=120, total=100).exceeds
    assert not Advance(done=100, total=100).exceeds
    assert not Advance(done=100, total=None).exceeds


# --- how fast ---


def test_the_rate_is_that_of_the_window() -> None:
    """What was before it does not count."""
    samples = [sample(2000, 0), sample(290, 10_000), sample(100, 12_000), sample(0, 12_900)]
    found = rate(samples, NOW)
    assert found == Rate(messages=2900, window_seconds=290.0, held_seconds=0.0)
    assert found.per_second == 10.0


def test_the_order_of_samples_does_not_matter() -> None:
    """A ring has no first."""
    samples = [sample(10, 100), sample(5, 200), sample(0, 300)]
    assert rate(samples[::-1], NOW) == rate([samples[1], samples[2], samples[0]], NOW) == rate(samples, NOW)


def test_time_that_was_held_up_counts_out() -> None:
    """A service that throttled for half of the time does not halve the rate."""
    found = rate([sample(100, 0, held=10.0), sample(0, 500, held=60.0)], NOW)
    assert found is not None
    assert (found.held_seconds, found.per_second) == (50.0, 10.0)


@pytest.mark.parametrize(
    "samples",
    [[], [sample(0, 10)], [sample(1, 0), sample(0, 10)], [sample(200, 0), sample(STALE.total_seconds() + 1, 10)]],
    ids=["none", "one", "too short", "stale"],
)
def test_no_rate_where_samples_tell_none(samples: list[Sample]) -> None:
    """One sample, two that are close, or a coordinator that is stuck."""
    assert rate(samples, NOW) is None


@given(
    st.lists(
        st.builds(
            sample, st.floats(-3600, 3600), NUMBERS, st.floats(min_value=-1e6, max_value=1e6, allow_subnormal=False)
        ),
        max_size=20,
    )
)
def test_a_rate_is_never_negative(samples: list[Sample]) -> None:
    """Clocks are set back, rows are odd: never below 0, never over the window, never held up for longer than it."""
    found = rate(samples, NOW)
    if found is not None:
        assert found.per_second >= 0
        assert found.messages >= 0
        assert 0 <= found.held_seconds <= found.window_seconds <= WINDOW.total_seconds()


# --- how long still ---


def test_the_states_in_their_order() -> None:
    """Counting, too early, a value, due, and none where nobody works."""
    assert left(500, total=None).state is EtaState.COUNTING
    assert left(9).state is EtaState.NOT_AVAILABLE
    assert left(500, found=None).state is EtaState.NOT_AVAILABLE
    assert left(500, waiting=True).state is EtaState.NOT_AVAILABLE
    assert left(500) == Eta(state=EtaState.VALUE, seconds=5.0, at=NOW + timedelta(seconds=5))
    assert left(1000).state is EtaState.DUE
    assert left(1200).state is EtaState.DUE
    assert left(0, total=0).state is EtaState.DUE
    assert left(500, at_work=False).state is EtaState.NONE
    assert eta(Advance(done=500, total=1000, complete=True), STEADY, NOW, at_work=True).state is EtaState.NONE


def test_an_estimate_is_used_up() -> None:
    """What is left was to take five seconds from the last commit on: after them it is due, and never below."""
    for ago, state, seconds in ((0, "value", 5.0), (3, "value", 2.0), (5, "due", None), (500, "due", None)):
        found = eta(Advance(done=500, total=1000), STEADY, NOW, at_work=True, moved_at=NOW - timedelta(seconds=ago))
        assert (found.state.value, found.seconds) == (state, seconds)
    ahead = eta(Advance(done=500, total=1000), STEADY, NOW, at_work=True, moved_at=NOW + timedelta(hours=1))
    assert ahead.seconds == 5.0, "a clock that is ahead adds nothing"


def test_an_end_in_centuries_is_no_estimate() -> None:
    """Nor is it an overflow of the calendar."""
    slow = Rate(messages=1, window_seconds=300.0, held_seconds=0.0)
    assert left(10**10, total=10**12, found=slow).state is EtaState.NOT_AVAILABLE
    assert left(500, found=replace(slow, messages=0)).state is EtaState.NOT_AVAILABLE


@given(
    NUMBERS, NUMBERS, NUMBERS,
    st.builds(Rate, messages=NUMBERS, window_seconds=st.floats(2.0, 300.0), held_seconds=st.just(0.0)),
)  # fmt: skip
def test_more_done_is_never_longer(done: int, more: int, total: int, found: Rate) -> None:
    """At the same rate; and a value stands only with a time, once enough is known."""
    before, after = left(done, total=total, found=found), left(done + more, total=total, found=found)
    for one in (before, after):
        assert (one.state is EtaState.VALUE) == (one.seconds is not None) == (one.at is not None)
        assert one.seconds is None or one.seconds > 0
    if before.seconds is not None and after.seconds is not None:
        assert after.seconds <= before.seconds
    if before.state is EtaState.VALUE:
        assert done >= total * KNOWN_FRACTION
        assert after.state in (EtaState.VALUE, EtaState.DUE)
