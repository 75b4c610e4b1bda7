"""What is known of accounts: their state, the records and notices that count, up to given watermarks."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.clock import parse_time
from migrator.core.evidence import Evidence
from migrator.core.model import Account, AccountStatus, Conversation, Quorum
from migrator.core.policy import AccountFacts, Answer, Record
from migrator.database import tables
from migrator.lookups import rows_among
from migrator.notices import evidence


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
class Standing:
    """What is known of one account. `scoped`: records that cover single threads only."""

    facts: AccountFacts
    scoped: Mapping[str, tuple[Record, ...]]
    region: str | None

    def for_thread(self, conversation: Conversation) -> AccountFacts:
        """The facts of the account as far as they concern one conversation."""
        scoped = self.scoped
        if not scoped:
            return self.facts
        keys = (conversation.thread_key, f"id:{conversation.conversation_id}")
        extra = tuple(record for key in keys for record in scoped.get(key, ()))
        if not extra:
            return self.facts
        return replace(self.facts, records=self.facts.records + extra)


def named(conversation: Conversation, quorum: Quorum) -> tuple[str, ...]:
    """The accounts that a quorum names: the owner alone, or the owner and all participants."""
    if conversation.orphan or conversation.fault:
        return ()
    owner = conversation.owner_id
    if quorum is Quorum.OWNER:
        return () if owner is None else (owner,)
    participants = conversation.participants
    return participants if owner is None or owner in participants else (owner, *participants)


def read_standings(
    campaign: Campaign, connection: sa.Connection, account_ids: Collection[str], watermarks: Watermarks
) -> dict[str, Standing]:
    """The standing of each of some accounts; one that the source does not know is unresolvable."""
    if not account_ids:
        return {}
    wanted = sorted(account_ids)
    accounts = campaign.store.accounts(wanted)
    guardian_ids = {a.guardian_account_id for a in accounts.values() if a.minor and a.guardian_account_id}
    guardians = {**accounts, **campaign.store.accounts(sorted(guardian_ids - accounts.keys()))}
    required = Evidence[campaign.settings.notify.required_evidence]
    told = evidence.told(connection, {*wanted, *guardian_ids}, required, campaign.clock.now())
    general, scoped = _records(connection, wanted, watermarks)
    found = {}
    for account_id in wanted:
        account = accounts.get(account_id) or Account(account_id=account_id, status=AccountStatus.UNRESOLVABLE)
        guardian_id = account.guardian_account_id if account.minor else None
        mine, theirs = told.get(account_id, evidence.NOBODY), told.get(guardian_id or "", evidence.NOBODY)
        facts = AccountFacts(
            account=account,
            records=tuple(general.get(account_id, ())),
            noticed_at=mine.at,
            guardian=guardians.get(guardian_id) if guardian_id else None,
            guardian_noticed_at=theirs.at,
            untold=mine.cause,
            guardian_untold=theirs.cause,
        )
        threads = {key: tuple(records) for key, records in scoped.get(account_id, {}).items()}
        found[account_id] = Standing(facts, threads, account.region)
    return found


def _records(
    connection: sa.Connection, account_ids: Sequence[str], watermarks: Watermarks
) -> tuple[dict[str, list[Record]], dict[str, dict[str, list[Record]]]]:
    """By account: records that cover everything; and by thread those that cover single ones."""
    table, scope = tables.authorization, tables.authorization_scope
    general: dict[str, list[Record]] = defaultdict(list)
    scoped: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    query = (
        sa.select(
            table.c.account_id, table.c.guardian_id, table.c.answer, table.c.decided_at, table.c.valid_until,
            table.c.covers_all, scope.c.thread_key,
        )
        .outerjoin(scope, scope.c.authorization_no == table.c.authorization_no)
        .where(
            sa.or_(
                table.c.authorization_no <= watermarks.authorization_no,
                table.c.answer != Answer.GRANT.value,
            ),
        )
    )  # fmt: skip
    rows = rows_among(connection, query, table.c.account_id, account_ids)
    for account_id, guardian_id, answer, decided_at, valid_until, covers_all, key in rows:
        if covers_all or key is not None:
            record = _record(answer, decided_at, valid_until, guardian_id)
            (general[account_id] if covers_all else scoped[account_id][key]).append(record)
    return general, scoped


@lru_cache(maxsize=1000)
def _record(answer: str, decided_at: str, valid_until: str | None, guardian_id: str | None) -> Record:
    """Kept for a while, as one record that names many threads comes as many rows."""
    return Record(
        answer=Answer(answer),
        decided_at=parse_time(decided_at),
        valid_until=parse_time(valid_until) if valid_until else None,
        guardian_id=guardian_id,
    )
