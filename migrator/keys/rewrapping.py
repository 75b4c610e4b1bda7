"""`keys rewrap`: moves wrapped keys to a new key version or to another key service, without touching a message.

1. Without a service to go to, keys of the services in use come under the newest version. With one, what belongs there
   moves there: where regions have services, only data keys of conversations whose owners live in its regions.
2. A batch is a few calls and one transaction with its rows, its events, and how far the work is. The new wrapping is
   proved before (`moving`), and put in place only where the old one is still what it was.
3. Interrupted, it goes on where it was. A rewrap that another rotation or service overtook begins anew, and passes
   over what is where it should be as far as blobs tell.
4. A run may go on meanwhile: what it wraps is under the newest version anyway.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from migrator import history
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import DatabaseUnavailableError, KeyServiceError
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.history import StoredKey
from migrator.key_routing import PatientKeyService
from migrator.keys import checkpoint as checkpoints
from migrator.keys.campaign_keys import CampaignKey, campaign_keys, replace
from migrator.keys.moving import Blob, wrapped_anew
from migrator.keys.placing import Places
from migrator.keyservices.interface import KeyRefusal
from migrator.patience import persist

_BATCH: Final = 500
"""Conversations whose keys are moved together."""
_LISTED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A key that stays as it was. `about`: the conversation's keyed reference, or the campaign key's id."""

    about: str
    detail: str


@dataclass(slots=True, kw_only=True)
class RewrapResult:
    """What became of all keys. `already`: under the newest version where they should be; `elsewhere`: not to be moved
    by this rewrap; `overtaken`: changed or destroyed by somebody else meanwhile. The first refusals are listed."""

    rewrapped: int = 0
    already: int = 0
    elsewhere: int = 0
    overtaken: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, about: str, detail: str) -> None:
        """One key stays."""
        self.refused += 1
        if len(self.refusals) < _LISTED:
            self.refusals.append(Refusal(about=about, detail=detail))


def rewrap(campaign: Campaign, *, to: str | None, progress: Progress) -> RewrapResult:
    """Move every key that should be moved; `to`: a service in use, by its address or name. `UsageError` for others.

    What is wrong with a service as a whole is raised; what was committed stays, and the same call goes on.
    """
    campaign.audit.check()
    session = _Rewrap(campaign, Places(campaign, to), progress)
    session.run()
    return session.result


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A wrapped key of either kind. `says`: how events name it."""

    key: StoredKey | CampaignKey
    subject: str
    says: Mapping[str, str | int]
    key_service: str
    context: bytes
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """A proven new wrapping that is to take the place of an old one."""

    held: _Held
    blob: Blob
    wrapped: bytes = field(repr=False)


class _Rewrap:
    def __init__(self, campaign: Campaign, places: Places, progress: Progress) -> None:
        self._campaign = campaign
        self._places = places
        self._progress = progress
        self._checkpoint = checkpoints.begin(campaign, places.target)
        self.result = RewrapResult(rewrapped=self._checkpoint.rewrapped, refused=self._checkpoint.refused)

    def run(self) -> None:
        self._announce()
        with self._campaign.database.read() as connection:
            own = [_held_campaign_key(key) for key in campaign_keys(connection, self._campaign)]
        self._batch([(held, self._places.for_campaign_key(held.key_service)) for held in own], through_no=None)
        while numbers := self._next():
            with self._campaign.database.read() as connection:
                regions = self._places.regions(connection, numbers)
                stored = history.living_keys(connection, numbers)
            keys = [(number, _held_data_key(key)) for number in numbers for key in stored.get(number, ())]
            wanted = [(held, self._places.for_data_key(held.key_service, regions[number])) for number, held in keys]
            self._batch(wanted, through_no=numbers[-1])
            self._progress.advance(len(keys))
        checkpoints.finish(self._campaign, self._checkpoint)

    def _announce(self) -> None:
        table = tables.data_key
        living = sa.select(sa.func.count()).select_from(table).where(table.c.wrapped_keyset.is_not(None))
        with self._campaign.database.read() as connection:
            total = connection.scalar(living)
            done = connection.scalar(living.where(table.c.conversation_no <= self._checkpoint.through_no))
        self._progress.phase("rewrapping", total=total or 0, done=done or 0, unit="data keys")

    def _next(self) -> list[int]:
        """The next conversations that have a data key, in order of their number."""
        table = tables.data_key
        query = (
            sa.select(table.c.conversation_no)
            .where(table.c.conversation_no > self._checkpoint.through_no, table.c.wrapped_keyset.is_not(None))
            .distinct()
            .order_by(table.c.conversation_no)
            .limit(_BATCH)
        )
        with self._campaign.database.read() as connection:
            return list(connection.scalars(query))

    def _batch(self, keys: Sequence[tuple[_Held, PatientKeyService | None]], *, through_no: int | None) -> None:
        """Wrap anew what should be moved, outside any transaction; then put it in place, in one."""
        wanted: list[tuple[_Held, Blob]] = []
        for held, target in keys:
            if target is None:
                self.result.elsewhere += 1
            elif self._places.is_there(held.key_service, target, held.wrapped):
                self.result.already += 1
            elif (source := self._source(held)) is not None:
                blob = Blob(source=source, target=target, context=held.context, wrapped=held.wrapped)
                wanted.append((held, blob))
        moved: list[_Moved] = []
        for (held, blob), answer in zip(wanted, wrapped_anew([blob for _, blob in wanted]), strict=True):
            if answer is None:
                self.result.already += 1
            elif isinstance(answer, KeyRefusal):
                self.result.refuse(held.subject, answer.detail)
            else:
                moved.append(_Moved(held=held, blob=blob, wrapped=answer))
        persist(lambda: self._put(moved, through_no), DatabaseUnavailableError)
        self._campaign.audit.flush()

    def _source(self, held: _Held) -> PatientKeyService | None:
        try:
            return self._campaign.key_services.named(held.key_service)
        except KeyServiceError as error:
            self.result.refuse(held.subject, error.message)
            return None

    def _put(self, moved: Sequence[_Moved], through_no: int | None) -> None:
        """One transaction: the new wrappings, their events, and how far the work is."""
        with self._campaign.database.write("rewrap-batch") as connection:
            placed = [*_put_data_keys(connection, moved), *self._put_campaign_keys(connection, moved)]
            events = [_event(one) for one in placed]
            outbox.record(connection, events, actor=self._campaign.actor, now=self._campaign.clock.now())
            done = dataclasses.replace(
                self._checkpoint,
                through_no=self._checkpoint.through_no if through_no is None else through_no,
                rewrapped=self.result.rewrapped + len(placed),
                refused=self.result.refused,
            )
            checkpoints.save(connection, done)
        self._checkpoint = done
        self.result.rewrapped = done.rewrapped
        self.result.overtaken += len(moved) - len(placed)

    def _put_campaign_keys(self, connection: sa.Connection, moved: Sequence[_Moved]) -> list[_Moved]:
        return [
            one
            for one in moved
            if isinstance(one.held.key, CampaignKey)
            and replace(connection, self._campaign, one.held.key, one.blob.target.name, one.wrapped)
        ]


def _put_data_keys(connection: sa.Connection, moved: Sequence[_Moved]) -> list[_Moved]:
    """Those whose row is still what it was, and now has the new wrapping."""
    table = tables.data_key
    wanted = {(one.held.key.conversation_no, one.held.key.key_id): one for one in moved
              if isinstance(one.held.key, StoredKey)}  # fmt: skip
    placed: list[_Moved] = []
    for chunk in chunks({number for number, _ in wanted}):
        columns = (table.c.conversation_no, table.c.key_id, sa.cast(table.c.wrapped_keyset, sa.LargeBinary))
        query = sa.select(*columns).where(table.c.conversation_no.in_(chunk), table.c.wrapped_keyset.is_not(None))
        for number, key_id, wrapped in connection.execute(query.with_for_update()):
            one = wanted.get((number, key_id))
            if one is not None and bytes(wrapped) == one.held.wrapped:
                placed.append(one)
    if placed:
        connection.execute(
            table.update()
            .where(table.c.conversation_no == sa.bindparam("number"), table.c.key_id == sa.bindparam("id"))
            .values(key_service=sa.bindparam("service"), wrapped_keyset=sa.bindparam("wrapped")),
            [
                {"number": one.held.key.conversation_no, "id": one.held.key.key_id,
                 "service": one.blob.target.name, "wrapped": one.wrapped}
                for one in placed if isinstance(one.held.key, StoredKey)
            ],
        )  # fmt: skip
    return placed


def _held_data_key(key: StoredKey) -> _Held:
    subject = key.ref or ""
    return _Held(
        key=key,
        subject=subject,
        says={"kind": "data", "ref": subject, "key_id": key.key_id},
        key_service=key.key_service,
        context=key.context.encode("utf-8", "surrogatepass"),
        wrapped=key.wrapped_keyset,
    )


def _held_campaign_key(key: CampaignKey) -> _Held:
    says: dict[str, str | int] = {"kind": "reference" if key.is_reference_key else "recipient"}
    if not key.is_reference_key:
        says["recipient_key_id"] = key.subject
    return _Held(
        key=key,
        subject=key.subject,
        says=says,
        key_service=key.key_service,
        context=key.context,
        wrapped=key.wrapped,
    )


def _event(one: _Moved) -> Event:
    """Which key, from where (a replica may have opened it), to where; versions as far as the blobs tell."""
    blob = one.blob
    return Event(
        type=EventType.KEY_REWRAPPED,
        subject=one.held.subject,
        data={
            **one.held.says,
            "key_service": blob.target.name,
            "key_version": blob.target.version(one.wrapped),
            "previous_key_service": one.held.key_service,
            "previous_key_version": blob.source.version(blob.wrapped),
        },
    )
