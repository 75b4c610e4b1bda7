"""Moving and destroying keys of a whole campaign, on both databases: the road of an operator, and what the log says."""

import json
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from migrator import evidence, keys, verification
from migrator.campaign import Campaign, open_campaign
from migrator.core.progress import NoProgress
from migrator.database import locks, tables
from migrator.evidence import FindingKind
from tests.keys.support import bench_in, rewrap, rotate
from tests.support.campaigns import NAME
from tests.support.key_services import rotate_keyset
from tests.support.postgres import server
from tests.verification.support import executed, on_both_databases, on_postgresql


@on_both_databases
@pytest.mark.usefixtures("database_kind")
def test_rotate_rewrap_destroy(tmp_path: Path) -> None:
    """Everything moves, one conversation goes, and all of it verifies and reconciles."""
    spec = executed(tmp_path)
    newest = rotate_keyset(spec.directory / "keys" / "migrator.json")
    with open_campaign(spec) as campaign:
        with campaign.database.read() as connection:
            shown = sa.select(tables.conversation.c.conversation_id).where(tables.conversation.c.mode == "server")
            conversation = connection.scalars(shown.limit(1)).first()
        assert conversation is not None
        result = keys.rewrap(campaign, to=None, progress=NoProgress())
        assert result.rewrapped > 5
        assert (result.refused, result.overtaken) == (0, 0)
        assert {w.key_version for w in keys.status(campaign).wrapped} == {newest}
        assert not keys.destroy(campaign, conversation, confirm=NAME).already
        assert keys.status(campaign).destroyed == 1
        assert verification.verify(campaign, None, sample=None, progress=NoProgress()).mismatches == ()
        assert evidence.reconcile(campaign).findings == []


@on_postgresql
@pytest.mark.usefixtures("database_kind")
def test_what_a_worker_is_about_to_commit_is_destroyed_too(tmp_path: Path) -> None:
    """Whoever has begun to add to the conversation ends first; of what came so nothing is left."""
    spec = executed(tmp_path)
    table, shown = tables.message, tables.conversation
    with open_campaign(spec) as campaign:
        with campaign.database.write("worker") as connection:
            connection.execute(locks.shared(sa.select(tables.campaign.c.authorization_version)))
            found = connection.execute(sa.select(shown).where(shown.c.mode == "server").limit(1)).one()
            mine = table.c.conversation_no == found.conversation_no
            row = connection.execute(sa.select(table).where(mine).limit(1)).mappings().one()
            connection.execute(table.insert().values({**row, "message_id": "late"}))
            destroying = Thread(target=keys.destroy, args=[campaign, found.conversation_id], kwargs={"confirm": NAME})
            destroying.start()
            _wait_for_waiter(campaign)
        destroying.join()
        with campaign.database.read() as connection:
            assert connection.scalar(sa.select(sa.func.count()).where(mine)) == 0
        assert verification.verify(campaign, None, sample=None, progress=NoProgress()).mismatches == ()
        assert evidence.reconcile(campaign).findings == []


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE migrator_data_key SET key_service = 'local:x#y'", FindingKind.DATA_KEY),
        ("UPDATE migrator_recipient_key SET key_service = 'local:x#y'", FindingKind.CAMPAIGN_KEY),
        ("DELETE FROM migrator_outbox WHERE type = 'key.rewrapped'", FindingKind.LINE),
    ],
)
def test_a_move_that_the_log_does_not_have(tmp_path: Path, statement: str, kind: FindingKind) -> None:
    """A key that is with another service than its last entry says is found, whoever moved it."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    rewrap(bench)
    with bench.database() as connection:
        connection.exec_driver_sql(statement)
    with bench.open() as campaign:
        assert kind in {finding.kind for finding in evidence.reconcile(campaign).findings}


@pytest.mark.parametrize("kind", ["data", "recipient"])
def test_a_step_that_is_missing_between_two_moves(tmp_path: Path, kind: str) -> None:
    """Each entry begins where the one before it ended."""
    bench = bench_in(tmp_path)
    bench.run()
    rotate(bench)
    rewrap(bench)
    with bench.database() as connection:
        for number, text in connection.execute(
            sa.select(tables.outbox.c.outbox_no, tables.outbox.c.data).where(tables.outbox.c.type == "key.rewrapped")
        ).all():
            data = json.loads(text)
            if data["kind"] == kind:
                changed = json.dumps(data | {"previous_key_service": "local:other#z"})
                connection.execute(
                    tables.outbox.update().where(tables.outbox.c.outbox_no == number).values(data=changed)
                )
    expected = {"data": FindingKind.DATA_KEY, "recipient": FindingKind.CAMPAIGN_KEY}[kind]
    with bench.open() as campaign:
        assert expected in {finding.kind for finding in evidence.reconcile(campaign).findings}


def _wait_for_waiter(campaign: Campaign) -> None:
    """Until a session of its database waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    with server().connect("postgres") as watcher:
        while (watcher.execute(query, [campaign.database.url.database]).fetchone() or (0,))[0] < 1:
            pass
