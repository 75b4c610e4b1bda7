"""The worker's side of an engine on other machines: what becomes of a task that came through a scheduler.

1. Only the version of migrator that sent it works on it: nothing else of a task is looked at before.
2. One task at a time in a process: what a worker keeps open from task to task is not made for two threads.
3. What goes back is bytes and texts. Of an error that is none of ours, which may carry anything, only the kind and the
   place leave this process.
"""

import gc
import os
import pickle
import resource
import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any, Final

from migrator import __version__
from migrator.core.errors import MigratorError

RESULT: Final = "result"
ERROR: Final = "error"
BUG: Final = "bug"
OTHER_VERSION: Final = "other version"

Answer = tuple[str, bytes | str, str]
"""What kind of answer, the answer, and the worker that gave it."""

_COLLECT_AFTER: Final = 100_000
"""Container objects made between two garbage collections, as in `migrator.engines.local`."""

_one_at_a_time: Final = threading.Lock()
_releases: list[Callable[[], None]] = []
_away = threading.Event()
_released = threading.Event()


def pack(function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """A task as it travels."""
    return pickle.dumps((function, args, kwargs))


def perform(version: str, task: bytes) -> Answer:
    """Do a task on the machine where this is called; never raises."""
    here = this_worker()
    if version != __version__:
        return OTHER_VERSION, __version__, here
    with _one_at_a_time:
        _settle_in()
        try:
            function, args, kwargs = pickle.loads(task)  # noqa: S301 - whoever may send tasks may run code anyway
            return RESULT, pickle.dumps(function(*args, **kwargs)), here
        except MigratorError as error:
            return ERROR, pickle.dumps(error), here
        except Exception as error:  # noqa: BLE001 - the outermost frame of a worker: see 3 above
            frames = traceback.extract_tb(error.__traceback__)
            place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
            return BUG, f"{type(error).__name__} at {place}", here
        finally:
            if _released.is_set():
                _forget()


def this_worker() -> str:
    """What an operator finds this process by."""
    return f"{socket.gethostname()}/{os.getpid()}"


def in_cluster() -> bool:
    """Whether this process is a worker of a cluster, with an environment of its own."""
    return _away.is_set()


def when_released(callback: Callable[[], None]) -> None:
    """Have something called when the coordinator needs this process no more: to close, and forget keys."""
    _releases.append(callback)


def release() -> None:
    """The coordinator is done with this process, which lives on for others: forget all, once no task is at work."""
    _released.set()
    if _one_at_a_time.acquire(blocking=False):
        try:
            _forget()
        finally:
            _one_at_a_time.release()


def _forget() -> None:
    for callback in _releases:
        callback()


def _settle_in() -> None:
    """Before a task; once a process: no core dumps, which would hold keys, and few searches for garbage."""
    _released.clear()
    if not _away.is_set():
        _away.set()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        gc.set_threshold(_COLLECT_AFTER, 20, 20)
