"""The commented configuration that `migrator init` writes."""

import json
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


def write_example(path: Path, given: Mapping[str, str] | None = None) -> bool:
    """Write a commented configuration that works as it is; False, and nothing done, where there is a file already.

    `given`: settings by dotted key, as text, out of those that a new campaign most often needs otherwise. `ConfigError`
    where one is not valid.
    """
    if path.exists():
        return False
    values = {**_FIRST, **(given or {})}
    template = Template(resources.files("migrator.config").joinpath("example.toml").read_text(encoding="utf-8"))
    text = template.substitute(
        name=_toml(values["campaign.name"]),
        environment=_toml(values["campaign.environment"]),
        cutover_at=values["campaign.cutover_at"],
        source_url=_toml(values["source.url"]),
        origin=_toml(f"example.org/migrator/{values['campaign.name']}"),
    )
    check(text, path)
    try:
        replace_private(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
    return True


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
