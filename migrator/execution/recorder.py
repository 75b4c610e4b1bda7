"""The transactions of a worker: each carries an effect, its checkpoint and its audit events, or nothing (G3).

Every transaction begins at the fence, and what it found there stays so until the commit (`database.locks`):

1. The shard is still this worker's: generation and fencing token are the present ones. Else `FencedError`.
2. The run is running and nobody asked it to stop. Else `StopRequestedError`.
3. No authorisation was recorded since the decision was made. Else `AuthorizationsChangedError`: decide again.
4. In production the database's own clock is past the cutover. Else `GateError`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.clock import format_time
from migrator.core.errors import GateError
from migrator.core.lifecycle import RunState
from migrator.core.load import Metered
from migrator.core.merkle import root_of
from migrator.database import locks, tables
from migrator.database.bulk import insert_rows
from migrator.database.clock import database_time
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.half_done import discard_partial
from migrator.execution.pacing import Pace

_ITEM_COLUMNS = ("run_id", "conversation_no", "outcome", "messages", "gaps", "finished_at")


_BEGUN_ANEW = ("stage", "stage-clear", "leftovers", "attachments")
"""Commits that an attempt begun anew does again: they are no progress."""


_COUNTED = ("messages", "failures", "held_ms", "commits", "commit_us", "database_errors", "key_calls", "key_us",
            "key_errors")  # fmt: skip
_PASS = (
    tables.shard.update()
    .where(
        tables.shard.c.run_id == sa.bindparam("the_run"),
        tables.shard.c.generation == sa.bindparam("the_generation"),
        tables.shard.c.shard_no == sa.bindparam("the_shard"),
        tables.shard.c.token == sa.bindparam("the_token"),
    )
    .values(
        waiting=None,
        committed_at=sa.bindparam("the_moment"),
        **{name: tables.shard.c[name] + sa.bindparam(f"add_{name}") for name in _COUNTED},
    )
)
"""The first statement of each transaction, made once: putting it together anew costs more than executing it."""


class FencedError(Exception):
    """Another worker holds this shard now: whatever this one still does must not count."""


class StopRequestedError(Exception):
    """The run is to stop at this commit."""


class AuthorizationsChangedError(Exception):
    """Somebody's authorisation was recorded after the decision: it has to be made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A conversation that ends without being shown, or unchanged: its row, and its reference for the audit log."""

    conversation_no: int
    outcome: str
    messages: int
    gaps: int
    ref: str
    partial: bool = False
    """Whether something of it was written by an earlier transaction and has to go."""


class Recorder:
    """Writes for one shard; in a dry run, nothing."""

    def __init__(
        self, campaign: Campaign, assignment: Assignment, result: ShardResult, pace: Pace | None = None
    ) -> None:
        self.campaign = campaign
        self.pace = pace or Pace()
        if assignment.dry_run:
            self.pace.rate = assignment.rate
        self.assignment = assignment
        self.result = result
        self.authorization_version = 0
        self.commits = 0

    @property
    def dry(self) -> bool:
        """Whether nothing is written."""
        return self.assignment.dry_run

    @contextmanager
    def transaction(self, label: str, *, messages: int = 0, failures: int = 0) -> Iterator[sa.Connection]:
        """A write transaction behind the fence, which also counts its messages and failures for the coordinator.

        It does not wait: what it writes was opened already (`take_turn`).
        """
        found = self.campaign.database.meter.take(), self.campaign.key_services.meter.take()
        try:
            with self.campaign.database.write(label) as connection:
                self._pass_fence(connection, messages, failures, *found)
                yield connection
        except BaseException:
            self.campaign.database.meter.put_back(found[0])
            self.campaign.key_services.meter.put_back(found[1])
            raise
        self.commits += label not in _BEGUN_ANEW
        self.pace.spend(messages)

    def take_turn(self, *, look: bool = False, patience: float | None = None) -> None:
        """Wait until all is paid for and nothing throttles the run, before anything is opened.

        `PutOffError` where it takes longer than `patience`: for whoever has decided or opened something before.
        """
        if not self.dry:
            if look:
                self.look()
            self.pace.wait(self.look, patience=patience)

    def hold(self, why: str, seconds: float) -> None:
        """Wait because a service asked for it, and let others know why."""
        if self.dry:
            self.pace.hold(seconds, lambda: None)
            return
        with self.campaign.database.write("held") as connection:
            held = connection.execute(self._held_shard().values(waiting=why))
            if held.rowcount != 1:
                raise FencedError
        self.pace.hold(seconds, self.look)

    def observe_authorizations(self, connection: sa.Connection) -> bool:
        """Note which authorisations the next decisions rest on; True if they are other ones than before."""
        version = self._version(connection)
        changed = version != self.authorization_version
        self.authorization_version = version
        return changed

    def require_date(self, connection: sa.Connection) -> None:
        """Raise `GateError` in production while the database's clock is before the cutover: also before unsealing."""
        if self.campaign.in_production:
            require_database_past_cutover(connection, self.campaign)

    def end(self, connection: sa.Connection, endings: Sequence[Ending]) -> None:
        """Record conversations that end without being shown, and take away what was written of them."""
        if not endings:
            return
        now = self.campaign.clock.now()
        for ending in endings:
            if ending.partial:
                self.discard_partial(connection, ending.conversation_no, ending.ref)
        self.insert_items(connection, [(e.conversation_no, e.outcome, e.messages, e.gaps) for e in endings])
        counts: dict[str, int] = {}
        for ending in endings:
            counts[ending.outcome] = counts.get(ending.outcome, 0) + 1
        event = Event(
            type=EventType.CONVERSATION_SKIPPED,
            subject=self.assignment.run_id,
            run_id=self.assignment.run_id,
            data={
                "counts": counts,
                "items_root": root_of(f"{e.ref}:{e.outcome}".encode() for e in endings).hex(),
                "shard": f"{self.assignment.generation}/{self.assignment.shard_no}",
            },
        )
        outbox.record(connection, [event], actor=self.campaign.actor, now=now)

    def discard_partial(self, connection: sa.Connection, conversation_no: int, ref: str) -> None:
        """Remove what was written of a conversation that nobody sees yet."""
        discard_partial(self.campaign, connection, self.assignment.run_id, conversation_no, ref)

    def discard_leftovers(self, conversation_no: int, ref: str) -> None:
        """The same in a transaction of its own: an earlier run was left for good in the middle of the conversation."""
        with self.transaction("leftovers") as connection:
            self.discard_partial(connection, conversation_no, ref)

    def insert_items(self, connection: sa.Connection, items: Sequence[tuple[int, str, int, int]]) -> None:
        """Give conversations their outcome: (conversation number, outcome, messages, gaps)."""
        finished_at = format_time(self.campaign.clock.now())
        run_id = self.assignment.run_id
        rows: list[tuple[Any, ...]] = [
            (run_id, number, outcome, messages, gaps, finished_at) for number, outcome, messages, gaps in items
        ]
        insert_rows(connection, tables.item, _ITEM_COLUMNS, rows)

    def counted(self, items: Sequence[tuple[str, int, int]]) -> None:
        """After the commit: add (outcome, messages, gaps) to what the shard reports."""
        for outcome, messages, gaps in items:
            self.result.add(outcome, messages, gaps)
        if self.dry:
            self.pace.spend(sum(messages + gaps for _, messages, gaps in items))
            self.pace.wait(lambda: None)

    def require_unchanged(self) -> None:
        """Raise `AuthorizationsChangedError` where somebody's answer came in since the decision, as the fence would."""
        with self.campaign.database.read() as connection:
            if self._version(connection) != self.authorization_version:
                raise AuthorizationsChangedError

    def _pass_fence(
        self, connection: sa.Connection, messages: int, failures: int, database: Metered, keys: Metered
    ) -> None:
        added = {
            "messages": messages,
            "failures": failures,
            "held_ms": round(self.pace.take_held() * 1000),
            "commits": database.calls,
            "commit_us": database.microseconds,
            "database_errors": database.errors,
            "key_calls": keys.calls,
            "key_us": keys.microseconds,
            "key_errors": keys.errors,
        }
        assignment = self.assignment
        held = connection.execute(
            _PASS,
            {
                "the_run": assignment.run_id,
                "the_generation": assignment.generation,
                "the_shard": assignment.shard_no,
                "the_token": assignment.token,
                "the_moment": format_time(datetime.now(UTC)),
                **{f"add_{name}": number for name, number in added.items()},
            },
        )
        if held.rowcount != 1:
            raise FencedError
        self._require_running(connection, shared=True)
        if self._version(connection, shared=True) != self.authorization_version:
            raise AuthorizationsChangedError
        self.require_date(connection)

    def _held_shard(self) -> sa.Update:
        shard, assignment = tables.shard, self.assignment
        return shard.update().where(
            shard.c.run_id == assignment.run_id,
            shard.c.generation == assignment.generation,
            shard.c.shard_no == assignment.shard_no,
            shard.c.token == assignment.token,
        )

    def look(self) -> None:
        """Raise `StopRequestedError` or `FencedError` where this worker is to leave in the middle of long work."""
        if self.dry:
            return
        with self.campaign.database.read() as connection:
            self._require_running(connection)

    def _require_running(self, connection: sa.Connection, *, shared: bool = False) -> None:
        """Raise where the run is to stop or goes on without this worker; take note of the worker's share."""
        run = tables.run
        query = sa.select(
            run.c.state, run.c.stop_reason, run.c.generation, run.c.max_rate, run.c.sharing, run.c.throttled
        ).where(run.c.run_id == self.assignment.run_id)
        state = connection.execute(locks.shared(query) if shared else query).one()
        if state.generation != self.assignment.generation:
            raise FencedError
        if state.state != RunState.RUNNING.value or state.stop_reason is not None:
            raise StopRequestedError
        self.pace.throttled = state.throttled
        self.pace.rate = None if state.max_rate is None else state.max_rate / max(1, state.sharing)

    def _version(self, connection: sa.Connection, *, shared: bool = False) -> int:
        campaign = tables.campaign
        query = sa.select(campaign.c.authorization_version).where(campaign.c.name == self.campaign.name)
        return connection.scalar(locks.shared(query) if shared else query) or 0


def require_database_past_cutover(connection: sa.Connection, campaign: Campaign) -> None:
    """Raise `GateError` while the database's clock is before the cutover (G2): a worker's own may be wrong."""
    clock = database_time(connection)
    if clock < campaign.settings.campaign.cutover_at:
        raise GateError(
            f"the database's clock says {format_time(clock)}, which is before the cutover",
            hint=f"the cutover is at {format_time(campaign.settings.campaign.cutover_at)}; check the server's clock",
        )
