"""The campaign's channels as sending sees them: open, in order, and whether each may be used at this moment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from migrator import plugins, secrets
from migrator.campaign import Campaign, CampaignSpec
from migrator.channels.interface import ChannelAddress, NoticeChannel
from migrator.core.clock import format_time, parse_time
from migrator.core.errors import ChannelError, ConfigError
from migrator.core.model import Account
from migrator.database import tables
from migrator.notices import messages
from migrator.notices.routing import Way


@dataclass(slots=True)
class Outlet:
    """One channel. `resting`: nothing more goes to it in this `send`; `trouble`: it failed as a whole."""

    name: str
    port: NoticeChannel
    disabled: bool = False
    resting: bool = False
    trouble: ChannelError | None = None


@dataclass(slots=True)
class Outlets:
    """All channels, in the order in which they are tried."""

    every: list[Outlet] = field(default_factory=list)

    def named(self, name: str) -> Outlet:
        """The channel of that name, which is one of these."""
        return next(outlet for outlet in self.every if outlet.name == name)

    def ways(self, account: Account, address_ref: str | None) -> list[Way]:
        """The channels as they are for one account; `address_ref`: the keyed reference of its mail address."""
        return [
            Way(
                name=outlet.name,
                obstacle=_obstacle(account) if outlet.port.by_mail else None,
                address_ref=address_ref if outlet.port.by_mail else None,
                disabled=outlet.disabled,
                resting=outlet.resting,
            )
            for outlet in self.every
        ]

    def recall(self, connection: sa.Connection, now: datetime) -> None:
        """Take over what earlier sendings learnt: a channel that is gone, or asked for patience."""
        table = tables.notice_channel
        for row in connection.execute(sa.select(table)):
            for outlet in self.every:
                if outlet.name == row.channel:
                    outlet.disabled = row.disabled_at is not None
                    outlet.resting = row.not_before is not None and now < parse_time(row.not_before)

    def require_one(self) -> None:
        """Raise `ChannelError` if every channel was switched off."""
        if all(outlet.disabled for outlet in self.every):
            raise ChannelError(
                "every notice channel was switched off by its receiver (410 Gone)",
                hint="see `migrator notify status`; `migrator notify resume` switches them on again",
            )


def names(campaign: Campaign) -> list[str]:
    """The names of the configured channels, in order."""
    return [ChannelAddress.parse(text).name for text in campaign.settings.notify.channels]


def open_channels(spec: CampaignSpec) -> Mapping[str, NoticeChannel]:
    """The configured channels by name, in order. Raises `ConfigError` and `ChannelError`."""
    found: dict[str, NoticeChannel] = {}
    for text in spec.settings.notify.channels:
        address = ChannelAddress.parse(text)
        if address.name in found:
            raise ConfigError(
                f"notify.channel: there are two channels of the name {address.name!r}",
                hint="give one of them another: …#name=second",
            )
        resolve = partial(secrets.resolve, directory=spec.directory)
        found[address.name] = plugins.channel_class(address).open(address, directory=spec.directory, resolve=resolve)
    return found


@contextmanager
def opened(campaign: Campaign) -> Iterator[Outlets]:
    """The campaign's channels while the block runs."""
    outlets = Outlets([Outlet(name, port) for name, port in open_channels(campaign.spec).items()])
    try:
        yield outlets
    finally:
        for outlet in outlets.every:
            outlet.port.close()


def rest(connection: sa.Connection, name: str, until: datetime, detail: str) -> None:
    """Remember that a channel asked for patience."""
    _record(connection, name, not_before=format_time(until), detail=detail)


def disable(connection: sa.Connection, name: str, now: datetime, detail: str) -> None:
    """Remember that a channel wants nothing more."""
    _record(connection, name, disabled_at=format_time(now), detail=detail)


def _record(connection: sa.Connection, name: str, **values: str) -> None:
    table = tables.notice_channel
    if connection.scalar(sa.select(table.c.channel).where(table.c.channel == name)) is None:
        connection.execute(table.insert().values(channel=name, **values))
    else:
        connection.execute(table.update().where(table.c.channel == name).values(**values))


def _obstacle(account: Account) -> str | None:
    if not account.email:
        return "no address"
    return None if messages.parse_address(account.email) is not None else "invalid address"
