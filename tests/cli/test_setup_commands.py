"""init, demo, preflight, config, completion on the command line."""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.cli import session
from migrator.core.clock import SystemClock
from tests.cli import campaigns
from tests.cli.running import Program
from tests.cli.transcripts import readme
from tests.cli.transcripts.playing import held, play

pytestmark = pytest.mark.usefixtures("folder")


def test_init_makes_everything_once(program: Program, folder: Path) -> None:
    """The second time everything is there already; nothing is readable by others."""
    first = program("init", "-o", "json").json
    assert all(step["made"] for step in first["steps"])
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    again = program("init")
    assert (again.status, "already initialised" in again.out) == (0, True)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert all(stat.S_IMODE(p.stat().st_mode) & 0o077 == 0 for p in before)


def test_init_takes_the_first_settings_as_options(program: Program, folder: Path) -> None:
    """And refuses to say otherwise than the file that is there."""
    given = ("--name", "other", "--cutover-at", "2030-01-01T00:00:00Z", "--source-url", "sqlite:///x.db")
    assert program("init", "there", *given).status == 0
    assert program("init", "there", *given).status == 0
    assert campaigns.spec_of(folder / "there").settings.campaign.name == "other"
    refused = program("init", "there", "--name", "another")
    assert (refused.status, "says otherwise" in refused.err) == (2, True)
    assert program("init", "bad", "--name", "Not A Name").status == 2
    assert not (folder / "bad").exists()


def test_preflight_ends_with_13_where_a_check_fails(program: Program) -> None:
    """Here: there is no source."""
    program("init")
    done = program("preflight", "-o", "json")
    assert done.status == 13
    checks = {check["name"]: check for check in done.json["checks"]}
    assert checks["source"]["state"] == "fail"
    assert checks["source"]["remedy"]
    assert "fail source: " in program("preflight").out


def test_config_show(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effective values, where they come from, and no passwords."""
    program("init")
    monkeypatch.setenv("MIGRATOR_SOURCE_URL", "postgresql://ann:hunter2@db/x")
    monkeypatch.setenv("MIGRATOR_DATABASE_URL", "env:SOMEWHERE")
    done = program("config", "show", "--provenance")
    assert 'source.url = "postgresql://ann:[redacted]@db/x"  # env' in done.out
    assert 'database.url = "env:SOMEWHERE"  # env' in done.out
    assert 'campaign.name = "dm-e2ee-retirement"  # file' in done.out
    assert "hunter2" not in done.out
    document = program("config", "show", "--provenance", "-o", "json").json
    assert document["provenance"]["execution.workers"] == "file"


def test_without_a_configuration_there_is_a_hint(program: Program) -> None:
    """What to do about it."""
    done = program("plan")
    assert done.status == 2
    assert "there is no configuration file migrator.toml" in done.err
    assert "`migrator init` writes one" in done.err


@pytest.mark.parametrize(
    "arguments", [("plann",), ("plan", "--sav"), ("execute",), ("status", "-o", "xml"), ("notify",)]
)
def test_usage_errors_end_with_2(arguments: tuple[str, ...], program: Program) -> None:
    """And point to the help."""
    done = program(*arguments)
    assert done.status == 2
    assert done.out == "" or arguments == ("notify",)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, program: Program) -> None:
    """A script for each shell that asks the program itself."""
    done = program("completion", shell)
    assert (done.status, "_MIGRATOR_COMPLETE" in done.out) == (0, True)


def test_the_demo_leads_to_commands_that_work(program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It verifies itself, and what it says to try works; made again, it is as new, and as the README shows it."""
    done = program("demo", "demo", "-q")
    assert done.status == 0
    assert "no mismatch" in done.out
    assert ", 0 are not" in done.out
    _, _, tail = done.out.partition("Now try")
    monkeypatch.chdir(folder / "demo")
    commands = [
        line.split("  #")[0] for line in tail.splitlines() if line.startswith("  ") and " cd " not in f" {line}"
    ]
    assert len(commands) >= 5
    for command in commands:
        _, *words = shlex.split(command)
        assert program(*words).status == 0, command
    assert program("execute", campaigns.newest_plan(folder / "demo")).status == 10
    monkeypatch.chdir(folder)
    (folder / "demo" / "mine.txt").write_text("mine", encoding="utf-8")
    today = SystemClock().now().date()
    again = program("demo", "demo", "-q", "-o", "json").json
    assert again == {
        "schema": "migrator.demo/1", "ok": True, "directory": "demo", "conversations": 400, "messages": 20000,
    }  # fmt: skip
    assert (folder / "demo" / "mine.txt").exists()
    monkeypatch.chdir(folder / "demo")
    monkeypatch.setattr(session, "operator", lambda: "operator")
    monkeypatch.setenv("MIGRATOR_NOW", f"{today}T12:00:00Z")
    lines = [line[2:] for line in readme.TOUR.splitlines() if line.startswith("$ ")]
    held(readme.PATH, readme.TOUR, play(lines, program, folder / "demo", today))


def test_the_demo_leaves_other_folders_alone(program: Program, folder: Path) -> None:
    """What is not empty and no demo is refused."""
    (folder / "precious").write_text("precious", encoding="utf-8")
    done = program("demo", folder)
    assert (done.status, [p.name for p in folder.iterdir()]) == (2, ["precious"])


def test_the_installed_program() -> None:
    """As a process: exit status, streams, no core dumps, files for this user only."""
    program = Path(sys.executable).with_name("migrator")
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run([program, "init", "-o", "json"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["schema"] == "migrator.init/1"
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
        refused = subprocess.run(
            [program, "plan"], stdout=nowhere, stderr=subprocess.PIPE, env=environment, check=False
        )
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"migrator: error: ")
