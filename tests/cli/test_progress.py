"""Tests of migrator.cli.progress."""

import io
import json

import pytest

from migrator.cli.output import Output
from migrator.cli.progress import Bar, Events, Lines, Silent, duration


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_each_interval_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """No more, however often work is reported."""
    watch = Watch()
    lines = Lines(60, clock=watch)
    lines.phase("re-wrapping", total=1000)
    for _ in range(10):
        watch.now += 20
        lines.advance(100)
    lines.close()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert told[0] == "re-wrapping: 300 of 1,000 messages (30.0 %), 5/s, about 2 min left"
    assert told[-1] == "re-wrapping: 1,000 of 1,000 messages (100.0 %), 5/s"


def test_earlier_work_counts_in_what_is_done_and_not_in_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    """After a resume the time left follows from this session's rate."""
    watch = Watch()
    lines = Lines(60, clock=watch)
    lines.phase("re-wrapping", total=1000, done=900)
    watch.now += 100
    lines.advance(50)
    assert "950 of 1,000 messages (95.0 %), 0/s, about 100 s left" in capsys.readouterr().err.replace("2 min", "100 s")


def test_no_time_left_is_claimed_too_early(capsys: pytest.CaptureFixture[str]) -> None:
    """Under one percent there is no telling."""
    watch = Watch()
    lines = Lines(1, clock=watch)
    lines.phase("planning", total=100_000, unit="conversations")
    watch.now += 2
    lines.advance(10)
    assert "not known yet" in capsys.readouterr().err


def test_without_a_total_there_is_no_share(capsys: pytest.CaptureFixture[str]) -> None:
    """How much there is shows only at the end."""
    lines = Lines(60, clock=Watch())
    lines.phase("planning", total=None, unit="conversations")
    lines.advance(7)
    lines.close()
    assert capsys.readouterr().err == "planning: 7 conversations, 0/s\n"


def test_events_go_to_standard_output() -> None:
    """In JSON Lines progress is for the program that reads along."""
    stream = io.StringIO()
    watch = Watch()
    events = Events(Output("jsonl", color=False, stream=stream), 10, clock=watch)
    events.phase("re-wrapping", total=10)
    events.note("waiting")
    watch.now += 10
    events.advance(5)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["type"] for event in told] == ["version", "phase", "note", "progress"]
    assert told[3]["done"] == 5


def test_time_that_a_service_held_up_is_no_part_of_the_rate() -> None:
    """20 s of which 15 were waited: 10 messages a second, and so 4 s for the 40 that are left."""
    watch = Watch()
    lines = Lines(3600, clock=watch)
    lines.phase("re-wrapping", total=90)
    watch.now += 20
    lines.advance(50)
    lines.held_up(15)
    assert lines.rate() == 10
    lines.phase("verifying", total=10)
    watch.now += 1
    lines.advance(5)
    assert lines.rate() == 5


def test_a_bar_begins_later_by_what_was_held_up() -> None:
    """Its rate is that of the time in which something could be done."""
    bar = Bar()
    bar.held_up(1.0)
    bar.phase("re-wrapping", total=10)
    assert bar._bar is not None
    began = bar._bar.start_t
    bar.held_up(7.0)
    assert bar._bar.start_t == began + 7.0
    bar.close()


def test_quiet_still_tells_what_a_person_should_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Notes pass, counts don't."""
    silent = Silent()
    silent.phase("planning", total=1)
    silent.advance(1)
    silent.note("stopping\x1b[2J")
    silent.close()
    assert capsys.readouterr().err == "stopping\\x1b[2J\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (3 * 3600 + 300, "3 h 5 min"), (187_200, "2 d 4 h")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """As precise as an estimate is."""
    assert duration(seconds) == text
