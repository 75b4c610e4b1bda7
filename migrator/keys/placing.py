"""Where each wrapped key should be: which service, and under which version of its key."""

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.encoding import canonical_json
from migrator.core.errors import UsageError
from migrator.core.model import Conversation
from migrator.database import tables
from migrator.database.bulk import chunks
from migrator.key_routing import PatientKeyService
from migrator.keys.versions import newest_version

Regions = frozenset[str | None]
NOWHERE: Final[Regions] = frozenset()


class Places:
    """Decides where keys go, and knows the newest version of each service that they may go to."""

    def __init__(self, campaign: Campaign, to: str | None) -> None:
        self._campaign = campaign
        keys = campaign.settings.keys
        in_use = campaign.key_services.all()
        self._to = None if to is None else _found(to, in_use, [keys.service, *keys.regions.values()], campaign)
        self._open = {service.name: service for service in (in_use if self._to is None else [self._to])}
        self._newest = {name: newest_version(campaign, service) for name, service in self._open.items()}

    @property
    def target(self) -> str:
        """What a rewrap is after, as text: the same for one that goes on."""
        return canonical_json({"to": self._to.name if self._to else None, "newest": self._newest}).decode()

    def for_campaign_key(self, held_by: str) -> PatientKeyService | None:
        """Where a key of the campaign itself goes; None: it stays as it is."""
        if self._to is None:
            return self._open.get(held_by)
        return self._to if self._to is self._campaign.key_services.default() else None

    def for_data_key(self, held_by: str, regions: Regions) -> PatientKeyService | None:
        """Where a data key goes; None: it stays as it is."""
        if self._to is None:
            return self._open.get(held_by)
        service = self._campaign.key_services.for_regions(regions)
        return service if service is not None and service.name == self._to.name else None

    def is_there(self, held_by: str, service: PatientKeyService, wrapped: bytes) -> bool:
        """Whether a blob is known to be where it should be, under the newest version."""
        newest = self._newest[service.name]
        return held_by == service.name and newest != "" and service.version(wrapped) == newest

    def regions(self, connection: sa.Connection, conversation_nos: Sequence[int]) -> Mapping[int, Regions]:
        """Where conversations belong now; nowhere, if the source does not have them any more."""
        if self._to is None or not self._campaign.settings.keys.regions:
            return dict.fromkeys(conversation_nos, NOWHERE)
        table = tables.conversation
        names: dict[int, str] = {}
        for chunk in chunks(conversation_nos):
            query = sa.select(table.c.conversation_no, table.c.conversation_id).where(
                table.c.conversation_no.in_(chunk)
            )
            names.update(connection.execute(query).all())
        store = self._campaign.store
        found = store.conversations(list(names.values()))
        accounts = store.accounts(sorted({account for c in found.values() for account in _living_there(c)}))
        return {
            number: frozenset(
                accounts[account].region if account in accounts else None for account in _living_there(found[name])
            )
            if name in found
            else NOWHERE
            for number, name in names.items()
        }


def _living_there(conversation: Conversation) -> tuple[str, ...]:
    return conversation.participants if conversation.owner_id is None else (conversation.owner_id,)


def _found(
    to: str, in_use: Sequence[PatientKeyService], addresses: Sequence[str], campaign: Campaign
) -> PatientKeyService:
    for service in in_use:
        if to == service.name:
            return service
    if to in addresses:
        return campaign.key_services.at(to)
    raise UsageError(
        "--to names no key service that is in use",
        hint=f"it is one of {', '.join(service.name for service in in_use)}; set keys.service or [keys.regions] first, "
        "and name the one that it replaces under [keys.former]",
    )
