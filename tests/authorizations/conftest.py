"""A fresh campaign for each test, copied from one that was made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.campaign import CampaignSpec, open_campaign
from tests.authorizations.support import Desk, initialise


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign that nobody changes."""
    return initialise(tmp_path_factory.mktemp("template"))


@pytest.fixture
def spec(template: CampaignSpec, tmp_path: Path) -> CampaignSpec:
    """A campaign of the test's own."""
    folder = tmp_path / "campaign"
    shutil.copytree(template.directory, folder)
    return CampaignSpec(settings=template.settings, directory=folder, clock=template.clock, actor=template.actor)


@pytest.fixture
def desk(spec: CampaignSpec) -> Iterator[Desk]:
    """The campaign, open."""
    with open_campaign(spec) as campaign:
        yield Desk(campaign)
