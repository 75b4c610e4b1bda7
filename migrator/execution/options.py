"""What an operator may say about one execution, and who runs its workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from migrator import plugins
from migrator.campaign import Campaign
from migrator.core.errors import ConfigError, UsageError
from migrator.core.lifecycle import StopReason
from migrator.core.redaction import redact_setting
from migrator.core.run_limits import OFF, RunLimits, check
from migrator.core.settings import Settings
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
    max_duration: str | None = None
    max_rate: str | None = None
    max_load: str | None = None
    critical_load: str | None = None
    window: str | None = None
    confirm: str | None = None
    retry_failed: str | None = None
    """A run: open only what failed in it."""
    only: tuple[str, ...] = ()
    """Out of that, only what failed in these ways."""
    metrics_file: Path | None = None

    def limits(self) -> dict[str, str]:
        """What they say about the run's limits, by name."""
        given = {
            "max_rate": self.max_rate,
            "max_load": self.max_load,
            "critical_load": self.critical_load,
            "window": self.window,
            "max_failures": self.max_failures,
            "max_duration": self.max_duration,
            "workers": None if self.workers is None else str(self.workers or OFF),
        }
        return {name: text for name, text in given.items() if text is not None}


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


def limits_of(settings: Settings) -> RunLimits:
    """What a run is limited to by the configuration, whose number of workers is that of the pool."""
    given = settings.execution
    return RunLimits(
        max_rate=given.max_rate,
        max_load=given.max_load,
        critical_load=given.critical_load,
        window=given.window,
        max_failures=given.max_failures,
        max_duration=given.max_duration,
    )


def resumed_with(settings: Settings, options: RunOptions) -> dict[str, str]:
    """What changes when a run is resumed: what the options say, and the time that a session has, which begins anew."""
    return {"max_duration": settings.execution.max_duration or OFF, **options.limits()}


def changed(before: RunLimits, changes: Mapping[str, str]) -> RunLimits:
    """Limits with some of them other or `off`; `UsageError` for a text that says nothing."""
    for name, text in changes.items():
        try:
            check(name, text)
        except ValueError as error:
            raise UsageError(
                f"--{name.replace('_', '-')} {text!r}: {error}", hint="`migrator throttle --help`"
            ) from None
    return before.but(changes)


def _require_references(settings: Settings) -> None:
    """Raise `ConfigError` where a password would travel to other machines with the settings."""
    for name, url in (("database.url", settings.database.url), ("source.url", settings.source.url)):
        if redact_setting(url) != url:
            raise ConfigError(
                f"{name} has a password in it, which would go through the cluster's scheduler",
                hint="give the URL by reference, such as env:NAME, on every machine",
            )
