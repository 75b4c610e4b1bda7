"""Limits on how fast notices leave: a token bucket that holds one second's worth, for all and for each mail domain."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

DOMAINS_KEPT: Final = 10_000
"""Domains whose buckets are remembered: the bound of memory. One that is forgotten begins with a full bucket."""


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
        self.sleep = sleep
        self._last = monotonic()

    def wait(self) -> None:
        """Return when the next event may happen."""
        while (seconds := self.delay()) > 0:
            self.sleep(seconds)
        self.take()

    def delay(self) -> float:
        """Seconds until the next event may happen; 0: now."""
        now = self._monotonic()
        self._tokens = min(self._capacity, self._tokens + (now - self._last) * self._rate)
        self._last = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self._rate

    def take(self) -> None:
        """An event happens."""
        self._tokens -= 1.0

    def like(self, rate: float) -> "Pacer":
        """Another limit by the same clock."""
        return Pacer(rate, monotonic=self._monotonic, sleep=self.sleep)


class Lanes:
    """One limit for all events and, where there is one, another for each domain, which holds up no other domain."""

    def __init__(self, pacer: Pacer, rate_per_domain: float | None) -> None:
        self._pacer = pacer
        self._rate = rate_per_domain
        self._domains: OrderedDict[Hashable, Pacer] = OrderedDict()

    def paced(self, events: Iterable[T], domain_of: Callable[[T], Hashable]) -> Iterator[T]:
        """All events, each when it may happen; an event whose domain is None is held to the common limit only."""
        lanes: dict[Hashable, deque[T]] = {}
        for event in events:
            lanes.setdefault(None if self._rate is None else domain_of(event), deque()).append(event)
        while lanes:
            delays = {domain: self._delay(domain) for domain in lanes}
            domain = min(delays, key=delays.__getitem__)
            if delays[domain] > 0:
                self._pacer.sleep(delays[domain])
                continue
            self._pacer.wait()
            if domain is not None:
                self._domains[domain].take()
            yield lanes[domain].popleft()
            if not lanes[domain]:
                del lanes[domain]

    def _delay(self, domain: Hashable) -> float:
        if domain is None or self._rate is None:
            return 0.0
        if domain not in self._domains:
            self._domains[domain] = self._pacer.like(self._rate)
            if len(self._domains) > DOMAINS_KEPT:
                self._domains.popitem(last=False)
        self._domains.move_to_end(domain)
        return self._domains[domain].delay()
