"""A campaign that is ready to run, made once and put back for each test: a plan belongs to the place it was made in."""

import shutil
from dataclasses import replace

import pytest

from fixtures.world import FaultShares, Shape, UserShares, World
from migrator.campaign import open_campaign
from migrator.core.progress import NoProgress
from migrator.planning.making import make_plan
from tests.execution.ready import Ready
from tests.support.campaigns import small_campaign
from tests.support.postgres import server

MIXED = Shape(
    accounts=40,
    conversations=60,
    messages=1200,
    huge=3500,
    seed=7,
    users=UserShares(history_export=0.1, partial_export=0.15, too_broad_export=0.05, late_export=0.08),
    faults=FaultShares(truncated=0.004, flipped=0.004),
)

SMALLER = replace(MIXED, accounts=30, conversations=40, messages=600, huge=1400, faults=replace(MIXED.faults, nul_id=0))
"""The same kinds in fewer transactions, as a server takes longer to put back; PostgreSQL stores no NUL."""


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """The campaign with its world and plan, and a copy of it; on SQLite files, and in one PostgreSQL database."""
    folder = tmp_path_factory.mktemp("campaign") / "live"
    shape, sections, database = MIXED, {}, None
    if request.param == "postgresql":
        database = server().create()
        url = server().url(database)
        shape = SMALLER
        sections = {"source": {"kind": "labyrinth", "url": url}, "database": {"url": url, "schema": "migrator"}}
    spec = small_campaign(
        folder,
        shape,
        authorization={"quorum": "owner"},
        execution={"page_size": 300, "max_failures": "100%"},
        **sections,
    )
    with open_campaign(spec) as campaign:
        plan = make_plan(campaign, save=None, progress=NoProgress())
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept)
    if database is not None:
        server().keep(database)
    return Ready(spec, World(shape), plan.plan_id, kept, database)


@pytest.fixture
def ready(prepared: Ready) -> Ready:
    """The prepared campaign as it was before any run."""
    prepared.restore()
    return prepared
