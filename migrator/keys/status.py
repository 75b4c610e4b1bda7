"""`keys status`: how many keys each service has wrapped, under which version, and what is left to be moved."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from migrator.campaign import Campaign
from migrator.core.errors import KeyServiceError, KeyServiceUnavailableError
from migrator.core.redaction import redact_setting
from migrator.database import tables
from migrator.key_routing import PatientKeyService
from migrator.keys.campaign_keys import campaign_keys
from migrator.keys.versions import newest_version

_FETCH: Final = 5000
_LOST: Final = "nothing that is configured is this one: name it under [keys.former]"
_LOST_OR_AWAY: Final = "nothing that can be opened is this one: mend what can't be, or name it under [keys.former]"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedCount:
    """So many keys of a kind (`data`, `recipient`, `reference`) under one version; empty: the blobs don't tell."""

    kind: str
    key_service: str
    key_version: str
    keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """A service that is configured, or that wrapped something. `problem`: why it can't be asked.

    `uses`: `campaign`, `region EU`, `former`; none: it can't be used, and what it wrapped can't be opened.
    `behind`: keys that are not under its newest version, as far as blobs tell.
    """

    name: str
    uses: tuple[str, ...]
    newest_version: str | None
    behind: int | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysStatus:
    """All wrapped keys. `unfinished`: a rewrap was interrupted, and goes on when it is called again."""

    wrapped: tuple[WrappedCount, ...]
    destroyed: int
    services: tuple[ServiceStatus, ...]
    unfinished: bool


def status(campaign: Campaign) -> KeysStatus:
    """Count every wrapped key; each service is asked once, with the campaign's context."""
    opened, problems = _open(campaign)
    by_name = {service.name: service for service in opened.values()}
    counts: Counter[tuple[str, str, str]] = Counter()
    with campaign.database.read() as connection:
        for kind, name, wrapped in _blobs(connection, campaign):
            counts[kind, name, by_name[name].version(wrapped) if name in by_name else ""] += 1
        keys, moves = tables.data_key, tables.rewrap
        gone = sa.select(sa.func.count()).select_from(keys).where(keys.c.wrapped_keyset.is_(None))
        destroyed = connection.scalar(gone) or 0
        unfinished = connection.execute(sa.select(moves.c.rewrap_id).where(moves.c.finished_at.is_(None))).first()
    uses = _uses(campaign, opened)
    services = [_service(campaign, service, uses[name], counts) for name, service in sorted(by_name.items())]
    services += [_absent(redact_setting(address), problem) for address, problem in problems.items()]
    lost = sorted(
        name
        for name in {name for _, name, _ in counts} - problems.keys()
        if not any(service.answers_to(name) for service in opened.values())
    )
    services += [_absent(name, _LOST_OR_AWAY if problems else _LOST) for name in lost]
    return KeysStatus(
        wrapped=tuple(
            WrappedCount(kind=kind, key_service=name, key_version=version, keys=number)
            for (kind, name, version), number in sorted(counts.items())
        ),
        destroyed=destroyed,
        services=tuple(services),
        unfinished=unfinished is not None,
    )


def _open(campaign: Campaign) -> tuple[dict[str, PatientKeyService], dict[str, str]]:
    """The configured services, and why some can't be opened, both by address."""
    opened: dict[str, PatientKeyService] = {}
    problems: dict[str, str] = {}
    for address in campaign.key_services.addresses():
        try:
            opened[address] = campaign.key_services.at(address)
        except (KeyServiceError, KeyServiceUnavailableError) as error:
            problems[address] = error.message
    return opened, problems


def _uses(campaign: Campaign, opened: Mapping[str, PatientKeyService]) -> dict[str, tuple[str, ...]]:
    """What the settings use each opened service for, by its name."""
    keys = campaign.settings.keys
    said = [("campaign", keys.service)]
    said += [(f"region {region}", address) for region, address in sorted(keys.regions.items())]
    said += [("former", address) for address in keys.former.values()]
    uses: dict[str, tuple[str, ...]] = {}
    for use, address in said:
        if address in opened:
            uses[opened[address].name] = (*uses.get(opened[address].name, ()), use)
    return uses


def _blobs(connection: sa.Connection, campaign: Campaign) -> Iterator[tuple[str, str, bytes]]:
    """(kind, service, blob) of every key that is there; memory does not grow with their number."""
    for key in campaign_keys(connection, campaign):
        yield ("reference" if key.is_reference_key else "recipient"), key.key_service, key.wrapped
    table = tables.data_key
    query = sa.select(table.c.key_service, sa.cast(table.c.wrapped_keyset, sa.LargeBinary)).where(
        table.c.wrapped_keyset.is_not(None)
    )
    for service, wrapped in connection.execute(query.execution_options(yield_per=_FETCH)):
        yield "data", service, bytes(wrapped)


def _service(
    campaign: Campaign, service: PatientKeyService, uses: tuple[str, ...], counts: Counter[tuple[str, str, str]]
) -> ServiceStatus:
    newest, problem = None, None
    try:
        newest = newest_version(campaign, service) or None
    except (KeyServiceError, KeyServiceUnavailableError) as error:
        problem = error.message
    others = sum(number for (_, name, version), number in counts.items() if name == service.name and version != newest)
    return ServiceStatus(
        name=service.name, uses=uses, newest_version=newest, behind=others if newest else None, problem=problem
    )


def _absent(name: str, problem: str) -> ServiceStatus:
    return ServiceStatus(name=name, uses=(), newest_version=None, behind=None, problem=problem)
