"""Data keys of conversations: made and wrapped before their first message is written, unwrapped to go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.envelope import DataKey, key_context
from migrator.core.errors import ConfigError, IntegrityError, NotConfiguredKeyServiceError
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.database.bulk import insert_rows
from migrator.execution.work import Work
from migrator.key_routing import PatientKeyService
from migrator.keyservices.interface import KeyRefusal

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

    A refusal costs its conversation; what is wrong with a service as a whole is raised, and stops the run.
    """
    results: dict[int, WrappedKey | KeyRefusal] = {}
    by_regions: dict[frozenset[str | None], list[Work]] = {}
    for work in works:
        by_regions.setdefault(work.regions, []).append(work)
    by_service: dict[PatientKeyService, list[Work]] = {}
    for regions, group in by_regions.items():
        service = campaign.key_services.for_regions(regions)
        if service is None:
            raise ConfigError("a conversation without a key service was to be opened", hint="this is a bug in migrator")
        by_service.setdefault(service, []).extend(group)
    for service, group in by_service.items():
        results.update(_wrap(campaign, service, group))
    return [results[work.conversation_no] for work in works]


def _wrap(campaign: Campaign, service: PatientKeyService, works: Sequence[Work]) -> dict[int, WrappedKey | KeyRefusal]:
    keys = [DataKey.generate() for _ in works]
    contexts = [key_context(campaign.name, work.ref, key.key_id) for work, key in zip(works, keys, strict=True)]
    wrapped = service.wrap([(key.to_keyset(), context) for key, context in zip(keys, contexts, strict=True)])
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


def in_place(connection: sa.Connection, campaign: Campaign, work: Work) -> bool:
    """Whether a conversation's data key is wrapped where its accounts live by now; also where it has none."""
    table = tables.data_key
    name = connection.scalar(
        sa.select(table.c.key_service).where(
            table.c.conversation_no == work.conversation_no, table.c.destroyed_at.is_(None)
        )
    )
    service = campaign.key_services.for_regions(work.regions)
    return name is None or (service is not None and service.name == name)


def load_key(connection: sa.Connection, campaign: Campaign, conversation_no: int) -> tuple[DataKey, str] | Outcome:
    """The data key of a conversation that must have one, and the service that wrapped it, by a fresh unwrap.

    Where it can't be had, how the conversation fails: it alone, whatever became of its key. What is wrong with the
    service as a whole is raised, and stops the run.
    """
    table = tables.data_key
    row = connection.execute(
        sa.select(table).where(table.c.conversation_no == conversation_no, table.c.destroyed_at.is_(None))
    ).one_or_none()
    if row is None or row.wrapped_keyset is None:
        return Outcome.FAILED_INTEGRITY
    try:
        service = campaign.key_services.named(row.key_service)
    except NotConfiguredKeyServiceError:
        return Outcome.FAILED_KEY_SERVICE
    answer = service.unwrap([(row.wrapped_keyset, row.context.encode())])[0]
    if isinstance(answer, KeyRefusal):
        return Outcome.FAILED_KEY_SERVICE
    try:
        return DataKey.from_keyset(answer, row.key_id), row.key_service
    except IntegrityError:
        return Outcome.FAILED_INTEGRITY
