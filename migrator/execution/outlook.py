"""What a coordinator finds at each look: what the run's row says by now, what holds the run back, what must end it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from migrator.campaign import Campaign
from migrator.core.lifecycle import StopReason, stop_reason_of
from migrator.core.load import NOTHING
from migrator.core.run_limits import RunLimits
from migrator.execution.run import Run
from migrator.execution.status import Committed
from migrator.execution.throttle import Throttle, Verdict
from migrator.execution.watchdog import Watchdog

_NOTE_SECONDS: Final = 5.0
"""How often a run that waits for the same, but for its figures, is written down again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What stands in the run's row: what it waits for, how many workers share its limit, whether they are held."""

    waiting: str | None = None
    sharing: int = 1
    throttled: bool = False
    at: float = field(default_factory=time.monotonic, compare=False)

    def worth_writing_after(self, before: "Noted") -> bool:
        """Whether it says something else, or the same again after a while of waiting: that shows that somebody lives.

        The commit of it is also what shows that a database which was slow no longer is.
        """
        if (self.sharing, self.throttled, self.waiting is None) != (
            before.sharing, before.throttled, before.waiting is None,
        ):  # fmt: skip
            return True
        return (self.waiting != before.waiting or self.throttled) and self.at - before.at >= _NOTE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`told`: what an operator wants; `deposed`: whether the run is another process's by now.

    `silent`: what to say where nothing gets on.
    """

    told: StopReason | None
    deposed: bool
    limits: RunLimits
    verdict: Verdict
    silent: str | None

    @property
    def waits(self) -> str | None:
        """What holds the run back, all of it."""
        return "; ".join(self.verdict.waits) or None


class Outlook:
    """Of one session on one run."""

    def __init__(self, campaign: Campaign, run: Run, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._campaign = campaign
        self._generation = run.generation
        self._throttle = Throttle(campaign, run.run_id, monotonic=monotonic)
        self._watchdog = Watchdog(monotonic=monotonic)
        self._database = self._keys = NOTHING

    def look(self, row: Run, done: Committed) -> Seen:
        """`row`: the run as it is now; `done`: what its workers have committed, and found of the load, in all."""
        own = self._campaign.database.meter.take(), self._campaign.key_services.meter.take()
        self._throttle.see(*own)
        self._throttle.see(done.database.since(self._database), done.keys.since(self._keys))
        self._database, self._keys = done.database, done.keys
        verdict = self._throttle.look(row.limits)
        held = bool(verdict.waits) or done.waiting is not None
        return Seen(
            told=stop_reason_of(row.state),
            deposed=row.generation != self._generation,
            limits=row.limits,
            verdict=verdict,
            silent=self._watchdog.look(done.database.calls, held=held),
        )
