"""Calls a session's hooks.

1. `before-cutover` is called when every gate stands open and before anything is written: in `execute` before the plan
   is consumed, in `resume` before the run is taken up. Unless it ends with 0 in time, the command is refused (exit 12).
2. `on-…` hooks are called beside the work and hold nothing up; one that fails is a warning, and is on record.
3. `on-throttled` is called when the run begins to wait, at most every five minutes.
4. `on-failure` and `on-complete` are called when the lease is free again, and waited for. A stop that somebody asked
   for (a signal, an operator, a limit of time) is no failure.
5. A dry run calls nothing: it says what would be called.

A hook gets `MIGRATOR_HOOK_…`, a `PATH` and a `LANG`, and nothing of migrator's own environment, which may hold secrets.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import structlog

from migrator.campaign import Campaign
from migrator.config.keys import HOOK_PREFIX
from migrator.core.errors import DatabaseError, GateError
from migrator.core.progress import Progress
from migrator.core.redaction import redact_text
from migrator.execution.hooks import calls, process
from migrator.execution.hooks.folder import Hook, Hooks
from migrator.execution.hooks.process import Ended, Result
from migrator.execution.runs import RunSummary

THROTTLED_SECONDS: Final = 300.0
_TEXT_CHARS: Final = 1000


class Caller:
    """The hooks of one session, called with what is known at the time."""

    def __init__(
        self,
        campaign: Campaign,
        hooks: Hooks,
        progress: Progress,
        plan_id: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._campaign = campaign
        self._hooks = hooks
        self._progress = progress
        self._plan_id = plan_id
        self._monotonic = monotonic
        self._beside: ThreadPoolExecutor | None = None
        self._called: list[tuple[Hook, str | None, datetime, Future[Ended]]] = []
        self._throttled_at: float | None = None

    def rehearse(self) -> None:
        """Say what a run would call."""
        for hook in (hook for hook in Hook if hook in self._hooks.paths):
            self._progress.note(f"a run would call {self._hooks.paths[hook]}")

    def require(self, hook: Hook, run_id: str | None, stop: Callable[[], bool]) -> None:
        """Raise `GateError` unless there is no such hook, or it ends well."""
        if hook not in self._hooks.paths:
            return
        at = datetime.now(UTC)
        self._progress.note(f"asking {hook.value}")
        ended = self._run(hook, self._environment(hook, run_id, "", {}), stop)
        self._keep(hook, run_id, at, ended)
        if ended.result is not Result.OK:
            raise GateError(
                f"the hook {hook.value} refuses: it {_came_of(ended, self._limit)}",
                hint=f"{self._hooks.paths[hook]} has a reason, which the log has; mend it and try again",
            )

    def tell(self, hook: Hook, run_id: str, *, reason: str = "", facts: Mapping[str, str] | None = None) -> None:
        """Call a hook beside the work."""
        if hook not in self._hooks.paths:
            return
        if self._beside is None:
            self._beside = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hooks")
        environment = self._environment(hook, run_id, reason, facts or {})
        future = self._beside.submit(self._run, hook, environment, lambda: False)
        self._called.append((hook, run_id, datetime.now(UTC), future))

    def throttled(self, run_id: str, reason: str) -> None:
        """The run begins to wait."""
        now = self._monotonic()
        if self._throttled_at is None or now - self._throttled_at >= THROTTLED_SECONDS:
            self._throttled_at = now
            self.tell(Hook.ON_THROTTLED, run_id, reason=reason)

    def settle(self, *, wait: bool = False) -> None:
        """Keep and tell what came of the calls that have ended; with `wait`, of all."""
        left = []
        for hook, run_id, at, future in self._called:
            if not wait and not future.done():
                left.append((hook, run_id, at, future))
                continue
            ended = future.result()
            self._keep(hook, run_id, at, ended)
            if ended.result is not Result.OK:
                self._progress.note(f"the hook {hook.value} {_came_of(ended, self._limit)}")
        self._called = left

    def close(self) -> None:
        """Wait for the calls that are under way: each has its time limit."""
        self.settle(wait=True)
        if self._beside is not None:
            self._beside.shutdown()

    @property
    def _limit(self) -> int:
        return self._campaign.settings.hooks.timeout_seconds

    def _run(self, hook: Hook, environment: Mapping[str, str], stop: Callable[[], bool]) -> Ended:
        return process.call(
            self._hooks.paths[hook],
            environment,
            directory=self._campaign.spec.directory,
            seconds=self._limit,
            stop=stop,
        )

    def _environment(self, hook: Hook, run_id: str | None, reason: str, facts: Mapping[str, str]) -> dict[str, str]:
        settings = self._campaign.settings.campaign
        given = {
            "NAME": hook.value,
            "CAMPAIGN": settings.name,
            "ENVIRONMENT": settings.environment.value,
            "PLAN_ID": self._plan_id,
            "RUN_ID": run_id or "",
            "REASON": reason,
            **facts,
        }
        return {
            f"{HOOK_PREFIX}{name}": redact_text(text.replace("\0", ""))[:_TEXT_CHARS] for name, text in given.items()
        }

    def _keep(self, hook: Hook, run_id: str | None, at: datetime, ended: Ended) -> None:
        """On record and in the log. A database that is away is no reason to lose what a hook said."""
        log = structlog.get_logger("migrator.hooks").bind(hook=hook.value)
        say = log.info if ended.result is Result.OK else log.warning
        for line in ended.lines:
            say("hook said", line=line)
        if ended.left_out:
            say("hook said more", bytes=ended.left_out)
        say("hook ended", result=ended.result.value, exit_status=ended.exit_status, seconds=round(ended.seconds, 1))
        try:
            with self._campaign.database.write("hook-call") as connection:
                calls.record(connection, hook.value, ended, plan_id=self._plan_id, run_id=run_id, called_at=at)
        except DatabaseError as error:
            log.warning("a hook's call is not on record", reason=error.message)


def facts_of(summary: RunSummary) -> dict[str, str]:
    """What a run has come to, as hooks are told."""
    kinds = {"REWRAPPED": 0, "HELD": 0, "SKIPPED": 0, "FAILED": 0, "ALREADY_SERVER": 0}
    for outcome, count in summary.counts.items():
        kind = "REWRAPPED" if outcome.startswith("rewrapped") else outcome.partition(":")[0].upper()
        kinds[kind] = kinds.get(kind, 0) + count.conversations
    return {
        "STATE": summary.state.value,
        "CONVERSATIONS": str(sum(count.conversations for count in summary.counts.values())),
        "PENDING": str(summary.pending),
        **{kind: str(number) for kind, number in kinds.items()},
        "MESSAGES": str(sum(count.messages for count in summary.counts.values())),
        "GAPS": str(sum(count.gaps for count in summary.counts.values())),
    }


def _came_of(ended: Ended, limit: int) -> str:
    match ended.result:
        case Result.OK:
            return "ended well"
        case Result.FAILED:
            return f"ended with status {ended.exit_status}"
        case Result.TIMED_OUT:
            return f"was ended after {limit} s"
        case Result.STOPPED:
            return "was ended because somebody wants to stop"
        case Result.NOT_STARTED:
            return f"could not be started ({', '.join(ended.lines)})"
