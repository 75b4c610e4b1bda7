"""The settings of a campaign, as checked values. Loading them from files and the environment is `migrator.config`."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from migrator.core import setting_checks as checks
from migrator.core.cohorts import require_name
from migrator.core.model import Environment, Quorum


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


UtcDatetime = Annotated[AwareDatetime, AfterValidator(checks.utc)]


class CampaignSettings(_Section):
    """What moves when."""

    name: Annotated[str, AfterValidator(checks.campaign_name)]
    environment: Environment = Environment.STAGING
    cutover_at: UtcDatetime
    notice_period_days: int = Field(default=56, ge=0, le=3650)
    rollback_window_days: int = Field(default=30, ge=0, le=3650)
    sealed_grace_days: int = Field(default=180, ge=0, le=3650)


class SourceSettings(_Section):
    """The E2EE message store.

    `local_domain`: whose users a homeserver's accounts are. `legal_holds`: a file of user ids, for stores that have no
    table of holds. `unverifiable_senders`: whether messages are opened whose session is no known device's. `media`:
    where attachments lie, a folder or a URL that fsspec knows.
    """

    kind: str = "labyrinth"
    url: str
    local_domain: Annotated[str, AfterValidator(checks.server_name)] | None = None
    legal_holds: str | None = None
    unverifiable_senders: Literal["open", "gap"] = "open"
    media: str | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "labyrinth":
            for name in ("local_domain", "legal_holds", "unverifiable_senders"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"source.{name} means nothing to a Labyrinth store: take it out")
        if self.kind == "synapse" and self.local_domain is None:
            raise ValueError("source.local_domain is missing: it says whose users the homeserver's accounts are")
        return self


class DatabaseSettings(_Section):
    """migrator's own database."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)
    url: str = "sqlite:///migrator.db"
    schema_name: str | None = Field(default=None, alias="schema", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")


class KeysSettings(_Section):
    """Who wraps the data keys, and the kind of recipient key that `init` makes.

    `regions`: region → service; `former`: any label → a service that wrapped keys once and wraps nothing new.
    """

    service: str = "local:keys#migrator"
    regions: dict[str, str] = {}
    former: dict[str, str] = {}
    allow_local_keys: bool = False
    recipient_kem: Literal["X25519", "MLKEM768_X25519"] = "X25519"


class AuthorizationSettings(_Section):
    """Whose authorisation it takes, and which consent services may sign for their users."""

    quorum: Quorum = Quorum.EVERY_PARTICIPANT
    issuers: dict[str, Annotated[str, AfterValidator(checks.public_key)]] = {}


class ApprovalSettings(_Section):
    """Who may approve a plan in production: a file in OpenSSH's allowed signers format."""

    allowed_signers: str = "allowed_signers"


class ExecutionSettings(_Section):
    """How a run goes about its work.

    What limits it is what a run begins with (`core.run_limits`); from then on its own limits count. While the
    `throttle_flag_file`, or one of that name with `.<run id>` behind it, is there, a run waits; where a
    `panic_flag_file` is, it aborts.
    """

    engine: str = "local"
    workers: int = Field(default=0, ge=0, le=1024)
    page_size: int = Field(default=5000, ge=1, le=100_000)
    max_gap_fraction: float = Field(default=0.05, ge=0, le=1)
    max_failures: Annotated[str, AfterValidator(checks.share)] = "1%"
    max_rate: Annotated[str, AfterValidator(checks.rate)] | None = None
    max_duration: Annotated[str, AfterValidator(checks.duration)] | None = None
    max_load: Annotated[str, AfterValidator(checks.load)] | None = None
    critical_load: Annotated[str, AfterValidator(checks.load)] | None = None
    window: Annotated[str, AfterValidator(checks.window)] | None = None
    throttle_flag_file: str | None = None
    panic_flag_file: str | None = None
    metrics_file: str | None = Field(default=None, min_length=1)


class HooksSettings(_Section):
    """An operator's own programs that a run calls, and how long each may take."""

    directory: str | None = Field(default=None, min_length=1)
    timeout_seconds: int = Field(default=60, ge=1, le=3600)


Cohorts = dict[Annotated[str, AfterValidator(require_name)], Annotated[str, AfterValidator(checks.cohort_rule)]]
"""Names that an operator chooses → rules (`core.cohorts`): the one section without keys of its own."""


class AttachmentSettings(_Section):
    """Where sealed attachments go; without `target` they stay in the source. `max_bytes`: a larger one is a gap."""

    target: Annotated[str, AfterValidator(checks.blob_address)] | None = None
    max_bytes: int = Field(default=10 * 1024**3, ge=1, le=75 * 1024**3)


class NotifySettings(_Section):
    """How users are told.

    `channel`: one address or several; where the first does not reach an account, the next is tried. `templates`: a
    folder that overrides the shipped ones. `return_path`: where bounces go; each notice has one made from it.
    `schedule`: days before and after the cutover. `required_evidence`: what it takes for an account to count as told.
    """

    channel: tuple[str, ...] | str = "maildir:outbox"
    rate: Annotated[str, AfterValidator(checks.rate)] = "50/s"
    rate_per_domain: Annotated[str, AfterValidator(checks.rate)] | None = None
    default_locale: str = "en"
    templates: str | None = None
    sender: str = "no-reply@localhost"
    return_path: str | None = None
    platform: str = "the platform"
    help_url: Annotated[str, AfterValidator(checks.web_address)] | None = None
    quiet_hours: Annotated[str, AfterValidator(checks.quiet_hours)] | None = None
    max_bounces: Annotated[str, AfterValidator(checks.share)] = "5%"
    max_complaints: Annotated[str, AfterValidator(checks.share)] = "0.1%"
    required_evidence: Literal["E1", "E2", "E3", "E4"] = "E1"
    schedule: Annotated[dict[str, str], AfterValidator(checks.schedule)] = {}

    @property
    def channels(self) -> tuple[str, ...]:
        """The addresses of all channels, in the order in which they are tried."""
        return (self.channel,) if isinstance(self.channel, str) else self.channel

    @model_validator(mode="after")
    def _there_is_a_channel(self) -> Self:
        if not self.channels:
            raise ValueError("notify.channel: an empty list reaches nobody")
        return self


class AuditSettings(_Section):
    """Where the audit log lies, what signs it, and who else vouches for it.

    `origin` defaults to `localhost/migrator/<campaign>`. `witnesses`: address → verifier key (c2sp.org/tlog-witness).
    `timestamp_url`: an RFC 3161 authority; `timestamp_certificates`: a PEM file with its roots and intermediates.
    """

    directory: str = "audit"
    origin: str | None = None
    signing_key: str = "file:audit.key"
    witnesses: dict[
        Annotated[str, AfterValidator(checks.web_address)], Annotated[str, AfterValidator(checks.witness_key)]
    ] = {}
    timestamp_url: Annotated[str, AfterValidator(checks.web_address)] | None = None
    timestamp_certificates: str | None = None

    @model_validator(mode="after")
    def _timestamps_can_be_checked(self) -> Self:
        if self.timestamp_url is not None and self.timestamp_certificates is None:
            raise ValueError(
                "audit.timestamp_url needs audit.timestamp_certificates: what can't be checked is no proof"
            )
        return self


class Settings(_Section):
    """All of them."""

    campaign: CampaignSettings
    source: SourceSettings
    database: DatabaseSettings = DatabaseSettings()
    keys: KeysSettings = KeysSettings()
    authorization: AuthorizationSettings = AuthorizationSettings()
    approval: ApprovalSettings = ApprovalSettings()
    execution: ExecutionSettings = ExecutionSettings()
    cohorts: Cohorts = {}
    hooks: HooksSettings = HooksSettings()
    attachments: AttachmentSettings = AttachmentSettings()
    notify: NotifySettings = NotifySettings()
    audit: AuditSettings = AuditSettings()

    @property
    def origin(self) -> str:
        """The audit log's origin line."""
        return self.audit.origin or f"localhost/migrator/{self.campaign.name}"

    @model_validator(mode="after")
    def _attachments_have_a_source(self) -> Self:
        if self.attachments.target is not None and self.source.media is None:
            raise ValueError("attachments.target needs source.media: where the source keeps its attachments")
        return self

    @model_validator(mode="after")
    def _production_is_guarded(self) -> Self:
        services = [self.keys.service, *self.keys.regions.values(), *self.keys.former.values()]
        if (
            self.campaign.environment is Environment.PRODUCTION
            and not self.keys.allow_local_keys
            and any(service.startswith("local:") for service in services)
        ):
            raise ValueError(
                "in production keys.service 'local:' needs keys.allow_local_keys = true: "
                "whoever reads the disk reads the keys"
            )
        return self
