"""Making a plan: what stands in its file, what it decides, and what is left when it can't be finished."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import ExitStatus, PlanError, UsageError
from migrator.core.merkle import root_of
from migrator.core.plan import digest_of, item_leaf
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.planning import stored
from migrator.planning.making import PlanSummary, make_plan
from migrator.stores.labyrinth import LabyrinthStore
from tests.execution.bench import CUTOVER, NOW, Bench, entry


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """One conversation of each kind that a plan can foresee."""
    made = Bench(tmp_path / "campaign", keys={"regions": {"EU": "local:keys#migrator"}})
    made.account("alice")
    made.account("refuses", answer="refuse")
    made.account("silent", answer=None)
    made.account("far", region="US")
    for owner, count in (("alice", 5), ("refuses", 3), ("silent", 2), ("far", 4)):
        name = made.thread(owner, "bob")
        made.messages(name, range(count))
        made.keys(owner, [name])
    made.thread("alice", "empty")
    made.messages(made.thread("alice", "unexported"), range(7))
    made.rows("in-alice/odd", [(1, "m1", b"", "e")])
    made.source("INSERT INTO thread VALUES ('in-alice', 'odd', 'neither')")
    made.rows("in-nobody/gone", [(1, "m1", b"", "e")])
    return made


EXPECTED = {
    "in-alice/bob": ("rewrap", 5),
    "in-alice/empty": ("skipped:empty", 0),
    "in-alice/odd": ("failed:source", 1),
    "in-alice/unexported": ("skipped:no_export", 7),
    "in-far/bob": ("held:no_key_service", 4),
    "in-nobody/gone": ("skipped:unauthorized", 1),
    "in-refuses/bob": ("skipped:refused", 3),
    "in-silent/bob": ("skipped:unauthorized", 2),
}


def items(bench: Bench, plan_id: str) -> dict[str, tuple[str, int]]:
    """Decision and messages by conversation."""
    names = {row["conversation_no"]: row["conversation_id"] for row in bench.all(tables.conversation)}
    return {
        names[row["conversation_no"]]: (row["decision"], row["messages"])
        for row in bench.all(tables.plan_item)
        if row["plan_id"] == plan_id
    }


def test_every_conversation_has_its_decision(bench: Bench) -> None:
    """G6: one item each, also for what can't be read and for what no key service is there."""
    assert items(bench, bench.plan().plan_id) == EXPECTED
    assert {row["mode"] for row in bench.all(tables.conversation)} == {"sealed"}


def test_counts_reconcile_with_the_items(bench: Bench) -> None:
    """File, summary, row and items add up to the same."""
    made = bench.plan()
    document = json.loads(made.path.read_text())
    assert document == made.document
    assert document["counts"] == made.counts.to_json()
    planned = items(bench, made.plan_id)
    counts: dict[str, list[int]] = {}
    for decision, messages in planned.values():
        count = counts.setdefault(decision.removeprefix("skipped:"), [0, 0])
        count[0] += 1
        count[1] += messages
    found = {"rewrap": document["counts"]["rewrap"], **document["counts"]["skip"]}
    assert {reason: [c["conversations"], c["messages"]] for reason, c in found.items()} == counts
    (row,) = bench.all(tables.plan)
    assert (row["conversations"], row["messages"]) == (len(EXPECTED), sum(n for _, n in EXPECTED.values()))
    assert document["source"]["conversations"] == len(EXPECTED)
    assert document["source"]["messages"] == row["messages"]
    assert document["coverage"]["conversations"] == 4
    assert document["estimate"]["kms_calls"] == 2


def test_the_root_is_that_over_the_items(bench: Bench) -> None:
    """RFC 6962 over the items in order of their numbers, worked out from the rows."""
    made = bench.plan()
    names = {row["conversation_no"]: row["conversation_id"] for row in bench.all(tables.conversation)}
    rows = sorted(bench.all(tables.plan_item), key=lambda row: row["conversation_no"])
    leaves = [
        item_leaf(row["conversation_no"], names[row["conversation_no"]], row["decision"], row["messages"])
        for row in rows
    ]
    assert made.document["items_root"] == f"sha256:{root_of(leaves).hex()}"


@pytest.mark.parametrize("page", [2, 5000])
def test_the_root_is_that_over_the_items_whenever_conversations_came(
    bench: Bench, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation that comes later has a later number, wherever the walk meets it, and on whatever page."""
    opened = LabyrinthStore.open
    monkeypatch.setattr(LabyrinthStore, "open", lambda url: opened(url, population_page=page))
    bench.plan()
    bench.messages(bench.thread("alice", "another"), range(3))
    made = bench.plan()
    with bench.open() as campaign, campaign.database.read() as connection:
        assert made.document["items_root"] == stored.items_root(connection, made.plan_id)
        stored.require_executable(campaign, stored.load(campaign, made.plan_id))


def test_the_file_names_nobody(bench: Bench) -> None:
    """No id of an account, a mailbox, a thread or a message, and it is its owner's alone."""
    made = bench.plan()
    text = made.path.read_text()
    for name in ("alice", "refuses", "silent", "in-", "bob", "m000", "epoch"):
        assert name not in text
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.path == bench.folder / "plans" / f"{made.plan_id}.json"


@pytest.mark.parametrize("page", [1, 2, 3, 7, 8, 9])
def test_pages_of_the_population_do_not_matter(bench: Bench, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever falls on a page's edge, every conversation has one item, and a plan made twice is the same plan."""
    whole = bench.plan()
    opened = LabyrinthStore.open
    monkeypatch.setattr(LabyrinthStore, "open", lambda url: opened(url, population_page=page))
    again = bench.plan()
    assert items(bench, again.plan_id) == EXPECTED
    for member in ("counts", "coverage", "items_root", "source", "policy", "config_sha256"):
        assert again.document[member] == whole.document[member]


def test_an_empty_population_is_a_plan_too(tmp_path: Path) -> None:
    """Nothing to do: counts of zero, and a root over nothing."""
    bench = Bench(tmp_path / "campaign")
    made = bench.plan()
    assert made.counts.to_json() == {"rewrap": {"conversations": 0, "messages": 0}, "skip": {}}
    assert made.document["items_root"] == f"sha256:{root_of([]).hex()}"
    assert bench.run(made.plan_id).exit_status is ExitStatus.OK


# --- as of when ---


def test_decided_as_of_the_later_of_now_and_the_cutover(tmp_path: Path) -> None:
    """Before the cutover: as of the cutover, so a grant that ends before it counts for nothing; after it: as of now."""
    bench = Bench(tmp_path / "campaign")
    for name, days in (("before", -1), ("between", 1), ("after", 10)):
        bench.account(name, answer=None)
        bench.answer(name, "grant", valid_until=CUTOVER + timedelta(days=days))
        conversation = bench.thread(name, "bob")
        bench.messages(conversation, range(2))
        bench.keys(name, [conversation])
    bench.at(CUTOVER - timedelta(days=20))
    early = items(bench, bench.plan().plan_id)
    assert [early[f"in-{name}/bob"][0] for name in ("before", "between", "after")] == [
        "skipped:authorization_expired", "rewrap", "rewrap",
    ]  # fmt: skip
    bench.at(CUTOVER + timedelta(days=2))
    late = items(bench, bench.plan().plan_id)
    assert late["in-between/bob"][0] == "skipped:authorization_expired"
    assert late["in-after/bob"][0] == "rewrap"
    as_of = [row["decided_as_of"] for row in bench.all(tables.plan)]
    assert as_of == [format_time(CUTOVER), format_time(CUTOVER + timedelta(days=2))]


def test_the_notice_period_is_that_of_the_cutover(tmp_path: Path) -> None:
    """A notice that will have run by the cutover is in time for a plan made before it."""
    bench = Bench(tmp_path / "campaign")
    for name, days in (("told", 56), ("late", 55)):
        bench.account(name, noticed=False)
        bench.notice(name, CUTOVER - timedelta(days=days))
        conversation = bench.thread(name, "bob")
        bench.messages(conversation, range(2))
        bench.keys(name, [conversation])
    bench.at(CUTOVER - timedelta(days=30))
    planned = items(bench, bench.plan().plan_id)
    assert (planned["in-told/bob"][0], planned["in-late/bob"][0]) == ("rewrap", "skipped:notice_period")


# --- what is migrated already ---


def decision(bench: Bench) -> str:
    """What a plan made now says of Alice's conversation."""
    return items(bench, bench.plan().plan_id)["in-alice/bob"][0]


def test_a_migrated_conversation_is_extended_only_by_news(bench: Bench) -> None:
    """Nothing new: `already_server`. A tail, or a newer export where something is missing: `extend`."""
    bench.run()
    assert decision(bench) == "already_server"
    bench.keys("alice", ["in-alice/bob"])
    assert decision(bench) == "already_server", "there is no gap that a newer export could close"
    bench.history("alice", [entry("in-alice/bob", 900)])
    assert decision(bench) == "extend", "a newer history may hold what nobody had"
    bench.run()
    assert decision(bench) == "already_server"
    bench.messages("in-alice/bob", [40])
    assert decision(bench) == "extend", "a tail"
    bench.answer("alice", "withdraw", decided_at=NOW)
    assert decision(bench) == "already_server", "what was withdrawn gets no tail, and stays what it is"


def test_a_newer_export_is_news_where_there_are_gaps(bench: Bench) -> None:
    """Also if it turns out to bring nothing: execution finds that out, and then there is no news any more."""
    bench.messages("in-alice/bob", [70], epoch="another")
    bench.run()
    assert decision(bench) == "already_server"
    bench.keys("alice", ["in-alice/bob"], epoch="another")
    assert decision(bench) == "extend"
    run = bench.run()
    assert bench.outcomes(run.run_id)["in-alice/bob"] == ("rewrapped", 6, 0)
    assert decision(bench) == "already_server"


# --- plans that are not finished ---


def interrupted(bench: Bench, label: str) -> None:
    """A planner that ends at its first commit of a label."""

    def pull_the_plug(found: str, moment: str) -> None:
        if (found, moment) == (label, "after"):
            raise KeyboardInterrupt

    with bench.open() as campaign:
        campaign.database.boundary = pull_the_plug
        with pytest.raises(KeyboardInterrupt):
            make_plan(campaign, save=None, progress=NoProgress())


@pytest.mark.parametrize("label", ["plan-begin", "plan-page"])
def test_an_interrupted_plan_is_none_and_the_next_removes_it(bench: Bench, label: str) -> None:
    """Still `making`: it can't be loaded, and nothing of it is left after the next one."""
    interrupted(bench, label)
    (unfinished,) = bench.all(tables.plan)
    assert unfinished["state"] == "making"
    with bench.open() as campaign, pytest.raises(PlanError, match="there is no plan"):
        stored.load(campaign, unfinished["plan_id"])
    made = bench.plan()
    assert [row["plan_id"] for row in bench.all(tables.plan)] == [made.plan_id]
    assert {row["plan_id"] for row in bench.all(tables.plan_item)} == {made.plan_id}
    assert items(bench, made.plan_id) == EXPECTED


def test_of_two_planners_at_once_the_later_wins_and_the_other_says_so(bench: Bench) -> None:
    """The second takes the first for an interrupted one; the first leaves no file, no event and no items."""
    made: list[PlanSummary] = []

    def plan_meanwhile(found: str, moment: str) -> None:
        if (found, moment) == ("plan-begin", "after"):
            made.append(bench.plan())

    with bench.open() as campaign:
        campaign.database.boundary = plan_meanwhile
        with pytest.raises(PlanError, match="another `migrator plan`"):
            make_plan(campaign, save=None, progress=NoProgress())
    (winner,) = made
    assert [row["plan_id"] for row in bench.all(tables.plan)] == [winner.plan_id]
    assert {row["plan_id"] for row in bench.all(tables.plan_item)} == {winner.plan_id}
    assert [path.name for path in (bench.folder / "plans").iterdir()] == [winner.path.name]
    assert [event["plan_id"] for event in bench.events("plan.created")] == [winner.plan_id]
    assert bench.run(winner.plan_id).pending == 0


def unwritable(folder: Path) -> Path:
    """A place where no file can be made, whoever asks."""
    (folder / "file").write_text("")
    return folder / "file" / "plan.json"


@pytest.mark.parametrize("place", [unwritable, lambda folder: folder])
def test_a_plan_file_that_can_not_be_written_leaves_no_plan(bench: Bench, tmp_path: Path, place: Any) -> None:
    """A clear error that names the place, no plan that could be executed, and no rest of a file."""
    path = place(tmp_path)
    with bench.open() as campaign, pytest.raises(UsageError, match="can't be written") as caught:
        make_plan(campaign, save=path, progress=NoProgress())
    assert "--save" in caught.value.hint
    assert [row["state"] for row in bench.all(tables.plan)] == ["making"]
    assert bench.events("plan.created") == []
    assert list(tmp_path.glob(".*")) == []
    assert items(bench, bench.plan().plan_id) == EXPECTED


def test_a_full_disk_is_told_and_leaves_no_plan(bench: Bench) -> None:
    """`/dev/full` stands for a disk without room."""
    with bench.open() as campaign, pytest.raises(UsageError, match="can't be written"):
        make_plan(campaign, save=Path("/dev/full/plan.json"), progress=NoProgress())
    assert [row["state"] for row in bench.all(tables.plan)] == ["making"]


def test_the_event_says_what_the_file_says(bench: Bench) -> None:
    """Digest, root and counts, and the digest is the file's."""
    made = bench.plan()
    (event,) = bench.events("plan.created")
    document = json.loads(made.path.read_text())
    assert event == {
        "plan_id": made.plan_id, "digest": digest_of(document), "items_root": document["items_root"],
        "conversations": len(EXPECTED), "messages": document["source"]["messages"],
    }  # fmt: skip


def test_planning_a_page_costs_the_same_statements_whatever_its_size(tmp_path: Path) -> None:
    """No query for each conversation, but for the sample of sizes, which ends at its bound."""
    counts = []
    for number in (1, 100):
        bench = Bench(tmp_path / str(number))
        bench.account("alice", answer="refuse")
        for other in range(number):
            bench.messages(bench.thread("alice", f"friend-{other}"), [1])
        counts.append(_statements(bench))
    assert counts[0] == counts[1]


def _statements(bench: Bench) -> int:
    statements: list[Any] = []

    def note(campaign: Campaign) -> None:
        sa.event.listen(campaign.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    with bench.open() as campaign:
        note(campaign)
        make_plan(campaign, save=None, progress=NoProgress())
    return len(statements)
