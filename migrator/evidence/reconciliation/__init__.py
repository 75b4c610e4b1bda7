"""`audit reconcile`: the log against the database, to the last one (G6, G8).

1. Every line of the log is the event of that number in the database, and the other way round. From there on the events
   of the database stand for the log: they can be asked by run and by reference.
2. Every run: it was started, its outcomes are those of its events, in number, messages and gaps; it ended as it says.
3. Every data key: created once in the log; destroyed there if and only if it was destroyed here; where it was moved,
   step by step, to where it is. No key of the log is unknown here unless it was destroyed. The campaign's own keys too.
4. Every visible conversation: the newest entry about it that was not rolled back is the one that its row rests on. No
   conversation of the log that should be visible is missing.

In one view of the database, in bounded memory. Nothing stops at the first finding.
"""

import itertools

import sqlalchemy as sa

from migrator.audit.entries import same_event
from migrator.campaign import Campaign
from migrator.database import tables
from migrator.evidence.reconciliation.conversations import compare_conversations
from migrator.evidence.reconciliation.findings import (
    FETCH,
    Finding,
    FindingKind,
    Reconciliation,
    object_of,
)
from migrator.evidence.reconciliation.keys import compare_key_events, compare_keys
from migrator.evidence.reconciliation.runs import compare_runs

__all__ = ["Finding", "FindingKind", "Reconciliation", "reconcile"]


def reconcile(campaign: Campaign) -> Reconciliation:
    """Compare everything; events that wait are logged first. Raises `AuditLogError` for a log that is lost."""
    campaign.audit.flush()
    result = Reconciliation()
    with campaign.database.read() as connection:
        _lines(campaign, connection, result)
        undone = compare_runs(connection, result)
        compare_keys(connection, result)
        compare_key_events(connection, result)
        compare_conversations(connection, result, undone)
    return result


def _lines(campaign: Campaign, connection: sa.Connection, result: Reconciliation) -> None:
    table, state = tables.outbox, tables.audit_state
    size = connection.scalar(sa.select(state.c.size).where(state.c.origin == campaign.settings.origin)) or 0
    query = sa.select(table).where(table.c.seq < size).order_by(table.c.seq).execution_options(yield_per=FETCH)
    rows = connection.execute(query).mappings()
    lines = itertools.islice(campaign.audit.lines(), size)
    for number, (line, row) in enumerate(itertools.zip_longest(lines, rows)):
        result.checked["lines"] += 1
        if line is None or row is None:
            result.add(FindingKind.LINE, number, "the log and the database differ in how many entries there are")
            break
        if not same_event(object_of(line), row, number):
            result.add(FindingKind.LINE, number, "the line is not the event that the database has")
    if phantoms := campaign.audit.phantoms(size):
        result.add(FindingKind.LINE, "all", f"{phantoms} events of the database have numbers that no line has")
    waiting = connection.scalar(sa.select(sa.func.count()).select_from(table).where(table.c.seq.is_(None)))
    result.checked["waiting"] = waiting or 0
