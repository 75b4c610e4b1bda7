"""What `migrator init` makes besides the configuration file: keys, migrator database, audit log, the campaign itself.

Rules:

1. Each step keeps what is there, so that a rerun finishes what a killed one began. The campaign's row comes last.
2. A key that something was wrapped or signed with is never made anew: a lost one comes back from a backup, or never.
3. A migrator database belongs to one campaign in one environment; see `migrator.takeover`.
"""

import secrets
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from migrator import plugins, recipient_key, takeover
from migrator.audit import outbox, signing_key
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign, CampaignSpec, reference_context
from migrator.core.clock import format_time
from migrator.core.errors import AuditLogError, ConfigError, KeyServiceError
from migrator.database import schema, tables
from migrator.keyservices.interface import KeyRefusal, KeyService

_REFERENCE_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStep:
    """One thing that a campaign needs, and whether it was made just now or there already."""

    what: str
    path_or_name: str
    made: bool


def initialise(spec: CampaignSpec) -> list[SetupStep]:
    """Make whatever the campaign still lacks; idempotent. What is reported as made is on disk."""
    try:
        spec.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {spec.directory} can't be made: {error.strerror}", hint="name a place that is yours to write"
        ) from None
    campaign = Campaign(spec)
    try:
        steps = [_database(campaign)]
        steps += _key_services(campaign)
        steps += [_signing_key(campaign), _audit_directory(campaign)]
        steps += _campaign(campaign)
        campaign.audit.flush()
    finally:
        campaign.close()
    return steps


# --- the migrator database ---


def _database(campaign: Campaign) -> SetupStep:
    campaign.database.make_file()
    schema.refuse_newer(campaign.database)
    with campaign.database.read() as connection:
        takeover.other_holder(connection, campaign)  # not even upgraded if it is another campaign's
    made = schema.upgrade(campaign.database)
    takeover.take_over(campaign)
    url = campaign.database.url
    name = url.database if campaign.database.is_sqlite and url.database else url.render_as_string(hide_password=True)
    return SetupStep(what="migrator database", path_or_name=name, made=made)


# --- keys ---


def _key_services(campaign: Campaign) -> list[SetupStep]:
    """Make the keys that are missing, unless something is wrapped under one that can't be opened."""
    keys = campaign.settings.keys
    addresses = list(dict.fromkeys([keys.service, *keys.regions.values()]))  # a former one is not made anew
    recorded = _recorded_key_services(campaign)
    opened: dict[str, str] = {}
    refused: list[KeyServiceError] = []
    for address in campaign.key_services.addresses():
        try:
            opened[address] = _open(campaign, address).name
        except KeyServiceError as error:
            refused.append(error)
    if refused and recorded - set(opened.values()):
        raise refused[0]
    return [_key_service(campaign, address, keep=opened.get(address) in recorded) for address in addresses]


def _key_service(campaign: Campaign, address: str, *, keep: bool) -> SetupStep:
    implementation, rest = plugins.key_service_class(address)
    made = not keep and implementation.create(rest, directory=campaign.spec.directory)
    return SetupStep(what="key service", path_or_name=_open(campaign, address).name, made=made)


def _open(campaign: Campaign, address: str) -> KeyService:
    implementation, rest = plugins.key_service_class(address)
    return implementation.open(rest, directory=campaign.spec.directory)


def _recorded_key_services(campaign: Campaign) -> set[str]:
    """Names of the key services that wrapped anything that is still there."""
    recipient, data = tables.recipient_key.c, tables.data_key.c
    query = sa.union(
        sa.select(tables.campaign.c.reference_key_service),
        sa.select(recipient.key_service).where(recipient.wrapped_private_key.is_not(None)),
        sa.select(data.key_service).where(data.wrapped_keyset.is_not(None)),
    )
    with campaign.database.read() as connection:
        return set(connection.execute(query).scalars())


def _signing_key(campaign: Campaign) -> SetupStep:
    reference, directory = campaign.settings.audit.signing_key, campaign.spec.directory
    name = signing_key.name(reference, directory)
    if _campaign_exists(campaign) and signing_key.missing(reference, directory):
        raise AuditLogError(
            f"the audit log's signing key {name} is missing",
            hint="restore it from a backup: a log that another key goes on signing is not the same log",
        )
    made = signing_key.create(reference, directory)
    signing_key.load(reference, directory)
    return SetupStep(what="audit log's signing key", path_or_name=name, made=made)


# --- the audit log and the campaign ---


def _audit_directory(campaign: Campaign) -> SetupStep:
    path = campaign.spec.directory / campaign.settings.audit.directory
    _require_same_origin(campaign)
    made = campaign.audit.create()
    return SetupStep(what="audit log", path_or_name=str(path), made=made)


def _require_same_origin(campaign: Campaign) -> None:
    with campaign.database.read() as connection:
        origins = set(connection.execute(sa.select(tables.audit_state.c.origin)).scalars())
    if origins - {campaign.settings.origin}:
        raise ConfigError(
            f"the campaign's audit log was opened as {min(origins)!r}, not as {campaign.settings.origin!r}",
            hint="put audit.origin back: a log keeps its origin for life",
        )


def _campaign_exists(campaign: Campaign) -> bool:
    with campaign.database.read() as connection:
        return connection.execute(sa.select(tables.campaign.c.name)).first() is not None


def _campaign(campaign: Campaign) -> list[SetupStep]:
    """The campaign's row and its recipient key, together with the event that opens the log."""
    made = not _campaign_exists(campaign)
    if made:
        made = _insert(campaign, _campaign_row(campaign), _recipient_row(campaign))
    with campaign.database.read() as connection:
        recipient_key_id = recipient_key.newest(connection).recipient_key_id
    return [
        SetupStep(what="campaign", path_or_name=campaign.name, made=made),
        SetupStep(what="recipient key", path_or_name=recipient_key_id, made=made),
    ]


def _campaign_row(campaign: Campaign) -> dict[str, Any]:
    service = campaign.key_services.default()
    wrapped = service.wrap([(secrets.token_bytes(_REFERENCE_KEY_BYTES), reference_context(campaign.name))])[0]
    if isinstance(wrapped, KeyRefusal):
        raise KeyServiceError(f"{service.name} does not wrap the campaign's reference key: {wrapped.detail}")
    return {
        "name": campaign.name,
        "environment": campaign.settings.campaign.environment.value,
        "created_at": format_time(campaign.clock.now()),
        "reference_key_service": service.name,
        "wrapped_reference_key": wrapped,
    }


def _recipient_row(campaign: Campaign) -> dict[str, Any]:
    kem = campaign.settings.keys.recipient_kem
    return recipient_key.create(campaign.name, campaign.key_services.default(), kem, campaign.clock.now())


def _insert(campaign: Campaign, row: dict[str, Any], recipient_row: dict[str, Any]) -> bool:
    """One transaction; False if somebody else's setup was faster."""
    opened = Event(
        type=EventType.LOG_OPENED,
        data={
            "campaign": campaign.name,
            "environment": str(row["environment"]),
            "recipient_key_id": str(recipient_row["recipient_key_id"]),
            "kem": str(recipient_row["kem"]),
            "key_service": str(row["reference_key_service"]),
        },
    )
    with campaign.database.write("campaign-setup") as connection:
        if connection.execute(sa.select(tables.campaign.c.name)).first() is not None:
            return False
        connection.execute(tables.campaign.insert(), row)
        connection.execute(tables.recipient_key.insert(), recipient_row)
        outbox.record(connection, [opened], actor=campaign.actor, now=campaign.clock.now())
    return True
