"""What the process at work on a run tells those who watch: samples in the database, a metrics file, hooks.

Nothing here may get into the run's way: what fails is a note, but for `before-cutover`, which is asked.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from migrator.campaign import Campaign
from migrator.core.errors import DatabaseError, MigratorError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import Progress
from migrator.execution import metrics, status
from migrator.execution.hooks import folder
from migrator.execution.hooks.calling import Caller, facts_of
from migrator.execution.hooks.folder import Hook
from migrator.execution.options import RunOptions, StopSignal
from migrator.execution.runs import Run, RunSummary
from migrator.execution.watching import samples, snapshot

METRICS_SECONDS: Final = 10.0
_SHARE: Final = 20
"""Figures cost at most so small a part of the time: a large run's outcomes take a while to count."""
_FAILURES: Final = frozenset({StopReason.ERROR_BUDGET, StopReason.SERVICE_DOWN, StopReason.AUDIT_LOG})
"""Any other stop is one that somebody asked for."""


class Observer:
    """Watches one session of a run from within. Made before anything is written: `ConfigError` for bad settings."""

    def __init__(
        self,
        campaign: Campaign,
        options: RunOptions,
        progress: Progress,
        plan_id: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._campaign = campaign
        self._progress = progress
        self._monotonic = monotonic
        settings = campaign.settings
        directory = settings.hooks.directory
        hooks = folder.found(campaign.spec.directory / directory if directory is not None else None)
        self._hooks = Caller(campaign, hooks, progress, plan_id)
        self._metrics_file = _metrics_file(campaign, options)
        if self._metrics_file is not None:
            metrics.require_writable(self._metrics_file)
        self._run: Run | None = None
        self._samples = 0
        self._sampled_at = 0.0
        self._metrics_due = 0.0
        self._complained = False
        self._waiting: str | None = None

    def rehearse(self) -> None:
        """A dry run calls no hook and writes no figures: they would be taken for those of a run."""
        self._hooks.rehearse()

    def ask(self, run_id: str | None, stop: StopSignal) -> None:
        """`before-cutover`; raises `GateError` where it refuses. Nothing was written yet."""
        self._hooks.require(Hook.BEFORE_CUTOVER, run_id, lambda: stop.requested is not None)

    @contextmanager
    def told(self) -> Iterator[None]:
        """While the block runs, a session may begin; afterwards its end is told, however it ends."""
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
            raise
        finally:
            try:
                if self._run is not None:
                    self._end(self._run, failure)
            finally:
                self._hooks.close()

    def begun(self, run: Run) -> None:
        """The run is this session's."""
        self._run = run
        self._sampled_at = self._monotonic()
        self._hooks.tell(Hook.ON_START, run.run_id, facts={"STATE": run.state.value})

    def look(self, *, messages: int, held_seconds: float, waiting: str | None) -> None:
        """Called all the time while the session is at work; does what is due."""
        if self._run is None:
            return
        if waiting is not None and self._waiting is None:
            self._hooks.throttled(self._run.run_id, waiting)
        self._waiting = waiting
        self._hooks.settle()
        try:
            self._sample(self._run, messages, held_seconds)
            self._keep_figures(self._run)
        except (MigratorError, OSError) as error:
            self._complain(error)

    def _sample(self, run: Run, messages: int, held_seconds: float) -> None:
        now = self._monotonic()
        if now - self._sampled_at < samples.EVERY_SECONDS:
            return
        self._sampled_at = now
        self._samples += 1
        with self._campaign.database.write("sample", synced=False) as connection:
            samples.take(
                connection, run.run_id, run.generation, self._samples,
                messages=messages, held_seconds=held_seconds, at=datetime.now(UTC),
            )  # fmt: skip

    def _keep_figures(self, run: Run) -> None:
        now = self._monotonic()
        if self._metrics_file is None or now < self._metrics_due:
            return
        self._metrics_due = now + METRICS_SECONDS  # also where it fails
        self._write_metrics(self._metrics_file, status.summary(self._campaign, run.run_id))
        self._metrics_due = max(self._metrics_due, self._monotonic() + _SHARE * (self._monotonic() - now))

    def _write_metrics(self, path: Path, summary: RunSummary) -> None:
        metrics.write(path, metrics.render(self._campaign.name, summary, snapshot.watch(self._campaign, summary)))
        self._complained = False

    def _complain(self, error: MigratorError | OSError) -> None:
        """Tell once, until it works again."""
        if not self._complained:
            reason = error.message if isinstance(error, MigratorError) else f"{self._metrics_file}: {error.strerror}"
            self._progress.note(f"the run goes on, but can't be watched: {reason}")
        self._complained = True

    def _end(self, run: Run, failure: Exception | None) -> None:
        """The last figures; then `on-complete` or `on-failure`."""
        summary = None
        if not isinstance(failure, DatabaseError):
            try:
                summary = status.summary(self._campaign, run.run_id)
                if self._metrics_file is not None:
                    self._write_metrics(self._metrics_file, summary)
            except (MigratorError, OSError) as error:
                self._complain(error)
        facts = facts_of(summary) if summary is not None else {}
        if failure is None and summary is not None and summary.state is RunState.COMPLETED:
            self._hooks.tell(Hook.ON_COMPLETE, run.run_id, facts=facts)
            return
        reason = summary.stop_reason if summary is not None else None
        if failure is None and reason not in _FAILURES:
            return
        detail = failure.message if isinstance(failure, MigratorError) else (summary and summary.stop_detail) or ""
        code = failure.code if isinstance(failure, MigratorError) else "bug"
        self._hooks.tell(
            Hook.ON_FAILURE, run.run_id, reason=reason.value if reason else code, facts={**facts, "DETAIL": detail}
        )


def _metrics_file(campaign: Campaign, options: RunOptions) -> Path | None:
    """As given, from where the operator stands; as configured, from the configuration's folder."""
    if options.metrics_file is not None:
        return options.metrics_file
    configured = campaign.settings.execution.metrics_file
    return campaign.spec.directory / configured if configured is not None else None
