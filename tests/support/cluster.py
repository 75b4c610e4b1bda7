"""A real Dask cluster on this machine: a scheduler and workers, each a process that a test may kill."""

import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from distributed import Client

ROOT: Final = Path(__file__).parents[2]
_STARTING_SECONDS: Final = 30
_SETTINGS: Final = {
    # One death is told at once: the coordinator hands the shard out again by itself.
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
    "DASK_DISTRIBUTED__COMM__COMPRESSION": "False",
}
_RUN: Final = """
import os, threading, time
def end_with_the_tests():
    while os.getppid() == {parent}:
        time.sleep(1)
    os._exit(1)
threading.Thread(target=end_with_the_tests, daemon=True).start()
from distributed.cli.dask_{program} import main
main()
"""


class Cluster:
    """Scheduler and workers; ended, all of them, by `remove`."""

    def __init__(self, settings: Mapping[str, str] | None = None, *, protocol: str = "tcp") -> None:
        self._settings = {**_SETTINGS, **(settings or {})}
        self._protocol = protocol
        self._folder = TemporaryDirectory(prefix="migrator-dask-", ignore_cleanup_errors=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The scheduler's."""
        return f"{self._protocol}://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """The scheduler's."""
        return self._port

    def start(self, workers: int = 0, *, env: Mapping[str, str] | None = None, first: str = "") -> None:
        """Start the scheduler, at the address of before, and so many workers; return when they have met.

        `first`: what the scheduler's process does before anything else.
        """
        self.scheduler = self._process("scheduler", ["--port", str(self._port)], {}, first)
        self.begin(workers, env=env)
        self.wait_for(workers)

    def begin(self, workers: int, *, env: Mapping[str, str] | None = None, first: str = "") -> None:
        """Start workers that will come; `first`: what their processes do before anything else."""
        for _ in range(workers):
            self.workers.append(
                self._process("worker", [self.address, "--nthreads", "1", "--no-nanny"], env or {}, first)
            )

    def wait_for(self, workers: int) -> None:
        """Return when the scheduler has that many workers."""
        deadline = time.monotonic() + _STARTING_SECONDS
        with Client(self.address, timeout=_STARTING_SECONDS, set_as_default=False) as client:
            while client.scheduler_info(n_workers=0)["n_workers"] != workers:
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)

    def top_up(self, workers: int) -> None:
        """See that so many workers live."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        self.begin(workers - len(self.workers))
        self.wait_for(workers)

    def replace_workers(self, workers: int, *, env: Mapping[str, str] | None = None, first: str = "") -> None:
        """Have others instead of those that are there."""
        self.kill_workers()
        self.begin(workers, env=env, first=first)
        self.wait_for(workers)

    def kill_workers(self) -> None:
        """SIGKILL to each."""
        for worker in self.workers:
            _kill(worker)
        self.workers.clear()

    def kill_scheduler(self) -> None:
        """SIGKILL."""
        if self.scheduler is not None:
            _kill(self.scheduler)
            self.scheduler = None

    def close(self) -> None:
        """End everything; it may be started again."""
        self.kill_workers()
        self.kill_scheduler()

    def remove(self) -> None:
        """End everything and leave nothing."""
        self.close()
        self._folder.cleanup()

    def log(self) -> str:
        """What the processes had to say."""
        return (Path(self._folder.name) / "log").read_text(errors="replace")

    def _process(
        self, program: str, options: list[str], env: Mapping[str, str], first: str = ""
    ) -> "subprocess.Popen[bytes]":
        arguments = [*options, "--host", "127.0.0.1", "--protocol", self._protocol, "--no-dashboard"]
        if program == "worker":
            arguments += ["--memory-limit", "0"]
        with (Path(self._folder.name) / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", f"{first}\n{_RUN.format(program=program, parent=os.getpid())}", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={
                    **os.environ, "DASK_TEMPORARY_DIRECTORY": self._folder.name, **self._settings,
                    "PYTHONPATH": str(ROOT), **env,
                },
            )  # fmt: skip


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def cluster(workers: int, *, env: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster of one's own."""
    made = Cluster()
    try:
        made.start(workers, env=env)
        yield made
    finally:
        made.remove()


def sweep() -> None:
    """Drop the sockets that clients of killed schedulers leave to the garbage collector, which would warn some time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
