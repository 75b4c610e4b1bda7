"""Loads a campaign's settings and says where each of them came from.

Precedence: a flag, then `MIGRATOR_<SECTION>_<KEY>` in the environment, then the file, then the default. All that is
wrong is reported at once: each unknown key with the nearest known one, each value with the place it came from. Values
are never repeated, as any of them may be a secret in the wrong place.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from migrator.config.keys import HOOK_VARIABLES, PREFIX, PROGRAM_VARIABLES, Keys, from_text, name_of, nearest, show
from migrator.core.errors import ConfigError
from migrator.core.settings import Settings

MAX_FILE_BYTES: Final = 1024 * 1024

FLAG: Final = "flag"
ENVIRONMENT: Final = "env"
FILE: Final = "file"
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, the folder that relative paths start from, and the origin of each dotted key."""

    settings: Settings
    directory: Path
    provenance: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    """A value that somebody gave, and how an error names its place."""

    value: object
    origin: str
    place: str


class _Reader:
    """Collects what the sources give and everything that is wrong with it."""

    def __init__(self) -> None:
        self.keys = Keys()
        self.given: dict[str, _Given] = {}
        self.problems: list[str] = []

    def document(self, text: str, path: Path) -> None:
        """Take the values of a file's text."""
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "a value is out of bounds"
            raise ConfigError(f"{path} is not TOML: {reason}", hint="correct that line and try again") from None
        for section, keys in document.items():
            if section not in self.keys:
                self.problems.append(f"{path}: unknown section {show(section)}{nearest(section, self.keys)}")
            elif not isinstance(keys, dict):
                self.problems.append(f"{path}: {section} is a section: write [{section}]")
            else:
                for key, value in keys.items():
                    self._take(f"{section}.{key}", self.keys.in_section(section, key), value, path)

    def environment(self, environ: Mapping[str, str]) -> None:
        """Take the values of the environment."""
        for variable, text in sorted(environ.items()):
            if not variable.startswith(PREFIX) or variable in PROGRAM_VARIABLES | HOOK_VARIABLES:
                continue
            dotted = self.keys.variable(variable)
            if dotted is None:
                self.problems.append(
                    f"environment: unknown variable {show(variable)}{nearest(variable, self.keys.variables())}"
                )
            else:
                self.text(dotted, text, ENVIRONMENT, variable)

    def text(self, dotted: str, text: str, origin: str, place: str) -> None:
        """Take one value written as text."""
        kind = self.keys.kind(dotted)
        if kind is None or kind is dict:
            self.problems.append(f"{place}: there is no setting {show(dotted)}{nearest(dotted, self.keys.known())}")
            return
        try:
            self.given[dotted] = _Given(from_text(text, kind), origin, place)
        except ValueError as error:
            self.problems.append(f"{place}: {error}")

    def settings(self) -> Settings:
        """All that was given, checked; `ConfigError` otherwise."""
        self.refuse_problems()
        try:
            return Settings.model_validate(_nested(self.given))
        except ValidationError as error:
            raise _config_error(_complaints(error, self.given)) from None

    def refuse_problems(self) -> None:
        """Raise `ConfigError` for what was found wrong so far."""
        if self.problems:
            raise _config_error(self.problems)

    def _take(self, dotted: str, kind: type | None, value: object, path: Path) -> None:
        """One value of the file, or each of a table of values."""
        if kind is None:
            self.problems.append(f"{path}: unknown key {show(dotted)}{nearest(dotted, self.keys.known())}")
        elif kind is dict and isinstance(value, dict):
            for entry, text in value.items():
                self._take(f"{dotted}.{entry}", str, text, path)
        elif kind is list and (isinstance(value, str) or _is_texts(value)):
            self.given[dotted] = _Given(value, FILE, str(path))
        elif kind is datetime and isinstance(value, str):
            self.text(dotted, value, FILE, f"{path}: {dotted}")
        elif (type(value) is kind and kind is not list) or (kind is float and type(value) is int):
            self.given[dotted] = _Given(value, FILE, str(path))
        else:
            self.problems.append(f"{path}: {show(dotted)} is {name_of(type(value))}, not {name_of(kind)}")


def load(path: Path, environ: Mapping[str, str], overrides: Mapping[str, str]) -> Loaded:
    """Read and check the settings of a campaign.

    `overrides` are flags, by dotted key, as text. Raises `ConfigError` that names every key at fault and its place.
    """
    reader = _Reader()
    reader.document(_read(path), path)
    reader.environment(environ)
    for dotted, text in overrides.items():
        reader.text(dotted, text, FLAG, "flag")
    settings = reader.settings()
    provenance = dict.fromkeys(_leaves(settings), DEFAULT)
    provenance.update({dotted: value.origin for dotted, value in reader.given.items()})
    return Loaded(settings=settings, directory=path.absolute().parent, provenance=provenance)


def check(text: str, path: Path) -> None:
    """Raise `ConfigError` unless each value in a file with this text is valid by itself."""
    reader = _Reader()
    reader.document(text, path)
    reader.refuse_problems()
    try:
        Settings.model_validate(_nested(reader.given))
    except ValidationError as error:
        reader.problems += _complaints(error, reader.given, single=True)
        reader.refuse_problems()


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path}", hint="`migrator init` writes one; --config FILE names another"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}", hint="--config FILE names another") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text", hint="--config FILE names another") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is too large for a configuration", hint="--config FILE names another")
    return text


def _nested(given: Mapping[str, _Given]) -> dict[str, dict[str, Any]]:
    document: dict[str, dict[str, Any]] = {section: {} for section in Settings.model_fields}
    for dotted, value in given.items():
        section, _, key = dotted.partition(".")
        table, _, entry = key.partition(".")
        if entry:
            document[section].setdefault(table, {})[entry] = value.value
        else:
            document[section][key] = value.value
    return document


def _complaints(error: ValidationError, given: Mapping[str, _Given], *, single: bool = False) -> list[str]:
    """What is wrong, one by one; `single`: with single values alone."""
    return [_explain(dict(e), given) for e in error.errors(include_input=False) if e["loc"] or not single]


def _explain(item: dict[str, Any], given: Mapping[str, _Given]) -> str:
    """One complaint of pydantic's in our words."""
    dotted = ".".join(str(part) for part in item["loc"] if part != "[key]")
    message = str(item["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if item["type"] == "missing":
        return f"{dotted} is missing"
    place = given[dotted].place + ": " if dotted in given else ""
    return f"{place}{dotted}: {message}" if dotted else message


def _config_error(problems: list[str]) -> ConfigError:
    hint = "correct it and try again; `migrator config show --provenance` says where each setting comes from"
    if len(problems) == 1:
        return ConfigError(problems[0], hint=hint)
    return ConfigError(f"{len(problems)} things are wrong with the settings:\n  " + "\n  ".join(problems), hint=hint)


def _leaves(settings: Settings) -> Iterator[str]:
    for section, keys in settings.model_dump(by_alias=True).items():
        for key, value in keys.items():
            if isinstance(value, dict) and value:
                yield from (f"{section}.{key}.{entry}" for entry in value)
            else:
                yield f"{section}.{key}"
