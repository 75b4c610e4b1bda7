"""Times a real run: the coordinator's own, with workers that note what they used."""

import json
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from migrator.bench.result import PipelineFigures
from migrator.campaign import Campaign
from migrator.core.errors import IntegrityError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import Progress
from migrator.engines.local import LocalEngine
from migrator.execution import coordinator
from migrator.execution.coordinator import RunOptions

_T = TypeVar("_T")
_JIFFIES: Final = os.sysconf("SC_CLK_TCK")


def time_run(campaign: Campaign, plan_id: str, workers: int, folder: Path, progress: Progress) -> PipelineFigures:
    """Run a plan with so many local workers; `folder` takes what they note."""
    folder.mkdir()
    options = RunOptions(engine=_Engine(workers, folder))
    summary = coordinator.execute(campaign, plan_id, options, progress, _NeverStops())
    if summary.state is not RunState.COMPLETED:
        raise IntegrityError("the run that was to be measured did not complete", hint="this is a bug in migrator")
    messages = sum(count.messages for count in summary.counts.values())
    return _figures(workers, messages, [json.loads(path.read_text()) for path in folder.iterdir()])


def _figures(workers: int, messages: int, notes: list[dict[str, Any]]) -> PipelineFigures:
    first, last = min(notes, key=lambda note: note["begin"]), max(notes, key=lambda note: note["end"])
    seconds = last["end"] - first["begin"]
    cpu = 0.0
    for pid in {note["pid"] for note in notes}:
        own = [note for note in notes if note["pid"] == pid]
        cpu += max(note["cpu_end"] for note in own) - min(note["cpu_begin"] for note in own)
    busy = total = 0.0
    if first["machine_begin"] and last["machine_end"]:
        busy, total = (end - begin for begin, end in zip(first["machine_begin"], last["machine_end"], strict=True))
    return PipelineFigures(
        workers=workers,
        messages=messages,
        seconds=seconds,
        cpu_us_per_message=cpu * 1e6 / messages,
        machine_cpu_us_per_message=busy * 1e6 / messages if total else None,
        busy_share=min(1.0, busy / total) if total else None,
        peak_memory_mib=max(note["peak_kib"] for note in notes) / 1024,
    )


class _NeverStops:
    """Ctrl-C ends a measurement where it is: nothing of it is kept."""

    requested: StopReason | None = None


class _Engine:
    """The local engine, whose workers note what they used."""

    def __init__(self, workers: int, folder: Path) -> None:
        self._engine = LocalEngine(workers)
        self._folder = folder

    @property
    def workers(self) -> int:
        """As many as asked for."""
        return self._engine.workers

    def executor(self) -> Executor:
        """The local pool."""
        return _Executor(self._engine.executor(), self._folder)


class _Executor(Executor):
    def __init__(self, pool: Executor, folder: Path) -> None:
        self._pool = pool
        self._folder = folder

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        return self._pool.submit(_noted, self._folder, partial(function, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


def _noted(folder: Path, work: Callable[[], _T]) -> _T:
    """Do the work, in a worker, and write down when it began and ended and what this process has used by then."""
    begin, cpu_begin, machine_begin = time.monotonic(), time.process_time(), _machine()
    result = work()
    note = {
        "pid": os.getpid(),
        "begin": begin,
        "end": time.monotonic(),
        "cpu_begin": cpu_begin,
        "cpu_end": time.process_time(),
        "machine_begin": machine_begin,
        "machine_end": _machine(),
        "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
    (folder / f"{os.getpid()}-{time.monotonic_ns()}.json").write_text(json.dumps(note))
    return result


def _machine() -> tuple[float, float] | None:
    """Seconds that all cores together were busy, and all seconds, since boot (proc(5)); None where nobody tells."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    jiffies = [int(word) for word in line.split()[1:9]]
    return (sum(jiffies) - jiffies[3] - jiffies[4]) / _JIFFIES, sum(jiffies) / _JIFFIES
