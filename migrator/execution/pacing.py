"""How fast a worker may go: its share of the run's limit, and the patience that a busy key service asks for.

The limit stands in the run's row, with the number of workers that share it, and is read with every fence; so whoever
changes the row changes the pace of a run that is at work. While the run is `throttled` there, nothing is begun. A
worker pays for what it has committed by waiting before it opens anything more, with no transaction open, and looks
every second whether the limit changed or the run is to stop. What is opened does not wait for its commit; whoever is in
the middle of long work waits for a moment, and else lets go of it (`PutOffError`).
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from migrator.core.errors import KeyDelay, KeyServiceUnavailableError
from migrator.patience import drawn

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""How often somebody who waits looks whether it still has to."""
_CREDIT_SECONDS: Final = 1.0
"""How much unused time counts: pages are of different length, and a slow one may be followed by a fast one."""
PATIENCE_SECONDS: Final = 600.0
"""How long a key service may throttle a worker without a commit in between."""
_LONGEST_WAIT: Final = 60.0
HELD_SECONDS: Final = 60.0
"""How long a worker waits with keys in its hands before it lets go of them."""
BEGUN_SECONDS: Final = 600.0
"""The same where letting go of them loses work."""


class PutOffError(Exception):
    """What was begun would have to wait for too long: it is decided and opened anew when it may go on."""


class Pace:
    """The pace of one worker process, for as long as it works for a session of a run."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.rate: float | None = None
        """This worker's messages a second; None: as fast as it can."""
        self.throttled = False
        """Whether nothing may be begun at the moment."""
        self.monotonic = monotonic
        self._sleep = sleep
        self._owed = 0.0
        self._at = monotonic()
        self._held = 0.0

    def spend(self, messages: int) -> None:
        """So many messages are done."""
        self._settle()
        self._owed += messages

    def wait(self, look: Callable[[], None], *, patience: float | None = None) -> None:
        """Return when all that was spent is paid for, and nothing throttles the run.

        `look` sets `rate` and `throttled` anew, and raises where the run is to stop. `PutOffError` where it takes
        longer than `patience`, as soon as that is known.
        """
        began = self.monotonic()
        while (left := self._settle()) > 0 or self.throttled:
            if patience is not None and self.monotonic() - began + max(left, 0.0) >= patience:
                raise PutOffError
            self._sleep(LOOK_SECONDS if self.throttled else min(left, LOOK_SECONDS))
            self._settle()  # at the rate of before
            look()

    def hold(self, seconds: float, look: Callable[[], None]) -> None:
        """Wait out what a service asked for; it counts as time in which nothing could be done."""
        began = self.monotonic()
        while (left := began + seconds - self.monotonic()) > 0:
            self._sleep(min(left, LOOK_SECONDS))
            look()
        self._held += self.monotonic() - began

    def take_held(self) -> float:
        """Seconds that were held up since the last time this was asked."""
        held, self._held = self._held, 0.0
        return held

    def _settle(self) -> float:
        """Count the time that went by; the seconds that are still owed."""
        now = self.monotonic()
        passed, self._at = now - self._at, now
        if self.rate is None:
            self._owed = 0.0
            return 0.0
        self._owed = max(self._owed - passed * self.rate, -_CREDIT_SECONDS * self.rate)
        return self._owed / self.rate


def through_delays(action: Callable[[], T], hold: Callable[[str, float], None], *, commits: Callable[[], int]) -> T:
    """What `action` returns; where a key service throttles or is slow, `hold` (why, seconds), and again.

    `action` goes on where its last commit left it. A service that is down, or throttles for `PATIENCE_SECONDS` without
    a commit, is raised as what it is.
    """
    failures, waited, before = 0, 0.0, commits()
    while True:
        try:
            return action()
        except KeyServiceUnavailableError as error:
            if error.delay not in (KeyDelay.THROTTLED, KeyDelay.SLOW):
                raise
            if commits() != before:
                failures, waited, before = 0, 0.0, commits()
            seconds = error.retry_after or drawn(min(2.0**failures, _LONGEST_WAIT))
            if waited + seconds > PATIENCE_SECONDS:
                raise
            why = error.message
        # Here the error is gone, and with its traceback all that was opened when it was raised.
        failures, waited = failures + 1, waited + seconds
        hold(why, seconds)
