"""Secrets by reference: each kind, each way to get it wrong, and nothing of a secret in any error."""

import os
import sys
from pathlib import Path

import pytest

from migrator import secrets
from migrator.core.errors import ConfigError
from migrator.secrets import MAX_SECRET_BYTES, absolute_url, is_reference, resolve, resolve_text

PYTHON = sys.executable


def _private(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:NAME` is that variable, byte for byte, also where it is no UTF-8."""
    monkeypatch.setitem(os.environb, b"MIGRATOR_TEST_SECRET", b"s\xff\n")
    assert resolve("env:MIGRATOR_TEST_SECRET", tmp_path).reveal() == b"s\xff\n"


@pytest.mark.parametrize(("content", "secret"), [(b"s", b"s"), (b"s\n", b"s"), (b"s\n\n", b"s\n"), (b" s ", b" s ")])
def test_file(content: bytes, secret: bytes, tmp_path: Path) -> None:
    """`file:PATH` is relative to the configuration; an editor's newline at its end is not part of it."""
    _private(tmp_path / "s", content)
    assert resolve("file:s", tmp_path).reveal() == secret
    assert resolve(f"file:{tmp_path}/s", Path("/nowhere")).reveal() == secret


def test_mounted_secrets_are_links(tmp_path: Path) -> None:
    """A link to a private file is followed: that is how secrets are mounted into containers."""
    _private(tmp_path / "real", b"s")
    (tmp_path / "s").symlink_to("real")
    assert resolve("file:s", tmp_path).reveal() == b"s"


def test_command(tmp_path: Path) -> None:
    """`command:…` is what it prints, run in the configuration's folder without a shell."""
    (tmp_path / "here").write_text("")
    script = "import os; print(os.listdir('.'), '$HOME')"
    assert resolve(f'command:{PYTHON} -c "{script}"', tmp_path).reveal() == b"['here'] $HOME"


def test_command_gets_no_input(tmp_path: Path) -> None:
    """A command that asks on standard input gets nothing, rather than the operator's next line."""
    script = "import sys; print(repr(sys.stdin.read()))"
    assert resolve(f'command:{PYTHON} -c "{script}"', tmp_path).reveal() == b"''"


@pytest.mark.parametrize(
    "reference",
    ["", "hunter2", "secret:hunter2", "env:", "env:MIGRATOR_NOT_SET", "env:a=b", "env:a\0b", "file:", "file:none",
     "file:a\0b", "file:.", "command:", "command:   ", 'command:"unbalanced', "command:/no/such/program",
     "command:a\0b", "command:false"],
)  # fmt: skip
def test_bad_references(reference: str, tmp_path: Path) -> None:
    """Empty, unknown, missing, malformed: one kind of error, and a value given in place of a reference isn't shown."""
    with pytest.raises(ConfigError) as caught:
        resolve(reference, tmp_path)
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_empty_secret_is_refused(content: bytes, tmp_path: Path) -> None:
    """An empty file is a mistake, not an empty password."""
    _private(tmp_path / "s", content)
    with pytest.raises(ConfigError, match="empty"):
        resolve("file:s", tmp_path)


def test_huge_secret_is_refused(tmp_path: Path) -> None:
    """A file or an output over the limit is no secret."""
    _private(tmp_path / "s", b"x" * (MAX_SECRET_BYTES + 1))
    with pytest.raises(ConfigError, match="too large"):
        resolve("file:s", tmp_path)
    with pytest.raises(ConfigError, match="too much"):
        resolve(f"command:{PYTHON} -c \"print('x' * {MAX_SECRET_BYTES + 1})\"", tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o622])
def test_loose_modes_are_refused(mode: int, tmp_path: Path) -> None:
    """A secret that others can read or replace is refused with the command that mends it."""
    path = _private(tmp_path / "s", b"hunter2", mode)
    with pytest.raises(ConfigError) as caught:
        resolve("file:s", tmp_path)
    assert caught.value.hint == f"chmod 600 {path}"
    assert "hunter2" not in f"{caught.value!r}"


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    """A FIFO nobody writes to is refused at once."""
    os.mkfifo(tmp_path / "s", 0o600)
    with pytest.raises(ConfigError, match="regular file"):
        resolve("file:s", tmp_path)


def test_slow_command_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that does not end in time is an error that names no argument of it."""
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(ConfigError, match="TimeoutExpired") as caught:
        resolve(f'command:{PYTHON} -c "import time; time.sleep(60)" hunter2', tmp_path)
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


def test_failing_command_keeps_its_output_to_itself(tmp_path: Path) -> None:
    """What a failing command printed, on either stream, may be the secret."""
    script = "import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ConfigError, match="status 3") as caught:
        resolve(f'command:{PYTHON} -c "{script}"', tmp_path)
    assert "hunter2" not in f"{caught.value!r} {caught.value.hint}"


def test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that may be a value is taken as it is; a reference is followed; bytes that are no text are refused."""
    assert resolve_text("sqlite:///x.db", tmp_path) == "sqlite:///x.db"
    monkeypatch.setenv("MIGRATOR_TEST_URL", "postgresql://h/d")
    assert resolve_text("env:MIGRATOR_TEST_URL", tmp_path) == "postgresql://h/d"
    _private(tmp_path / "s", b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text"):
        resolve_text("file:s", tmp_path)


def test_references_are_known_by_their_kind() -> None:
    """Only the three kinds are references."""
    assert [is_reference(text) for text in ("env:A", "file:a", "command:a", "sqlite:///a", "", "ENV:A")] == [
        True, True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///a.db", "sqlite:////d/a.db"),
        ("sqlite:///x/a.db", "sqlite:////d/x/a.db"),
        ("sqlite:////abs/a.db", "sqlite:////abs/a.db"),
        ("sqlite+pysqlite:///a.db", "sqlite+pysqlite:////d/a.db"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:a.db?uri=true", "sqlite:///file:a.db?uri=true"),
        ("postgresql://u:p%40ss@h/d", "postgresql://u:p%40ss@h/d"),
        ("no url at all", "no url at all"),
        ("", ""),
    ],
)
def test_relative_sqlite_paths(url: str, expected: str) -> None:
    """Only an SQLite file's relative path moves; passwords survive."""
    assert absolute_url(url, Path("/d")) == expected


def test_secret_never_shows(tmp_path: Path) -> None:
    """G5: a resolved secret shows its length."""
    _private(tmp_path / "s", b"hunter2")
    assert repr(resolve("file:s", tmp_path)) == "Secret(7 bytes)"
