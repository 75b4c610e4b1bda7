"""Alive, and yet getting nowhere: a session whose workers commit nothing for long says so."""

import time
from collections.abc import Callable
from typing import Final

SILENCE_SECONDS: Final = 600.0
"""Longer than a page of messages takes on any machine, and than a key service is waited for."""


class Watchdog:
    """Told of commits; time in which the run was held back does not count."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._commits = -1
        self._since = monotonic()

    def look(self, commits: int, *, held: bool) -> str | None:
        """What to say of a run that has made so many commits by now; None while there is nothing to say."""
        now = self._monotonic()
        if commits != self._commits or held:
            self._commits, self._since = commits, now
        silent = now - self._since
        if silent < SILENCE_SECONDS:
            return None
        return f"nothing was committed for {silent / 60:.0f} min: look at the workers"
