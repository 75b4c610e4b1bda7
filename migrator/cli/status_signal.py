"""SIGUSR1 asks the process that executes where it stands; it answers on standard error and works on.

The signal is blocked in this thread, and so in every thread and process that it starts: a worker that gets it along
with its coordinator (`kill -USR1 -- -GROUP`) is not killed by it. A thread of its own waits for it and answers, also
while the work hangs in a call of the system. What a thread of a library catches all the same is passed on to it.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click
import structlog
from tqdm import tqdm

from migrator.cli.output import printable
from migrator.core.errors import MigratorError

ASKING = signal.SIGUSR1


@contextmanager
def tell_on_signal(lines: Callable[[], Sequence[str]]) -> Iterator[None]:
    """While the block runs, SIGUSR1 has what `lines` returns written to standard error."""
    ended = threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {ASKING})
    teller = threading.Thread(target=_tell, args=(lines, ended), name="status-on-signal", daemon=True)
    teller.start()

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        if teller.ident is not None and teller.is_alive():
            signal.pthread_kill(teller.ident, ASKING)

    handler = signal.signal(ASKING, pass_on)
    try:
        yield
    finally:
        ended.set()
        if teller.ident is not None and teller.is_alive():
            signal.pthread_kill(teller.ident, ASKING)
        teller.join()
        while ASKING in signal.sigpending():  # asked as the work came to its end: the result is about to be shown
            signal.sigwait({ASKING})
        signal.signal(ASKING, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tell(lines: Callable[[], Sequence[str]], ended: threading.Event) -> None:
    while True:
        signal.sigwait({ASKING})
        if ended.is_set():
            return
        try:
            told = list(lines())
        except MigratorError as error:
            told = [f"where the run stands can't be told now: {error.message}"]
        except Exception:  # noqa: BLE001 - whoever asks must not end the thread that answers, nor the run
            structlog.get_logger("migrator.cli").exception("status on signal")
            told = ["where the run stands can't be told: this is a bug in migrator; the run goes on"]
        with tqdm.external_write_mode(file=sys.stderr):
            click.echo("\n".join(map(printable, told)), err=True)
