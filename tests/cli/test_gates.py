"""What production asks of an operator, and what signals do to a run that is at work."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.store import write_store
from fixtures.world import Shape, World
from migrator.cli.session import Session
from tests.cli import campaigns
from tests.cli.campaigns import TODAY, Templates
from tests.cli.running import Program
from tests.support import operators


@pytest.fixture
def production(program: Program, folder: Path) -> str:
    """A plan of a campaign in production whose cutover is long past; its id."""
    write_store(World(Shape(accounts=4, conversations=4, messages=20)), f"sqlite:///{folder / 'store.db'}")
    given = ("--name", "real-thing", "--cutover-at", "2020-01-01T00:00:00Z", "--environment", "production")
    refused = program("init", *given)
    assert (refused.status, "allow_local_keys" in refused.err, "was written: edit it" in refused.err) == (2, True, True)
    text = (folder / "migrator.toml").read_text(encoding="utf-8")
    (folder / "migrator.toml").write_text(text.replace("# allow_local_keys", "allow_local_keys"), encoding="utf-8")
    assert program("init", *given).status == 0
    plan = str(program("plan", "-o", "json").json["plan_id"])
    operators.allow(folder)
    for name, key in (("alice", operators.ALICE), ("bob", operators.BOB)):
        path = operators.key_file(folder / name, key)
        assert program("approve", plan, "--key", str(path), "--waive-rehearsal", operators.WAIVER).status == 0
    return plan


def test_production_asks_for_the_campaigns_name(program: Program, production: str) -> None:
    """Nothing and something else are refused with 12; the name itself opens the gate."""
    assert program("execute", production).status == 12
    assert program("execute", production, "--confirm", "yes").status == 12
    assert program("execute", production, "-o", "json").status == 12
    done = program("execute", production, "--confirm", "real-thing", "--workers", "1", "-o", "json")
    assert (done.status, done.json["state"]) == (0, "completed")


@pytest.mark.parametrize(("typed", "status"), [("real-thing\n", 0), ("real\n", 12), ("\n", 12)])
def test_the_name_may_be_typed(
    typed: str, status: int, program: Program, production: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person is there to type it."""
    monkeypatch.setattr(Session, "may_ask", lambda _: True)
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    done = program("execute", production, "--workers", "1")
    assert done.status == status
    assert "Type the campaign's name" in done.err


def test_nobody_is_asked_who_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without a terminal, not with --no-input, not where a program reads the result."""
    session = Session()

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert session.may_ask()
    session.options.no_input = True
    assert not session.may_ask()
    session.options.no_input = False
    session.options.output = "json"
    assert not session.may_ask()
    session.options.output = "human"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not session.may_ask()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signalled_run_stops_at_a_checkpoint(
    number: signal.Signals, status: int, program: Program, templates: Templates, folder: Path, today: str
) -> None:
    """A real process: it says where it stands, ends with the signal's status, and can be resumed to a verified end."""
    templates.copy(None, folder)
    plan = program("plan", "-o", "json").json["plan_id"]
    executable = Path(sys.executable).with_name("migrator")
    process = subprocess.Popen(
        [executable, "execute", plan, "--workers", "1", "-o", "jsonl", "--stats", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "MIGRATOR_NOW": TODAY},
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()  # the version comes with the first event: the handlers are set by then
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if process.returncode == 0:  # it was done before it heard
        assert '"state":"completed"' in out
    else:
        assert process.returncode == status
        assert '"state":"stopped"' in out
        assert program("resume", "-o", "json").json["state"] == "completed"
    assert program("verify").status == 0
    assert today == TODAY
    assert campaigns.newest_run(folder)
