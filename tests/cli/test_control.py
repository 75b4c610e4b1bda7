"""pause, abort, throttle, unlock as a shell sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates, newest_plan, newest_run
from tests.cli.running import Program
from tests.support.campaigns import NAME

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def stopped(folder: Path, templates: Templates) -> Path:
    """A run was interrupted."""
    return templates.copy(campaigns.stopped, folder)


def test_a_run_at_rest_is_paused_and_aborted(program: Program, stopped: Path) -> None:
    """Already at rest; an abort wants the campaign's name, and once is enough; then nothing wants anything more."""
    run = newest_run(stopped)
    done = program("pause")
    assert (done.status, done.out) == (0, f"run {run} is already at rest (interrupted); `migrator resume` goes on\n")
    for confirm in ([], ["--confirm", "another"], ["--confirm", ""]):
        refused = program("abort", *confirm)
        assert (refused.status, refused.out) == (12, "")
        assert f"--confirm {NAME}" in refused.err
        assert "nothing was changed" in refused.err
    done = program("abort", "--confirm", NAME)
    assert (done.status, done.out) == (0, f"run {run} is aborted; `migrator resume` goes on\n")
    again = program("abort", run, "--confirm", NAME, "-o", "json")
    assert (again.status, again.json) == (0, {
        "schema": "migrator.stop_request/1", "run_id": run, "request": "abort", "already": True, "state": "stopped",
        "stop_reason": "aborted", "holder": None,
    })  # fmt: skip
    assert "aborted by an operator" in program("status").out
    assert program("resume", "--workers", "1").status == 0
    ended = program("abort", "--confirm", NAME)
    assert ended.status == 12
    assert f"run {run} is completed: there is nothing to abort" in ended.err
    assert program("pause", "run-x").status == 2


def test_limits_from_the_command_line(program: Program, stopped: Path) -> None:
    """Shown, changed, taken away; a mistake names the option, its text and how it would be right."""
    run = newest_run(stopped)
    assert program("throttle").out == f"run {run} is limited to\nmax-failures  1%\nworkers       1\n"
    changed = program("throttle", run, "--max-rate", "5000/s", "--window", "22:00-06:00 Europe/Paris")
    assert changed.out == "max-rate: off → 5000/s\nwindow: off → 22:00-06:00 Europe/Paris\n"
    asked = program("throttle", "--window", "off", "--workers", "2", "-o", "json")
    assert asked.json == {
        "schema": "migrator.limits/1",
        "run_id": run,
        "limits": {"max_rate": "5000/s", "max_failures": "1%", "workers": "2"},
        "changed": {
            "window": {"old": "22:00-06:00 Europe/Paris", "new": "off"}, "workers": {"old": "1", "new": "2"},
        },
    }  # fmt: skip
    assert program("status", "-o", "json").json["limits"] == asked.json["limits"]
    assert "limits      max_rate 5000/s, max_failures 1%, workers 2\n" in program("status").out
    for option, text, words in (
        ("--window", "22-06", "'22:00-06:00 Europe/Paris'"),
        ("--max-load", "database.latncy=1s", "database.latency"),
        ("--max-duration", "0", "no time"),
        ("--max-failures", "off", "100%"),
        ("--workers", "0", "1 to 1024"),
    ):
        refused = program("throttle", option, text)
        assert (refused.status, refused.out) == (2, "")
        assert words in refused.err
    assert program("resume", "--max-rate", "off").status == 0
    assert program("throttle", "--max-rate", "5/s").status == 12


def test_a_killed_run_is_stuck_until_somebody_acts(program: Program, folder: Path, templates: Templates) -> None:
    """`status` says since when; nobody holds the lease any more; paused, it rests."""
    templates.copy(campaigns.killed, folder)
    found = program("status", "-o", "json").json
    assert found["state"] == "running"
    assert found["stuck_since"] is not None
    assert found["why"].startswith("stuck since ")
    unlocked = program("unlock")
    assert (unlocked.status, unlocked.out) == (0, "the lease is already free\n")
    assert program("pause").out == f"run {newest_run(folder)} is paused; `migrator resume` goes on\n"
    assert program("status", "-o", "json").json["stuck_since"] is None


def test_a_lease_that_is_held_elsewhere(program: Program, folder: Path, templates: Templates) -> None:
    """11 says by whom; force wants the name; then it is free, and the run goes on here."""
    templates.copy(campaigns.held_elsewhere, folder)
    assert program("resume").status == 11
    refused = program("unlock")
    assert (refused.status, refused.out) == (11, "")
    assert "elsewhere/boot/1/1 (execute)" in refused.err
    assert program("unlock", "--force").status == 12
    assert program("unlock", "--force", "--confirm", "another").status == 12
    taken = program("unlock", "--force", "--confirm", NAME, "-o", "json").json
    assert (taken["schema"], taken["already"], taken["forced"]) == ("migrator.unlock/1", False, True)
    assert program("resume", "--workers", "1").status == 0
    shown = program("audit", "show", "--type", "override.used", "-o", "json").json
    assert [entry["data"]["override"] for entry in shown["entries"]] == ["lease"]


def test_a_run_of_another_process_is_paused(program: Program, folder: Path, templates: Templates) -> None:
    """It is told in its row, its process ends with 22 and says why, and the rest is still to do."""
    templates.copy(campaigns.planned, folder)
    words = ["execute", newest_plan(folder), "--workers", "1", "--max-rate", "1/h", "-o", "jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from migrator.cli.main import main; main()", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["type"] == "phase":
                break
        paused = program("pause", "-o", "json").json
        assert (paused["state"], paused["already"]) == ("pausing", False)
        assert str(process.pid) in paused["holder"]
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 22
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["state"]) == ("summary", "stopped")
    assert last["why"].startswith("paused by an operator")
    assert program("pause").out.endswith("is already paused; `migrator resume` goes on\n")
