"""Erasing a reference key: the log stays whole, and nothing that is left leads from the subject to its entries."""

import json

import pytest
import sqlalchemy as sa

from migrator import audit_review, erasure, evidence, lease, rollback
from migrator.audit import verifying
from migrator.audit.query import Filters
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import ExitStatus, GateError, LeaseHeldError, UsageError
from migrator.core.progress import NoProgress
from migrator.database import tables
from tests.audit.executed import executed_campaign, longest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign that was executed."""
    return executed_campaign(tmp_path_factory.mktemp("campaign") / "it")


def test_not_while_a_data_key_lives(whole: CampaignSpec) -> None:
    """The key service was told the reference: history goes first. Nor without the name, nor beside a run."""
    with open_campaign(whole) as campaign:
        conversation, _ = longest(campaign)
        owner = campaign.store.conversations([conversation])[conversation].owner_id
        with pytest.raises(GateError, match="live") as caught:
            erasure.erase(campaign, account=owner, confirm=campaign.name)
        assert caught.value.exit_status is ExitStatus.GATE
        for confirm in (None, "", "another"):
            with pytest.raises(GateError, match="asks for the campaign's name"):
                erasure.erase(campaign, account=owner, confirm=confirm)
        with lease.hold(campaign, purpose="execute"), pytest.raises(LeaseHeldError):
            erasure.erase(campaign, account=owner, confirm=campaign.name)
        for named in ({}, {"account": "a", "conversation": "b"}, {"conversation": conversation}):
            with pytest.raises(UsageError):
                erasure.erase(campaign, **named, confirm=campaign.name)
        assert evidence.reconcile(campaign).findings == []


def test_after_the_history_is_gone(whole: CampaignSpec) -> None:
    """Every entry is still there and verifies; the subject has none any more, and no row has its references."""
    with open_campaign(whole) as campaign:
        conversation, _ = longest(campaign)
        owner = campaign.store.conversations([conversation])[conversation].owner_id
        assert owner is not None
        with campaign.database.read() as connection:
            refs = campaign.references.of(connection, {owner: owner, conversation: owner})
        rollback.rollback(campaign, None, NoProgress())
        done = erasure.erase(campaign, account=owner, confirm=campaign.name)
        assert (done.erased, done.keys > 0) == (True, True)
        assert erasure.erase(campaign, account=owner, confirm=campaign.name) == erasure.Erasure(erased=False)
        with pytest.raises(UsageError, match="can be linked"):
            audit_review.show(campaign, Filters(), account=owner)
        found = verifying.verify(campaign.audit, NoProgress())
        assert (found.ok, found.size) == (True, campaign.audit.state().size)
        assert evidence.reconcile(campaign).findings == []
        entries = [json.loads(line) for line in campaign.audit.lines()]
        assert {refs[owner], refs[conversation]} <= {entry.get("subject") for entry in entries}
        last = entries[-1]
        assert (last["type"], last["subject"]) == ("dev.migrator.key.destroyed", refs[owner])
        assert owner not in json.dumps(entries)
        with campaign.database.read() as connection:
            for table in tables.metadata.sorted_tables:
                if table in (tables.outbox, tables.audit_state, tables.audit_checkpoint):
                    continue
                text = str(connection.execute(sa.select(table)).all())
                assert not [ref for ref in refs.values() if ref in text], table.name
