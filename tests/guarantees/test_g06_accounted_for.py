"""G6: every conversation ends in exactly one outcome of a closed set, and every count agrees with every other.

What verification makes of counts that do not agree: `tests/verification/test_tampering.py`.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from fixtures.world import FaultShares, Shape, UserShares
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import IntegrityError
from migrator.core.outcomes import OUTCOMES
from migrator.core.progress import NoProgress
from migrator.execution.worker import _Worker
from migrator.reporting import save
from migrator.verification import verify
from tests.guarantees import reader
from tests.guarantees.support import go_on, plan, run
from tests.support.campaigns import small_campaign
from tests.verification.support import rows

_SHAPE = Shape(
    accounts=60,
    conversations=200,
    messages=2500,
    huge=1500,
    seed=21,
    users=UserShares(slash_inbox=0.05, too_broad_export=0.05, partial_export=0.15, history_export=0.1),
    faults=FaultShares(orphan=0.06, empty=0.06, flipped=0.01),
)
_POPULATION = "SELECT inbox_id || '/' || thread_id FROM thread UNION SELECT inbox_id || '/' || thread_id FROM message"


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignSpec:
    """Orphans, empty threads, unreadable inboxes, and everything else that users do."""
    execution = {"page_size": 200, "max_failures": "100%"}
    return small_campaign(tmp_path / "campaign", _SHAPE, authorization={"quorum": "owner"}, execution=execution)


def test_all_counts_are_one_count(campaign: CampaignSpec, tmp_path: Path) -> None:
    """Accounted for: population, plan, items, rows, keys, events, report and verification say the same numbers."""
    plan_id = plan(campaign)
    summary = run(campaign, plan_id)
    population = {name for (name,) in rows(campaign, _POPULATION, name="store.db")}
    outcomes = dict(
        rows(campaign, "SELECT conversation_id, outcome FROM migrator_item JOIN migrator_conversation "
             "USING (conversation_no)")
    )  # fmt: skip
    assert rows(campaign, "SELECT COUNT(*) FROM migrator_item") == [(len(outcomes),)]
    assert set(outcomes) == population
    assert set(outcomes.values()) <= OUTCOMES
    assert len(set(outcomes.values())) > 10
    counted = Counter(outcomes.values())
    assert counted == {outcome: count.conversations for outcome, count in summary.counts.items()}

    document = json.loads(rows(campaign, "SELECT document FROM migrator_plan")[0][0])
    assert document["source"]["conversations"] == len(population)
    planned = document["counts"]
    assert planned["rewrap"]["conversations"] + sum(s["conversations"] for s in planned["skip"].values()) == len(
        population
    )
    source_messages = rows(campaign, "SELECT COUNT(*) FROM message", name="store.db")[0][0]
    assert document["source"]["messages"] == source_messages
    assert sum(c.messages + c.gaps for c in summary.counts.values()) == source_messages

    shown = reader.read(campaign.directory)
    assert set(shown) == {name for name, outcome in outcomes.items() if outcome.startswith("rewrapped")}
    assert all(conversation.whole for conversation in shown.values())
    keys = rows(campaign, "SELECT conversation_id FROM migrator_data_key JOIN migrator_conversation "
                "USING (conversation_no)")  # fmt: skip
    assert sorted(name for (name,) in keys) == sorted(shown)

    assert reported_events(campaign) == counted
    with open_campaign(campaign) as opened:
        save(opened, None, tmp_path / "report")
        result = verify(opened, None, sample=None, progress=NoProgress())
    lines = [json.loads(line) for line in (tmp_path / "report" / "conversations.jsonl").read_text().splitlines()]
    assert {line["conversation_id"]: line["outcome"] for line in lines} == outcomes
    assert len(lines) == len(outcomes)
    assert result.ok
    assert result.checked["conversations"] == len(population)


def reported_events(spec: CampaignSpec) -> Counter[str]:
    """Outcomes as the lines of the audit log have them."""
    found: Counter[str] = Counter()
    for line in (spec.directory / "audit" / "wal.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"].endswith("conversation.rewrapped"):
            found[event["data"]["outcome"]] += 1
        elif event["type"].endswith("conversation.skipped"):
            found.update(event["data"]["counts"])
    return found


def test_completion_means_that_the_counts_match(campaign: CampaignSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounted for: workers whose walk ends too early do not make a run complete; resumed rightly it becomes so."""
    plan_id = plan(campaign)
    with monkeypatch.context() as broken:
        broken.setattr(_Worker, "_pending", lambda _: iter(()))
        with pytest.raises(IntegrityError, match="have no outcome"):
            run(campaign, plan_id)
    assert rows(campaign, "SELECT state FROM migrator_run") == [("stopped",)]
    assert reader.read(campaign.directory) == {}
    summary = go_on(campaign)
    assert (summary.state.value, summary.pending) == ("completed", 0)
    assert reader.read(campaign.directory)
