"""Small conversations in one unit: each to its outcome, all in one transaction, and none at another's cost."""

from pathlib import Path

import pytest

from migrator.core.envelope import DataKey
from migrator.core.merkle import ItemsRoot
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.execution.sealing import UnstorableRowError, gap_key, seal_page, storable
from tests.execution.bench import EPOCH, Bench, content_of
from tests.execution.opened import defined_root, gaps, history
from tests.execution.test_long import labels_of


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Five conversations: sound, with a gap, without a usable key, unreadable, and sound again."""
    made = Bench(tmp_path / "campaign")
    for owner in ("a", "b", "c", "d", "e"):
        made.account(owner)
        made.messages(made.thread(owner, "x"), range(30))
        made.keys(owner, [f"in-{owner}/x"], key=bytes(32) if owner == "c" else bytes(range(32)))
    made.rows("in-b/x", [(7, "n\0l", b"", EPOCH)])
    made.rows("in-d/x", [(7, b"blob", b"", EPOCH)])
    return made


def test_a_unit_is_one_transaction(bench: Bench) -> None:
    """All five in a single commit: one event for those that are not shown, one for each that is."""
    plan = bench.plan().plan_id
    assert labels_of(bench, plan).count("unit") == 1
    (run,) = bench.all(tables.run)
    assert bench.outcomes(run["run_id"]) == {
        "in-a/x": ("rewrapped", 30, 0),
        "in-b/x": ("rewrapped_with_gaps", 30, 1),
        "in-c/x": ("held:too_many_gaps", 0, 30),
        "in-d/x": ("failed:source", 31, 0),
        "in-e/x": ("rewrapped", 30, 0),
    }
    (skipped,) = bench.events("conversation.skipped")
    assert skipped["counts"] == {"failed:source": 1, "held:too_many_gaps": 1}
    assert len(bench.events("conversation.rewrapped")) == len(bench.all(tables.data_key)) == 3


def test_rows_gaps_and_roots(bench: Bench) -> None:
    """What was said, the NUL as `%00`, and each conversation's root as it is defined."""
    bench.run()
    assert history(bench, "in-b/x") == {(n, f"m{n:06}"): ("them", content_of(n)) for n in range(30)}
    assert gaps(bench, "in-b/x") == {(7, "n%00l"): "malformed"}
    roots = {event["items_root"] for event in bench.events("conversation.rewrapped")}
    assert roots == {defined_root(bench, f"in-{owner}/x") for owner in "abe"}


def test_each_conversation_has_a_key_of_its_own(bench: Bench) -> None:
    """No two share one, and what the key service was shown names nobody."""
    bench.run()
    keys = bench.all(tables.data_key)
    assert len({row["wrapped_keyset"] for row in keys}) == len({row["key_id"] for row in keys}) == 3
    for row in keys:
        assert "in-" not in row["context"]
        assert str(row["key_id"]) in row["context"]


# --- sealing ---


def test_sealing_keeps_order_and_leaves_gaps_sealed() -> None:
    """Messages and gaps go where they belong; the root covers both."""
    rows = [(1, "a", "s", b"one", "e", 4), (2, "b\0", "s", None, "e", 4), (3, "c", "s", b"three", "e", 4)]
    root, expected = ItemsRoot(), ItemsRoot()
    sealed = seal_page(9, "in/x", DataKey.generate(), rows, [("t", b"1"), GapReason.MALFORMED, ("t", b"3")], root)
    assert [row[:5] for row in sealed.messages] == [(9, 1, "a", "s", "t"), (9, 3, "c", "s", "t")]
    assert sealed.gaps == [(9, 2, "b%00", "malformed")]
    expected.add([(b"a", b"one", sealed.messages[0][6]), (b"b\0", b"", b""), (b"c", b"three", sealed.messages[1][6])])
    assert root.root() == expected.root()
    assert seal_page(9, "in/x", DataKey.generate(), [], [], ItemsRoot()).messages == []


@pytest.mark.parametrize(
    ("rows", "fits"),
    [
        ([], True),
        ([(1, "a"), (1, "b"), (2, "a")], True),
        ([(1, "a"), (1, "a")], False),
        ([(1, "a\0"), (1, "a%00")], False),
        ([(1, "a\0"), (2, "a%00")], True),
        ([(1, b"a")], False),
        ([(None, "a")], False),
        ([(1.0, "a")], False),
        ([(True, "a")], False),
    ],
)
def test_rows_that_have_a_place(rows: list[tuple[object, object]], fits: bool) -> None:
    """Integer time, text id, and no two at one place, as a gap is recorded."""
    assert storable(rows) is fits


@pytest.mark.parametrize("row", [(2**63, "a"), (-(2**63) - 1, "a"), ("1", "a"), (1, None)])
def test_a_gap_without_a_place_is_refused(row: tuple[object, object]) -> None:
    """It has no row in the table."""
    with pytest.raises(UnstorableRowError):
        gap_key(row)
