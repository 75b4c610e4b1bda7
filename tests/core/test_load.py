"""The load of services: what is allowed, what was seen, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.load import (
    CRITICAL_LOOK_SECONDS,
    CRITICAL_LOOKS,
    HALF_LIFE_SECONDS,
    LEAST_CALLS,
    NOTHING,
    Lasting,
    Load,
    LoadLimits,
    Measure,
    Meter,
    Metered,
)

SECOND = 1_000_000


def value(measure: Measure, number: int) -> str:
    """A limit as text."""
    return f"{number}ms" if measure.of_time else f"{number / 1000:g}%"


LIMITS = st.dictionaries(st.sampled_from(list(Measure)), st.integers(1, 100_000), min_size=1)


@given(LIMITS, st.sampled_from([",", " , "]), st.sampled_from(["=", " = "]))
def test_what_is_written_is_what_is_read(limits: dict[Measure, int], comma: str, equals: str) -> None:
    """Any measures in any order, with or without spaces; over a limit means over it, not at it."""
    text = comma.join(f"{measure}{equals}{value(measure, number)}" for measure, number in limits.items())
    found = LoadLimits.parse(text)
    expected = {m: number / 1000 if m.of_time else number / 100_000 for m, number in limits.items()}
    assert found.most == pytest.approx(expected)
    assert found.exceeded(found.most) == []
    assert len(found.exceeded({measure: most * 1.01 for measure, most in found.most.items()})) == len(limits)
    assert found.exceeded({}) == []


@given(st.text(max_size=40))
def test_nothing_else_comes_through(text: str) -> None:
    """Whatever is typed: limits that are positive and finite, or words that say what is wrong."""
    try:
        found = LoadLimits.parse(text)
    except ValueError:
        return
    assert found.most
    assert all(0 <= most < 1e6 for most in found.most.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no limit"),
        ("database.latency", "is no limit"),
        ("database.latency=250ms,", "'' is no limit"),
        ("database.latncy=250ms", "nearest one is database.latency"),
        ("xyzzy=1s", "there are database.latency"),
        ("database.latency=250", "reads like 250ms"),
        ("database.latency=0ms", "reads like 250ms"),
        ("database.latency=-1s", "reads like 250ms"),
        ("database.latency=5%", "reads like 250ms"),
        ("database.latency=infs", "reads like 250ms"),
        ("keys.errors=101%", "reads like 5%"),
        ("keys.errors=5", "reads like 5%"),
        ("keys.errors=1s", "reads like 5%"),
        ("keys.latency=1s,keys.latency=2s", "limited twice"),
    ],
)
def test_each_mistake_is_named(text: str, words: str) -> None:
    """Strictly parsed: the part that is wrong, and how it would be right."""
    with pytest.raises(ValueError, match=words):
        LoadLimits.parse(text)


def test_figures_of_both_are_said() -> None:
    """What is read, and what it may be."""
    limits = LoadLimits.parse("database.latency=250ms,keys.errors=5%")
    readings = {Measure.DATABASE_LATENCY: 0.41, Measure.KEYS_ERRORS: 0.125}
    assert limits.exceeded(readings) == ["database commit 0.41 s over 0.25 s", "key service errors 12.5 % over 5 %"]


def test_a_reading_is_an_average_that_fades() -> None:
    """What came a half-life ago weighs half; without calls it stays, and then lapses."""
    load = Load()
    load.see(Metered(10, 10 * SECOND), NOTHING, 0.0)
    load.see(Metered(5, 0), NOTHING, HALF_LIFE_SECONDS)
    assert load.readings(HALF_LIFE_SECONDS)[Measure.DATABASE_LATENCY] == pytest.approx(0.5)
    assert load.readings(2 * HALF_LIFE_SECONDS)[Measure.DATABASE_LATENCY] == pytest.approx(0.5)
    assert load.readings(20 * HALF_LIFE_SECONDS) == {}
    assert Measure.KEYS_LATENCY not in load.readings(HALF_LIFE_SECONDS)


def test_one_error_of_one_call_is_no_share() -> None:
    """Errors are read from some calls on; a latency at once."""
    load = Load()
    load.see(NOTHING, Metered(1, SECOND, 1), 0.0)
    assert load.readings(0.0) == {Measure.KEYS_LATENCY: 1.0}
    load.see(NOTHING, Metered(int(LEAST_CALLS) - 1, SECOND, 0), 0.0)
    assert load.readings(0.0)[Measure.KEYS_ERRORS] == pytest.approx(1 / LEAST_CALLS)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50), st.integers(0, 10**9)), max_size=30))
def test_readings_stay_between_what_was_seen(seen: list[tuple[float, int, int]]) -> None:
    """Whenever it came, and though clocks be set back: never below the least nor above the most."""
    load, at = Load(), 0.0
    for passed, calls, each in seen:
        at += passed - 20
        load.see(Metered(calls, calls * each), NOTHING, at)
    values = [each / SECOND for _, calls, each in seen if calls]
    found = load.readings(at).get(Measure.DATABASE_LATENCY)
    assert found is None or min(values) * 0.999 <= found <= max(values) * 1.001


def test_a_spike_is_not_critical_and_what_lasts_is() -> None:
    """So many looks in a row, with time between them; one that is fine begins the count anew."""
    lasting = Lasting()
    times = [n * CRITICAL_LOOK_SECONDS for n in range(CRITICAL_LOOKS)]
    assert [lasting.look(True, at) for at in times] == [False] * (CRITICAL_LOOKS - 1) + [True]
    assert not any(lasting.look(True, 1000 + n / 100) for n in range(100) if not lasting.look(n % 50 != 0, 1000.0))
    assert not lasting.look(False, 2000.0)
    assert [lasting.look(True, 3000 + at) for at in times[:-1]] == [False] * (CRITICAL_LOOKS - 1)


def test_what_is_not_kept_is_counted_again() -> None:
    """A transaction that failed gives back what it was to write."""
    meter = Meter()
    meter.count(0.5)
    meter.count(0.25, failed=True)
    taken = meter.take()
    assert taken == Metered(2, 750_000, 1)
    assert meter.take() == NOTHING
    meter.count(1.0)
    meter.put_back(taken)
    assert meter.take().since(taken) == Metered(1, SECOND, 0)
