"""Signals: the first asks a run to stop at its next checkpoint, the second ends the process at once."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from migrator.cli.errors import Terminated
from migrator.core.errors import ExitStatus
from migrator.core.lifecycle import StopReason

_REASONS = {signal.SIGINT: StopReason.INTERRUPTED, signal.SIGTERM: StopReason.TERMINATED}
_STATUSES = {signal.SIGINT: ExitStatus.INTERRUPTED, signal.SIGTERM: ExitStatus.TERMINATED}


class SignalledStop:
    """Why a run should stop, once a signal has said so."""

    def __init__(self) -> None:
        self.requested: StopReason | None = None


def terminate_by_exception() -> None:
    """Outside of runs SIGTERM unwinds like Ctrl-C does: transactions roll back, files close."""
    signal.signal(signal.SIGTERM, _terminated)


def ignore_questions() -> None:
    """SIGUSR1 asks a run where it stands (`status_signal`); elsewhere it is not to end anything."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


@contextmanager
def stop_on_signals() -> Iterator[SignalledStop]:
    """While a run is at work, the first SIGINT or SIGTERM asks it to stop, the second does not ask."""
    stop = SignalledStop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.requested is not None:
            end_at_once(_STATUSES[signal.Signals(number)])
        stop.requested = _REASONS[signal.Signals(number)]
        click.echo("stopping at the next checkpoint; once more ends it at once", err=True)

    before = {number: signal.signal(number, handle) for number in _REASONS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once(status: ExitStatus) -> NoReturn:
    """End this process and its workers. Safe at any moment: what was not committed never happened."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(int(status))
