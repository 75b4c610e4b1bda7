"""Gathers what the policy looks at, for a page of conversations at a time.

Planning and execution both come through here, so that both decide on the same kind of facts. What an instance
read about accounts is kept up to a bound; `forget` drops it when authorisations have changed.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import parse_time
from migrator.core.model import Account, AccountStatus, Conversation, Quorum
from migrator.core.outcomes import RefusalReason
from migrator.core.policy import AccountFacts, Answer, ConversationFacts, Record
from migrator.database import tables
from migrator.database.bulk import chunks

_CACHED_ACCOUNTS = 50_000


@dataclass(frozen=True, slots=True)
class Watermarks:
    """The newest authorisation and export that count: later grants and exports are for the next plan."""

    authorization_no: int
    export_no: int


def current_watermarks(connection: sa.Connection) -> Watermarks:
    """Everything that is there now."""
    authorization = connection.scalar(sa.select(sa.func.max(tables.authorization.c.authorization_no)))
    export = connection.scalar(sa.select(sa.func.max(tables.export.c.export_no)))
    return Watermarks(authorization or 0, export or 0)


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is known of one account. `scoped`: records that cover single threads only."""

    facts: AccountFacts
    scoped: Mapping[str, tuple[Record, ...]]

    def for_thread(self, keys: tuple[str, str]) -> AccountFacts:
        extra = tuple(record for key in keys for record in self.scoped.get(key, ()))
        if not extra:
            return self.facts
        facts = self.facts
        return AccountFacts(
            account=facts.account,
            records=facts.records + extra,
            noticed_at=facts.noticed_at,
            guardian=facts.guardian,
            guardian_noticed_at=facts.guardian_noticed_at,
        )


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts of one conversation, and what planning and execution need beside the decision."""

    facts: ConversationFacts
    region: str | None
    claimed_messages: int
    """Messages that history exports claim to hold."""
    newest_export_no: int
    """Number of the newest export that lists the conversation; 0: none."""


class FactsReader:
    """Reads facts for one campaign up to given watermarks."""

    def __init__(self, campaign: Campaign, watermarks: Watermarks) -> None:
        self._campaign = campaign
        self._watermarks = watermarks
        self._quorum = campaign.settings.authorization.quorum
        self._standings: dict[str, _Standing] = {}
        self._regions: dict[str, str | None] = {}

    def forget(self) -> None:
        """Drop what was kept: authorisations or accounts have changed."""
        self._standings.clear()
        self._regions.clear()

    def gather(self, connection: sa.Connection, conversations: Sequence[Conversation]) -> list[Gathered]:
        """Facts of each conversation, in the order given."""
        named = {c.conversation_id: self._named(c) for c in conversations}
        self._make_room({account for accounts in named.values() for account in accounts})
        coverage = self._coverage(connection, conversations, named)
        self._load_standings(connection, {account for accounts in named.values() for account in accounts})
        return [self._facts(c, named[c.conversation_id], coverage.get(c.conversation_id)) for c in conversations]

    def _named(self, conversation: Conversation) -> tuple[str, ...]:
        if conversation.orphan or conversation.fault:
            return ()
        if self._quorum is Quorum.OWNER:
            return () if conversation.owner_id is None else (conversation.owner_id,)
        if conversation.owner_id is not None and conversation.owner_id not in conversation.participants:
            return (conversation.owner_id, *conversation.participants)
        return conversation.participants

    def _facts(self, conversation: Conversation, named: tuple[str, ...], coverage: "_Coverage | None") -> Gathered:
        keys = (conversation.thread_key, f"id:{conversation.conversation_id}")
        claimed = coverage.claimed if coverage else 0
        facts = ConversationFacts(
            owner_id=conversation.owner_id,
            accounts=tuple(self._standings[account].for_thread(keys) for account in named),
            messages=max(conversation.messages, claimed),
            exporters=frozenset(coverage.exporters) if coverage else frozenset(),
            orphan=conversation.orphan,
        )
        region = None if conversation.owner_id is None else self._regions.get(conversation.owner_id)
        return Gathered(facts, region, claimed, coverage.newest if coverage else 0)

    # --- accounts, records, notices ---

    def _make_room(self, account_ids: Iterable[str]) -> None:
        """Make room before a page, so that its own accounts are never dropped in the middle of it."""
        if len(self._standings) + len(set(account_ids)) > _CACHED_ACCOUNTS:
            self.forget()

    def _load_standings(self, connection: sa.Connection, account_ids: set[str]) -> None:
        missing = sorted(account_ids - self._standings.keys())
        if not missing:
            return
        accounts = self._campaign.store.accounts(missing)
        guardian_ids = {a.guardian_account_id for a in accounts.values() if a.minor and a.guardian_account_id}
        guardians = {**accounts, **self._campaign.store.accounts(sorted(guardian_ids - accounts.keys()))}
        noticed = _first_notices(connection, {*missing, *guardian_ids})
        records = self._records(connection, missing)
        for account_id in missing:
            account = accounts.get(account_id) or Account(account_id=account_id, status=AccountStatus.UNRESOLVABLE)
            guardian_id = account.guardian_account_id if account.minor else None
            general, scoped = records.get(account_id, ((), {}))
            facts = AccountFacts(
                account=account,
                records=general,
                noticed_at=noticed.get(account_id),
                guardian=guardians.get(guardian_id) if guardian_id else None,
                guardian_noticed_at=noticed.get(guardian_id) if guardian_id else None,
            )
            self._standings[account_id] = _Standing(facts, scoped)
            self._regions[account_id] = account.region

    def _records(
        self, connection: sa.Connection, account_ids: Sequence[str]
    ) -> dict[str, tuple[tuple[Record, ...], dict[str, tuple[Record, ...]]]]:
        table, scope = tables.authorization, tables.authorization_scope
        general: dict[str, list[Record]] = defaultdict(list)
        scoped: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        for chunk in chunks(account_ids):
            query = (
                sa.select(
                    table.c.account_id, table.c.guardian_id, table.c.answer, table.c.decided_at, table.c.valid_until,
                    table.c.covers_all, scope.c.thread_key,
                )
                .outerjoin(scope, scope.c.authorization_no == table.c.authorization_no)
                .where(
                    table.c.account_id.in_(chunk),
                    sa.or_(
                        table.c.authorization_no <= self._watermarks.authorization_no,
                        table.c.answer != Answer.GRANT.value,
                    ),
                )
            )  # fmt: skip
            for account_id, guardian_id, answer, decided_at, valid_until, covers_all, key in connection.execute(query):
                record = Record(
                    answer=Answer(answer),
                    decided_at=parse_time(decided_at),
                    valid_until=parse_time(valid_until) if valid_until else None,
                    guardian_id=guardian_id,
                )
                if covers_all:
                    general[account_id].append(record)
                elif key is not None:
                    scoped[account_id][key].append(record)
        return {
            account_id: (
                tuple(general.get(account_id, ())),
                {key: tuple(records) for key, records in scoped.get(account_id, {}).items()},
            )
            for account_id in {*general, *scoped}
        }

    # --- exports ---

    def _coverage(
        self, connection: sa.Connection, conversations: Sequence[Conversation], named: Mapping[str, tuple[str, ...]]
    ) -> "dict[str, _Coverage]":
        """What the exports' manifests cover of the messages that are there.

        An export that was refused for its breadth still counts here: its conversations end held, not skipped.
        """
        table, listed = tables.export, tables.export_conversation
        wanted = {c.conversation_id: c for c in conversations if not c.fault}
        coverage: dict[str, _Coverage] = {}
        claims: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for chunk in chunks(wanted):
            query = (
                sa.select(
                    listed.c.conversation_id, table.c.account_id, table.c.kind, listed.c.messages, listed.c.coverage,
                    table.c.export_no,
                )
                .join(table, table.c.export_no == listed.c.export_no)
                .where(
                    listed.c.conversation_id.in_(chunk),
                    table.c.export_no <= self._watermarks.export_no,
                    sa.or_(table.c.refused.is_(None), table.c.refused == RefusalReason.SCOPE_TOO_BROAD.value),
                )
            )  # fmt: skip
            for conversation_id, account_id, kind, messages, slots, export_no in connection.execute(query):
                conversation = wanted[conversation_id]
                if account_id != conversation.owner_id and account_id not in named[conversation_id]:
                    continue
                found = coverage.setdefault(conversation_id, _Coverage(set()))
                found.newest = max(found.newest, export_no)
                if kind == "history":
                    found.claimed = max(found.claimed, messages)
                    if messages:
                        found.exporters.add(account_id)
                else:
                    claims[conversation_id].append((account_id, slots))
        self._match_slots(claims, coverage)
        return coverage

    def _match_slots(self, claims: Mapping[str, list[tuple[str, str]]], coverage: "dict[str, _Coverage]") -> None:
        needed = self._campaign.store.key_slots(sorted(claims)) if claims else {}
        for conversation_id, claimed in claims.items():
            slots = needed.get(conversation_id, set())
            for account_id, text in claimed:
                if any(slots & self._campaign.scheme.read_coverage(entry) for entry in json.loads(text)):
                    coverage[conversation_id].exporters.add(account_id)


@dataclass(slots=True)
class _Coverage:
    exporters: set[str]
    claimed: int = 0
    newest: int = 0


def _first_notices(connection: sa.Connection, account_ids: Iterable[str]) -> dict[str, datetime]:
    table = tables.notice
    found: dict[str, datetime] = {}
    for chunk in chunks(sorted(account_ids)):
        query = (
            sa.select(table.c.account_id, sa.func.min(table.c.sent_at))
            .where(table.c.account_id.in_(chunk), table.c.state == "sent", table.c.sent_at.is_not(None))
            .group_by(table.c.account_id)
        )
        found.update((account_id, parse_time(sent_at)) for account_id, sent_at in connection.execute(query))
    return found
