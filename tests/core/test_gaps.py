"""When gaps are too many: against the rule written down a second time."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.gaps import GapCount
from migrator.core.outcomes import HOPELESS_GAPS, GapReason, Outcome

HELD, WITH_GAPS, WHOLE = Outcome.HELD_TOO_MANY_GAPS, Outcome.REWRAPPED_WITH_GAPS, Outcome.REWRAPPED


def counted(opened: int, no_key: int = 0, hopeless: int = 0) -> GapCount:
    """So many of each."""
    gaps = GapCount(opened=opened)
    gaps.add_gap(GapReason.NO_KEY, no_key)
    gaps.add_gap(GapReason.UNSUPPORTED_VERSION, hopeless)
    return gaps


@pytest.mark.parametrize(
    ("gaps", "outcome"),
    [
        (counted(0), HELD),
        (counted(1), WHOLE),
        (counted(0, no_key=1), HELD),
        (counted(1, no_key=1), WITH_GAPS),
        (counted(1, no_key=2), HELD),
        (counted(38, no_key=2), WITH_GAPS),
        (counted(37, no_key=2), HELD),
        (counted(95, no_key=5), WITH_GAPS),
        (counted(94, no_key=6), HELD),
        (counted(1, hopeless=999), WITH_GAPS),
        (counted(0, hopeless=1), HELD),
        (counted(20, no_key=2, hopeless=20), WITH_GAPS),
    ],
)
def test_the_limit_and_its_edges(gaps: GapCount, outcome: Outcome) -> None:
    """One gap is always fine where something opened; 5 % of all messages, hopeless ones among them, is the limit."""
    assert gaps.outcome(0.05) is outcome


@given(st.integers(0, 50), st.lists(st.sampled_from(GapReason), max_size=50), st.integers(0, 100))
def test_the_rule_of_the_contract(opened: int, reasons: list[GapReason], percent: int) -> None:
    """max(1 message, that fraction of all its messages), hopeless gaps not counted, and at least one must open."""
    gaps = GapCount(opened=opened)
    for reason in reasons:
        gaps.add_gap(reason)
    total = opened + len(reasons)
    countable = sum(reason not in HOPELESS_GAPS for reason in reasons)
    limit = max(Fraction(1), Fraction(percent, 100) * total)
    expected = HELD if opened == 0 or countable > limit else WITH_GAPS if reasons else WHOLE
    assert (gaps.total, gaps.gaps, gaps.countable) == (total, len(reasons), countable)
    assert gaps.outcome(percent / 100) is expected


def test_no_gaps_allowed_still_allows_one_message() -> None:
    """`max_gap_fraction = 0` is one message, `1` is all but one."""
    assert counted(5, no_key=1).outcome(0.0) is WITH_GAPS
    assert counted(5, no_key=2).outcome(0.0) is HELD
    assert counted(1, no_key=99).outcome(1.0) is WITH_GAPS
