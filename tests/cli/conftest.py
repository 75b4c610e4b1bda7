"""Fixtures for tests of the command line."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.cli.campaigns import TODAY, Templates
from tests.cli.running import Program
from tests.cli.transcripts.playing import Stages


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """The program; logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Program(capsys)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no settings in the environment."""
    for name in [name for name in os.environ if name.startswith("MIGRATOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Campaigns to copy."""
    return Templates(tmp_path_factory.mktemp("campaigns") / "collected")


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """One small campaign, in one folder, and wherever it may stand. A test enters a stage before it begins."""
    return Stages(tmp_path_factory.mktemp("stages"))


@pytest.fixture
def today(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """It is the day after the cutover."""
    assert "MIGRATOR_NOW" not in os.environ, f"{folder} comes first: it clears the environment"
    monkeypatch.setenv("MIGRATOR_NOW", TODAY)
    return TODAY
