"""What an operator may say about one execution, and who runs its workers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from migrator import plugins
from migrator.campaign import Campaign
from migrator.core.errors import ConfigError
from migrator.core.lifecycle import StopReason
from migrator.core.redaction import redact_setting
from migrator.core.settings import Settings, per_second
from migrator.engines.interface import Engine


class StopSignal(Protocol):
    """Whether somebody wants the run to stop."""

    @property
    def requested(self) -> StopReason | None:
        """Why; None while nobody does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What an operator may say about one execution; None: as configured. `engine` may be one of one's own."""

    dry_run: bool = False
    workers: int | None = None
    engine: str | Engine | None = None
    max_failures: str | None = None
    max_duration_seconds: float | None = None
    max_rate: str | None = None
    confirm: str | None = None
    retry_failed: str | None = None
    """A run: open only what failed in it."""
    only: tuple[str, ...] = ()
    """Out of that, only what failed in these ways."""
    metrics_file: Path | None = None


def engine_of(campaign: Campaign, options: RunOptions) -> Engine:
    """The engine that the options or the settings name, reached once; `MigratorError` where it can't be."""
    if options.engine is not None and not isinstance(options.engine, str):
        return options.engine
    settings = campaign.settings.execution
    address = options.engine or settings.engine
    if address != "local":
        _require_references(campaign.settings)
    engine = plugins.engine(address, options.workers if options.workers is not None else settings.workers)
    _ = engine.workers
    return engine


def limit_of(campaign: Campaign, options: RunOptions) -> float | None:
    """How many messages a second all workers together may move; None: as many as they can."""
    rate = options.max_rate or campaign.settings.execution.max_rate
    return None if rate is None else per_second(rate)


def _require_references(settings: Settings) -> None:
    """Raise `ConfigError` where a password would travel to other machines with the settings."""
    for name, url in (("database.url", settings.database.url), ("source.url", settings.source.url)):
        if redact_setting(url) != url:
            raise ConfigError(
                f"{name} has a password in it, which would go through the cluster's scheduler",
                hint="give the URL by reference, such as env:NAME, on every machine",
            )
