"""Long conversations: page by page, with a cursor, and the same in the end as if it had been one page."""

from pathlib import Path

import pytest

from migrator.database import tables
from tests.execution.bench import EPOCH, KEY, Bench, content_of, run_in
from tests.execution.opened import defined_root, gaps, history, rewrapped, run_killed

NAME = "in-alice/bob"


def bench_of(folder: Path, messages: int, *, page_size: int = 10) -> Bench:
    """Alice's conversation of so many messages, all of which open."""
    bench = Bench(folder / "campaign", execution={"page_size": page_size})
    bench.account("alice")
    bench.messages(bench.thread("alice", "bob"), range(messages))
    bench.keys("alice", [NAME])
    return bench


def labels_of(bench: Bench, plan: str) -> list[str]:
    """Labels of a run's commits, in order."""

    labels: list[str] = []
    with bench.open() as campaign:
        campaign.database.boundary = lambda label, moment: labels.append(label) if moment == "after" else None
        run_in(campaign, plan)
    return labels


@pytest.mark.parametrize(("messages", "pages"), [(11, 0), (999, 0), (1000, 1), (1001, 1), (2000, 2), (2500, 2)])
def test_pages_of_a_thousand_and_the_root_of_the_whole(tmp_path: Path, messages: int, pages: int) -> None:
    """So many pages, then the flip; every message there once; the root is the defined one."""
    bench = bench_of(tmp_path, messages)
    labels = labels_of(bench, bench.plan().plan_id)
    assert (labels.count("page"), labels.count("flip"), labels.count("unit")) == (pages, 1, 0)
    assert history(bench, NAME) == {(n, f"m{n:06}"): ("them", content_of(n)) for n in range(messages)}
    (event,) = bench.events("conversation.rewrapped")
    assert (event["messages"], event["gaps"], event["items_root"]) == (messages, 0, defined_root(bench, NAME))
    assert bench.all(tables.progress) == []


def test_the_same_root_rule_as_a_small_conversation(tmp_path: Path) -> None:
    """One in a unit, one page by page: the same structure of pages, each root over its own ciphertexts."""
    small, long = bench_of(tmp_path / "small", 1500, page_size=2000), bench_of(tmp_path / "long", 1500)
    for bench, label in ((small, "unit"), (long, "flip")):
        assert label in labels_of(bench, bench.plan().plan_id)
        (event,) = bench.events("conversation.rewrapped")
        assert event["items_root"] == defined_root(bench, NAME)
    assert history(small, NAME) == history(long, NAME)


def test_goes_on_behind_the_last_page(tmp_path: Path) -> None:
    """G3: same key, same counts, no page twice, whichever page the worker was killed behind."""
    bench = bench_of(tmp_path, 3200)
    bench.rows(NAME, [(5, "m000005x", b"cut", EPOCH), (2500, "m002500x", b"cut", EPOCH)])
    plan = bench.plan().plan_id
    run_killed(bench, "page", plan=plan)
    (before,) = bench.all(tables.progress)
    (key,) = bench.all(tables.data_key)
    assert (before["messages"], before["gaps"], before["key_id"]) == (999, 1, key["key_id"])
    assert {row["mode"] for row in bench.all(tables.conversation)} == {"sealed"}, "G4: nobody sees half of it"
    run_killed(bench, "page", times=1)
    (after,) = bench.all(tables.progress)
    assert (after["messages"], after["gaps"]) == (1999, 1)
    summary = bench.resume()
    assert bench.outcomes(summary.run_id)[NAME] == ("rewrapped_with_gaps", 3200, 2)
    assert [row["key_id"] for row in bench.all(tables.data_key)] == [key["key_id"]]
    assert len(bench.events("key.created")) == 1
    assert bench.events("key.destroyed") == []
    (event,) = rewrapped(bench, summary.run_id)
    assert event["items_root"] == defined_root(bench, NAME)
    assert len(history(bench, NAME)) == 3200
    assert set(gaps(bench, NAME).values()) == {"malformed"}


def test_leftovers_of_another_run_go_before_a_new_one_begins(tmp_path: Path) -> None:
    """A run that was left for good: its rows, key and progress are removed, said so, and nothing is taken over."""
    bench = bench_of(tmp_path, 2500)
    run_killed(bench, "page", times=2, plan=bench.plan().plan_id)
    (old,) = bench.all(tables.data_key)
    summary = bench.run()
    assert bench.outcomes(summary.run_id)[NAME] == ("rewrapped", 2500, 0)
    (new,) = bench.all(tables.data_key)
    assert new["key_id"] != old["key_id"]
    assert [event["key_id"] for event in bench.events("key.destroyed")] == [old["key_id"]]
    assert len(history(bench, NAME)) == 2500


def test_leftovers_go_with_a_skip_that_the_next_plan_foresees(tmp_path: Path) -> None:
    """What was withdrawn in between leaves nothing of what the earlier run had written."""
    bench = bench_of(tmp_path, 2500)
    run_killed(bench, "page", plan=bench.plan().plan_id)
    bench.answer("alice", "withdraw", decided_at=bench.spec.clock.now())
    summary = bench.run()
    assert bench.outcomes(summary.run_id)[NAME] == ("skipped:withdrawn", 2500, 0)
    for table in (tables.message, tables.data_key, tables.progress):
        assert bench.all(table) == []
    assert len(bench.events("key.destroyed")) == 1


def test_a_withdrawal_between_pages_removes_what_was_written(tmp_path: Path) -> None:
    """G1: decided again behind the next page; rows and key go with the outcome."""
    bench = bench_of(tmp_path, 2500)
    plan = bench.plan().plan_id

    def withdraw(label: str, moment: str) -> None:
        if (label, moment) == ("page", "after") and not bench.events("key.destroyed"):
            bench.answer("alice", "withdraw", decided_at=bench.spec.clock.now())

    with bench.open() as campaign:
        campaign.database.boundary = withdraw
        summary = run_in(campaign, plan)
    assert bench.outcomes(summary.run_id)[NAME] == ("skipped:withdrawn", 2500, 0)
    assert bench.all(tables.message) == bench.all(tables.data_key) == bench.all(tables.progress) == []


def test_too_many_gaps_leave_nothing(tmp_path: Path) -> None:
    """Found out on the last page: rows, gaps and key of the earlier pages go, the counts say what would have opened."""
    bench = bench_of(tmp_path, 1500)
    bench.messages(NAME, range(2000, 2200), epoch="lost")
    summary = bench.run()
    assert bench.outcomes(summary.run_id)[NAME] == ("held:too_many_gaps", 1500, 200)
    for table in (tables.message, tables.gap, tables.data_key, tables.progress):
        assert bench.all(table) == []
    (created,), (destroyed,) = bench.events("key.created"), bench.events("key.destroyed")
    assert destroyed["key_id"] == created["key_id"]
    assert bench.events("conversation.rewrapped") == []


@pytest.mark.parametrize("change", ["DELETE FROM message WHERE sent_at > 1500", "DELETE FROM message"])
def test_a_source_that_shrinks_underneath(tmp_path: Path, change: str) -> None:
    """G6: fewer messages than were counted when it was decided are not passed over: failed, and nothing is left."""
    bench = bench_of(tmp_path, 2500)
    plan = bench.plan().plan_id

    def shrink(label: str, moment: str) -> None:
        if (label, moment) == ("page", "after"):
            bench.source(change)

    with bench.open() as campaign:
        campaign.database.boundary = shrink
        summary = run_in(campaign, plan)
    assert bench.outcomes(summary.run_id)[NAME] == ("failed:source", 2500, 0)
    assert bench.all(tables.message) == bench.all(tables.data_key) == bench.all(tables.progress) == []


def test_a_source_that_grows_underneath_is_taken_as_it_is_read(tmp_path: Path) -> None:
    """Counts are those of the rows; the next plan looks again and finds nothing missing."""
    bench = bench_of(tmp_path, 1500)
    plan = bench.plan().plan_id

    def grow(label: str, moment: str) -> None:
        if (label, moment) == ("page", "after"):
            bench.messages(NAME, [5000])

    with bench.open() as campaign:
        campaign.database.boundary = grow
        summary = run_in(campaign, plan)
    assert bench.outcomes(summary.run_id)[NAME] == ("rewrapped", 1501, 0)
    again = bench.run()
    assert bench.outcomes(again.run_id)[NAME] == ("already_server", 1501, 0)


def test_a_data_key_that_is_gone_fails_its_conversation_alone(tmp_path: Path) -> None:
    """The key that its pages were sealed under: without it they can't be gone on with, and the others go on."""
    bench = bench_of(tmp_path, 1500)
    other = bench.thread("alice", "carol")
    bench.messages(other, range(3))
    bench.keys("alice", [other])
    run_killed(bench, "page", plan=bench.plan().plan_id)
    with bench.database() as connection:
        connection.execute(tables.data_key.delete())
    summary = bench.resume()
    assert bench.outcomes(summary.run_id) == {NAME: ("failed:integrity", 1500, 0), other: ("rewrapped", 3, 0)}
    assert len(bench.all(tables.message)) == 3


def test_gaps_at_one_place_cost_the_conversation_not_the_run(tmp_path: Path) -> None:
    """A NUL is kept as `%00`, which another id may have: also on the next page, no key of a table is broken."""
    bench = bench_of(tmp_path, 999)
    other = bench.thread("alice", "carol")
    bench.messages(other, range(3))
    bench.keys("alice", [other])
    bench.rows(NAME, [(1000, "x\0y", b"", EPOCH), (1000, "x%00y", b"", EPOCH)])
    summary = bench.run()
    assert bench.outcomes(summary.run_id) == {NAME: ("failed:source", 1001, 0), other: ("rewrapped", 3, 0)}
    assert len(bench.all(tables.message)) == 3


def test_a_dry_run_counts_the_same(tmp_path: Path) -> None:
    """With gaps on several pages, and nothing written."""
    bench = bench_of(tmp_path, 2100)
    bench.messages(NAME, range(3000, 3020), epoch="lost")
    plan = bench.plan().plan_id
    rehearsed = bench.run(plan, dry_run=True)
    assert bench.all(tables.message) == bench.all(tables.progress) == []
    real = bench.run(plan)
    assert {o: c.to_json() for o, c in rehearsed.counts.items()} == {o: c.to_json() for o, c in real.counts.items()}
    assert real.counts["rewrapped_with_gaps"].to_json() == {"conversations": 1, "messages": 2100, "gaps": 20}


def test_a_wrong_key_is_no_key(tmp_path: Path) -> None:
    """A conversation whose keys open nothing is held, and no page of it was ever committed with a message."""
    bench = Bench(tmp_path / "campaign", execution={"page_size": 10})
    bench.account("alice")
    bench.messages(bench.thread("alice", "bob"), range(1200), key=KEY[::-1])
    bench.keys("alice", [NAME])
    summary = bench.run()
    assert bench.outcomes(summary.run_id)[NAME] == ("held:too_many_gaps", 0, 1200)
    assert bench.all(tables.gap) == bench.all(tables.data_key) == []
