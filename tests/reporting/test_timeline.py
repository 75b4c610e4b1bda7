"""The timeline: cumulated, in few points, and ending with all that is done."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.core.clock import format_time, parse_time
from migrator.reporting.timeline import POINTS, Point, timeline
from tests.execution.bench import Bench

BEGIN = datetime(2026, 5, 9, tzinfo=UTC)


def points(tmp_path: Path, moments: list[datetime]) -> list[Point]:
    """The timeline of a run whose conversations ended at those moments, three messages each."""
    bench = Bench(tmp_path / "campaign")
    with bench.database() as connection:
        for number, moment in enumerate(moments):
            connection.exec_driver_sql(
                "INSERT INTO migrator_item VALUES ('run-1', ?, 'rewrapped', 3, 0, ?)", (number, format_time(moment))
            )
        return timeline(connection, "run-1")


def test_a_run_without_outcomes(tmp_path: Path) -> None:
    """Nothing to show."""
    assert points(tmp_path, []) == []


def test_one_moment(tmp_path: Path) -> None:
    """All at once is one point."""
    assert points(tmp_path, [BEGIN] * 5) == [Point("2026-05-09T00:00:00Z", 5, 15)]


@pytest.mark.parametrize("seconds", [1, 7, 100, 20_000])
def test_any_length(tmp_path: Path, seconds: int) -> None:
    """Seconds, hours or weeks: few points, growing, the last one the whole, and none before what it counts."""
    moments = [BEGIN + timedelta(seconds=seconds * n) for n in range(300)]
    found = points(tmp_path, moments)
    assert 2 <= len(found) <= POINTS + 1
    assert found[-1].conversations == 300
    assert found[-1].messages == 900
    assert [p.conversations for p in found] == sorted({p.conversations for p in found})
    step = timedelta(hours=1)  # the longest that the database may group by
    for point in found:
        assert (
            abs(point.conversations - sum(m <= parse_time(point.until) for m in moments))
            <= 1 + step.total_seconds() / seconds
        )
