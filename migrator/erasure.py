"""`audit erase`: makes what the audit log says of one subject unlinkable, for good. The log itself stays as it is.

1. A subject is an account, or a shared room. Its entries, and those of the conversations that an account owns, are
   named by references under a key of its own; without its salt nobody can compute them again.
2. Not while one of its conversations has a living data key: the key is bound to the reference, which the key service
   was told. Roll back or destroy first.
3. References that its destroyed data keys still carry in the database go with the salt, in one transaction with the
   entry that says so (`key.destroyed`, under the reference that is erased).
4. No run goes on meanwhile: it would give the subject another salt, and its keys another reference.

What others hold stays linkable: bundles that were handed out, and entries with the digest of a record (authorisation,
export) for who has that record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from migrator import lease
from migrator.audit import outbox
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import GateError, UsageError
from migrator.database import tables
from migrator.database.bulk import chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased. `erased` is False where nothing led to the subject any more. `keys`: destroyed data keys."""

    erased: bool
    keys: int = 0


def erase(
    campaign: Campaign, *, account: str | None = None, conversation: str | None = None, confirm: str | None
) -> Erasure:
    """Erase the reference key of an account or of a shared room, whichever is named.

    Raises `UsageError` for neither, both or a mailbox, `GateError` without the campaign's name as `confirm` and while
    a data key lives, `LeaseHeldError` while a run is at work.
    """
    if (account is None) == (conversation is None):
        raise UsageError("a reference key is an account's or a shared room's", hint="name exactly one of them")
    if confirm != campaign.name:
        raise GateError(
            "erasing a reference key can't be undone, and asks for the campaign's name",
            hint=f"type it when asked, or give --confirm {campaign.name}",
        )
    with lease.hold(campaign, purpose="erase"):
        subject, named = _subject(campaign, account, conversation)
        references = campaign.references  # asks the key service: not while others wait for this transaction
        with campaign.database.write("erase-reference") as connection:
            salt = tables.reference_salt
            known = connection.scalar(sa.select(salt.c.subject_id).where(salt.c.subject_id == subject))
            if known is None:
                return Erasure(erased=False)
            keys = _unlink_keys(connection, named)
            reference = references.of(connection, {subject: subject})[subject]
            connection.execute(salt.delete().where(salt.c.subject_id == subject))
            event = Event(type=EventType.KEY_DESTROYED, subject=reference, data={"reference_key": reference})
            outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
    campaign.audit.flush()
    return Erasure(erased=True, keys=keys)


def _subject(campaign: Campaign, account: str | None, conversation: str | None) -> tuple[str, list[str]]:
    """Whose key it is, and the conversations that are named under it: all of the source is walked for an account."""
    if conversation is not None:
        found = campaign.store.conversations([conversation]).get(conversation)
        if found is not None and found.owner_id is not None:
            raise UsageError("a mailbox is named under its owner's key", hint="name the owner: --account")
        return conversation, [conversation]
    owned = [c.conversation_id for page in campaign.store.population() for c in page if c.owner_id == account]
    return str(account), owned


def _unlink_keys(connection: sa.Connection, conversation_ids: Sequence[str]) -> int:
    """Take the references out of destroyed data keys; `GateError` where one lives."""
    conversation, key = tables.conversation, tables.data_key
    count = 0
    for chunk in chunks(conversation_ids):
        numbers = sa.select(conversation.c.conversation_no).where(conversation.c.conversation_id.in_(chunk))
        theirs = key.c.conversation_no.in_(numbers)
        living = connection.scalar(
            sa.select(sa.func.count()).select_from(key).where(theirs, key.c.wrapped_keyset.is_not(None))
        )
        if living:
            raise GateError(
                f"{living} or more data keys of the subject's conversations live: they are bound to its references",
                hint="the server history goes first; then nothing needs the references any more",
            )
        count += connection.execute(key.update().where(theirs).values(context="")).rowcount
    return count
