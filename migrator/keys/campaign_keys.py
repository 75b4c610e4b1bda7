"""The few keys of the campaign itself, which its own service wraps: recipient keys and the reference key."""

from dataclasses import dataclass, field

import sqlalchemy as sa

from migrator import recipient_key
from migrator.campaign import Campaign, reference_context
from migrator.core.model import REFERENCE_KEY
from migrator.database import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignKey:
    """A wrapped key of the campaign. `subject`: the recipient key's id, or `REFERENCE_KEY`."""

    subject: str
    key_service: str
    context: bytes
    wrapped: bytes = field(repr=False)

    @property
    def is_reference_key(self) -> bool:
        """Whether it names accounts and conversations; otherwise it opens exports."""
        return self.subject == REFERENCE_KEY


def campaign_keys(connection: sa.Connection, campaign: Campaign) -> list[CampaignKey]:
    """All of them that were not destroyed."""
    held, keys = tables.campaign, tables.recipient_key
    found = [
        CampaignKey(
            subject=REFERENCE_KEY,
            key_service=row.reference_key_service,
            context=reference_context(campaign.name),
            wrapped=bytes(row.wrapped_reference_key),
        )
        for row in connection.execute(sa.select(held).where(held.c.name == campaign.name))
    ]
    query = sa.select(keys).where(keys.c.wrapped_private_key.is_not(None)).order_by(keys.c.recipient_key_id)
    for row in connection.execute(query):
        found.append(
            CampaignKey(
                subject=row.recipient_key_id,
                key_service=row.key_service,
                context=recipient_key.wrapping_context(campaign.name, row.recipient_key_id),
                wrapped=bytes(row.wrapped_private_key),
            )
        )
    return found


def replace(connection: sa.Connection, campaign: Campaign, key: CampaignKey, key_service: str, wrapped: bytes) -> bool:
    """Put another wrapping in a key's place; False if somebody else did or destroyed it."""
    held, keys = tables.campaign, tables.recipient_key
    if key.is_reference_key:
        statement = (
            held.update()
            .where(held.c.name == campaign.name, held.c.wrapped_reference_key == key.wrapped)
            .values(reference_key_service=key_service, wrapped_reference_key=wrapped)
        )
    else:
        statement = (
            keys.update()
            .where(keys.c.recipient_key_id == key.subject, keys.c.wrapped_private_key == key.wrapped)
            .values(key_service=key_service, wrapped_private_key=wrapped)
        )
    return connection.execute(statement).rowcount == 1
