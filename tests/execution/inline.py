"""An engine that works in the calling process: what it does can be killed, observed and repeated exactly."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from migrator.core.lifecycle import StopReason

T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs each call when it is submitted."""

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run it now; a `MigratorError` goes to the future as a worker's would."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an executor hands every exception to whoever waits
            future.set_exception(error)
        return future


class InlineEngine:
    """One worker: this process."""

    workers = 1

    def executor(self) -> Executor:
        """The executor."""
        return InlineExecutor()


class NoStop:
    """Nobody wants the run to stop."""

    requested: StopReason | None = None


class StopAfter:
    """An operator who interrupts when they were asked so many times."""

    def __init__(self, times: int) -> None:
        self._left = times

    @property
    def requested(self) -> StopReason | None:
        """Interrupted, once the patience is over."""
        self._left -= 1
        return StopReason.INTERRUPTED if self._left < 0 else None
