"""Tests of migrator.config.example."""

import re
import stat
from pathlib import Path

import pytest

from migrator import config
from migrator.config.keys import Keys
from migrator.core.errors import ConfigError
from migrator.core.settings import Settings


def test_the_example_works_as_it_is(tmp_path: Path) -> None:
    """What `init` writes loads, and only its owner reads it."""
    path = tmp_path / "new" / "migrator.toml"
    assert config.write_example(path)
    assert config.load(path, {}, {}).settings.campaign.name == "dm-e2ee-retirement"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_example_says_the_defaults(tmp_path: Path) -> None:
    """Where the file sets what is the default anyway, it is the default."""
    path = tmp_path / "migrator.toml"
    config.write_example(path)
    loaded = config.load(path, {}, {})
    required = {"campaign": {"name": "x", "cutover_at": "2026-05-08T00:00:00Z"}, "source": {"url": "x"}}
    defaults = config.effective(Settings.model_validate(required))
    shown = config.effective(loaded.settings)
    own = {"campaign.name", "campaign.cutover_at", "source.url", "audit.origin"}
    for section, keys in shown.items():
        for key, value in keys.items():
            assert f"{section}.{key}" in own or value == defaults[section][key]


def test_the_example_names_every_setting(tmp_path: Path) -> None:
    """Set or commented out: nobody has to look elsewhere for a key."""
    path = tmp_path / "migrator.toml"
    config.write_example(path)
    text = path.read_text(encoding="utf-8")
    for dotted in Keys().known():
        section, key = dotted.split(".")
        assert re.search(rf"^(# )?({key} = |\[{section}\.{key}\])", text, re.MULTILINE), dotted


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    """Byte for byte."""
    path = tmp_path / "migrator.toml"
    path.write_text("mine", encoding="utf-8")
    assert not config.write_example(path)
    assert path.read_text(encoding="utf-8") == "mine"


def test_what_is_given_stands_in_the_file(tmp_path: Path) -> None:
    """Quotes and all."""
    path = tmp_path / "migrator.toml"
    given = {"campaign.name": "other", "source.url": 'sqlite:///a "quoted" \\ name\x7f.db'}
    config.write_example(path, given)
    settings = config.load(path, {}, {}).settings
    assert (settings.campaign.name, settings.source.url) == (given["campaign.name"], given["source.url"])
    assert settings.origin == "example.org/migrator/other"


def test_what_is_not_valid_is_not_written(tmp_path: Path) -> None:
    """A bad name leaves nothing behind."""
    path = tmp_path / "migrator.toml"
    with pytest.raises(ConfigError, match=r"campaign\.name"):
        config.write_example(path, {"campaign.name": "Not a Name"})
    assert not path.exists()
