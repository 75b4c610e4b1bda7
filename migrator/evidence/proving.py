"""`audit prove`: a bundle about an account, a conversation, a message or one entry, for who trusts nobody here.

Who asks about an account or a conversation leaves an entry (`log.read`), which is in the bundle as well.
"""

from collections.abc import Iterator
from pathlib import Path

from migrator import anchoring, audit_review
from migrator.audit import query
from migrator.audit.bundle.writing import Bundle, BundleWriter, PageProof
from migrator.audit.published import PublishedLog
from migrator.audit.query import Filters
from migrator.campaign import Campaign
from migrator.core.errors import UsageError
from migrator.evidence.pages import prove_message


def prove(
    campaign: Campaign,
    folder: Path,
    *,
    account: str | None = None,
    conversation: str | None = None,
    seq: int | None = None,
    message: str | None = None,
) -> Bundle:
    """Write a bundle into a new folder. Exactly one of account, conversation and seq is named; message with the second.

    Everything that waits is signed first, and the anchors are asked where there are any. Raises `UsageError`,
    `AuditLogError`, and what `prove_message` raises.
    """
    if [account, conversation, seq].count(None) != 2:
        raise UsageError("a bundle is about an account, a conversation or one entry", hint="name exactly one of them")
    if message is not None and conversation is None:
        raise UsageError("a message is found in its conversation", hint="name it as well: --conversation")
    reference = audit_review.look_up(campaign, account=account, conversation=conversation)
    campaign.audit.flush()
    log = anchoring.published(campaign)
    if seq is not None and not 0 <= seq < log.size:
        raise UsageError(f"the log has no entry {seq}: it has {log.size}, numbered from 0")
    anchoring.anchor(campaign)
    page: PageProof | None = None
    if message is not None and conversation is not None and reference is not None:
        page = prove_message(campaign, conversation, reference, message)
    about = _about(account, reference, seq)
    writer = BundleWriter(folder, log)
    for number in _entries(campaign, log, reference, seq):
        writer.add(number)
    return writer.finish(about, page)


def _about(account: str | None, reference: str | None, seq: int | None) -> dict[str, str]:
    if reference is None:
        return {"kind": "entry", "seq": str(seq)}
    return {"kind": "account" if account is not None else "conversation", "ref": reference}


def _entries(campaign: Campaign, log: PublishedLog, reference: str | None, seq: int | None) -> Iterator[int]:
    """Numbers of the entries that the bundle is about."""
    if seq is not None:
        yield seq
        return
    for entry in query.show(campaign.audit, Filters(subject=reference)):
        if entry["seq"] < log.size:
            yield entry["seq"]
