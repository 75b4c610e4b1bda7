"""The audit log while a run is at work: written all the time, signed at its edges, never silent for an hour.

A log without a heartbeat says nothing of the time in which nothing was written; with one, a gap is seen.
"""

import time
from collections.abc import Callable
from typing import Final

from migrator import anchoring
from migrator.audit import outbox
from migrator.audit.anchors.asking import AnchorState
from migrator.audit.events import Event, EventType
from migrator.campaign import Campaign
from migrator.core.errors import AuditLogError, ConfigError, KeyServiceUnavailableError, MigratorError
from migrator.core.progress import Progress

HEARTBEAT_SECONDS: Final = 3600.0


class Journal:
    """Moves the outbox of one run into the log. What goes wrong with the log is returned: the run has to stop (G8).

    So it is where the key service that signs the log is away: an unsigned log is none.
    """

    def __init__(self, campaign: Campaign, run_id: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._campaign = campaign
        self._run_id = run_id
        self._monotonic = monotonic
        self._beaten = monotonic()

    def keep(self) -> MigratorError | None:
        """Write what waits; sign only what is due."""
        return self._flush(checkpoint=self._beat())

    def seal(self) -> MigratorError | None:
        """Write what waits and sign it: at the edges of a phase, and when somebody wants the run to stop."""
        return self._flush(checkpoint=True)

    def anchor(self, progress: Progress) -> MigratorError | None:
        """Have others vouch for what is signed, before the work and after it. One who is away does not hold it up."""
        try:
            results = anchoring.anchor(self._campaign)
        except (AuditLogError, ConfigError) as error:
            return error
        for result in results:
            if result.state is not AnchorState.VOUCHES:
                progress.note(f"{result.name} does not vouch for the audit log: {result.detail}")
        return None

    def _flush(self, *, checkpoint: bool) -> MigratorError | None:
        try:
            self._campaign.audit.flush(checkpoint=checkpoint)
        except (AuditLogError, KeyServiceUnavailableError) as error:
            return error
        return None

    def _beat(self) -> bool:
        """An hourly sign of life, also where the run does nothing but wait."""
        now = self._monotonic()
        if now - self._beaten < HEARTBEAT_SECONDS:
            return False
        self._beaten = now
        campaign = self._campaign
        event = Event(type=EventType.LOG_HEARTBEAT, subject=self._run_id, run_id=self._run_id)
        with campaign.database.write("heartbeat") as connection:
            outbox.record(connection, [event], actor=campaign.actor, now=campaign.clock.now())
        return True
