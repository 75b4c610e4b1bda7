"""`status`: transcripts for people on 60 columns, the document for programs, watching, SIGUSR1 on a real process."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from migrator import lease
from migrator.campaign import open_campaign
from migrator.cli.output import Output
from migrator.cli.screen import Screen
from migrator.cli.status_signal import tell_on_signal
from migrator.cli.views import status as views
from migrator.core.errors import DatabaseError
from migrator.core.estimate import Advance, Eta, EtaState, Rate
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.next_steps import Step
from migrator.execution.assignment import OutcomeCount
from migrator.execution.hooks.calls import HookCall
from migrator.execution.hooks.process import Result
from migrator.execution.runs import RunSummary
from migrator.execution.watching.snapshot import Checkpoint, Watched
from migrator.lease import LeaseHolder
from tests.cli import campaigns
from tests.cli.campaigns import TODAY, Templates
from tests.cli.running import Program

NOW = datetime(2026, 5, 9, 12, tzinfo=UTC)
HOLDER = "db1/0f3c6b52-0000-4000-8000-000000000000/4711/88213"
SUMMARY = RunSummary(
    run_id="run-20260509T000000Z-1a2b3c4d", plan_id="plan-20260508T120000Z-5e6f7a8b", state=RunState.RUNNING,
    dry_run=False, messages_per_second=850.4, elapsed_seconds=3600.0, pending=600, max_rate=5000.0,
    counts={
        "rewrapped": OutcomeCount(300, 1_200_000, 0),
        "rewrapped_with_gaps": OutcomeCount(20, 34_567_890, 1_200),
        "skipped:authorization_expired": OutcomeCount(30, 1_234, 0),
        "skipped:refused": OutcomeCount(50, 9_876, 0),
    },
)  # fmt: skip
AT_WORK = Watched(
    phase="working",
    advance=Advance(done=41_234, total=100_000),
    planned=1000,
    rate=Rate(messages=300_000, window_seconds=300.0, held_seconds=30.0),
    eta=Eta(state=EtaState.VALUE, seconds=5400.0, at=NOW + timedelta(hours=1.5)),
    waiting=None,
    lease=LeaseHolder(holder=HOLDER, purpose="execute", heartbeat_at=NOW - timedelta(seconds=7), alive=True),
    checkpoint=Checkpoint(
        committed_at=NOW - timedelta(seconds=2), log_size=1204, signed_size=1000, signed_at=NOW - timedelta(minutes=3)
    ),
    next=[Step(kind="wait", text=f"when it is complete: `migrator verify {SUMMARY.run_id}`")],
    limits={"max_failures": "1%", "max_rate": "5000/s"},
    hook_trouble=None,
    now=NOW,
)
AT_REST = replace(AT_WORK, rate=None, eta=Eta(state=EtaState.NONE), lease=None)


def shown(summary: RunSummary, found: Watched, why: str) -> str:
    """What a person sees on 60 columns."""
    lines = views.watched(summary, found, why=why, width=60).lines
    assert max(map(len, lines)) <= 60
    return "\n".join(lines)


def test_a_run_at_work() -> None:
    """All that an operator asks for, in the order in which they ask."""
    assert (
        shown(SUMMARY, AT_WORK, f"at work: {HOLDER}; paced to 5,000 messages/s")
        == """\
run         run-20260509T000000Z-1a2b3c4d
plan        plan-20260508T120000Z-5e6f7a8b
state       running, working; at work: db1, process 4711;
            paced to 5,000 messages/s
progress    400 of 1,000 conversations; 41,234 of 100,000
            messages (41.2 %)
rate        1,111 messages/s over the last 5 min, of which
            30 s held up
worked      60 min of work, 850 messages/s on average
time left   about 1 h 30 min, until 13:30 UTC
lease       db1, process 4711 (execute); last heartbeat
            7 s ago
checkpoint  last commit 2 s ago
audit log   1,204 entries, 1,000 signed, 3 min ago
limits      max_failures 1%, max_rate 5000/s
next        when it is complete:
            `migrator verify run-20260509T000000Z-1a2b3c4d`

outcome                  conversations    messages   gaps
rewrapped                          300   1,200,000      0
rewrapped_with_gaps                 20  34,567,890  1,200
skipped
  authorization_expired             30       1,234      0
  refused                           50       9,876      0
all                                400  35,779,000  1,200"""
    )


def test_a_run_that_waits() -> None:
    """It says for what, and promises no end; a hook that went wrong is not forgotten."""
    trouble = HookCall(
        hook="on-throttled", called_at=NOW - timedelta(minutes=2), result=Result.TIMED_OUT, exit_status=137
    )
    found = replace(
        AT_WORK, phase="waiting", waiting="awskms: throttled", eta=Eta(state=EtaState.NOT_AVAILABLE), rate=None,
        hook_trouble=trouble,
    )  # fmt: skip
    text = shown(replace(SUMMARY, counts={}, pending=1000, max_rate=None), found, "waiting: awskms: throttled")
    assert (
        text
        == """\
run         run-20260509T000000Z-1a2b3c4d
plan        plan-20260508T120000Z-5e6f7a8b
state       running, waiting; waiting: awskms: throttled
progress    0 of 1,000 conversations; 41,234 of 100,000
            messages (41.2 %)
worked      60 min of work, 850 messages/s on average
time left   n/a while it waits
lease       db1, process 4711 (execute); last heartbeat
            7 s ago
checkpoint  last commit 2 s ago
audit log   1,204 entries, 1,000 signed, 3 min ago
limits      max_failures 1%, max_rate 5000/s
hook        on-throttled took too long and was ended,
            2 min ago
next        when it is complete:
            `migrator verify run-20260509T000000Z-1a2b3c4d`"""
    )


def test_a_run_that_stopped() -> None:
    """Why, and how it goes on; nobody holds a lease, and there is no rate of now."""
    summary = replace(SUMMARY, state=RunState.STOPPED, stop_reason=StopReason.MAX_DURATION, counts={}, max_rate=None)
    steps = [Step(kind="resume", text="`migrator resume R` goes on; `migrator rollback` undoes it")]
    text = shown(summary, replace(AT_REST, phase="stopped", next=steps), "its time was over: `migrator resume` goes on")
    assert text.splitlines()[2:4] == [
        "state       stopped; its time was over: `migrator resume`",
        "            goes on",
    ]
    assert text.splitlines()[-2:] == [
        "next        `migrator resume R` goes on; `migrator rollback`",
        "            undoes it",
    ]
    assert not {"rate", "time left", "lease"} & {line[:12].strip() for line in text.splitlines()}


def test_a_complete_run() -> None:
    """The whole; the steps that are left, each on its line."""
    summary = replace(SUMMARY, state=RunState.COMPLETED, pending=0, counts={}, max_rate=None)
    found = replace(
        AT_REST, phase="completed", advance=Advance(done=100_000, total=100_000, complete=True),
        next=[Step(kind="verify", text="verify"), Step(kind="finalize", text="finalize")],
    )  # fmt: skip
    text = shown(summary, found, "complete: `migrator verify` proves it")
    assert "state       completed\n" in text
    assert "1,000 of 1,000 conversations; 100,000 of 100,000\n            messages (100.0 %)" in text
    assert text.endswith("next        verify\n            finalize")
    fewer = replace(found, advance=Advance(done=9_000, total=100_000, complete=True))
    assert "9,000 messages\n            processed, expected 100,000\n" in shown(summary, fewer, "")


def test_more_than_was_expected_is_said_in_words() -> None:
    """No percentage over 100, and never 100.0 before everything is done."""
    more = replace(AT_WORK, advance=Advance(done=120, total=100), eta=Eta(state=EtaState.DUE))
    text = shown(SUMMARY, more, "at work")
    assert "expected 100\n            messages, processed 120" in text
    assert "%" not in text.split("limits")[0]
    assert "time left   due" in text
    nearly = shown(SUMMARY, replace(AT_WORK, advance=Advance(done=99_999, total=100_000)), "at work")
    assert "(99.9 %)" in nearly
    uncounted = replace(AT_WORK, advance=Advance(done=0, total=None), eta=Eta(state=EtaState.COUNTING))
    assert "time left   counting" in shown(SUMMARY, uncounted, "at work")


def test_the_document_for_programs() -> None:
    """The members that were always there, and the new ones; every time in RFC 3339, every share between 0 and 1."""
    document = json.loads(json.dumps(views.watched(SUMMARY, AT_WORK, why="at work").document))
    assert (document["schema"], document["state"], document["phase"]) == ("migrator.run/1", "running", "working")
    assert document["progress"] == {"done": 41234, "total": 100000, "fraction": 0.41234}
    assert document["rate"] == {"messages_per_second": 1111.1, "window_seconds": 300.0, "held_seconds": 30.0}
    assert document["eta"] == {"state": "value", "seconds": 5400.0, "at": "2026-05-09T13:30:00.000000Z"}
    assert document["lease"] == {
        "holder": HOLDER, "purpose": "execute", "alive": True, "heartbeat_at": "2026-05-09T11:59:53.000000Z",
        "age_seconds": 7,
    }  # fmt: skip
    assert document["checkpoint"] == {
        "committed_at": "2026-05-09T11:59:58.000000Z", "age_seconds": 2,
        "audit_log": {
            "size": 1204, "signed_size": 1000, "signed_at": "2026-05-09T11:57:00.000000Z", "age_seconds": 180,
        },
    }  # fmt: skip
    assert document["next"] == [{"kind": "wait", "text": AT_WORK.next[0].text, "at": None}]
    assert document["limits"] == {"max_failures": "1%", "max_rate": "5000/s"}
    assert (document["waiting"], document["hook_trouble"]) == (None, None)


# --- the command ---


@pytest.fixture
def campaign(templates: Templates, folder: Path, today: str) -> Path:
    """Everything was imported, nothing planned; the program works in that folder."""
    assert today == TODAY
    return templates.copy(None, folder)


def test_before_there_is_a_run(program: Program, campaign: Path) -> None:
    """What comes next, first the date; a run that was named is still an error."""
    done = program("status", "-o", "json", "--now", "2026-05-01T00:00:00Z")
    assert (done.status, done.json["run_id"], done.json["state"]) == (0, None, "not_begun")
    assert [step["kind"] for step in done.json["next"]] == ["cutover", "plan"]
    assert "next        `migrator plan`" in program("status").out
    campaigns.planned(campaign)
    assert f"`migrator execute {campaigns.newest_plan(campaign)}`" in program("status").out
    assert program("status", "run-x").status == 2
    assert program("status", "--watch").status == 0


def test_watching_ends_with_the_work(program: Program, campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block each interval while somebody is at work, then the end; `--interval` is kept to."""
    campaigns.stopped(campaign)
    campaigns.change(campaign, "UPDATE migrator_run SET state = 'running', stop_reason = NULL")
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            campaigns.change(campaign, "UPDATE migrator_run SET state = 'stopped', stop_reason = 'max_duration'")

    monkeypatch.setattr("migrator.cli.commands.runs.time.sleep", sleep)
    with open_campaign(campaigns.spec_of(campaign)) as opened, lease.hold(opened, purpose="execute"):
        done = program("status", "--watch", "--interval", "30s")
    assert waited == [30.0] * 3
    blocks = done.out.split("\nrun  ")
    assert len(blocks) == 4
    assert all("running, " in block for block in blocks[:3])
    assert "stopped; its time was over" in blocks[3]
    assert "\x1b" not in done.out


def test_watching_for_programs(program: Program, campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON Lines: an event each interval, then the summary; a killed run is not watched for ever."""
    campaigns.stopped(campaign)
    campaigns.change(campaign, "UPDATE migrator_run SET state = 'running', stop_reason = NULL")
    with open_campaign(campaigns.spec_of(campaign)) as opened, lease.hold(opened, purpose="execute"):
        free = "UPDATE migrator_lease SET holder = NULL"
        monkeypatch.setattr("migrator.cli.commands.runs.time.sleep", lambda _: campaigns.change(campaign, free))
        events = program("status", "--watch", "-o", "jsonl").events
    assert [(event["type"], event.get("phase")) for event in events] == [
        ("version", None), ("status", "working"), ("summary", "killed"),
    ]  # fmt: skip


# --- a terminal ---


class Terminal:
    """What a terminal of a size shows, as far as `Screen` uses it."""

    def __init__(self, columns: int, lines: int) -> None:
        self.size = os.terminal_size((columns, lines))
        self.rows: list[str] = []
        self.written = ""

    def write(self, text: str) -> None:
        """Rows below one another; a control sequence takes the last ones away."""
        self.written += text
        if text.startswith("\x1b["):
            count = int(text[2 : text.index("A")])
            del self.rows[len(self.rows) - count :]
            return
        for line in text.removesuffix("\n").split("\n"):
            width = self.size.columns
            self.rows += [line[at : at + width] for at in range(0, max(1, len(line)), width)]

    def flush(self) -> None:
        """Written already."""


def drawn(columns: int, lines: int) -> tuple[Terminal, Screen]:
    """A screen on a terminal."""
    terminal = Terminal(columns, lines)
    output = Output("human", color=False, stream=terminal)  # type: ignore[arg-type]  # a terminal is written to, no more
    return terminal, Screen(output, lambda: terminal.size)


def test_a_block_is_drawn_in_place_of_the_one_before() -> None:
    """Lines that are too long for the window count as the rows that they take."""
    terminal, screen = drawn(20, 30)
    terminal.rows = ["$ migrator status"]
    for block in (["one", "x" * 45, ""], ["two"], ["three", "four"]):
        assert screen.show(block)
        assert terminal.rows[0] == "$ migrator status"
        assert "".join(terminal.rows[1:]) == "".join(block)
    screen.clear()
    assert terminal.rows == ["$ migrator status"]


def test_what_does_not_fit_into_the_window_is_left_out() -> None:
    """What is pushed out at its top could not be drawn over."""
    terminal, screen = drawn(20, 5)
    for _ in range(3):
        screen.show([f"line {number}" for number in range(40)])
        assert terminal.rows == ["line 0", "line 1", "line 2", "line 3"]


# --- SIGUSR1 ---


def test_asked_by_a_signal_a_process_tells(capfd: pytest.CaptureFixture[str]) -> None:
    """On standard error, each time, whatever goes wrong; afterwards the signal does what it did before."""
    before = signal.getsignal(signal.SIGUSR1)
    answers: list[Callable[[], list[str]]] = [lambda: ["first", "\x1b[2J"], _away, _broken]
    told: list[bool] = []

    def lines() -> list[str]:
        try:
            return answers[len(told)]()
        finally:
            told.append(True)

    with tell_on_signal(lines):
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for number in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            _until(lambda number=number: len(told) > number)  # type: ignore[misc]  # bound as a default
    err = capfd.readouterr().err
    assert err.startswith("first\n\\x1b[2J\n")
    assert "can't be told now: the database is away" in err
    assert "a bug in migrator; the run goes on" in err
    assert "secret" not in err
    assert signal.getsignal(signal.SIGUSR1) is before
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _away() -> list[str]:
    raise DatabaseError("the database is away")


def _broken() -> list[str]:
    raise ValueError("secret")


def _until(holds: Callable[[], Any]) -> None:
    """Turn until something holds; fail where it does not within half a minute."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_a_run_that_is_asked_goes_on(program: Program, campaign: Path) -> None:
    """A real process with workers, asked as a group: it tells where its run stands and completes it."""
    plan = program("plan", "-o", "json").json["plan_id"]
    executable = Path(sys.executable).with_name("migrator")
    process = subprocess.Popen(
        [executable, "execute", plan, "--workers", "1", "--max-rate", "600/s", "-o", "json", "-q"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "MIGRATOR_NOW": TODAY},
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    _until(lambda: campaigns.ask(campaign, "SELECT count(*) FROM migrator_item") != "0")
    os.killpg(process.pid, signal.SIGUSR1)
    readable, _, _ = select.select([process.stderr], [], [], 30)
    first = os.read(process.stderr.fileno(), 65536).decode() if readable else ""
    out, rest = process.communicate(timeout=60)
    told = first + rest.decode()
    assert f"run         {campaigns.newest_run(campaign)}\n" in told
    assert "state       running, " in told
    assert "conversations; " in told
    assert process.returncode == 0
    assert json.loads(out)["state"] == "completed"
