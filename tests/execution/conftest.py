"""A campaign that is ready to run, made once and put back for each test: a plan belongs to the place it was made in."""

import shutil
from pathlib import Path

import pytest

from fixtures.world import FaultShares, Shape, UserShares, World
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.planning.making import make_plan
from tests.execution.ready import Ready
from tests.support.campaigns import small_campaign

MIXED = Shape(
    accounts=40,
    conversations=60,
    messages=1200,
    huge=3500,
    seed=7,
    users=UserShares(history_export=0.1, partial_export=0.15, too_broad_export=0.05, late_export=0.08),
    faults=FaultShares(truncated=0.004, flipped=0.004),
)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[CampaignSpec, World, str, Path]:
    """The campaign, its world, its plan, and a copy of its folder."""
    folder = tmp_path_factory.mktemp("campaign") / "live"
    spec = small_campaign(
        folder,
        MIXED,
        authorization={"quorum": "owner"},
        execution={"page_size": 300, "max_failures": "100%"},
    )
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress())
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    return spec, World(MIXED), plan.plan_id, kept


@pytest.fixture
def ready(prepared: tuple[CampaignSpec, World, str, Path]) -> Ready:
    """The prepared campaign as it was before any run."""
    spec, world, plan_id, kept = prepared
    found = Ready(spec, world, plan_id, kept)
    found.restore()
    return found
