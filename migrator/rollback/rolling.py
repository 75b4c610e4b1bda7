"""Rolls a run back: its server history goes, what was visible before it comes back (G7).

1. The run becomes `rolling_back` first: from then on no worker of it can commit and nobody can resume it.
2. Conversations that it showed become sealed again: messages and gaps are deleted and the data key is destroyed, all
   in one transaction a conversation, so that a reader never sees half (G4).
3. Conversations that it only added to get back what they were: the additions go, the earlier gaps return. What it
   removed because the source had taken it back stays away (`execution/taking_back`).
4. What it left behind in the middle of a conversation goes too, and the blobs of its attachments.
5. The last transaction says so: state, event, and the notes that the rollback itself needed.

A rollback that was killed goes on when it is called again; one that is finished says so. Outcomes stay: they are
history. Refused: while another process holds the lease, while a later run builds on this one, after finalisation.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migrator import lease as leases
from migrator.attachments import strays
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import RESUMABLE, BlobsUnavailableError, GateError, resumable
from migrator.core.lifecycle import RunState, require_transition
from migrator.core.outcomes import Outcome
from migrator.core.progress import Progress
from migrator.database import locks, tables
from migrator.execution import runs
from migrator.lease import Lease
from migrator.rollback.gates import require_last, require_not_final
from migrator.rollback.undoing import take_back

_GOES_ON = "`migrator rollback` goes on where it was left"
_BATCH_CONVERSATIONS = 500
_BATCH_MESSAGES = 50_000
"""Together in one transaction; a longer conversation has one of its own, whatever its length."""
_SHOWN = (Outcome.REWRAPPED.value, Outcome.REWRAPPED_WITH_GAPS.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """What a rollback removed, over all its sessions; `already`: it was finished before."""

    run_id: str
    already: bool
    conversations: int
    messages: int
    keys: int


def rollback(campaign: Campaign, run_id: str | None, progress: Progress) -> RollbackResult:
    """Roll a run back, the latest unless one is named. `GateError` or `LeaseHeldError` where it may not be."""
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
        if run.state is RunState.ROLLED_BACK:
            return _recorded(connection, run.run_id)
    campaign.audit.check()
    with leases.hold(campaign, purpose="rollback") as lease:
        result = _Rollback(campaign, run.run_id, lease, progress).run()
    campaign.audit.flush()
    return result


class _Rollback:
    def __init__(self, campaign: Campaign, run_id: str, lease: Lease, progress: Progress) -> None:
        self._campaign = campaign
        self._run_id = run_id
        self._lease = lease
        self._progress = progress

    def run(self) -> RollbackResult:
        self._begin()
        for batch in self._batches():
            with self._campaign.database.write("rollback-batch") as connection:
                self._require_lease(connection)
                take_back(self._campaign, connection, self._run_id, batch)
            self._progress.advance(len(batch))
        strays.abandon(self._campaign, self._run_id)
        try:
            strays.sweep(self._campaign)
        except BlobsUnavailableError as error:
            raise resumable(error) from None
        return self._finish()

    def _begin(self) -> None:
        """Refuse what may not be rolled back; else close the run to its own workers, and plans that count on it."""
        with self._campaign.database.write("rollback-begin") as connection:
            locks.ahead_of_sharers(connection, tables.run)
            self._require_lease(connection)
            run = runs.find(connection, self._run_id)
            require_transition(run.run_id, run.state, RunState.ROLLING_BACK)
            require_last(connection, run.run_id)
            require_not_final(connection, run.run_id)
            connection.execute(
                tables.run.update()
                .where(tables.run.c.run_id == run.run_id)
                .values(state=RunState.ROLLING_BACK.value, stop_reason=None)
            )
            connection.execute(
                tables.plan.update()
                .where(tables.plan.c.state == "ready", tables.plan.c.consumed_by.is_(None))
                .values(state="superseded")
            )
            total = connection.scalar(sa.select(sa.func.count()).select_from(self._targets().subquery())) or 0
        self._progress.phase("rolling back", total=total, unit="conversations")

    def _targets(self) -> sa.Select[Any]:
        """Conversations that hold something of the run: number, mode, how many messages are visible."""
        conversation, progress = tables.conversation, tables.progress
        begun = sa.select(progress.c.conversation_no).where(progress.c.run_id == self._run_id)
        return sa.select(conversation.c.conversation_no, conversation.c.mode, conversation.c.message_count).where(
            sa.or_(
                sa.and_(conversation.c.run_id == self._run_id, conversation.c.mode == "server"),
                conversation.c.conversation_no.in_(begun),
            )
        )

    def _batches(self) -> Iterator[list[int]]:
        """Targets in order of their number, as many together as make one transaction."""
        number = tables.conversation.c.conversation_no
        after = 0
        while True:
            query = self._targets().where(number > after).order_by(number).limit(_BATCH_CONVERSATIONS)
            with self._campaign.database.read() as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            batch: list[int] = []
            size = 0
            for found, mode, messages in rows:
                size += messages if mode == "server" else _BATCH_MESSAGES  # how much of a half one is not counted
                if batch and size > _BATCH_MESSAGES:
                    break
                batch.append(found)
            yield batch
            after = batch[-1]

    def _require_lease(self, connection: sa.Connection) -> None:
        leases.require(connection, self._campaign.name, self._lease, hint=_GOES_ON)

    def _finish(self) -> RollbackResult:
        now = self._campaign.clock.now()
        with self._campaign.database.write("rollback-complete") as connection:
            self._require_lease(connection)
            left = connection.execute(self._targets().limit(1)).first()
            if left is not None:
                raise GateError(
                    "a conversation of this run was shown while it was rolled back",
                    hint=_GOES_ON,
                    changed=RESUMABLE,
                )
            run = tables.run
            connection.execute(
                run.update().where(run.c.run_id == self._run_id).values(state=RunState.ROLLED_BACK.value)
            )
            result = _removed(connection, self._run_id)
            addition, extension = tables.addition, tables.extension
            mine = addition.c.run_id == self._run_id
            connection.execute(addition.delete().where(mine, sa.not_(addition.c.taken_back)))
            connection.execute(extension.delete().where(extension.c.run_id == self._run_id))
            event = Event(
                type=EventType.ROLLBACK_COMPLETED,
                subject=self._run_id,
                run_id=self._run_id,
                data={
                    "conversations": result.conversations,
                    "messages": result.messages,
                    "keys": result.keys,
                },
            )
            outbox.record(connection, [event], actor=self._campaign.actor, now=now)
        return result


def _removed(connection: sa.Connection, run_id: str) -> RollbackResult:
    """What all sessions of the rollback removed, from the rows: the same however often it was killed."""
    item, extension, table = tables.item, tables.extension, tables.outbox
    conversation = tables.conversation
    destroyed = sa.select(conversation.c.conversation_no).where(conversation.c.mode == "destroyed")
    conversations, messages = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(item.c.messages)).where(
            item.c.run_id == run_id, item.c.outcome.in_(_SHOWN), item.c.conversation_no.not_in(destroyed)
        )
    ).one()
    kept = connection.scalar(
        sa.select(sa.func.sum(extension.c.prior_message_count)).where(extension.c.run_id == run_id)
    )
    addition = tables.addition
    stays = sa.select(sa.func.count()).where(addition.c.run_id == run_id, addition.c.taken_back)
    taken_back = connection.scalar(stays) or 0
    keys = connection.scalar(
        sa.select(sa.func.count()).where(
            table.c.run_id == run_id,
            table.c.type == EventType.KEY_DESTROYED.value,
            table.c.data.like('%"reason":"rollback"%'),
        )
    )
    return RollbackResult(
        run_id=run_id,
        already=False,
        conversations=conversations,
        messages=int(messages or 0) - (int(kept or 0) - taken_back),
        keys=keys or 0,
    )


def _recorded(connection: sa.Connection, run_id: str) -> RollbackResult:
    """What a finished rollback said of itself."""
    table = tables.outbox
    text = connection.scalar(
        sa.select(table.c.data)
        .where(table.c.run_id == run_id, table.c.type == EventType.ROLLBACK_COMPLETED.value)
        .limit(1)
    )
    data = json.loads(text or "{}")
    return RollbackResult(
        run_id=run_id,
        already=True,
        conversations=data.get("conversations", 0),
        messages=data.get("messages", 0),
        keys=data.get("keys", 0),
    )
