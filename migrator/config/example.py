"""The commented configuration that `migrator init` writes."""

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

from migrator.config.loading import check
from migrator.core.errors import ConfigError
from migrator.private_files import replace_private

_FIRST: Final = {
    "campaign.name": "dm-e2ee-retirement",
    "campaign.environment": "staging",
    "campaign.cutover_at": "2026-05-08T00:00:00Z",
    "source.url": "sqlite:///store.db",
}

_SECTION: Final = re.compile(r"(?:# )?\[([a-z_.]+)\]")
_SETTING: Final = re.compile(r"(?:# )?([a-z_]+) = .*?(?:\s{2,}# (.*))?$")
_CONTINUED: Final = re.compile(r"\s{8,}# (.*)")


def write_example(path: Path, given: Mapping[str, str] | None = None) -> bool:
    """Write a commented configuration that works as it is; False, and nothing done, where there is a file already.

    `given`: settings by dotted key, as text, out of those that a new campaign most often needs otherwise. `ConfigError`
    where one is not valid.
    """
    if path.exists():
        return False
    text = example_text(given)
    check(text, path)
    try:
        replace_private(path, text.encode())
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror}", hint="name a folder that is yours to write"
        ) from None
    return True


def example_text(given: Mapping[str, str] | None = None) -> str:
    """The text of that configuration."""
    values = {**_FIRST, **(given or {})}
    template = Template(resources.files("migrator.config").joinpath("example.toml").read_text(encoding="utf-8"))
    return template.substitute(
        name=_toml(values["campaign.name"]),
        environment=_toml(values["campaign.environment"]),
        cutover_at=values["campaign.cutover_at"],
        source_url=_toml(values["source.url"]),
        origin=_toml(f"example.org/migrator/{values['campaign.name']}"),
    )


def comments() -> dict[str, str]:
    """What the example says beside each setting, by dotted key, for documents about them."""
    found: dict[str, str] = {}
    section = key = ""
    for line in example_text().splitlines():
        if match := _SECTION.match(line):
            section, key = match[1], ""
        elif match := _SETTING.match(line):
            key = f"{section}.{match[1]}"
            if match[2] and key not in found:
                found[key] = match[2]
        elif key in found and (match := _CONTINUED.match(line)):
            found[key] += f" {match[1]}"
    return found


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
