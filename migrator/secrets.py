"""Secrets by reference: `env:NAME`, `file:PATH`, `command:…`; and paths relative to the configuration file."""

import os
import shlex
import stat
import subprocess
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from migrator.core.errors import ConfigError
from migrator.core.secret import Secret

COMMAND_TIMEOUT_SECONDS = 30
MAX_SECRET_BYTES = 64 * 1024


def is_reference(text: str) -> bool:
    """Whether a setting names a secret instead of holding one."""
    return text.startswith(("env:", "file:", "command:"))


def resolve(reference: str, directory: Path) -> Secret:
    """Fetch what a reference names; one trailing newline is dropped. `ConfigError` never repeats the secret."""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = os.environ.get(rest)
        if value is None:
            raise ConfigError(f"the environment variable {rest} is not set", hint=f"{reference} was asked for")
        return Secret(value.encode())
    if kind == "file":
        return Secret(_without_newline(_read_private(directory / rest)))
    if kind == "command":
        return Secret(_without_newline(_run(rest, directory)))
    raise ConfigError("a secret is given by reference only", hint="env:NAME, file:PATH or command:…")


def resolve_text(setting: str, directory: Path) -> str:
    """A setting that may be a reference or the value itself, such as a database URL."""
    if not is_reference(setting):
        return setting
    try:
        return resolve(setting, directory).reveal().decode()
    except UnicodeDecodeError:
        raise ConfigError(f"what {setting.partition(':')[0]}: names is not text") from None


def absolute_url(url: str, directory: Path) -> str:
    """A database URL whose relative SQLite path is taken from `directory`."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return url  # whoever opens it says what is wrong with it
    path = parsed.database
    if parsed.get_backend_name() != "sqlite" or not path or path == ":memory:" or path.startswith("file:"):
        return url
    return parsed.set(database=str(directory / path)).render_as_string(hide_password=False)


def _read_private(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path} can be read by others", hint=f"chmod 600 {path}")
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the secret in {path} can't be read: {error.strerror}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path} is too large for a secret")
    return data


def _run(command: str, directory: Path) -> bytes:
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=directory,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"the command of a secret reference failed ({type(error).__name__})") from None
    if done.returncode != 0:
        raise ConfigError(f"the command of a secret reference ended with status {done.returncode}")
    return done.stdout


def _without_newline(data: bytes) -> bytes:
    return data[:-1] if data.endswith(b"\n") else data
