"""The states of a run: what leads where, and what a request to stop does in each."""

import itertools

import pytest

from migrator.core.errors import GateError
from migrator.core.lifecycle import (
    AT_WORK,
    UNFINISHED,
    Answer,
    RunState,
    StopReason,
    StopRequest,
    answer_to,
    require_transition,
    stop_reason_of,
)


def allowed(current: RunState, wanted: RunState) -> bool:
    """Whether there is a way."""
    try:
        require_transition("run-x", current, wanted)
    except GateError:
        return False
    return True


def test_the_ways_between_states() -> None:
    """Only these, of all pairs."""
    found = {(a, b) for a, b in itertools.product(RunState, RunState) if allowed(a, b)}
    work = (RunState.RUNNING, RunState.PAUSING, RunState.ABORTING)
    ends = (RunState.RUNNING, RunState.STOPPED, RunState.COMPLETED, RunState.ROLLING_BACK, RunState.ABORTING)
    expected = {*itertools.product(work, ends), (RunState.RUNNING, RunState.PAUSING)}
    expected |= {(RunState.PAUSING, RunState.PAUSING)}
    expected |= {(RunState.STOPPED, b) for b in (RunState.RUNNING, RunState.ABORTING, RunState.ROLLING_BACK)}
    expected |= {(RunState.COMPLETED, RunState.ROLLING_BACK), (RunState.ROLLING_BACK, RunState.ROLLING_BACK)}
    expected |= {(RunState.ROLLING_BACK, RunState.ROLLED_BACK)}
    assert found == expected


@pytest.mark.parametrize("living", [True, False])
@pytest.mark.parametrize("request_", StopRequest)
def test_what_a_request_does(request_: StopRequest, living: bool) -> None:
    """It is answered with a way that exists, never back from an abort, and twice is as good as once."""
    for state, reason in itertools.product(RunState, [None, *StopReason]):
        if state not in UNFINISHED:
            with pytest.raises(GateError, match=state.value):
                answer_to(request_, "run-x", state, reason, living=living)
            continue
        answer, effective = answer_to(request_, "run-x", state, reason, living=living)
        assert effective is StopRequest.ABORT or state is not RunState.ABORTING
        if answer is Answer.ALREADY:
            assert state in AT_WORK or not (request_ is StopRequest.ABORT and reason is not StopReason.ABORTED)
            continue
        assert state is effective.state or allowed(state, effective.state)
        assert living if answer is Answer.ASKED else (not living or state is RunState.STOPPED)
        again, same = answer_to(request_, "run-x", effective.state, effective.reason, living=living)
        assert (again, same) == (Answer.ALREADY if living else Answer.AT_REST, effective)
        rests = answer_to(request_, "run-x", RunState.STOPPED, effective.reason, living=living)
        assert rests == (Answer.ALREADY, request_)


def test_why_a_run_will_rest() -> None:
    """Only one that was told to stop will."""
    found = {state: reason for state in RunState if (reason := stop_reason_of(state)) is not None}
    assert found == {request.state: request.reason for request in StopRequest}
