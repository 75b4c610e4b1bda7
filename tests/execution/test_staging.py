"""The two stages: rows in the database and places in memory must tell the same, and cost the same a message."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migrator.campaign import Campaign
from migrator.core.lifecycle import RunState
from migrator.core.model import Conversation
from migrator.database import tables
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.recorder import Recorder
from migrator.execution.stage import Stage, Staged
from migrator.execution.staging import stage_for
from migrator.execution.work import Work
from migrator.facts import Watermarks
from tests.execution.bench import Bench

PLACES = [(number, f"m{number}") for number in range(1200)]


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    """Conversation 1 has server rows at 0 to 9 and gaps at 10 to 19; 2 has both everywhere; run `r` has one shard."""
    bench = Bench(tmp_path / "campaign")
    with bench.database() as connection:
        for number, end in ((1, 10), (2, 1200)):
            rows = [
                {"conversation_no": number, "sent_at": at, "message_id": name, "sender_id": "s", "content_type": "t",
                 "key_id": 1, "ciphertext": b"server"}
                for at, name in PLACES[:end]
            ]  # fmt: skip
            connection.execute(tables.message.insert(), rows)
        connection.execute(
            tables.gap.insert(),
            [{"conversation_no": 1, "sent_at": at, "message_id": n, "reason": "no_key"} for at, n in PLACES[10:20]],
        )
        connection.execute(
            tables.shard.insert().values(
                run_id="r", generation=1, shard_no=1, first_no=1, last_no=9, finished=False, token=1
            )
        )
        connection.execute(
            tables.run.insert().values(
                run_id="r", run_no=1, plan_id="p", state=RunState.RUNNING.value, generation=1,
                started_at="2026-05-09T00:00:00.000000Z",
            )
        )  # fmt: skip
    with bench.open() as opened:
        yield opened


def stage(campaign: Campaign, *, dry: bool) -> Stage:
    """The stage of conversation 1."""
    assignment = Assignment(
        spec=campaign.spec, run_id="r", plan_id="p", generation=1, shard_no=1, token=1, first_no=1, last_no=9,
        watermarks=Watermarks(0, 0), dry_run=dry,
    )  # fmt: skip
    work = Work(
        conversation_no=1, conversation=Conversation("in/x", "a", "k", ("a",), 20), ref="00", regions=frozenset(),
        exporters=(), newest_export_no=0, visible=True, partial=False,
    )  # fmt: skip
    recorder = Recorder(campaign, assignment, ShardResult(shard_no=1, finished=False))
    with campaign.database.read() as connection:
        recorder.observe_authorizations(connection)
    return stage_for(recorder, work)


def message(number: int, prior: str | None = None) -> Staged:
    """A sealed message for a place."""
    return Staged(
        sent_at=number, message_id=f"m{number}", sender_id="s", content_type="t", key_id=1, ciphertext=b"staged",
        prior_gap=prior,
    )  # fmt: skip


def gap(number: int, reason: str = "corrupt", prior: str | None = None) -> Staged:
    """A gap for a place."""
    return Staged(sent_at=number, message_id=f"m{number}", gap_reason=reason, prior_gap=prior)


_STAGED = st.lists(
    st.builds(
        lambda number, kind: (
            message(number, "no_key" if number < 20 else None)
            if kind == "message"
            else gap(number, kind, "no_key" if number < 20 else None)
        ),
        st.integers(10, 40),
        st.sampled_from(["message", "no_key", "corrupt", "unsupported_version"]),
    ),
    max_size=12,
    unique_by=lambda staged: staged.at,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(_STAGED, max_size=3))
def test_both_stages_tell_the_same(campaign: Campaign, pages: list[list[Staged]]) -> None:
    """Counts, what is where, and whether it changes anything: whatever is put, in however many pages."""
    real, dry = stage(campaign, dry=False), stage(campaign, dry=True)
    for each in (real, dry):
        each.clear()
        for page in pages:
            each.put(page)
    assert real.totals() == dry.totals()
    assert real.brings_anything() == dry.brings_anything()
    assert real.staged(PLACES) == dry.staged(PLACES)
    assert real.server_rows(PLACES) == dry.server_rows(PLACES) == set(PLACES[:10])
    assert real.prior_gaps(PLACES) == dry.prior_gaps(PLACES) == dict.fromkeys(PLACES[10:20], "no_key")


@pytest.mark.parametrize("dry", [False, True])
def test_the_last_that_was_put_at_a_place_stands_there(campaign: Campaign, dry: bool) -> None:
    """A message over an entry, a gap over a message: never both."""
    staged = stage(campaign, dry=dry)
    staged.put([message(50)])
    staged.put([gap(50)])
    assert staged.staged([(50, "m50")]) == {(50, "m50"): None}
    assert staged.totals().total == 21


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize(
    ("staged", "news"),
    [([], False), ([gap(10, "no_key", "no_key")], False), ([gap(10, "corrupt", "no_key")], True),
     ([message(10, "no_key")], True), ([gap(90)], True)],
)  # fmt: skip
def test_what_is_news(campaign: Campaign, dry: bool, staged: list[Staged], news: bool) -> None:
    """A gap in the place of the same gap is none."""
    found = stage(campaign, dry=dry)
    found.put(staged)
    assert found.brings_anything() is news


def test_moving_adds_replaces_and_keeps_for_a_rollback(campaign: Campaign) -> None:
    """Messages added, gaps replaced, others and the other conversation untouched, ciphertexts not kept twice."""
    staged = stage(campaign, dry=False)
    staged.put([message(10, "no_key"), gap(11, "corrupt", "no_key"), message(500), gap(501)])
    promised = staged.totals()
    with campaign.database.write("test") as connection:
        staged.move(connection)
    with campaign.database.read() as connection:
        rows, gaps, added = tables.message, tables.gap, tables.addition
        counts = connection.execute(sa.select(rows.c.conversation_no, sa.func.count()).group_by(rows.c.conversation_no))
        assert dict(counts.all()) == {1: 12, 2: 1200}
        places = {at: reason for _, at, _, reason in connection.execute(sa.select(gaps))}
        assert places == {11: "corrupt", **dict.fromkeys(range(12, 20), "no_key"), 501: "corrupt"}
        assert set(connection.scalars(sa.select(added.c.ciphertext))) == {None}
    assert (promised.opened, promised.gaps) == (12, 10)


def test_discarding_takes_only_what_is_its_own(campaign: Campaign) -> None:
    """Another run's or another conversation's additions stay: a rollback needs them."""
    with campaign.database.write("test") as connection:
        for run_id, number in (("r", 2), ("earlier", 1)):
            connection.execute(
                tables.addition.insert().values(
                    run_id=run_id, conversation_no=number, sent_at=1, message_id="m", gap_reason="no_key"
                )
            )
    staged = stage(campaign, dry=False)
    staged.put([message(50)])
    with campaign.database.write("test") as connection:
        staged.discard(connection)
        left = connection.execute(sa.select(tables.addition.c.run_id, tables.addition.c.conversation_no)).all()
    assert sorted(map(tuple, left)) == [("earlier", 1), ("r", 2)]


def test_a_look_at_some_places_does_not_walk_the_conversation(campaign: Campaign) -> None:
    """Each statement about places finds them by a range of times, however long the conversation is."""
    statements: list[tuple[str, Any]] = []
    sa.event.listen(campaign.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2:4]))
    staged = stage(campaign, dry=False)
    staged.put([message(number) for number in range(600)])
    staged.server_rows(PLACES)
    staged.prior_gaps(PLACES)
    staged.staged(PLACES)
    among = [(text, values) for text, values in statements if " IN (" in text]
    assert len(among) >= 8
    with campaign.database.read() as connection:
        for text, values in among:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
            assert any("sent_at>" in step for step in plan), text
