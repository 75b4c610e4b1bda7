"""A campaign as one process has it open: settings, clock, database, source, key services, references.

`CampaignSpec` is what crosses a process boundary: settings and paths, never keys. A worker opens its own `Campaign`
from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import sqlalchemy as sa

from migrator import plugins
from migrator.audit import signing_key
from migrator.audit.log import AuditLog
from migrator.audit.references import References
from migrator.core.clock import Clock
from migrator.core.encoding import canonical_json
from migrator.core.errors import ConfigError, KeyServiceError
from migrator.core.model import Environment
from migrator.core.settings import Settings, SourceSettings
from migrator.database import schema, tables
from migrator.database.connect import Database
from migrator.key_routing import KeyServices
from migrator.keyservices.interface import KeyRefusal
from migrator.schemes.interface import Scheme
from migrator.secrets import absolute_url, resolve_text
from migrator.stores.interface import MessageStore


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignSpec:
    """All that a process needs to open a campaign. `actor` is who the audit log names; paths are below `directory`."""

    settings: Settings
    directory: Path
    clock: Clock
    actor: str


class Campaign:
    """An open campaign. Everything that it opens is closed by `close`; services take it as their first argument."""

    def __init__(self, spec: CampaignSpec, *, read_only: bool = False) -> None:
        self.spec = spec
        self.settings = spec.settings
        self.clock = spec.clock
        self.actor = spec.actor
        self.name = spec.settings.campaign.name
        self.key_services = KeyServices(spec.settings.keys, spec.directory)
        url = resolve_text(spec.settings.database.url, spec.directory)
        self.database = Database(
            absolute_url(url, spec.directory), schema=spec.settings.database.schema_name, read_only=read_only
        )

    @property
    def in_production(self) -> bool:
        """Whether every gate is closed until its condition holds."""
        return self.settings.campaign.environment is Environment.PRODUCTION

    @cached_property
    def store(self) -> MessageStore:
        """The source, opened at first use."""
        return open_store(self.spec)

    @cached_property
    def scheme(self) -> Scheme:
        """What opens the source's messages."""
        return plugins.scheme(plugins.store_class(self.settings.source.kind).scheme)

    @cached_property
    def references(self) -> References:
        """Keyed references for the audit log; one unwrap a process."""
        with self.database.read() as connection:
            row = connection.execute(
                sa.select(tables.campaign.c.reference_key_service, tables.campaign.c.wrapped_reference_key).where(
                    tables.campaign.c.name == self.name
                )
            ).one_or_none()
        if row is None:
            raise ConfigError(
                f"the migrator database does not hold campaign {self.name!r}",
                hint="check campaign.name and database.url; `migrator init` starts a new campaign",
            )
        key = self.key_services.named(row[0]).unwrap([(row[1], reference_context(self.name))])[0]
        if isinstance(key, KeyRefusal):
            raise KeyServiceError(f"the key service does not unwrap the campaign's reference key: {key.detail}")
        return References(key)

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log of this campaign."""
        return AuditLog(
            self.database,
            self.spec.directory / self.settings.audit.directory,
            origin=self.settings.origin,
            load_signer=partial(signing_key.load, self.settings.audit.signing_key, self.spec.directory),
        )

    def close(self) -> None:
        """Close what was opened."""
        if "store" in self.__dict__:
            self.store.close()
        self.database.close()


def open_store(spec: CampaignSpec) -> MessageStore:
    """The source that a campaign's settings name."""
    settings = spec.settings
    kind = plugins.store_class(settings.source.kind)
    quorum = settings.authorization.quorum
    if quorum not in kind.quorums:
        raise ConfigError(
            f"authorization.quorum {quorum.value!r} does not fit source kind {kind.kind!r}",
            hint=f"it has {', '.join(sorted(q.value for q in kind.quorums))}",
        )
    return kind.open(located_source(spec))


def located_source(spec: CampaignSpec) -> SourceSettings:
    """The source's settings with references resolved and paths absolute, as stores take them."""
    source, directory = spec.settings.source, spec.directory
    found: dict[str, str | None] = {"url": absolute_url(resolve_text(source.url, directory), directory)}
    if source.legal_holds is not None:
        found["legal_holds"] = str(directory.absolute() / source.legal_holds)
    return source.model_copy(update=found)


def reference_context(campaign: str) -> bytes:
    """What the wrapped reference key is bound to."""
    return canonical_json({"campaign": campaign, "purpose": "reference-key"})


def opened(spec: CampaignSpec, *, read_only: bool = False) -> Campaign:
    """A campaign whose database exists, has this program's schema and belongs to this campaign; to be closed."""
    campaign = Campaign(spec, read_only=read_only)
    try:
        schema.require_current(campaign.database)
        _require_own(campaign)
    except BaseException:
        campaign.close()
        raise
    return campaign


@contextmanager
def open_campaign(spec: CampaignSpec, *, read_only: bool = False) -> Iterator[Campaign]:
    """The same while a block runs."""
    campaign = opened(spec, read_only=read_only)
    try:
        yield campaign
    finally:
        campaign.close()


def _require_own(campaign: Campaign) -> None:
    """The database's name and environment are the settings'.

    Without this, one edited word in the configuration, `staging`, would open the gates of production (G2).
    """
    environment = campaign.settings.campaign.environment.value
    with campaign.database.read() as connection:
        held = connection.execute(sa.select(tables.campaign.c.name, tables.campaign.c.environment)).first()
    if held is None:
        raise ConfigError(
            "the migrator database holds no campaign yet", hint="`migrator init` starts one; check database.url"
        )
    if (held.name, held.environment) != (campaign.name, environment):
        raise ConfigError(
            f"the migrator database holds campaign {held.name!r} ({held.environment}), "
            f"not {campaign.name!r} ({environment})",
            hint="check campaign.name, campaign.environment and database.url; `migrator init` starts a campaign",
        )
