"""The page of migrator.toml: its sections and keys from the settings themselves, and the commented example."""

import inspect
import json
from datetime import date, datetime
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from migrator import config
from migrator.cli.man.commands import SOURCE
from migrator.cli.man.troff import ManPage
from migrator.config.keys import Keys, name_of
from migrator.core.clock import format_time
from migrator.core.settings import Settings

_ABOUT = """A campaign is described by one TOML file; `migrator init` writes it, with a comment beside each setting.
Relative paths are taken from its folder. A flag comes first, then `MIGRATOR_<SECTION>_<KEY>` in the environment, then
the file, then the default; `migrator config show --provenance` says which of them counts. An unknown key is an error
that names the nearest known one."""
_SECRETS = """No setting holds a secret, but names where it is: `env:NAME` is a variable of the environment, `file:PATH`
a file that only its owner can read, `command:…` what a command prints."""

_NAMES = "The keys are names of your choice."


def page(made_on: date) -> str:
    """All of it."""
    made = ManPage("migrator.toml", 5, source=SOURCE, made_on=made_on, does="configuration of a campaign of migrator")
    made.heading("Description")
    made.paragraph(_ABOUT)
    made.paragraph(_SECRETS)
    keys, comments = Keys(), config.comments()
    made.heading("Settings")
    for section, field in Settings.model_fields.items():
        made.subheading(f"[{section}]")
        if section in keys.named:
            made.paragraph(_NAMES)
            for dotted, said in comments.items():
                if dotted.startswith(f"{section}."):
                    made.definition(dotted.removeprefix(f"{section}."), f"For example. {_sentence(said)}")
            continue
        kind = field.annotation
        assert isinstance(kind, type)  # noqa: S101 - every other field of Settings is a section
        assert issubclass(kind, BaseModel)  # noqa: S101 - by the same
        for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
            made.paragraph(paragraph)
        for name, setting in kind.model_fields.items():
            key = setting.alias or name
            said = comments.get(f"{section}.{key}", "")
            made.definition(key, " ".join((_sentence(name_of(keys[section][key])), _default(setting), _sentence(said))))
    made.heading("Example")
    made.paragraph("What `migrator init` writes:")
    made.listing(config.example_text())
    made.heading("See also")
    made.paragraph("`migrator(1)`, `migrator-init(1)`, `migrator-config-show(1)`, `migrator-preflight(1)`")
    return made.text()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip(':')}." if text else ""


def _default(setting: FieldInfo) -> str:
    if setting.is_required():
        return "It has to be given."
    default = setting.get_default()
    return "Nothing unless given." if default in (None, {}, ()) else f"`{_toml(default)}` unless given."


def _toml(value: Any) -> str:
    if isinstance(value, datetime):
        return format_time(value)
    return json.dumps(value.value if isinstance(value, Enum) else value)
