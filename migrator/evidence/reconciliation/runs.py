"""Runs: each was started, its outcomes are those of its events, also in messages and gaps, and it ended as it says."""

from collections import Counter
from typing import Final

import sqlalchemy as sa

from migrator.audit.events import EventType
from migrator.core.lifecycle import RunState
from migrator.core.outcomes import Outcome
from migrator.database import tables
from migrator.evidence.reconciliation.findings import FETCH, FindingKind, Reconciliation, number_of, object_of
from migrator.execution import runs

_SHOWN: Final = (Outcome.REWRAPPED.value, Outcome.REWRAPPED_WITH_GAPS.value)


def compare_runs(connection: sa.Connection, result: Reconciliation) -> set[str]:
    """Compare the runs; returns the ids of those that were rolled back, or are being so."""
    table, outbox = tables.run, tables.outbox
    known = {row.run_id: row.state for row in connection.execute(sa.select(table.c.run_id, table.c.state))}
    for run_id, state in known.items():
        result.checked["runs"] += 1
        _run(connection, run_id, RunState(state), result)
    for run_id in connection.scalars(sa.select(outbox.c.run_id).where(outbox.c.run_id.is_not(None)).distinct()):
        if run_id not in known:
            result.add(FindingKind.RUN, run_id, "the log has entries of a run that the database does not have")
    undone = (RunState.ROLLED_BACK.value, RunState.ROLLING_BACK.value)
    result.checked["unfinished_rollbacks"] = sum(state == RunState.ROLLING_BACK.value for state in known.values())
    return {run_id for run_id, state in known.items() if state in undone}


def _run(connection: sa.Connection, run_id: str, state: RunState, result: Reconciliation) -> None:
    table = tables.outbox
    kinds: dict[str, int] = dict(
        connection.execute(
            sa.select(table.c.type, sa.func.count()).where(table.c.run_id == run_id).group_by(table.c.type)
        ).all()
    )
    completed = kinds.get(EventType.RUN_COMPLETED.value, 0)
    for kind, wanted in (
        (EventType.RUN_STARTED, 1),
        (EventType.ROLLBACK_COMPLETED, int(state is RunState.ROLLED_BACK)),
    ):
        if kinds.get(kind.value, 0) != wanted:
            result.add(FindingKind.RUN, run_id, f"{kinds.get(kind.value, 0)} entries {kind.value}, instead of {wanted}")
    if completed > 1 or (state is RunState.COMPLETED and completed == 0):
        result.add(FindingKind.RUN, run_id, f"{completed} entries run.completed, but the run is {state.value}")
    logged, sums = _logged_outcomes(connection, run_id)
    stored = runs.outcome_counts(connection, run_id)
    for outcome in sorted(logged.keys() | stored.keys()):
        ours = stored[outcome].conversations if outcome in stored else 0
        if ours != logged[outcome]:
            result.add(FindingKind.RUN, run_id, f"{outcome}: {ours} outcomes, {logged[outcome]} in the log")
    for outcome in _SHOWN:
        found = (stored[outcome].messages, stored[outcome].gaps) if outcome in stored else (0, 0)
        theirs = sums.get(outcome, (0, 0))
        if found != theirs:
            detail = f"{outcome}: {found[0]} messages and {found[1]} gaps, {theirs[0]} and {theirs[1]} in the log"
            result.add(FindingKind.RUN, run_id, detail)
    if completed == 1:
        _completed(connection, run_id, {outcome: count.conversations for outcome, count in stored.items()}, result)


def _logged_outcomes(connection: sa.Connection, run_id: str) -> tuple[Counter[str], dict[str, tuple[int, int]]]:
    """Conversations by outcome as the log has them, and messages and gaps of those that were shown."""
    table = tables.outbox
    counts: Counter[str] = Counter()
    sums: dict[str, tuple[int, int]] = {}
    kinds = (EventType.CONVERSATION_REWRAPPED.value, EventType.CONVERSATION_SKIPPED.value)
    query = sa.select(table.c.type, table.c.data).where(table.c.run_id == run_id, table.c.type.in_(kinds))
    for kind, text in connection.execute(query.execution_options(yield_per=FETCH)):
        data = object_of(text)
        if kind == EventType.CONVERSATION_SKIPPED.value:
            counts.update({name: n for name, n in object_of(data.get("counts")).items() if isinstance(n, int)})
            continue
        outcome = str(data.get("outcome"))
        counts[outcome] += 1
        messages, gaps = sums.get(outcome, (0, 0))
        sums[outcome] = (messages + number_of(data, "messages"), gaps + number_of(data, "gaps"))
    return counts, sums


def _completed(connection: sa.Connection, run_id: str, stored: dict[str, int], result: Reconciliation) -> None:
    table = tables.outbox
    text = connection.scalar(
        sa.select(table.c.data).where(table.c.run_id == run_id, table.c.type == EventType.RUN_COMPLETED.value)
    )
    if object_of(object_of(text).get("counts")) != stored:
        result.add(FindingKind.RUN, run_id, "run.completed has other counts than the outcomes")
