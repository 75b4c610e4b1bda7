"""`migrator bench`: real runs on a synthetic store, whose figures add up, and of which nothing is left."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator import bench
from migrator.bench import measuring, pipeline
from migrator.bench.result import BenchResult, PipelineFigures, PlanForecast
from migrator.campaign import CampaignSpec
from migrator.cli.views import bench as views
from migrator.core.errors import ConfigError, KeyServiceError
from migrator.core.progress import NoProgress
from tests.execution.bench import Bench
from tests.support import postgres


def state_of(folder: Path) -> dict[str, str]:
    """Every file below a folder and its digest; a database's own bookkeeping aside."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


@pytest.fixture
def campaign(tmp_path: Path) -> Bench:
    """A campaign with a plan for one conversation."""
    made = Bench(tmp_path / "campaign")
    made.account("alice")
    made.messages(made.thread("alice", "x"), range(7))
    made.keys("alice", ["in-alice/x"])
    made.plan()
    return made


def test_on_sqlite(campaign: Bench) -> None:
    """All figures, the forecast for the newest plan, and the campaign as it was."""
    before = state_of(campaign.folder)
    found = bench.measure(campaign.spec, messages=1000, progress=NoProgress())
    assert state_of(campaign.folder) == before
    assert (found.database, found.key_service, found.messages) == ("sqlite", "local:keys#migrator", 1000)
    assert [run.workers for run in found.pipelines][:1] == [1]
    for run in found.pipelines:
        assert run.messages == 1000
        assert 0 < run.seconds < 60
        assert 1 < run.cpu_us_per_message < 10_000
        assert 20 < run.peak_memory_mib < 1000
        assert run.busy_share is None or 0 < run.busy_share <= 1
    assert found.opening_per_second > found.obvious_script_per_second
    assert found.aes_gcm_per_second > found.opening_per_second
    forecast = found.forecast
    assert forecast is not None
    assert (forecast.conversations, forecast.messages, forecast.key_service_calls) == (1, 7, 1)
    document = views.measured(found).document
    assert document["schema"] == "migrator.bench/1"
    assert any("would take about" in line for line in views.measured(found).lines)


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[CampaignSpec]:
    """A campaign whose database is a server's; it need not be set up."""
    made = Bench(tmp_path / "on-a-server")
    with postgres.database() as url:
        database = made.spec.settings.database.model_copy(update={"url": url, "schema_name": "migrator"})
        yield replace(made.spec, settings=made.spec.settings.model_copy(update={"database": database}))


def schemas(url: str) -> set[str]:
    """The schemas of a database."""
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_schema_names())
    finally:
        engine.dispose()


def test_on_postgresql(on_postgresql: CampaignSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """In schemas of its own, which are gone afterwards."""
    monkeypatch.setattr(measuring, "_counts", lambda _: [1])
    before = schemas(on_postgresql.settings.database.url)
    found = bench.measure(on_postgresql, messages=1000, progress=NoProgress())
    assert schemas(on_postgresql.settings.database.url) == before
    assert (found.database, found.messages, found.forecast) == ("postgresql", 1000, None)
    assert found.ratios()[0].reach == 2.5


def test_an_interruption_leaves_nothing(
    on_postgresql: CampaignSpec, campaign: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a run."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "time_run", interrupt)
    schemas_before, files_before = schemas(on_postgresql.settings.database.url), state_of(campaign.folder)
    for spec in (on_postgresql, campaign.spec):
        with pytest.raises(KeyboardInterrupt):
            bench.measure(spec, messages=1000, progress=NoProgress())
    assert schemas(on_postgresql.settings.database.url) == schemas_before
    assert state_of(campaign.folder) == files_before


def test_a_missing_key_is_not_made(campaign: Bench) -> None:
    """What `init` makes for a campaign, a measurement does not."""
    (campaign.folder / "keys" / "migrator.json").unlink()
    with pytest.raises(KeyServiceError, match="local key"):
        bench.measure(campaign.spec, messages=1000, progress=NoProgress())
    assert not (campaign.folder / "keys" / "migrator.json").exists()


def test_a_database_that_it_does_not_know(campaign: Bench) -> None:
    """It says which it knows."""
    database = campaign.spec.settings.database.model_copy(update={"url": "mysql+pymysql://host/db"})
    spec = replace(campaign.spec, settings=campaign.spec.settings.model_copy(update={"database": database}))
    with pytest.raises(ConfigError, match="SQLite and PostgreSQL"):
        bench.measure(spec, messages=1000, progress=NoProgress())


# --- figures ---


def figures(workers: int, **changes: float) -> PipelineFigures:
    """A run of 1,000 messages."""
    given = {"seconds": 1.0, "cpu_us_per_message": 10.0, "busy_share": 0.95, "peak_memory_mib": 100.0, **changes}
    return PipelineFigures(workers=workers, messages=1000, machine_cpu_us_per_message=12.0, **given)


def result(**changes: object) -> BenchResult:
    """A measurement in which everything is reached."""
    given: dict[str, object] = {
        "database": "sqlite", "key_service": "local:keys#migrator", "cores": 2, "messages": 1000,
        "conversations": 10_000, "mean_bytes": 200.0, "aes_gcm_per_second": 4e5, "opening_per_second": 3e5,
        "planning_per_second": 2e5, "wraps_per_second": 1e4, "unwraps_per_second": 1e4, "insert_select_seconds": 0.2,
        "pipelines": (figures(1), figures(2, seconds=0.5)), "obvious_script_per_second": 40.0,
        "aws_encryption_sdk_per_second": None, "forecast": None,
    }  # fmt: skip
    return BenchResult(**{**given, **changes})  # type: ignore[arg-type]


def test_what_is_reached_and_what_is_not() -> None:
    """Each figure of the design by its own side."""
    assert [ratio.reached for ratio in result().ratios()] == [True] * 6
    slow = result(
        insert_select_seconds=0.1, obvious_script_per_second=60.0, planning_per_second=1.0,
        pipelines=(figures(1, peak_memory_mib=301.0),
                   figures(2, seconds=0.5, cpu_us_per_message=11.6, busy_share=0.89)),
    )  # fmt: skip
    assert [ratio.reached for ratio in slow.ratios()] == [False] * 6
    assert [ratio.measured for ratio in slow.ratios()][:2] == [5.0, pytest.approx(2000 / 60)]


def test_what_can_not_be_told_is_left_out() -> None:
    """One core says nothing about two; a few conversations nothing about planning."""
    alone = result(cores=1, conversations=100, pipelines=(figures(1),))
    assert [ratio.name for ratio in alone.ratios()] == [
        "pipeline against INSERT … SELECT", "times as fast as the obvious script", "peak memory of a worker, MiB",
    ]  # fmt: skip


def test_figures_come_from_what_workers_note() -> None:
    """From the first begin to the last end; CPU of each process between its own; busy by the machine's clock."""
    notes: list[dict[str, Any]] = [
        {"pid": 1, "begin": 10.0, "end": 11.0, "cpu_begin": 0.5, "cpu_end": 1.0, "peak_kib": 1024,
         "machine_begin": (100.0, 200.0), "machine_end": (101.0, 202.0)},
        {"pid": 1, "begin": 11.0, "end": 12.0, "cpu_begin": 1.0, "cpu_end": 1.5, "peak_kib": 3072,
         "machine_begin": (101.0, 202.0), "machine_end": (103.0, 204.0)},
        {"pid": 2, "begin": 10.5, "end": 11.5, "cpu_begin": 0.2, "cpu_end": 1.2, "peak_kib": 2048,
         "machine_begin": None, "machine_end": None},
    ]  # fmt: skip
    found = pipeline._figures(2, 1000, notes)
    assert (found.seconds, found.peak_memory_mib) == (2.0, 3.0)
    assert found.cpu_us_per_message == pytest.approx(2000.0)
    assert found.machine_cpu_us_per_message == pytest.approx(3000.0)
    assert found.busy_share == 0.75


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_workers_that_are_tried(cores: int, counts: list[int]) -> None:
    """One, and twice as many each time, and all cores."""
    assert measuring._counts(cores) == counts


def test_the_forecast_is_at_the_best_rate() -> None:
    """2,000 a second with two workers: an hour for 7.2 million messages, a call for each conversation."""
    found = measuring._with_forecast(result(), ("plan-1", 9, 7_200_000)).forecast
    assert found == PlanForecast(
        plan_id="plan-1", conversations=9, messages=7_200_000, seconds=3600.0, key_service_calls=9
    )
