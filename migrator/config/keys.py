"""Which settings there are, what kind of value each takes, and how errors name them."""

import difflib
import types
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic import BaseModel

from migrator.core.clock import parse_time
from migrator.core.settings import Settings

PREFIX: Final = "MIGRATOR_"
HOOK_PREFIX: Final = "MIGRATOR_HOOK_"
HOOK_VARIABLES: Final = frozenset(
    HOOK_PREFIX + name
    for name in ("NAME", "CAMPAIGN", "ENVIRONMENT", "PLAN_ID", "RUN_ID", "REASON", "DETAIL", "STATE", "CONVERSATIONS",
                 "PENDING", "REWRAPPED", "HELD", "SKIPPED", "FAILED", "ALREADY_SERVER", "MESSAGES", "GAPS")
)  # fmt: skip
"""What a run tells its hooks: one that calls migrator makes no mistake."""
PROGRAM_VARIABLES: Final = frozenset(
    {"MIGRATOR_CONFIG", "MIGRATOR_OUTPUT", "MIGRATOR_LOG_FORMAT", "MIGRATOR_LOG_LEVEL", "MIGRATOR_COLOR",
     "MIGRATOR_NO_INPUT", "MIGRATOR_NOW", "MIGRATOR_STATS"}
)  # fmt: skip
"""Options of the program, not settings of a campaign: the command line reads these itself."""


class Keys(dict[str, dict[str, type]]):
    """Section → key → kind of value, as `Settings` declares them; `dict`: a table of texts, `list`: one or several.

    `named`: sections of texts whose keys are names that the operator chooses.
    """

    def __init__(self) -> None:
        super().__init__()
        self.named: set[str] = set()
        for section, field in Settings.model_fields.items():
            if get_origin(field.annotation) is dict:
                self.named.add(section)
                self[section] = {}
                continue
            assert isinstance(field.annotation, type)  # noqa: S101 - every other field of Settings is a section
            self[section] = _keys_of(field.annotation)

    def in_section(self, section: str, key: str) -> type | None:
        """What a key of a section holds; None for one that does not exist."""
        return str if section in self.named else self.get(section, {}).get(key)

    def kind(self, dotted: str) -> type | None:
        """What a dotted key holds; None for one that does not exist."""
        section, _, key = dotted.partition(".")
        table, _, entry = key.partition(".")
        kind = self.in_section(section, table) if table else None
        if entry:
            return str if kind is dict else None
        return kind

    def variable(self, variable: str) -> str | None:
        """The dotted key that an environment variable sets; the entry of a table keeps its case."""
        for dotted in self.known():
            prefix = PREFIX + dotted.replace(".", "_").upper()
            if self.kind(dotted) is not dict:
                if variable == prefix:
                    return dotted
            elif variable.startswith(f"{prefix}_") and len(variable) > len(prefix) + 1:
                return f"{dotted}.{variable[len(prefix) + 1 :]}"
        return self._name(variable)

    def _name(self, variable: str) -> str | None:
        """The dotted key of a named section that an environment variable sets; the name keeps its case."""
        for section in self.named:
            prefix = f"{PREFIX}{section.upper()}_"
            if variable.startswith(prefix) and len(variable) > len(prefix):
                return f"{section}.{variable[len(prefix) :]}"
        return None

    def variables(self) -> list[str]:
        """All environment variables that a misspelt one may have been meant for."""
        return [*(PREFIX + dotted.replace(".", "_").upper() for dotted in self.known()), *sorted(PROGRAM_VARIABLES)]

    def known(self) -> list[str]:
        """All dotted keys."""
        return [f"{section}.{key}" for section, keys in self.items() for key in keys]


def from_text(text: str, kind: type) -> object:
    """A value written as text, as the environment and flags have it; `ValueError` where it is not of its kind."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind in (int, float):
            return kind(text if text.isascii() and "_" not in text else "")
        if kind is datetime:
            return parse_time(text)
    except (ValueError, KeyError):
        raise ValueError(f"this is not {name_of(kind)}") from None
    return text


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A half sentence that names what was probably meant; empty where nothing is near."""
    close = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.4)
    return f"; the nearest known one is {close[0]!r}" if close else ""


def show(key: str) -> str:
    """A key for a message: bounded, without control characters."""
    return ascii(key if len(key) <= 80 else f"{key[:80]}…")


_NAMES: Final = {str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "a table",
                 list: "a text or a list of texts",
                 datetime: "a time with an offset, such as 2026-05-08T00:00:00Z"}  # fmt: skip


def name_of(kind: type) -> str:
    """A kind of value in words."""
    return _NAMES.get(kind, f"a {kind.__name__}")


def _keys_of(section: type) -> dict[str, type]:
    assert issubclass(section, BaseModel)  # noqa: S101 - every field of Settings is a section
    return {field.alias or name: _kind_of(field.annotation) for name, field in section.model_fields.items()}


def _kind_of(annotation: object) -> type:
    """The TOML type of a field: enums and literals are text, None is a key left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return _kind_of(next(arg for arg in get_args(annotation) if arg is not type(None)))
    if origin is dict:
        return dict
    if origin is tuple:
        return list
    if annotation in (bool, int, float):
        assert isinstance(annotation, type)  # noqa: S101 - by the line above
        return annotation
    return datetime if "datetime" in getattr(annotation, "__name__", "").lower() else str
