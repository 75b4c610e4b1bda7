"""Verifies a run: every item, every stored message, every count, every event.

1. The audit log must be the one that the database remembers; otherwise nothing could be proved (exit status 41).
2. Items are taken page by page in the order of conversation numbers; each page is one view of the database, and is
   saved before the next, so that a verification that was killed goes on there. So are the page's attachments.
3. Then the whole: the population, rows that belong to nothing, events against outcomes, the log against the events.
4. The result and its event are one transaction. Nothing else is written, and nothing is repaired.
"""

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import UsageError
from migrator.core.progress import Progress
from migrator.database import tables
from migrator.execution import runs
from migrator.garbage import rarely_collected
from migrator.verification import checkpoint as checkpoints
from migrator.verification import structure, totals
from migrator.verification.attachments import AttachmentExaminer, count_strays
from migrator.verification.checkpoint import Checkpoint
from migrator.verification.content import Examiner
from migrator.verification.findings import Verification


def verify(campaign: Campaign, run_id: str | None, *, sample: float | None, progress: Progress) -> Verification:
    """Verify a run, the latest unless one is named; `sample`: open so many per cent of the conversations, None all."""
    if sample is not None and not 0 < sample <= 100:
        raise UsageError("a sample is more than 0 % and at most 100 %", hint="for example --sample 5%")
    campaign.audit.check()
    with campaign.database.read() as connection:
        run = runs.find(connection, run_id)
    checkpoint = checkpoints.begin(campaign, run, "all" if sample is None else f"{sample:g}%")
    _announce(campaign, checkpoint, progress)
    with rarely_collected():
        _items(campaign, checkpoint, sample, progress)
    progress.phase("reconciling", total=None, unit="events")
    count_strays(campaign, checkpoint.findings)
    with campaign.database.read() as connection:
        totals.check_population(connection, run, checkpoint.findings)
        totals.check_orphans(connection, checkpoint.findings)
        totals.check_events(connection, run, checkpoint.findings)
        totals.check_log(campaign, connection, checkpoint.findings)
    result = checkpoints.finish(campaign, checkpoint)
    campaign.audit.flush()
    return result


def _items(campaign: Campaign, checkpoint: Checkpoint, sample: float | None, progress: Progress) -> None:
    examiner = Examiner(campaign, checkpoint.run.run_id, sample, checkpoint.findings)
    attached = AttachmentExaminer(campaign, checkpoint.findings)
    while True:
        with campaign.database.read() as connection:
            items = structure.page(connection, checkpoint.run.run_id, checkpoint.through_no)
            if not items:
                return
            structure.check(connection, checkpoint.run, items, checkpoint.findings)
            examiner.examine(connection, items)
        attached.examine(examiner.chosen, examiner.openable)
        checkpoints.save(campaign, checkpoint, items[-1].conversation_no)
        progress.advance(sum(item.messages + item.gaps for item in items))


def _announce(campaign: Campaign, checkpoint: Checkpoint, progress: Progress) -> None:
    item = tables.item
    total = sa.select(sa.func.sum(item.c.messages + item.c.gaps)).where(item.c.run_id == checkpoint.run.run_id)
    with campaign.database.read() as connection:
        everything = connection.scalar(total)
        done = connection.scalar(total.where(item.c.conversation_no <= checkpoint.through_no))
    progress.phase("verifying", total=int(everything or 0), done=int(done or 0))
