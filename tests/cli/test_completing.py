"""What shells are offered: runs, plans, outcomes; never people. Quick, silent, reading only."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

from migrator import recent
from migrator.cli import completing, offers
from migrator.cli.main import cli
from migrator.cli.session import Session
from migrator.config import load
from migrator.core.outcomes import OUTCOMES
from tests.cli import campaigns
from tests.cli.running import every_command
from tests.cli.transcripts.playing import Stages

PROGRAM = Path(sys.executable).with_name("migrator")
_PERSONAL = {"account", "account_id", "conversation", "address", "confirm", "reason", "actor", "subject", "message"}


@pytest.fixture
def campaign(stages: Stages) -> Path:
    """A plan was made and run."""
    return stages.enter("executed")


class Shell:
    """Asks as a shell does, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, line: str, shell: str = "bash") -> list[str]:
        """The values that are offered for what is typed last."""
        self._monkeypatch.setenv(completing.VARIABLE, f"{shell}_complete")
        self._monkeypatch.setenv("COMP_LINE", line)
        self._capsys.readouterr()
        completing.answer(cli, Session())
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return [entry.partition(",")[2] for entry in captured.out.splitlines() if entry.startswith("plain,")]


@pytest.fixture
def shell(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder."""
    assert not list(folder.iterdir())
    return Shell(monkeypatch, capsys)


def test_commands_and_options_are_offered(shell: Shell) -> None:
    """Whether there is a campaign or not."""
    assert shell("migrator pl") == ["plan"]
    assert "rewrap" in shell("migrator keys ")
    assert shell("migrator plan --det") == ["--detailed-exitcode"]
    assert shell("migrator status --output ") == ["human", "json", "jsonl"]


def test_runs_and_plans_are_offered(shell: Shell, campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By id, and plans by their files as well; of the campaign that --config names, or of the one here."""
    run, plan = campaigns.newest_run(campaign), campaigns.newest_plan(campaign)
    config = f"migrator --config {campaign}/migrator.toml "
    for words in ("status ", "verify run-", "report ", "rollback ", "finalize ", "resume ", "audit show --run "):
        assert shell(config + words) == [run], words
    assert shell("migrator status ") == []
    monkeypatch.chdir(campaign)
    assert shell("migrator status ") == [run]
    assert shell("migrator execute ") == [plan, f"plans/{plan}.json"]
    assert shell("migrator show plans/") == [f"plans/{plan}.json"]


def test_outcomes_are_offered(shell: Shell) -> None:
    """All of the closed set, also behind a colon."""
    assert shell("migrator report --only ") == sorted(OUTCOMES)
    assert shell("migrator report --only failed:s") == ["failed:source"]


@pytest.mark.parametrize("name", dict(every_command()))
def test_nobody_is_ever_offered(name: str) -> None:
    """Nor what is typed to confirm: these are plain texts, for which click offers nothing; runs and plans are ours."""
    for parameter in dict(every_command())[name].params:
        if parameter.name in _PERSONAL and not isinstance(parameter.type, click.Path):
            assert type(parameter.type) is click.types.StringParamType, f"{name} {parameter.name}"
        if parameter.name in ("run", "run_id"):
            assert parameter.type is offers.RUN, f"{name}: give {parameter.name} the type offers.RUN"
        if parameter.name == "plan":
            assert parameter.type is offers.PLAN, f"{name}: give {parameter.name} the type offers.PLAN"


def test_a_campaign_that_cannot_be_read_offers_nothing(shell: Shell, folder: Path) -> None:
    """No file, nonsense, no database: nothing is said, nothing is made."""
    assert shell("migrator status ") == []
    (folder / "migrator.toml").write_text("nonsense", encoding="utf-8")
    assert shell("migrator status ") == []
    (folder / "migrator.toml").write_text(
        '[campaign]\nname = "x"\ncutover_at = 2026-05-08T00:00:00Z\n[source]\nurl = "sqlite:///s.db"\n',
        encoding="utf-8",
    )
    assert shell("migrator status ") == []
    assert [path.name for path in folder.iterdir()] == ["migrator.toml"]


def test_a_key_press_changes_no_file(shell: Shell, campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the database, not the log."""
    monkeypatch.chdir(campaign)

    def files() -> dict[str, bytes]:
        found = [path for path in campaign.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal"))]
        return {str(path): path.read_bytes() for path in found}

    before = files()
    assert shell("migrator execute ")
    assert files() == before


def test_a_command_for_the_address_is_not_run(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may ask somebody for something."""
    monkeypatch.setenv("MIGRATOR_DATABASE_URL", f"command:touch {campaign}/asked")
    loaded = load(campaign / "migrator.toml", os.environ, {})
    assert recent.runs(loaded.settings, loaded.directory) == ()
    assert not (campaign / "asked").exists()


def test_a_database_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is offered then."""
    monkeypatch.setattr(offers, "PATIENCE_SECONDS", 0.0)
    release = threading.Event()
    hanging = offers.Offered("run", lambda _: [("run-1", "")] if release.wait(5) else [])
    try:
        assert hanging.shell_complete(click.Context(cli), cli.params[0], "") == []
    finally:
        release.set()


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks(kind: str) -> None:
    """In its own language."""
    assert b"_MIGRATOR_COMPLETE=" in completing.script(kind)


def test_a_real_bash_completes_a_value_with_a_colon(folder: Path) -> None:
    """From the script to what readline puts in: only what follows the colon, as bash splits words there."""
    line = "migrator report --only held:no"
    (folder / "script").write_bytes(completing.script("bash"))
    script = f"""
        source ./script
        COMP_LINE="{line}" COMP_POINT={len(line)}
        _migrator_completion {PROGRAM} no :
        printf '%s\\n' "${{COMPREPLY[@]}}"
        complete -p migrator
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder, check=True)
    assert done.stdout.splitlines() == ["no_key_service", "complete -o nosort -F _migrator_completion migrator"]
    assert done.stderr == ""


def test_a_key_press_loads_half_of_the_program() -> None:
    """What a command rests on stays away; what a shell gets is the same."""
    ask = "import sys, migrator.cli.main as m; sys.argv = ['migrator']\ntry: m.main()\nexcept SystemExit: pass\n"
    count = (
        "import types; print(sum(type(x) is types.ModuleType for n, x in sys.modules.items() if n[:9] == 'migrator.'))"
    )
    environment = {**os.environ, completing.VARIABLE: "bash_complete", "COMP_LINE": "migrator pl"}
    asked = subprocess.run(
        [sys.executable, "-c", ask + count], capture_output=True, text=True, env=environment, check=True
    )
    loaded = [name for name in sys.modules if name.startswith("migrator.")]
    offered, number = asked.stdout.split()
    assert offered == "plain,plan"
    assert int(number) < len(loaded) / 2
