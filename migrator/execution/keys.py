"""Data keys of conversations: made and wrapped before their first message is written, unwrapped to go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.envelope import DataKey, key_context
from migrator.core.errors import IntegrityError, KeyProblem, KeyServiceError
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.database.bulk import insert_rows
from migrator.execution.work import Work
from migrator.keyservices.interface import KeyRefusal, RefusalKind

_KINDS = {
    KeyProblem.UNKNOWN_KEY: RefusalKind.UNKNOWN_KEY,
    KeyProblem.DISABLED: RefusalKind.DISABLED,
    KeyProblem.DENIED: RefusalKind.DENIED,
    KeyProblem.MISCONFIGURED: RefusalKind.DENIED,
}
_COLUMNS = ("conversation_no", "key_id", "key_service", "wrapped_keyset", "context", "created_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A fresh data key, and the row that keeps it."""

    key: DataKey
    key_service: str
    wrapped: bytes
    context: bytes

    def row(self, conversation_no: int, created_at: str) -> tuple[Any, ...]:
        """Its row in `migrator_data_key`."""
        return (
            conversation_no, self.key.key_id, self.key_service, self.wrapped, self.context.decode(), created_at,
        )  # fmt: skip


def make_keys(campaign: Campaign, works: Sequence[Work]) -> list[WrappedKey | KeyRefusal]:
    """A wrapped data key for each conversation: one call a key service, whatever their number.

    Raises `KeyServiceUnavailableError`; a service that refuses for good is a refusal of each of its conversations.
    """
    results: dict[int, WrappedKey | KeyRefusal] = {}
    by_region: dict[str | None, list[Work]] = {}
    for work in works:
        by_region.setdefault(work.region, []).append(work)
    for region, group in by_region.items():
        results.update(_wrap(campaign, region, group))
    return [results[work.conversation_no] for work in works]


def _wrap(campaign: Campaign, region: str | None, works: Sequence[Work]) -> dict[int, WrappedKey | KeyRefusal]:
    keys = [DataKey.generate() for _ in works]
    contexts = [key_context(campaign.name, work.ref, key.key_id) for work, key in zip(works, keys, strict=True)]
    try:
        service = campaign.key_services.for_region(region)
        if service is None:
            raise KeyServiceError("the region has no key service")
        wrapped = service.wrap([(key.to_keyset(), context) for key, context in zip(keys, contexts, strict=True)])
    except KeyServiceError as error:
        return {work.conversation_no: KeyRefusal(_KINDS[error.problem], error.message) for work in works}
    return {
        work.conversation_no: answer
        if isinstance(answer, KeyRefusal)
        else WrappedKey(key=key, key_service=service.name, wrapped=answer, context=context)
        for work, key, context, answer in zip(works, keys, contexts, wrapped, strict=True)
    }


def key_created(work: Work, key: WrappedKey, run_id: str) -> Event:
    """The event of a new data key."""
    return Event(
        type=EventType.KEY_CREATED,
        subject=work.ref,
        run_id=run_id,
        data={"ref": work.ref, "key_id": key.key.key_id, "key_service": key.key_service},
    )


def insert_keys(connection: sa.Connection, campaign: Campaign, keys: Sequence[tuple[Work, WrappedKey]]) -> None:
    """Keep the wrapped keys."""
    created_at = format_time(campaign.clock.now())
    rows = [key.row(work.conversation_no, created_at) for work, key in keys]
    insert_rows(connection, tables.data_key, _COLUMNS, rows)


def load_key(connection: sa.Connection, campaign: Campaign, conversation_no: int) -> tuple[DataKey, str] | Outcome:
    """The data key of a conversation that must have one, and the service that wrapped it, by a fresh unwrap.

    Where it can't be had, how the conversation fails: it alone, whatever became of its key.
    """
    table = tables.data_key
    row = connection.execute(
        sa.select(table).where(table.c.conversation_no == conversation_no, table.c.destroyed_at.is_(None))
    ).one_or_none()
    if row is None or row.wrapped_keyset is None:
        return Outcome.FAILED_INTEGRITY
    try:
        service = campaign.key_services.named(row.key_service)
        answer = service.unwrap([(row.wrapped_keyset, row.context.encode())])[0]
        if isinstance(answer, KeyRefusal):
            return Outcome.FAILED_KEY_SERVICE
        return DataKey.from_keyset(answer, row.key_id), row.key_service
    except KeyServiceError:
        return Outcome.FAILED_KEY_SERVICE
    except IntegrityError:
        return Outcome.FAILED_INTEGRITY
