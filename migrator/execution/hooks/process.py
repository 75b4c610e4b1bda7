"""Runs one program of an operator's: little environment, nothing inherited, bounded in time and in what it says.

Its standard output and standard error go to the log, line by line, made printable; of a long output the beginning, and
how much was left out. It is read to its end nonetheless, so that a program that talks much is not held up. When the
time is over, or somebody wants to stop, the program and all that it has started in its session are ended.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOGGED_BYTES: Final = 16 * 1024
"""Most of an output that goes to the log."""
_LINE_CHARS: Final = 500
_GRACE_SECONDS: Final = 2.0
"""Between SIGTERM and SIGKILL."""
_POLL_SECONDS: Final = 0.1


class Result(StrEnum):
    """What came of a call (closed)."""

    OK = "ok"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    STOPPED = "stopped"
    NOT_STARTED = "not_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended. `exit_status` as the shell has it: 128 and the signal's number for one that was killed."""

    result: Result
    exit_status: int | None
    seconds: float
    lines: tuple[str, ...] = ()
    left_out: int = 0
    """Bytes of its output that are not in `lines`."""


@dataclass(slots=True)
class _Output:
    kept: bytearray = field(default_factory=bytearray)
    left_out: int = 0

    def add(self, data: bytes) -> None:
        room = LOGGED_BYTES - len(self.kept)
        self.kept += data[:room]
        self.left_out += max(0, len(data) - room)

    def lines(self) -> tuple[str, ...]:
        text = self.kept.decode("utf-8", errors="replace")
        return tuple(_printable(line[:_LINE_CHARS].expandtabs()) for line in text.splitlines() if line.strip())


def call(
    program: Path, environment: Mapping[str, str], *, directory: Path, seconds: float, stop: Callable[[], bool]
) -> Ended:
    """Run a program to its end, for so long at most, or until `stop` says that it is not to go on."""
    began = time.monotonic()
    output = _Output()
    try:
        with _signals_as_usual():
            process = subprocess.Popen(
                [program.absolute()], cwd=directory, env={"PATH": PATH, "LANG": "C.UTF-8", **environment},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its name or environment holds a NUL"
        return Ended(
            result=Result.NOT_STARTED, exit_status=None, seconds=time.monotonic() - began, lines=(reason or "",)
        )
    with process:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        cut_short = None
        try:
            cut_short = _follow(process, process.stdout, output, began + seconds, stop)
        finally:
            if process.poll() is None:
                _end(process)
        returned = process.wait()
        process.stdout.close()
    status = returned if returned >= 0 else 128 - returned
    result = cut_short or (Result.OK if status == 0 else Result.FAILED)
    return Ended(
        result=result, exit_status=status, seconds=time.monotonic() - began, lines=output.lines(),
        left_out=output.left_out,
    )  # fmt: skip


def _follow(
    process: "subprocess.Popen[bytes]", pipe: IO[bytes], output: _Output, deadline: float, stop: Callable[[], bool]
) -> Result | None:
    """Read until the program has ended; why it has to be ended, or None.

    What it has left running may hold the pipe open for ever: its output is nobody's any more.
    """
    os.set_blocking(pipe.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None
            for _ in selector.select(0 if ended else _POLL_SECONDS) if selector.get_map() else ():
                if not _read(pipe, output):
                    selector.unregister(pipe)
            if ended:
                return None
            if time.monotonic() >= deadline:
                return Result.TIMED_OUT
            if stop():
                return Result.STOPPED
            if not selector.get_map():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)


def _read(pipe: IO[bytes], output: _Output) -> bool:
    """Take what is there, a bounded lot of it; False: nothing will come any more."""
    for _ in range(64):
        try:
            data = os.read(pipe.fileno(), 64 * 1024)
        except BlockingIOError:
            return True
        if not data:
            return False
        output.add(data)
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The program and whatever is in its session: first asked, then not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _signals_as_usual() -> Iterator[None]:
    """A program that is started here blocks no signals, whatever the thread that starts it does."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _printable(line: str) -> str:
    """Control characters as escapes: what a program prints must not steer a terminal."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
