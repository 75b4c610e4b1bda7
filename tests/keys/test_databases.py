"""Moving and destroying keys of a whole campaign, on both databases: the road of an operator, and what the log says."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator import evidence, keys, verification
from migrator.campaign import open_campaign
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.evidence import FindingKind
from tests.keys.support import bench_in, rewrap, rotate
from tests.support.campaigns import NAME
from tests.support.key_services import rotate_keyset
from tests.verification.support import executed, on_both_databases


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
