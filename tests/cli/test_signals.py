"""Tests of migrator.cli.signals."""

import os
import signal

import pytest

from migrator.cli import signals
from migrator.cli.errors import Terminated
from migrator.core.errors import ExitStatus
from migrator.core.lifecycle import StopReason


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGINT, StopReason.INTERRUPTED), (signal.SIGTERM, StopReason.TERMINATED)]
)
def test_the_first_signal_asks_the_run_to_stop(
    number: signal.Signals, reason: StopReason, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is raised; a person is told; the handlers from before come back."""
    before = signal.getsignal(number)
    asked: list[StopReason | None] = []
    with signals.stop_on_signals() as stop:
        asked.append(stop.requested)
        os.kill(os.getpid(), number)
        asked.append(stop.requested)
    assert asked == [None, reason]
    assert "stopping at the next checkpoint" in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the status of that signal, after its workers."""
    ended: list[ExitStatus] = []
    monkeypatch.setattr(signals, "end_at_once", ended.append)
    with signals.stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [ExitStatus.TERMINATED]


def test_outside_of_runs_sigterm_unwinds() -> None:
    """So that transactions roll back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        signals.terminate_by_exception()
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
