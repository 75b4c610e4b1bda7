"""A campaign for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from tests.exports.support import campaign_in


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Campaign]:
    """A campaign that is set up, in `tmp_path`, with nothing imported."""
    with campaign_in(tmp_path) as opened:
        yield opened


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder for archives that are handed in."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder
