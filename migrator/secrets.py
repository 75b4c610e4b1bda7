"""Secrets by reference: `env:NAME`, `file:PATH`, `command:…`; and paths relative to the configuration file."""

import os
import shlex
import subprocess
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from migrator.core.errors import ConfigError
from migrator.core.secret import Secret
from migrator.private_files import PrivateFileError, read_private

COMMAND_TIMEOUT_SECONDS = 30
MAX_SECRET_BYTES = 64 * 1024


def is_reference(text: str) -> bool:
    """Whether a setting names a secret instead of holding one."""
    return text.startswith(("env:", "file:", "command:"))


def resolve(reference: str, directory: Path) -> Secret:
    """Fetch what a reference names; one trailing newline is dropped. `ConfigError` never repeats the secret."""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        variable = os.environ.get(rest)
        if variable is None:
            raise ConfigError(f"the environment variable {rest} is not set", hint=f"{reference} was asked for")
        value = os.fsencode(variable)
    elif kind == "file":
        value = _without_newline(_read_file(directory / rest))
    elif kind == "command":
        value = _without_newline(_run(rest, directory))
    else:
        raise ConfigError("a secret is given by reference only", hint="env:NAME, file:PATH or command:…")
    if not value:
        raise ConfigError(f"the secret that {kind}: names is empty", hint="put the secret there")
    return Secret(value)


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


def _read_file(path: Path) -> bytes:
    try:
        return read_private(path, max_bytes=MAX_SECRET_BYTES, follow_links=True)  # mounted secrets are links
    except PrivateFileError as error:
        raise ConfigError(f"a secret's file can't be used: {error.message}", hint=error.hint) from None


def _run(command: str, directory: Path) -> bytes:
    """Standard output of a command without a shell; what it says on standard error is not repeated."""
    try:
        arguments = shlex.split(command)
        if not arguments:
            raise ConfigError("a secret reference names no command", hint="for example command:pass show migrator")
        done = subprocess.run(
            arguments,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"the command of a secret reference failed ({type(error).__name__})",
            hint="run it by hand in the campaign's folder",
        ) from None
    if done.returncode != 0:
        raise ConfigError(
            f"the command of a secret reference ended with status {done.returncode}",
            hint="run it by hand in the campaign's folder",
        )
    if len(done.stdout) > MAX_SECRET_BYTES:
        raise ConfigError(
            "the command of a secret reference printed too much for a secret",
            hint="it prints the secret and nothing else",
        )
    return done.stdout


def _without_newline(data: bytes) -> bytes:
    return data[:-1] if data.endswith(b"\n") else data
