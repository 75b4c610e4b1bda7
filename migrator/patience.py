"""Tries again what a moment's trouble of a server broke: the one place that waits for databases to come back.

1. `patiently` repeats one step that has no effect of its own until it is done (connecting, reading).
2. `persist` repeats work that goes on where its last commit left it. Failures in a row without a commit are counted,
   so that work that gets on is never given up, and work that does not is given up soon.

Waits grow from 50 ms to 2 s and are drawn at random between half and all of it, so that many workers don't come back
at the same instant.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

PATIENCE_SECONDS: Final = 30.0
"""How long a server may be away: a restart or a failover of a PostgreSQL cluster."""
ATTEMPTS: Final = 6
"""Failures in a row after which work is given up."""
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 2.0


def patiently(
    action: Callable[[], T],
    passing: type[E],
    *,
    seconds: float = PATIENCE_SECONDS,
    at_least: Callable[[E], float] = lambda _: 0.0,
) -> T:
    """What `action` returns; errors of the type `passing` are waited out for so many seconds, then raised.

    `at_least`: how long the error says that no further try is worth while, in seconds.
    """
    deadline = time.monotonic() + seconds
    for wait in _waits():
        try:
            return action()
        except passing as error:
            pause = max(wait, at_least(error))
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)  # here the error is gone, and what its traceback held
    raise AssertionError("the waits never end")


def persist(
    action: Callable[[], T],
    passing: type[Exception],
    *,
    commits: Callable[[], int] = lambda: 0,
    told: Callable[[Exception], None] = lambda _: None,
) -> T:
    """What `action` returns; after an error of the type `passing` it is called again.

    `commits` counts its commits; `told` hears of each error that is waited out.
    """
    failures, before = 0, commits()
    while True:
        try:
            return action()
        except passing as error:
            done = commits()
            failures = failures + 1 if done == before else 1
            before = done
            if failures >= ATTEMPTS:
                raise
            told(error)
        time.sleep(drawn(_FIRST_WAIT * 2 ** (failures - 1)))  # here the error is gone, and what its traceback held


def _waits() -> Iterator[float]:
    wait = _FIRST_WAIT
    while True:
        yield drawn(wait)
        wait = min(wait * 2, _LONGEST_WAIT)


def drawn(wait: float) -> float:
    """Between half and all of it, at random."""
    return wait * (500 + secrets.randbelow(501)) / 1000
