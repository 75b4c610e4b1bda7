"""Attachments of messages that readers see already: of a conversation that was migrated when none were taken over.

`source_through` of a conversation says whether its attachments were looked at. Where they were not and the campaign
takes them over by now, the plan has it as one to extend, and its server history is gone through once.
"""

import json

import sqlalchemy as sa

from migrator import history
from migrator.attachments import attachments_at
from migrator.core.envelope import DataKey
from migrator.core.errors import IntegrityError
from migrator.core.outcomes import GapReason
from migrator.database import tables
from migrator.execution.attaching import stage_attachments
from migrator.execution.recorder import Recorder
from migrator.execution.stage import Stage
from migrator.execution.work import Work
from migrator.history import StoredMessage
from migrator.schemes.interface import Opened


def stage_shown(recorder: Recorder, stage: Stage, work: Work, key: DataKey) -> bool:
    """Seal and stage the attachments of all messages that readers see, unless that was done before; whether any are.

    Those that the source has taken back are staged as gaps by now: they go with this unit, and are not opened.
    """
    if not (work.visible and work.attachments):
        return False
    size, found = recorder.campaign.settings.execution.page_size, False
    with recorder.campaign.database.read() as connection:
        if _looked_at(connection, work.conversation_no):
            return False
        for page in history.message_pages(connection, work.conversation_no, size):
            there = attachments_at(connection, work.conversation_no, [(row[0], row[1]) for row in page])
            going = {at for at, sender in stage.staged([(row[0], row[1]) for row in page]).items() if sender is None}
            rows = [row for row in page if (row[0], row[1]) not in there.keys() | going]
            results = [_opened(key, work.conversation_id, row) for row in rows]
            found |= stage_attachments(recorder, work, key, [row[:3] for row in rows], results)
    return found


def _looked_at(connection: sa.Connection, conversation_no: int) -> bool:
    table = tables.conversation
    text = connection.scalar(sa.select(table.c.source_through).where(table.c.conversation_no == conversation_no))
    return bool(json.loads(text or "{}").get("attachments"))


def _opened(key: DataKey, conversation_id: str, row: StoredMessage) -> Opened | GapReason:
    """What a stored message says; one that does not open is for `verify` to report, and has no attachments here."""
    try:
        return row[3], history.open_row(key, conversation_id, row)
    except IntegrityError:
        return GapReason.CORRUPT
