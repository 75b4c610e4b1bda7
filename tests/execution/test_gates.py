"""The gates of a run: the date by two clocks, and the name in production."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.core.errors import ExitStatus, GateError
from migrator.execution.gates import cutover_reached, require_cutover, require_open
from tests.execution.bench import CUTOVER, Bench


@pytest.mark.parametrize(("offset", "reached"), [(-1, False), (0, True), (1, True)])
def test_the_date_to_the_microsecond(tmp_path: Path, offset: int, reached: bool) -> None:
    """G2: at the cutover itself the gate is open, a microsecond before it is not."""
    bench = Bench(tmp_path / "campaign")
    bench.at(CUTOVER + timedelta(microseconds=offset))
    with bench.open() as campaign:
        assert cutover_reached(campaign) is reached
        if reached:
            require_open(campaign, None)
            return
        with pytest.raises(GateError, match="2026-05-08") as caught:
            require_open(campaign, "bench")
        assert caught.value.exit_status is ExitStatus.GATE
        assert "--dry-run" in caught.value.hint


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
        with pytest.raises(GateError, match="campaign's name") as caught:
            require_open(campaign, confirm)
        assert "--confirm bench" in caught.value.hint
        require_open(campaign, "bench")


def test_the_database_has_a_clock_of_its_own(tmp_path: Path) -> None:
    """G2: a machine whose clock runs ahead opens nothing in production."""
    with production(tmp_path, datetime.now(UTC) + timedelta(days=9)).open() as campaign:
        assert cutover_reached(campaign)
        with pytest.raises(GateError, match="database's clock"):
            require_cutover(campaign)
