"""Errors on their way between processes."""

import pickle

import pytest

from migrator.core.errors import (
    RESUMABLE,
    ExitStatus,
    KeyDelay,
    KeyProblem,
    KeyServiceError,
    KeyServiceUnavailableError,
    RunStoppedError,
    resumable,
)


def test_a_key_services_errors_cross_processes_whole() -> None:
    """Which problem it is, and when to come back, survive the way from a worker to the coordinator."""
    denied = pickle.loads(pickle.dumps(KeyServiceError("no", problem=KeyProblem.DENIED, hint="ask", changed="kept")))  # noqa: S301 - ours
    assert (denied.problem, denied.message, denied.hint, denied.changed) == (KeyProblem.DENIED, "no", "ask", "kept")
    later = KeyServiceUnavailableError("busy", delay=KeyDelay.THROTTLED, retry_after=1.5)
    throttled = pickle.loads(pickle.dumps(later))  # noqa: S301 - ours
    assert (throttled.delay, throttled.retry_after) == (KeyDelay.THROTTLED, 1.5)


@pytest.mark.parametrize("delay", KeyDelay)
def test_an_absent_key_service_stays_one_when_told_as_resumable(delay: KeyDelay) -> None:
    """Nothing of what is known gets lost on the way to the operator."""
    told = resumable(KeyServiceUnavailableError("away", delay=delay, retry_after=3))
    assert isinstance(told, KeyServiceUnavailableError)
    assert (told.delay, told.retry_after, told.changed) == (delay, 3, RESUMABLE)
    assert told.exit_status is ExitStatus.SERVICE_DOWN


def test_a_refusing_key_service_stops_a_run_as_a_service_that_is_down() -> None:
    """Once a run has begun, no permission is no usage error."""
    told = resumable(KeyServiceError("no", problem=KeyProblem.DENIED, hint="ask"))
    assert isinstance(told, RunStoppedError)
    assert (told.exit_status, told.hint) == (ExitStatus.SERVICE_DOWN, "ask")
