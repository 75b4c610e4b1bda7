"""Plans pages of a population: numbers for new conversations, a decision for each, the items' rows and their root.

The hot path of planning: tuples throughout, a handful of statements a page, nothing for a conversation by itself.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from migrator.audit import references
from migrator.campaign import Campaign
from migrator.core.encoding import canonical_json
from migrator.core.merkle import Frontier, leaf_hashes
from migrator.core.model import Conversation
from migrator.core.outcomes import Outcome, SkipReason
from migrator.core.plan import EXTEND, REWRAP, Count, PlanCounts, is_work, item_leaf
from migrator.core.policy import NOTICE_REASONS
from migrator.core.source_through import covered, has_changed, source_through
from migrator.database import tables
from migrator.database.bulk import insert_rows, next_numbers
from migrator.facts import Judge, Judged, place_of
from migrator.lookups import rows_among
from migrator.planning.limiting import News, Placed, keep_order
from migrator.planning.stored import require_making

_SAMPLE_MESSAGES = 1000
_ITEM_COLUMNS = ("plan_id", "conversation_no", "decision", "messages")
_OUTCOMES = {reason: reason.outcome for reason in SkipReason}
_FOR_NOTICE = frozenset(_OUTCOMES[reason] for reason in NOTICE_REASONS)


_Known = tuple[int, str, int, str | None]
"""What the migrator database has of a conversation: its number, mode, gaps, and what its history covers."""
_Item = tuple[int, str, str, int]
"""Number and id of a conversation, decision, messages."""
_NEW = ("sealed", 0, None)
_NO_NEWS: News = (None, None)
_PLACES = 2**48
"""As many as a thread's place has."""


@dataclass(slots=True)
class Walk:
    """What a walk over the population adds up to. `root` is None once items came out of their numbers' order."""

    counts: PlanCounts = field(default_factory=PlanCounts)
    source: Count = field(default_factory=Count)
    covered: Count = field(default_factory=Count)
    visible: int = 0
    """Migrated conversations."""
    arrivals: Count = field(default_factory=Count)
    """Those of them with messages that are newer than their flip, and how many these are."""
    sampled_messages: int = 0
    sampled_bytes: int = 0
    root: Frontier | None = field(default_factory=Frontier)
    last_no: int = 0


class PagePlanner:
    """Plans one population for one plan, page by page; `ordered`: and keeps the order of its work, for a limit."""

    def __init__(self, campaign: Campaign, plan_id: str, judge: Judge, *, ordered: bool = False) -> None:
        self._campaign = campaign
        self._plan_id = plan_id
        self._judge = judge
        self._ordered = ordered
        self._attachments = campaign.settings.attachments.target is not None
        self.walk = Walk()

    def plan(self, page: Sequence[Conversation]) -> None:
        """Decide for each conversation of a page and store that, in one transaction."""
        walk = self.walk
        with self._campaign.database.write("plan-page") as connection:
            require_making(connection, self._plan_id)
            known = _known(connection, page)
            judged = self._judge.judge(connection, page)
            references.ensure_salts(connection, {c.owner_id or c.conversation_id for c in page})
            items = []
            placed: list[Placed] = []
            causes: Counter[tuple[str, str]] = Counter()
            for conversation, found in zip(page, judged, strict=True):
                row = known[conversation.conversation_id]
                news = _news(conversation, found, row, attachments=self._attachments) if row[1] == "server" else None
                decision = self._decision(conversation, found, row, news)
                items.append((row[0], conversation.conversation_id, decision, found[1]))
                if found[6] is not None and decision in _FOR_NOTICE:
                    causes[decision, found[6]] += 1
                if row[1] == "server":
                    _count_news(walk, decision, news)
                if self._ordered and is_work(decision):
                    placed.append((self._place(conversation), row[0], *(news or _NO_NEWS)))
            items.sort()
            plan_id = self._plan_id
            keep_order(connection, plan_id, placed)
            rows = [(plan_id, number, decision, messages) for number, _, decision, messages in items]
            insert_rows(connection, tables.plan_item, _ITEM_COLUMNS, rows)
        _count(walk, page, judged, items)
        for (decision, cause), number in causes.items():
            walk.counts.add_cause(decision, cause, number)
        _add_to_root(walk, items)
        if walk.sampled_messages < _SAMPLE_MESSAGES:
            self._sample([identifier for _, identifier, decision, _ in items if is_work(decision)])

    def _decision(self, conversation: Conversation, judged: Judged, known: _Known, news: News | None) -> str:
        """The item's text: `rewrap`, `extend`, or the outcome that the plan foresees."""
        reason = judged[0].reason
        if conversation.fault and reason is not SkipReason.OUT_OF_COHORT:
            return Outcome.FAILED_SOURCE.value
        if known[1] == "destroyed":
            return Outcome.SKIPPED_DESTROYED.value
        if known[1] == "server":
            # What the source has taken back goes, whoever may be asked: nothing is opened for it.
            changed = conversation.changes > 0 and has_changed(conversation, known[3])
            return EXTEND if changed or (reason is None and news is not None) else Outcome.ALREADY_SERVER.value
        if reason is not None:
            return _OUTCOMES[reason]
        if not self._campaign.key_services.has_for_regions(judged[2]):
            return Outcome.HELD_NO_KEY_SERVICE.value
        return REWRAP

    def _place(self, conversation: Conversation) -> int:
        return int(place_of(self._campaign, conversation) * _PLACES)

    def _sample(self, conversation_ids: Sequence[str]) -> None:
        """Measure the size of some messages, for the estimate."""
        walk = self.walk
        for conversation_id in conversation_ids:
            if walk.sampled_messages >= _SAMPLE_MESSAGES:
                return
            for row in self._campaign.store.page(conversation_id, None, 100):
                walk.sampled_messages += 1
                walk.sampled_bytes += len(row[3]) if isinstance(row[3], bytes) else 0


def _count(walk: Walk, page: Sequence[Conversation], judged: Sequence[Judged], items: Sequence[_Item]) -> None:
    conversations: Counter[str] = Counter([item[2] for item in items])
    messages = dict.fromkeys(conversations, 0)
    for _, _, decision, number in items:
        messages[decision] += number
    for decision, number in conversations.items():
        walk.counts.add(decision, messages[decision], conversations=number)
    walk.source.add(sum([c.messages for c in page]), conversations=len(page))
    covered = [found[1] for found in judged if found[3]]
    walk.covered.add(sum(covered), conversations=len(covered))


def _add_to_root(walk: Walk, items: Sequence[_Item]) -> None:
    """The root is over the items by number. New conversations among known ones have numbers out of the walk's order."""
    if walk.root is None or not items:
        return
    if items[0][0] <= walk.last_no:
        walk.root = None
        return
    walk.root.extend(leaf_hashes([item_leaf(*item) for item in items]))
    walk.last_no = items[-1][0]


def _known(connection: sa.Connection, page: Sequence[Conversation]) -> dict[str, _Known]:
    """Rows of the page's conversations; new ones are made, sealed."""
    table = tables.conversation
    query = sa.select(
        table.c.conversation_id, table.c.conversation_no, table.c.mode, table.c.gap_count, table.c.source_through
    )
    found = rows_among(connection, query, table.c.conversation_id, [c.conversation_id for c in page])
    known = {row[0]: row[1:] for row in found}
    new = [c.conversation_id for c in page if c.conversation_id not in known]
    if new:
        numbers = next_numbers(connection, table.c.conversation_no, len(new))
        rows = [(number, identifier, "sealed") for number, identifier in zip(numbers, new, strict=True)]
        insert_rows(connection, table, ("conversation_no", "conversation_id", "mode"), rows)
        known.update((identifier, (number, *_NEW)) for number, identifier, _ in rows)
    return known


def _news(conversation: Conversation, judged: Judged, known: _Known, *, attachments: bool) -> News | None:
    """What a migrated conversation has that its history does not: a tail, or gaps that a newer export may close.

    None: nothing. Neither of the two: its source has changed otherwise.
    """
    seen = source_through(conversation, judged[5], attachments=attachments, withheld=judged[7])
    if known[3] == canonical_json(seen).decode():
        return None
    through = covered(known[3])
    messages, last_sent_at = through.get("messages"), through.get("last_sent_at")
    if (conversation.messages, conversation.last_sent_at) != (messages, last_sent_at):
        return _tail(conversation, messages, last_sent_at), None
    if through.get("changes") != seen.get("changes") or (attachments and not through.get("attachments")):
        return _NO_NEWS
    newer = judged[5] > (through.get("export_no") or 0) or through.get("withheld") != seen.get("withheld")
    return (None, known[2]) if newer and (known[2] > 0 or judged[4] > 0) else None


def _tail(conversation: Conversation, messages: int | None, last_sent_at: int | None) -> int | None:
    """How many messages came since the flip; None where there are no more than there were, and none is newer."""
    more = conversation.messages - messages if messages is not None else 0
    newest = conversation.last_sent_at
    newer = newest is not None and last_sent_at is not None and newest > last_sent_at
    return max(more, 0) if more > 0 or newer else None


def _count_news(walk: Walk, decision: str, news: News | None) -> None:
    walk.visible += 1
    if news is None:
        return
    if news[0] is not None:
        walk.arrivals.add(news[0])
    if decision == EXTEND:
        walk.counts.add_news(*news)
