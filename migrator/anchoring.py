"""Has the newest checkpoint vouched for by the anchors of the settings."""

from migrator.audit.anchors.asking import Anchored, Anchors
from migrator.audit.published import PublishedLog
from migrator.campaign import Campaign
from migrator.core.errors import ConfigError


def anchors_of(campaign: Campaign) -> Anchors:
    """The campaign's anchors, which may be none."""
    log = campaign.spec.directory / campaign.settings.audit.directory
    return Anchors(campaign.settings.audit, campaign.spec.directory, log)


def published(campaign: Campaign) -> PublishedLog:
    """The campaign's log up to its newest checkpoint."""
    log = campaign.spec.directory / campaign.settings.audit.directory
    return PublishedLog(log, origin=campaign.settings.origin)


def anchor(campaign: Campaign) -> list[Anchored]:
    """Ask every anchor about the newest checkpoint; nobody where none is configured.

    Raises `ConfigError` for settings that can't be used, `AuditLogError` where a witness has seen another log.
    """
    anchors = anchors_of(campaign)
    if not anchors.configured:
        return []
    log = published(campaign)
    return anchors.ask(log.note, log.hash_at)


def sign_and_anchor(campaign: Campaign) -> list[Anchored]:
    """Sign what waits first; `ConfigError` where nobody is configured."""
    if not anchors_of(campaign).configured:
        raise ConfigError(
            "nobody is configured who could vouch for the audit log",
            hint="set audit.witnesses or audit.timestamp_url",
        )
    campaign.audit.flush()
    return anchor(campaign)
