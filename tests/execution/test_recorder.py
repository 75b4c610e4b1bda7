"""The fence before every transaction of a worker: whoever may not write writes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import DatabaseError, GateError
from migrator.core.lifecycle import StopReason
from migrator.database import tables
from migrator.execution import runs, shards
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.recorder import (
    AuthorizationsChangedError,
    Ending,
    FencedError,
    Recorder,
    StopRequestedError,
    require_database_past_cutover,
)
from migrator.execution.runs import Run
from migrator.facts import Watermarks
from migrator.planning import stored
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with one conversation."""
    made = Bench(tmp_path / "campaign")
    made.account("alice")
    made.messages(made.thread("alice", "bob"), range(3))
    return made


@pytest.fixture
def campaign(bench: Bench) -> Iterator[Campaign]:
    """The same, open."""
    with bench.open() as opened:
        yield opened


@pytest.fixture
def run(bench: Bench, campaign: Campaign) -> Run:
    """A run that has begun and has one shard."""
    plan = bench.plan().plan_id
    begun = runs.begin(campaign, stored.load(campaign, plan))
    shards.cut(campaign, begun, workers=1)
    return begun


def recorder(bench: Bench, campaign: Campaign, run: Run, **changes: Any) -> Recorder:
    """The recorder of a worker that claimed the shard, unless its assignment says otherwise."""
    given = {"spec": bench.spec, "run_id": run.run_id, "plan_id": run.plan_id, "generation": run.generation,
             "shard_no": 1, "token": 1, "first_no": 1, "last_no": 1, "watermarks": Watermarks(0, 0)}  # fmt: skip
    assignment = Assignment(**{**given, **changes})
    made = Recorder(campaign, assignment, ShardResult(shard_no=1, finished=False))
    with campaign.database.read() as connection:
        made.observe_authorizations(connection)
    return made


def claim(bench: Bench, token: int = 1) -> None:
    """Whoever has this token holds the shard."""
    with bench.database() as connection:
        connection.execute(tables.shard.update().values(token=token))


ENDING = Ending(conversation_no=1, outcome="skipped:withdrawn", messages=3, gaps=0, ref="00ff")


def writes_nothing(bench: Bench, made: Recorder, error: type[Exception]) -> None:
    """A transaction fails at the fence, and neither rows, counts nor events are there."""
    before = bench.all(tables.shard), bench.all(tables.item), bench.all(tables.outbox)
    with pytest.raises(error), made.transaction("unit", messages=3, failures=1) as connection:
        made.end(connection, [ENDING])
    assert (bench.all(tables.shard), bench.all(tables.item), bench.all(tables.outbox)) == before


def test_the_holder_writes_and_counts(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Effect, counts for the coordinator and event, together."""
    claim(bench)
    made = recorder(bench, campaign, run)
    with made.transaction("unit", messages=3, failures=1) as connection:
        made.end(connection, [ENDING])
    (shard,) = bench.all(tables.shard)
    assert (shard["messages"], shard["failures"]) == (3, 1)
    assert [(row["outcome"], row["messages"]) for row in bench.all(tables.item)] == [("skipped:withdrawn", 3)]
    (event,) = bench.events("conversation.skipped")
    assert event["counts"] == {"skipped:withdrawn": 1}


def test_a_stale_token_writes_nothing(bench: Bench, campaign: Campaign, run: Run) -> None:
    """G3: the shard has a new holder; whoever held it before is harmless."""
    claim(bench, token=2)
    writes_nothing(bench, recorder(bench, campaign, run), FencedError)


def test_a_token_that_was_never_claimed_writes_nothing(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Nor does one that runs ahead of its claim."""
    claim(bench, token=1)
    writes_nothing(bench, recorder(bench, campaign, run, token=2), FencedError)


def test_an_older_generation_writes_nothing(bench: Bench, campaign: Campaign, run: Run) -> None:
    """The run was resumed: before its shards are cut anew, and after."""
    claim(bench)
    made = recorder(bench, campaign, run)
    resumed = runs.take_up(campaign, run.run_id)
    writes_nothing(bench, made, FencedError)
    shards.cut(campaign, resumed, workers=1)
    claim(bench)
    writes_nothing(bench, made, FencedError)


def test_a_shard_that_is_not_there_is_nobodys(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Another shard's number does not help."""
    claim(bench)
    writes_nothing(bench, recorder(bench, campaign, run, shard_no=2), FencedError)


def test_a_stop_request_ends_the_work_at_the_next_commit(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Nothing is written after it."""
    claim(bench)
    runs.request_stop(campaign, run, StopReason.INTERRUPTED)
    writes_nothing(bench, recorder(bench, campaign, run), StopRequestedError)


@pytest.mark.parametrize("state", ["stopped", "completed", "rolling_back", "rolled_back"])
def test_only_a_running_run_is_written_to(bench: Bench, campaign: Campaign, run: Run, state: str) -> None:
    """Whatever else has become of it."""
    claim(bench)
    with bench.database() as connection:
        connection.execute(tables.run.update().values(state=state))
    writes_nothing(bench, recorder(bench, campaign, run), StopRequestedError)


def test_an_authorisation_since_the_decision_undoes_it(bench: Bench, campaign: Campaign, run: Run) -> None:
    """G1: nothing that was decided before is committed; once it was decided again, it is."""
    claim(bench)
    made = recorder(bench, campaign, run)
    bench.answer("alice", "withdraw")
    writes_nothing(bench, made, AuthorizationsChangedError)
    with campaign.database.read() as connection:
        assert made.observe_authorizations(connection)
        assert not made.observe_authorizations(connection)
    with made.transaction("unit") as connection:
        made.end(connection, [ENDING])


def test_the_database_clock_is_asked_in_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: the campaign's clock says after the cutover, the database's says before: nothing is written."""
    monkeypatch.setattr(runs, "require_approved", lambda *_: None)  # another gate, with tests of its own
    cutover = datetime.now(UTC) + timedelta(days=365)
    bench = Bench(
        tmp_path / "campaign",
        campaign={"name": "bench", "environment": "production", "cutover_at": cutover},
        keys={"allow_local_keys": True},
    )
    bench.at(cutover + timedelta(days=1))
    bench.account("alice")
    bench.thread("alice", "bob")
    with bench.open() as campaign:
        begun = runs.begin(campaign, stored.load(campaign, bench.plan().plan_id))
        shards.cut(campaign, begun, workers=1)
        claim(bench)
        writes_nothing(bench, recorder(bench, campaign, begun), GateError)


@pytest.mark.parametrize("text", ["2026-05-08 00:00:00", "2026-05-08T02:00:00+02:00", datetime(2026, 5, 8, tzinfo=UTC)])
def test_clocks_of_databases_come_as_text_or_time(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, text: object
) -> None:
    """Without a zone it is UTC, which is what SQL's CURRENT_TIMESTAMP of SQLite is; at the cutover it is past."""
    with campaign.database.read() as connection:
        monkeypatch.setattr(connection, "scalar", lambda _: text)
        require_database_past_cutover(connection, campaign)
        monkeypatch.setattr(connection, "scalar", lambda _: "2026-05-07 23:59:59")
        with pytest.raises(GateError, match="database's clock"):
            require_database_past_cutover(connection, campaign)


def test_what_an_earlier_transaction_wrote_goes_with_the_ending(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Messages, gaps, progress and data key of a conversation that nobody saw, in the same transaction."""
    claim(bench)
    with bench.database() as connection:
        for number in (1, 2):
            place = {"conversation_no": number, "sent_at": 1}
            connection.execute(
                tables.message.insert().values(
                    **place, message_id="m", sender_id="s", content_type="t", key_id=5, ciphertext=b"c"
                )
            )
            connection.execute(tables.gap.insert().values(**place, message_id="n", reason="no_key"))
            connection.execute(
                tables.data_key.insert().values(
                    conversation_no=number, key_id=5, key_service="local:keys#migrator", wrapped_keyset=b"w",
                    context="{}", created_at="2026-05-09T00:00:00.000000Z",
                )
            )  # fmt: skip
            connection.execute(
                tables.progress.insert().values(
                    conversation_no=number, run_id="x", cursor="[]", key_id=5, messages=1, gaps=1, countable_gaps=1,
                    frontier="0:",
                )
            )  # fmt: skip
    made = recorder(bench, campaign, run)
    with made.transaction("end") as connection:
        made.end(connection, [Ending(conversation_no=1, outcome="failed:source", messages=3, gaps=0, ref="00ff",
                                     partial=True)])  # fmt: skip
    for table in (tables.message, tables.gap, tables.data_key, tables.progress):
        assert [row["conversation_no"] for row in bench.all(table)] == [2]
    assert [event["key_id"] for event in bench.events("key.destroyed")] == [5]


def test_a_dry_run_can_not_write(bench: Bench, run: Run) -> None:
    """Not even by mistake: its database refuses."""
    with bench.open(read_only=True) as campaign:
        made = recorder(bench, campaign, run, dry_run=True)
        assert made.dry
        with pytest.raises(DatabaseError, match="dry run"), made.transaction("unit"):
            pytest.fail("written")


def test_endings_are_counted_once(bench: Bench, campaign: Campaign, run: Run) -> None:
    """The same conversation can't end twice in a run: the second is refused with all that came with it."""
    claim(bench)
    made = recorder(bench, campaign, run)
    with made.transaction("unit") as connection:
        made.end(connection, [ENDING])
    with pytest.raises(DatabaseError), made.transaction("unit") as connection:
        made.end(connection, [ENDING])
    assert len(bench.all(tables.item)) == len(bench.events("conversation.skipped")) == 1


def test_no_ending_is_no_event(bench: Bench, campaign: Campaign, run: Run) -> None:
    """Nothing to say, nothing said."""
    claim(bench)
    made = recorder(bench, campaign, run)
    with made.transaction("unit") as connection:
        made.end(connection, [])
    assert bench.events("conversation.skipped") == []


def test_the_fence_is_the_first_thing_in_a_transaction(bench: Bench, campaign: Campaign, run: Run) -> None:
    """The shard's row is written first, so that on a database with row locks a late worker waits there."""
    claim(bench)
    made = recorder(bench, campaign, run)
    statements: list[str] = []
    sa.event.listen(campaign.database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with made.transaction("unit"):
        pass
    assert next(s for s in statements if not s.startswith(("BEGIN", "PRAGMA"))).startswith("UPDATE migrator_shard")
