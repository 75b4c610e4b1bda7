"""Pause and abort of two workers that commit beside each other on PostgreSQL."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from migrator.campaign import Campaign, open_campaign
from migrator.core.errors import ExitStatus
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.database.connect import Boundary
from migrator.execution import control
from migrator.execution.coordinator import RunOptions, execute, resume
from migrator.execution.runs import RunSummary
from tests.execution.control.threads import ThreadEngine
from tests.execution.inline import NoStop
from tests.execution.ready import Ready
from tests.execution.test_postgresql import require_undisturbed_end

pytestmark = pytest.mark.parametrize("prepared", ["postgresql"], indirect=True)


def at_commit(number: int, label: str, act: Callable[[], object]) -> Boundary:
    """Does something after the n-th commit of a kind, whichever worker's it is; the others go on meanwhile."""
    lock, left = threading.Lock(), [number]

    def boundary(found: str, moment: str) -> None:
        if (found, moment) != (label, "after"):
            return
        with lock:
            left[0] -= 1
            due = left[0] == 0
        if due:
            act()

    return boundary


def two_at_work(ready: Ready, boundary: Boundary, *, begun: bool) -> RunSummary:
    """A session of two workers."""
    with open_campaign(ready.spec) as campaign:
        options = RunOptions(engine=ThreadEngine(ready.spec, 2, boundary))
        if begun:
            return resume(campaign, None, options, NoProgress(), NoStop())
        return execute(campaign, ready.plan_id, options, NoProgress(), NoStop())


def half_done(campaign: Campaign) -> list[int]:
    """Rows of positions, of staged messages, and of messages and living keys that belong to nothing visible."""
    hidden = sa.select(tables.conversation.c.conversation_no).where(tables.conversation.c.mode != "server")
    key = tables.data_key
    queries = (
        sa.select(sa.func.count()).select_from(tables.progress),
        sa.select(sa.func.count()).where(tables.addition.c.ciphertext.is_not(None)),
        sa.select(sa.func.count()).where(tables.message.c.conversation_no.in_(hidden)),
        sa.select(sa.func.count()).where(key.c.conversation_no.in_(hidden), key.c.wrapped_keyset.is_not(None)),
    )
    with campaign.database.read() as connection:
        return [connection.scalar(query) or 0 for query in queries]


def test_two_workers_are_paused_and_aborted_and_end_as_undisturbed(ready: Ready) -> None:
    """What is shown is whole at each rest, an abort leaves nothing half done, and the end is that of any run."""
    with open_campaign(ready.spec) as other:
        paused = two_at_work(ready, at_commit(1, "page", lambda: control.pause(other, None)), begun=False)
        assert (paused.state, paused.stop_reason) == (RunState.STOPPED, StopReason.PAUSED)
        assert half_done(other)[0] == 1
        name = other.name
        aborted = two_at_work(ready, at_commit(2, "unit", lambda: control.abort(other, None, confirm=name)), begun=True)
        assert (aborted.state, aborted.stop_reason) == (RunState.STOPPED, StopReason.ABORTED)
        assert {paused.exit_status, aborted.exit_status} == {ExitStatus.STOPPED_BY_OPERATOR}
        assert half_done(other) == [0, 0, 0, 0]
        assert aborted.pending > 0
    done = two_at_work(ready, lambda _label, _moment: None, begun=True)
    assert done.state is RunState.COMPLETED
    require_undisturbed_end(ready)
