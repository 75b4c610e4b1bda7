"""A limit on how fast notices leave: a token bucket that holds one second's worth."""

import time
from collections.abc import Callable


class Pacer:
    """Lets events through at a rate, in events a second; clock and sleep are handed in so that tests need no time."""

    def __init__(
        self,
        rate: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate)
        self._tokens = self._capacity
        self._monotonic = monotonic
        self._sleep = sleep
        self._last = monotonic()

    def wait(self) -> None:
        """Return when the next event may happen."""
        self._refill()
        while self._tokens < 1.0:
            self._sleep((1.0 - self._tokens) / self._rate)
            self._refill()
        self._tokens -= 1.0

    def _refill(self) -> None:
        now = self._monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._last) * self._rate)
        self._last = now
