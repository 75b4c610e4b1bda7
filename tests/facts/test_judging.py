"""Decisions a page at a time are those of the policy on the facts of each conversation."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from fixtures.world import Shape
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.model import Conversation, Quorum
from migrator.core.outcomes import SkipReason
from migrator.core.policy import ConversationFacts, Policy, decide, notice_cause
from migrator.core.source_through import withheld_by
from migrator.core.usable_exports import usable_exporters
from migrator.facts import FactsReader, Judge, Judged, current_watermarks, judging
from migrator.planning.making import policy_of
from tests.support import campaigns, postgres

SHAPE = Shape(accounts=60, conversations=300, messages=900, groups=0.3)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CampaignSpec]:
    """A campaign of people who do everything that people do, before its first plan."""
    folder = tmp_path_factory.mktemp("campaign")
    if request.param == "sqlite":
        yield campaigns.small_campaign(folder, SHAPE)
        return
    with postgres.database() as url:
        yield campaigns.small_campaign(folder, SHAPE, database={"url": url})


def one_by_one(spec: CampaignSpec, policy: Policy) -> list[Judged]:
    """What the policy says of the facts of each conversation, gathered as execution gathers them."""
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        reader = FactsReader(campaign, current_watermarks(connection))
        conversations = [c for page in campaign.store.population() for c in page]
        return [
            (
                decide(gathered.facts, policy, spec.clock.now()),
                gathered.facts.messages,
                gathered.regions,
                bool(gathered.facts.exporters),
                gathered.claimed_messages,
                gathered.newest_export_no,
                _cause(gathered.facts, policy, spec.clock.now()),
                _withheld(gathered.facts, policy, spec.clock.now()),
            )
            for conversation in conversations
            for gathered in reader.gather(connection, [conversation])
        ]


def _cause(facts: ConversationFacts, policy: Policy, now: datetime) -> str | None:
    """What is behind a skip for want of notice: that of the first account whose notice is the reason."""
    reason = decide(facts, policy, now).reason
    found = (notice_cause(account, policy, now) for account in facts.accounts)
    return next((text for why, text in filter(None, found) if why is reason), None)


def _withheld(facts: ConversationFacts, policy: Policy, now: datetime) -> int:
    """The members whose exports stay closed, as execution takes them."""
    if facts.owner_id is not None:
        return 0
    return withheld_by(facts.exporters - set(usable_exporters(facts, policy, now)))


def in_pages(spec: CampaignSpec, policy: Policy, size: int) -> list[Judged]:
    """The same from a judge, in pages of a size."""
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        judge = Judge(campaign, current_watermarks(connection), policy, spec.clock.now())
        conversations: list[Conversation] = [c for page in campaign.store.population() for c in page]
        pages = [conversations[start : start + size] for start in range(0, len(conversations), size)]
        return [judged for page in pages for judged in judge.judge(connection, page)]


@pytest.mark.parametrize("quorum", [Quorum.EVERY_PARTICIPANT, Quorum.OWNER])
def test_a_page_is_judged_as_each_of_its_conversations(
    spec: CampaignSpec, quorum: Quorum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: whatever the size of pages, and however few accounts are kept from page to page."""
    settings = spec.settings.model_copy(
        update={"authorization": spec.settings.authorization.model_copy(update={"quorum": quorum})}
    )
    spec = CampaignSpec(settings=settings, directory=spec.directory, clock=spec.clock, actor=spec.actor)
    with open_campaign(spec) as campaign:
        policy = policy_of(campaign)
    expected = one_by_one(spec, policy)
    reasons = {decision.reason for decision, *_ in expected}
    assert {None, SkipReason.REFUSED, SkipReason.UNAUTHORIZED, SkipReason.NO_EXPORT} <= reasons
    assert in_pages(spec, policy, 5000) == expected
    monkeypatch.setattr(judging, "_KEPT_ACCOUNTS", 10)
    assert in_pages(spec, policy, 7) == expected
