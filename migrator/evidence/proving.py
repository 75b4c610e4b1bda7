"""`audit prove`: a bundle about an account, a conversation, a message or one entry, for who trusts nobody here.

A bundle about an account has the entries of its conversations as well: of the mailboxes that it owns and the source
still has, each under a reference of its own. Shared rooms are not one account's. Who asks about an account or a
conversation leaves an entry (`log.read`), which is in the bundle as well.
"""

from pathlib import Path

from migrator import anchoring, audit_review
from migrator.audit import query
from migrator.audit.bundle.writing import Bundle, BundleWriter, PageProof
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

    A message of an account is named with both: the account, and which of its conversations holds it. Everything that
    waits is signed first, and the anchors are asked where there are any. Raises `UsageError`, `AuditLogError`, and
    what `prove_message` raises.
    """
    _require_one(account, conversation, seq, message)
    if account is not None:
        reference = audit_review.look_up(campaign, account=account)
        refs = _references(campaign, account)
    else:
        reference = audit_review.look_up(campaign, conversation=conversation)
        refs = {} if conversation is None or reference is None else {conversation: reference}
    if conversation is not None and conversation not in refs:
        raise UsageError("the account does not own that conversation", hint="`migrator audit show` names references")
    campaign.audit.flush()
    log = anchoring.published(campaign)
    if seq is not None and not 0 <= seq < log.size:
        raise UsageError(
            f"the log has no entry {seq}: it has {log.size}, numbered from 0",
            hint="`migrator audit show` lists them with their numbers",
        )
    anchoring.anchor(campaign)
    page: PageProof | None = None
    if message is not None and conversation is not None:
        page = prove_message(campaign, conversation, refs[conversation], message)
    writer = BundleWriter(folder, log)
    if seq is not None:
        writer.add(seq)
        return writer.finish({"kind": "entry", "seq": str(seq)}, page)
    subjects = {ref for ref in (reference, *refs.values()) if ref is not None}
    found: set[str] = set()
    for entry in query.show(campaign.audit, Filters(subjects=subjects)):
        if entry["seq"] < log.size:
            writer.add(entry["seq"])
            found.add(entry["subject"])
    about: dict[str, str | list[str]] = {"kind": "conversation", "ref": reference or ""}
    if account is not None:
        about |= {"kind": "account", "conversations": sorted(found - {reference})}
    return writer.finish(about, page)


def _require_one(account: str | None, conversation: str | None, seq: int | None, message: str | None) -> None:
    if message is not None and conversation is None:
        raise UsageError("a message is found in its conversation", hint="name it as well: --conversation")
    one_of_account = account is not None and message is not None
    if [account, None if one_of_account else conversation, seq].count(None) != 2:
        raise UsageError("a bundle is about an account, a conversation or one entry", hint="name exactly one of them")


def _references(campaign: Campaign, account: str) -> dict[str, str]:
    """The conversations that an account owns, and their references: all of the source is walked once."""
    refs: dict[str, str] = {}
    with campaign.database.read() as connection:
        for page in campaign.store.population():
            owned = {found.conversation_id: account for found in page if found.owner_id == account}
            refs |= campaign.references.of(connection, owned)
    return refs
