"""Tests of migrator.cli.logging."""

import json
import logging
import warnings

import pytest
import structlog

from migrator.cli.logging import configure
from migrator.core.secret import Secret
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("program")


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The lines of the log as JSON."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_both_kinds_of_loggers_write_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    """structlog's and the standard library's, to standard error."""
    configure(form="json", level="info", color=False)
    structlog.get_logger("ours").info("began", run="r1")
    logging.getLogger("theirs").warning("odd: %s", 5)
    first, second = logged(capsys)
    assert (first["event"], first["run"], first["level"], first["logger"]) == ("began", "r1", "info", "ours")
    assert (second["event"], second["level"], second["logger"]) == ("odd: 5", "warning", "theirs")
    assert str(first["timestamp"]).endswith("Z")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_the_log(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a value, within a text, in a nested value, in an exception, of a foreign logger."""
    configure(form="json" if form == "json" else "console", level="debug", color=False)
    key = b"\x07very-secret-key-material-32bytes"
    log = structlog.get_logger("ours")
    log.info("key", key=key, held=Secret(key), nested={"key": key}, url="postgresql://a:very-secret@db/x")
    log.info("-----BEGIN PRIVATE KEY-----\nvery-secret\n-----END PRIVATE KEY-----")
    logging.getLogger("theirs").info("connecting with password=very-secret to %r", key)
    try:
        raise ValueError(f"plaintext: very-secret {key!r}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("theirs").exception("failed")
    assert "very-secret" not in capsys.readouterr().err


def test_exceptions_are_logged_as_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    """Type, file and line; no message and no locals."""
    configure(form="json", level="info", color=False)
    content = "what somebody wrote"
    try:
        raise KeyError(content)
    except KeyError:
        structlog.get_logger("ours").exception("failed")
    (entry,) = logged(capsys)
    assert entry["error"] == "KeyError"
    assert "test_logging.py" in str(entry["frames"])
    assert content not in json.dumps(entry)


def test_levels_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """Under the level nothing is written."""
    configure(form="json", level="error", color=False)
    structlog.get_logger("ours").warning("no")
    logging.getLogger("theirs").warning("no")
    structlog.get_logger("ours").error("yes")
    assert [entry["event"] for entry in logged(capsys)] == ["yes"]


def test_warnings_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Python's own warnings don't write past the log."""
    configure(form="json", level="warning", color=False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("odd", UserWarning, stacklevel=1)
    assert logged(capsys)[0]["logger"] == "py.warnings"


def test_bugs_are_told_without_their_message(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown exception may carry anything: its type and place are shown, in the log its frames, and no more."""
    secret = "content of a message"

    def broken(*_: object) -> None:
        raise ValueError(secret)

    monkeypatch.setattr("migrator.cli.session.config.load", broken)
    done = program("config", "show", "--log-level", "debug", "-o", "jsonl")
    assert done.status == 1
    assert "this is a bug in migrator: ValueError at " in done.err
    assert "frames" in done.err
    assert secret not in done.err + done.out
    assert done.events[-1]["code"] == "bug"
