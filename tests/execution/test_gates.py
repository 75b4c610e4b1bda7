"""The gates of a run: the date by two clocks, and in production the name and four eyes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from migrator.core.errors import ExitStatus, GateError
from migrator.core.progress import NoProgress
from migrator.execution import runs
from migrator.execution.gates import cutover_reached, require_cutover, require_open
from migrator.planning import stored
from migrator.planning.making import make_plan
from migrator.planning.stored import StoredPlan
from tests.execution.bench import CUTOVER, Bench
from tests.support.operators import ALICE, BOB, allow, approve, both_approve


@pytest.mark.parametrize(("offset", "reached"), [(-1, False), (0, True), (1, True)])
def test_the_date_to_the_microsecond(tmp_path: Path, offset: int, reached: bool) -> None:
    """G2: at the cutover itself the gate is open, a microsecond before it is not."""
    bench = Bench(tmp_path / "campaign")
    bench.at(CUTOVER + timedelta(microseconds=offset))
    with bench.open() as campaign:
        assert cutover_reached(campaign) is reached
        plan = planned(campaign)
        if reached:
            require_open(campaign, plan, None)
            return
        with pytest.raises(GateError, match="2026-05-08") as caught:
            require_open(campaign, plan, "bench")
        assert caught.value.exit_status is ExitStatus.GATE
        assert "--dry-run" in caught.value.hint


def planned(campaign: Campaign) -> StoredPlan:
    """A new plan."""
    return stored.load(campaign, make_plan(campaign, save=None, progress=NoProgress()).plan_id)


def production(folder: Path, cutover: datetime) -> Bench:
    """A campaign in production, a day after its cutover by its own clock."""
    bench = Bench(
        folder / "campaign",
        campaign={"name": "bench", "environment": "production", "cutover_at": cutover},
        keys={"allow_local_keys": True},
    )
    bench.at(cutover + timedelta(days=1))
    return bench


@pytest.mark.parametrize("confirm", [None, "", "bench ", "Bench", "other"])
def test_production_asks_for_the_name(tmp_path: Path, confirm: str | None) -> None:
    """The whole name and nothing else."""
    with production(tmp_path, CUTOVER).open() as campaign:
        plan = planned(campaign)
        both_approve(campaign.spec, plan.plan_id)
        with pytest.raises(GateError, match="campaign's name") as caught:
            require_open(campaign, plan, confirm)
        assert "--confirm bench" in caught.value.hint
        require_open(campaign, plan, "bench")


def test_production_asks_for_four_eyes(tmp_path: Path) -> None:
    """Nobody, and one operator alone, open nothing; staging asks nobody."""
    with production(tmp_path, CUTOVER).open() as campaign:
        plan = planned(campaign)
        allow(campaign.spec.directory)
        with pytest.raises(GateError, match=r"2 different operators; .* has none"):
            require_open(campaign, plan, "bench")
        approve(campaign, plan.plan_id, ALICE)
        with pytest.raises(GateError, match=r"2 different operators; .* has one"):
            require_open(campaign, plan, "bench")
        with pytest.raises(GateError, match=r"2 different operators; .* has one"):
            runs.begin(campaign, plan)
        approve(campaign, plan.plan_id, BOB)
        require_open(campaign, plan, "bench")
        runs.begin(campaign, plan)


def test_the_database_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """G2: a machine whose clock runs ahead opens nothing in production."""
    with production(tmp_path, datetime.now(UTC) + timedelta(days=9)).open() as campaign:
        assert cutover_reached(campaign)
        with pytest.raises(GateError, match="database's clock"):
            require_cutover(campaign)
