"""Every number of a summary is that of the rows, before and after everything that may happen to a run (G6)."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fixtures.expected import expect
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import UsageError
from migrator.core.progress import NoProgress
from migrator.reporting import summary
from migrator.rollback import rollback
from tests.support.campaigns import LATE, at
from tests.verification.support import executed, extended, killed_run, rows, tamper, world
from tests.verification.test_verifying import run_ids, verified


def test_outcomes_are_those_of_the_world(tmp_path: Path) -> None:
    """Counts by outcome equal what an independent derivation from the contract expects."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign:
        report = summary(campaign, None)
    expected: dict[str, Counter[str]] = {}
    for outcome, messages, gaps in expect(world(), "every_participant").values():
        expected.setdefault(outcome, Counter()).update(conversations=1, messages=messages, gaps=gaps)
    assert report["outcomes"] == {
        outcome: {what: count[what] for what in ("conversations", "messages", "gaps")}
        for outcome, count in expected.items()
    }
    for what in ("conversations", "messages", "gaps"):
        assert report["totals"][what] == sum(count[what] for count in expected.values())
    assert report["pending"] == 0
    assert report["reconciles"]


def test_parts_add_up(tmp_path: Path) -> None:
    """Server history, gaps by reason, keys and events are the same conversations seen from other sides."""
    spec = executed(tmp_path)
    verified(spec)
    with open_campaign(spec) as campaign:
        report = summary(campaign, None)
    shown = [count for outcome, count in report["outcomes"].items() if outcome.startswith("rewrapped")]
    history = report["server_history"]
    assert history["conversations"] == sum(count["conversations"] for count in shown) == report["data_keys"]["living"]
    assert history["messages"] == history["message_rows"] == sum(count["messages"] for count in shown)
    assert history["gaps"] == history["gap_rows"] == sum(report["gaps"].values()) > 0
    assert report["audit"]["events"]["conversation.rewrapped"] == history["conversations"]
    assert report["audit"]["size"] == rows(spec, "SELECT COUNT(*) FROM migrator_outbox")[0][0]
    assert report["audit"]["waiting"] == 0
    assert report["plan"]["conversations"] == report["totals"]["conversations"]
    assert sum(report["exports"]["by_kind"].values()) == rows(spec, "SELECT COUNT(*) FROM migrator_export")[0][0]
    records = report["authorizations"]
    assert sum(records["signed_by_device"].values()) == rows(spec, "SELECT COUNT(*) FROM migrator_authorization")[0][0]
    assert records["signed_by_issuer"] == {}
    assert report["notices"] == dict(rows(spec, "SELECT state, COUNT(*) FROM migrator_notice GROUP BY state"))


def test_issuer_signed_records_stand_apart(tmp_path: Path) -> None:
    """A regulator sees how many answers came through a consent service."""
    spec = executed(tmp_path)
    tamper(spec, "UPDATE migrator_authorization SET issuer = 'consent' WHERE authorization_no <= 3")
    with open_campaign(spec) as campaign:
        assert sum(summary(campaign, None)["authorizations"]["signed_by_issuer"].values()) == 3


def test_verification_is_the_newest_finished_one(tmp_path: Path) -> None:
    """Not verified, verified, verified again with a finding: the report says the last of these."""
    spec = executed(tmp_path)
    assert verification(spec) is None
    first = verified(spec)
    assert verification(spec)["verification_id"] == first.verification_id
    assert verification(spec)["ok"]
    assert verification(spec)["checked"] == first.checked
    tamper(spec, "UPDATE migrator_message SET sender_id = 'x'")
    second = verified(spec)
    assert verification(spec)["verification_id"] == second.verification_id
    assert verification(spec)["ok"] is False
    assert verification(spec)["mismatches"] == second.mismatch_count > 0


def verification(spec: CampaignSpec) -> Any:
    """What the report says of it."""
    with open_campaign(spec) as campaign:
        return summary(campaign, None)["verification"]


def test_every_state_of_a_campaign_reconciles(tmp_path: Path) -> None:
    """Killed, extended, rolled back: the numbers agree with each other, and say so."""
    killed = killed_run(tmp_path / "killed", "page")
    with open_campaign(killed) as campaign:
        report = summary(campaign, None)
        assert report["reconciles"]
        assert report["pending"] > 0
    spec = at(extended(tmp_path / "extended"), LATE)
    first, second = run_ids(spec)
    with open_campaign(spec) as campaign:
        assert summary(campaign, first)["reconciles"]
        assert summary(campaign, second)["reconciles"]
        rollback(campaign, second, NoProgress())
        rollback(campaign, first, NoProgress())
        report = summary(campaign, first)
    assert report["reconciles"]
    assert report["run"]["state"] == "rolled_back"
    assert report["server_history"]["conversations"] == report["server_history"]["message_rows"] == 0
    assert report["data_keys"]["living"] == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM migrator_item WHERE conversation_no = (SELECT MIN(conversation_no) FROM migrator_item)",
        "DELETE FROM migrator_message WHERE sent_at = (SELECT MIN(sent_at) FROM migrator_message)",
        "DELETE FROM migrator_gap",
        "UPDATE migrator_item SET messages = 0, outcome = 'rewrapped' WHERE outcome LIKE 'rewrapped%'",
    ],
)
def test_numbers_that_disagree_are_said_to(tmp_path: Path, statement: str) -> None:
    """A report over tampered rows does not claim that it reconciles."""
    spec = executed(tmp_path)
    tamper(spec, statement)
    with open_campaign(spec) as campaign:
        assert not summary(campaign, None)["reconciles"]


def test_names_nobody(tmp_path: Path) -> None:
    """No account, no conversation, no message id stands in a summary."""
    with open_campaign(executed(tmp_path)) as campaign:
        text = json.dumps(summary(campaign, None))
    assert not [person for person in world().people if person.account_id in text]
    assert not [copy for copy in world().copies if copy.conversation_id in text]


def test_unknown_run_is_refused(tmp_path: Path) -> None:
    """There is no report of a run that does not exist."""
    with open_campaign(executed(tmp_path)) as campaign, pytest.raises(UsageError):
        summary(campaign, "run-of-somebody-else")
