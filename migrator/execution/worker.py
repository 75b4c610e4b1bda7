"""A worker: takes a shard, carries its items to their outcomes, unit by unit.

A unit is what is opened and committed at once: as many small conversations as make up a page of messages, or one page
of a long conversation. What a conversation needs decides its way:

- planned skips: one transaction for all of the shard, nothing is read;
- small, fresh: `small.rewrap_unit`, many at once;
- more messages than a page: `long.rewrap_long`, page by page with a cursor;
- history exports, late keys, new tails: `merging.merge`, staged and moved in one transaction.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import DatabaseUnavailableError
from migrator.core.outcomes import Outcome
from migrator.core.plan import EXTEND, REWRAP
from migrator.database import tables
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.deciding import PlannedItem, decide_items, planned_skips
from migrator.execution.long import rewrap_long
from migrator.execution.merging import merge
from migrator.execution.pacing import HELD_SECONDS, Pace, PutOffError, through_delays
from migrator.execution.recorder import (
    AuthorizationsChangedError,
    Ending,
    FencedError,
    Recorder,
    StopRequestedError,
)
from migrator.execution.retrying import is_for_run
from migrator.execution.small import rewrap_unit
from migrator.execution.work import Work, units
from migrator.exports.opening import ExportReader, Material
from migrator.facts import FactsReader, Membership
from migrator.patience import persist

_BATCH = 1000
"""Conversations that are decided at once."""
_SKIPS = 5000
"""Planned skips in one transaction."""
_STALE_SECONDS = 300.0
"""How long decisions stand: grants expire, and accounts are locked, also while a run is held back."""


def work_through(
    campaign: Campaign, assignment: Assignment, exports: ExportReader, pace: Pace | None = None
) -> ShardResult:
    """Work through a shard; what is committed counts, whatever happens to this process. `pace`: this process's.

    Raises `MigratorError` where the run as a whole can't go on: a service is down, the source or the database is gone.
    """
    result = ShardResult(shard_no=assignment.shard_no, finished=False)
    worker = _Worker(campaign, exports, Recorder(campaign, assignment, result, pace))
    try:
        worker.run()
    except (StopRequestedError, FencedError):
        return result
    result.finished = True
    return result


class _Worker:
    def __init__(self, campaign: Campaign, exports: ExportReader, recorder: Recorder) -> None:
        self.campaign = campaign
        self.assignment = recorder.assignment
        self.recorder = recorder
        self.facts: FactsReader
        self.exports = exports

    def run(self) -> None:
        """The whole way, and again from what is committed where the database gave a transaction up or was away.

        Whether a commit that was cut off happened does not matter: what has an outcome is not pending.
        """
        if not self.assignment.dry_run and not self._claim():
            return
        persist(self._patiently, DatabaseUnavailableError, commits=lambda: self.recorder.commits)

    def _patiently(self) -> None:
        through_delays(self._attempt, self.recorder.hold, commits=lambda: self.recorder.commits)

    def _attempt(self) -> None:
        # What readers remember may come from a transaction that was lost.
        cohort = self.assignment.cohort
        membership = None if cohort is None else Membership(self.campaign, cohort)
        self.facts = FactsReader(self.campaign, self.assignment.watermarks, membership)
        self.exports.pending_refusals.clear()
        self._await_turn(look=True)
        if self.assignment.dry_run:
            self.recorder.result.counts.clear()
        for skips in self._planned_skips():
            self._await_turn()
            self._end(skips)
        for batch in self._pending():
            while not self._try(batch):
                batch = self._still_pending(batch)
        if not self.assignment.dry_run:
            self._finish()

    # --- the shard itself ---

    def _claim(self) -> bool:
        """Take the shard with the token of this assignment; a higher one means that another worker has it.

        False: there is nothing to do, as the worker before was lost when it had finished and before it said so.
        """
        shard = tables.shard
        with self.campaign.database.write("claim") as connection:
            claimed = connection.execute(
                self._this_shard(shard.update())
                .where(shard.c.token < self.assignment.token)
                .values(token=self.assignment.token)
                .returning(shard.c.finished)
            ).all()
            if not claimed:
                raise FencedError
            self.recorder.observe_authorizations(connection)
            return not claimed[0].finished

    def _finish(self) -> None:
        while True:
            try:
                with self.recorder.transaction("shard-finished") as connection:
                    connection.execute(self._this_shard(tables.shard.update()).values(finished=True))
            except AuthorizationsChangedError:
                self._observe()
            else:
                return

    def _this_shard(self, statement: sa.Update) -> sa.Update:
        shard, assignment = tables.shard, self.assignment
        return statement.where(
            shard.c.run_id == assignment.run_id,
            shard.c.generation == assignment.generation,
            shard.c.shard_no == assignment.shard_no,
        )

    def _observe(self) -> None:
        with self.campaign.database.read() as connection:
            if self.recorder.observe_authorizations(connection):
                self.facts.forget()

    # --- items ---

    def _items(self, *conditions: sa.ColumnElement[bool], limit: int, after: int) -> list[PlannedItem]:
        planned, conversation, item = tables.plan_item, tables.conversation, tables.item
        done = sa.and_(item.c.run_id == self.assignment.run_id, item.c.conversation_no == planned.c.conversation_no)
        query = (
            sa.select(
                planned.c.conversation_no, conversation.c.conversation_id, planned.c.decision, planned.c.messages,
                conversation.c.mode,
            )
            .join(conversation, conversation.c.conversation_no == planned.c.conversation_no)
            .outerjoin(item, done)
            .where(
                planned.c.plan_id == self.assignment.plan_id,
                planned.c.conversation_no > after,
                planned.c.conversation_no >= self.assignment.first_no,
                planned.c.conversation_no <= self.assignment.last_no,
                item.c.run_id.is_(None),
                *conditions,
            )
            .order_by(planned.c.conversation_no)
            .limit(limit)
        )  # fmt: skip
        with self.campaign.database.read() as connection:
            rows = connection.execute(query).all()
        return [
            PlannedItem(number, identifier, decision, messages, mode == "server", mode == "destroyed")
            for number, identifier, decision, messages, mode in rows
        ]

    def _walk(self, *conditions: sa.ColumnElement[bool], limit: int) -> Iterator[list[PlannedItem]]:
        after = 0
        while items := self._items(*conditions, limit=limit, after=after):
            yield items
            after = items[-1].conversation_no

    def _planned_skips(self) -> Iterator[list[PlannedItem]]:
        return self._walk(sa.not_(is_for_run(self.assignment.retry)), limit=_SKIPS)

    def _pending(self) -> Iterator[list[PlannedItem]]:
        return self._walk(is_for_run(self.assignment.retry), limit=_BATCH)

    def _still_pending(self, batch: Sequence[PlannedItem]) -> list[PlannedItem]:
        numbers = {item.conversation_no for item in batch}
        span = self._items(
            tables.plan_item.c.conversation_no <= batch[-1].conversation_no,
            tables.plan_item.c.decision.in_((REWRAP, EXTEND)),
            limit=len(batch),
            after=batch[0].conversation_no - 1,
        )
        return [item for item in span if item.conversation_no in numbers]

    def _end(self, skips: Sequence[PlannedItem]) -> None:
        with self.campaign.database.read() as connection:
            if self.recorder.observe_authorizations(connection):
                self.facts.forget()
            endings = planned_skips(self.campaign, connection, self.facts, skips)
        self._record(endings)

    def _record(self, endings: Sequence[Ending]) -> None:
        if not endings:
            return
        if not self.assignment.dry_run:
            while True:
                try:
                    # A failure that the plan foresaw is none of this run's, and not in its error budget.
                    with self.recorder.transaction("skips") as connection:
                        self.recorder.end(connection, endings)
                except AuthorizationsChangedError:
                    self._observe()  # a skip stays one: later grants wait for the next plan
                else:
                    break
        self.recorder.counted([(ending.outcome, ending.messages, ending.gaps) for ending in endings])

    # --- opening ---

    def _try(self, batch: Sequence[PlannedItem]) -> bool:
        """Carry a batch through; False where the rest must be decided again.

        As authorisations changed on the way, or as it was held back for so long that others may have.
        """
        if not batch:
            return True
        self._await_turn()
        decided_at = self.recorder.pace.monotonic()
        with self.campaign.database.read() as connection:
            if self.recorder.observe_authorizations(connection):
                self.facts.forget()
            works, endings = decide_items(self.campaign, connection, self.facts, batch)
        try:
            self._record_decided(endings)
            if self.assignment.dry_run and not self.assignment.opens:
                outcome = Outcome.REWRAPPED.value
                self.recorder.counted([(work.closed or outcome, work.conversation.messages, 0) for work in works])
                return True
            for number, unit in enumerate(units(works, self.campaign.settings.execution.page_size)):
                self.recorder.take_turn(patience=HELD_SECONDS)
                if number and self.recorder.pace.monotonic() - decided_at >= _STALE_SECONDS:
                    return self._put_off()
                self._rewrap(unit)
        except AuthorizationsChangedError:
            return False
        except PutOffError:
            return self._put_off()
        return True

    def _put_off(self) -> bool:
        """Forget what is known of accounts and grants: the rest of the batch is decided anew."""
        self.facts.forget()
        return False

    def _await_turn(self, *, look: bool = False) -> None:
        """Wait while the run is held back; where that takes long, without keys that were opened before."""
        try:
            self.recorder.take_turn(look=look, patience=HELD_SECONDS)
        except PutOffError:
            self.exports.let_go()
            self.recorder.take_turn()

    def _record_decided(self, endings: Sequence[Ending]) -> None:
        if endings and not self.assignment.dry_run:
            failures = sum(ending.outcome.startswith("failed:") for ending in endings)
            with self.recorder.transaction("decided", failures=failures) as connection:
                self.recorder.end(connection, endings)
        self.recorder.counted([(ending.outcome, ending.messages, ending.gaps) for ending in endings])

    def _rewrap(self, unit: Sequence[Work]) -> None:
        material = self._material(unit)
        page_size = self.campaign.settings.execution.page_size
        small: list[Work] = []
        for work in unit:
            if work.visible or work.conversation_id in material.with_history:
                merge(self.recorder, self.exports, material, work)
            elif work.partial or work.conversation.messages > page_size:
                rewrap_long(self.recorder, material, work)
            else:
                small.append(work)
        if small:
            rewrap_unit(self.recorder, material, small)

    def _material(self, unit: Sequence[Work]) -> Material:
        """The keys that exports bring for a unit: unsealed here and now, and gone with the unit."""
        with self.campaign.database.read() as connection:
            self.recorder.require_date(connection)
            return self.exports.keys(connection, {work.conversation_id: work.exporters for work in unit})
