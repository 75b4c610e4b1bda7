"""The local engine: a pool of processes on this machine.

Workers come from a fork server that has imported the worker's code and nothing of the campaign: they start fast and
inherit no connection, lock or key. They leave Ctrl-C to the coordinator, and end when it dies.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from migrator.garbage import COLLECT_AFTER

_T = TypeVar("_T")


class LocalEngine:
    """A process pool with one worker a core, or as many as asked for."""

    def __init__(self, workers: int) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))

    @property
    def workers(self) -> int:
        """How many shards are worked on at once."""
        return self._workers

    def executor(self) -> Executor:
        """A fresh pool."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["migrator.execution.process"])
        return _Pool(max_workers=self._workers, mp_context=context, initializer=_begin_worker)


class _Pool(ProcessPoolExecutor):
    """A pool that is broken, and says so, when a worker can't be started: its fork server may have been killed."""

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Raises `BrokenProcessPool` where the standard library's pool lets through what its pipes met."""
        try:
            return super().submit(function, *args, **kwargs)
        except (EOFError, OSError) as error:
            for child in multiprocessing.active_children():
                child.kill()  # else they would wait for work, and the end of this process for them
            raise BrokenProcessPool("a worker process could not be started") from error


def _begin_worker() -> None:
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with_parent, args=(parent.sentinel,), daemon=True).start()


def _end_with_parent(sentinel: int) -> None:
    """A worker without its coordinator would only collect refusals from the fence: it ends at once."""
    wait([sentinel])
    os._exit(1)
