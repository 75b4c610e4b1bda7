"""A run's limits as texts: what each may be, what changes, and that rows keep them."""

from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.run_limits import NAMES, OFF, UNLIMITED, RunLimits, check, differences

GOOD = {
    "max_rate": "5000/s",
    "max_load": "database.latency=250ms",
    "critical_load": "keys.errors=50%",
    "window": "22:00-06:00 Europe/Paris",
    "max_failures": "1%",
    "max_duration": "8h",
    "workers": "3",
}
CHANGES = st.dictionaries(st.sampled_from(NAMES), st.booleans())


def test_every_limit_is_known_here() -> None:
    """A new one needs a good text, and a meaning."""
    assert set(GOOD) == set(NAMES) == set(get_type_hints(RunLimits))
    limits = RunLimits(**GOOD)
    meanings = (limits.rate, limits.load, limits.critical, limits.hours, limits.failures, limits.duration,
                limits.most_workers)  # fmt: skip
    assert None not in meanings
    assert (limits.rate, limits.duration, limits.most_workers) == (5000.0, 28_800.0, 3)
    assert UNLIMITED.shown() == {}


@given(CHANGES, CHANGES)
def test_changes_are_kept_by_the_row_and_told(first: dict[str, bool], second: dict[str, bool]) -> None:
    """Whatever is set and taken away: a row gives back what it got, and the differences lead from one to the other."""

    def texts(changes: dict[str, bool]) -> dict[str, str]:
        return {name: GOOD[name] if on or name == "max_failures" else OFF for name, on in changes.items()}

    before = UNLIMITED.but(texts(first))
    after = before.but(texts(second))
    assert RunLimits.from_json(after.to_json()) == after
    found = differences(before, after)
    assert all(old != new for old, new in found.values())
    assert before.but({name: new for name, (_, new) in found.items()}) == after
    assert after.shown().keys() == {name for name in NAMES if getattr(after, name) is not None}


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, "") for name in NAMES]
    + [(name, "nonsense") for name in NAMES]
    + [("max_failures", OFF), ("max_duration", "0"), ("max_duration", "0s"), ("max_rate", "0/s"), ("workers", "0"),
       ("workers", "1025"), ("workers", "-1"), ("workers", "²"), ("unheard_of", "1"), ("max_duration", "1w")],
)  # fmt: skip
def test_what_says_nothing_is_refused(name: str, text: str) -> None:
    """Before anything is changed."""
    with pytest.raises(ValueError, match=r"\w"):
        check(name, text)
    with pytest.raises(ValueError, match=r"\w"):
        UNLIMITED.but({name: text})
