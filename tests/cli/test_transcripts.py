"""What an operator sees of each command, held to the texts in `tests/cli/transcripts`.

After a change that is meant, `TRANSCRIPTS=write python -m pytest -q tests/cli/test_transcripts.py` writes them anew;
the difference is for the review. A new command needs a file with its stage and the lines to type.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest

import migrator.demo
from fixtures.world import Shape
from migrator import bench
from migrator.cli import session
from tests.bench.test_bench import result
from tests.cli.campaigns import TODAY
from tests.cli.running import Program, every_command
from tests.cli.transcripts import readme
from tests.cli.transcripts.playing import Stages, held, play, scenes

FOLDER = Path(__file__).parent / "transcripts"
COMMANDS = [name for name, command in every_command() if not isinstance(command, click.Group)]
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))
NO_DOCUMENT = {"migrator completion bash", "migrator completion zsh", "migrator completion fish"}
"""What they print is a format of its own."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that measures the same always, and a demo of a small store on a fixed day."""
    now = datetime(2026, 5, 9, tzinfo=UTC)
    shape = Shape(accounts=20, conversations=30, messages=300, base=now - timedelta(days=76), seed=8)
    monkeypatch.setattr(bench, "measure", lambda *_, **__: result())
    run: Callable[..., Any] = migrator.demo.run
    monkeypatch.setattr(migrator.demo, "run", lambda *given, **named: run(*given, **{**named, "now": now}, shape=shape))


def test_every_command_has_a_transcript() -> None:
    """And there is none of a command that is gone."""
    assert {f"{name.removeprefix('migrator ').replace(' ', '-')}.txt" for name in COMMANDS} == set(FILES)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_transcript_has_people_and_programs(name: str) -> None:
    """Its command's output for both, where it has both."""
    text = (FOLDER / f"{name.removeprefix('migrator ').replace(' ', '-')}.txt").read_text(encoding="utf-8")
    lines = [line for scene in scenes(text) for line in scene.lines if f"{line} ".startswith(f"{name} ")]
    assert any("-o json" not in line for line in lines)
    assert name in NO_DOCUMENT or any("-o json" in line for line in lines)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", FILES)
def test_a_transcript_is_what_the_program_says(
    name: str, stages: Stages, folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word by word, but for ids, digests and what depends on the machine."""
    assert folder.is_dir()
    monkeypatch.setenv("MIGRATOR_NOW", TODAY)
    monkeypatch.setattr(session, "operator", lambda: "operator")
    monkeypatch.setenv("COLUMNS", "80")
    path = FOLDER / name
    text = path.read_text(encoding="utf-8")
    parts = []
    for scene in scenes(text):
        monkeypatch.chdir(stages.enter(scene.stage))
        parts.append(scene.play(program, stages.folder))
    held(path, text, "\n".join(parts))


@pytest.mark.usefixtures("today")
def test_the_recorded_session_of_the_readme(stages: Stages, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is played like any transcript, and is what the program says."""
    monkeypatch.setattr(session, "operator", lambda: "operator")
    monkeypatch.chdir(stages.enter("collected"))
    text = readme.SESSION
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 5
    held(readme.PATH, text, play(lines, program, stages.folder))
