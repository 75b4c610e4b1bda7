"""Whom a run concerns: who must be told what became of their history, and which devices still hold E2EE state.

Counted by account in a database of its own that lies beside the report while it is made, holds ids and counts alone,
and goes away with it: so the number of accounts costs disk, not memory. Owners and accounts are those that the source
knows now; an orphan conversation is nobody's. What the run left out of its cohort is not counted: nothing became of it
yet, so nobody is told about it.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.model import Account
from migrator.core.outcomes import Outcome, SkipReason
from migrator.database import tables

_PAGE: Final = 1000
_MOST_NAMES: Final = 200
"""Regions or locales that are told apart; a source may name as many as it likes."""
OTHERS: Final = "(others)"
UNKNOWN: Final = "(unknown)"
_VISIBLE: Final = frozenset(outcome.value for outcome in Outcome if outcome.visible)

Coverage = dict[str, dict[str, int]]
"""Region or locale → `migrated` and `sealed` → how many times an account has such a conversation."""


class People:
    """The accounts of a run."""

    def __init__(self, campaign: Campaign, counts: sqlite3.Connection) -> None:
        self._campaign = campaign
        self._counts = counts
        self.by_region: Coverage = {}
        self.by_locale: Coverage = {}

    def told(self) -> Iterator[tuple[str, ...]]:
        """(account, guardian, locale, region, migrated, sealed) of everybody, in the order of ids.

        Fills `by_region` and `by_locale` on the way.
        """
        yield ("account_id", "guardian_account_id", "locale", "region", "migrated", "sealed")
        for page in self._pages():
            accounts = self._campaign.store.accounts([row[0] for row in page])
            for account_id, migrated, sealed in page:
                account = accounts.get(account_id)
                region, locale = (account.region, account.locale) if account else (None, None)
                _add(self.by_region, region, migrated, sealed)
                _add(self.by_locale, locale, migrated, sealed)
                guardian = _guardian(account)
                yield account_id, guardian, locale or "", region or "", str(migrated), str(sealed)

    def devices(self) -> Iterator[tuple[str, ...]]:
        """(device, account, added) of every device of theirs that was not revoked."""
        yield ("device_id", "account_id", "added_at")
        for page in self._pages():
            for device in self._campaign.store.devices_of([row[0] for row in page]):
                if device.revoked_at is None:
                    yield device.device_id, device.account_id, device.added_at.isoformat()

    def _pages(self) -> Iterator[list[tuple[str, int, int]]]:
        after = ""
        while True:
            page = self._counts.execute(
                "SELECT account_id, migrated, sealed FROM account WHERE account_id > ? ORDER BY account_id LIMIT ?",
                (after, _PAGE),
            ).fetchall()
            if not page:
                return
            yield page
            after = page[-1][0]


@contextmanager
def people_of(campaign: Campaign, connection: sa.Connection, run_id: str, folder: Path) -> Iterator[People]:
    """Everybody who has a conversation in a run. `SourceError` where the source can't be asked."""
    path = folder / ".people.sqlite"
    path.unlink(missing_ok=True)  # of a process that was killed
    path.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as counts:
            counts.execute("PRAGMA journal_mode = OFF")
            counts.execute("PRAGMA synchronous = OFF")
            counts.execute(
                "CREATE TABLE account (account_id TEXT PRIMARY KEY, migrated INTEGER, sealed INTEGER) WITHOUT ROWID"
            )
            for page in _items(connection, run_id):
                _count(campaign, counts, page)
            yield People(campaign, counts)
    finally:
        path.unlink(missing_ok=True)


def _items(connection: sa.Connection, run_id: str) -> Iterator[list[tuple[str, str]]]:
    item, conversation = tables.item, tables.conversation
    query = (
        sa.select(conversation.c.conversation_id, item.c.outcome)
        .join(conversation, conversation.c.conversation_no == item.c.conversation_no)
        .where(item.c.run_id == run_id, item.c.outcome != SkipReason.OUT_OF_COHORT.outcome)
        .order_by(item.c.conversation_no)
        .execution_options(yield_per=_PAGE)
    )
    for rows in connection.execute(query).partitions():
        yield [(identifier, outcome) for identifier, outcome in rows]


def _count(campaign: Campaign, counts: sqlite3.Connection, page: Sequence[tuple[str, str]]) -> None:
    found = campaign.store.conversations([identifier for identifier, _ in page])
    migrated: Counter[str] = Counter()
    sealed: Counter[str] = Counter()
    for identifier, outcome in page:
        conversation = found.get(identifier)
        if conversation is None:
            continue
        people = conversation.participants if conversation.owner_id is None else (conversation.owner_id,)
        (migrated if outcome in _VISIBLE else sealed).update(people)
    counts.execute("BEGIN")
    counts.executemany(
        "INSERT INTO account VALUES (?, ?, ?) ON CONFLICT (account_id) DO UPDATE "
        "SET migrated = migrated + excluded.migrated, sealed = sealed + excluded.sealed",
        [(account_id, migrated[account_id], sealed[account_id]) for account_id in {*migrated, *sealed}],
    )
    counts.execute("COMMIT")


def _add(coverage: Coverage, name: str | None, migrated: int, sealed: int) -> None:
    key = name or UNKNOWN
    if key not in coverage and len(coverage) >= _MOST_NAMES:
        key = OTHERS
    count = coverage.setdefault(key, {"migrated": 0, "sealed": 0})
    count["migrated"] += migrated
    count["sealed"] += sealed


def _guardian(account: Account | None) -> str:
    """Who is told for a minor; empty where the account is told itself."""
    return (account.guardian_account_id or "") if account is not None and account.minor else ""
