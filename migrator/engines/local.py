"""The local engine: a pool of processes on this machine.

Workers come from a fork server that has imported the worker's code and nothing of the campaign: they start fast and
inherit no connection, lock or key. They leave Ctrl-C to the coordinator, and end when it dies.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import wait


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
        context.set_forkserver_preload(["migrator.execution.worker"])
        return ProcessPoolExecutor(max_workers=self._workers, mp_context=context, initializer=_begin_worker)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with_parent, args=(parent.sentinel,), daemon=True).start()


def _end_with_parent(sentinel: int) -> None:
    """A worker without its coordinator would only collect refusals from the fence: it ends at once."""
    wait([sentinel])
    os._exit(1)
