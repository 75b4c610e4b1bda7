"""The commented configuration that `migrator init` writes."""

import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template

from migrator.core.errors import ConfigError
from migrator.core.model import Environment
from migrator.files import write_private


def write_example(
    path: Path,
    *,
    name: str = "dm-e2ee-retirement",
    environment: Environment = Environment.STAGING,
    cutover_at: datetime = datetime(2026, 5, 8, tzinfo=UTC),
    source_url: str = "sqlite:///store.db",
) -> bool:
    """Write a commented configuration that works as it is; False, and nothing done, where there is a file already."""
    if path.exists():
        return False
    template = Template(resources.files("migrator.config").joinpath("example.toml").read_text(encoding="utf-8"))
    text = template.substitute(
        name=_toml(name),
        environment=_toml(environment.value),
        cutover_at=cutover_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        source_url=_toml(source_url),
        origin=_toml(f"example.org/migrator/{name}"),
    )
    try:
        write_private(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None
    return True


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, except for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
