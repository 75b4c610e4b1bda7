"""The metrics file, read by Prometheus's own parser: complete, without ids, whole at any moment, readable by others."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from migrator.core.errors import ConfigError
from migrator.core.lifecycle import RunState
from migrator.database import tables
from migrator.execution import metrics, runs
from migrator.execution.coordinator import RunOptions
from migrator.execution.runs import RunSummary
from migrator.execution.watching import snapshot
from migrator.execution.watching.observer import Observer
from tests.execution.bench import Bench
from tests.execution.hooks.test_calling import Notes


def bench_in(folder: Path) -> Bench:
    """A campaign in which one conversation moves and one doesn't."""
    made = Bench(folder)
    for owner, answer in (("alice", "grant"), ("bob", "refuse")):
        made.account(owner, answer=answer)
        name = made.thread(owner, "x")
        made.messages(name, range(3))
        made.keys(owner, [name])
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Such a campaign, without a plan."""
    return bench_in(tmp_path / "campaign")


@dataclass(frozen=True)
class Written:
    """A run that is complete, and the file that it left."""

    bench: Bench
    summary: RunSummary
    text: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Made once, for those who only look at it."""
    folder = tmp_path_factory.mktemp("written")
    bench = bench_in(folder / "campaign")
    summary = bench.run(metrics_file=folder / "migrator.prom")
    return Written(bench, summary, (folder / "migrator.prom").read_text())


def read(text: str) -> dict[str, Metric]:
    """The metrics by name; each once, explained and with a type."""
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        assert family.type == "gauge"
        assert family.samples
        assert all(sample.timestamp is None for sample in family.samples)
    return {family.name: family for family in families}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """The one sample with these labels."""
    samples = [s.value for s in found[name].samples if labels.items() <= s.labels.items()]
    assert len(samples) == 1, (name, labels)
    return float(samples[0])


def test_a_complete_run(written: Written) -> None:
    """Written by `execute`; what Prometheus reads is what the run came to."""
    found, summary = read(written.text), written.summary
    assert value(found, "migrator_run_info", campaign="bench", run_id=summary.run_id, plan_id=summary.plan_id) == 1
    assert value(found, "migrator_run_state", state="completed") == 1
    assert sum(s.value for s in found["migrator_run_state"].samples) == 1
    assert len(found["migrator_run_state"].samples) == len(RunState)
    assert sum(s.value for s in found["migrator_run_phase"].samples) == 1
    assert value(found, "migrator_run_conversations", outcome="skipped:refused") == 1
    assert value(found, "migrator_run_messages", outcome="rewrapped") == 3
    assert value(found, "migrator_run_pending_conversations") == 0
    assert value(found, "migrator_run_progress_ratio") == 1
    assert value(found, "migrator_run_expected_messages") == value(found, "migrator_run_done_messages") == 3
    assert value(found, "migrator_audit_log_entries") == value(found, "migrator_audit_log_signed_entries") > 0
    assert value(found, "migrator_run_last_commit_timestamp_seconds") <= value(
        found, "migrator_metrics_timestamp_seconds"
    )
    assert "migrator_run_remaining_seconds" not in found, "what is not known is left out"


def test_each_sample_says_whose_it_is(written: Written) -> None:
    """The files of several campaigns lie side by side; nobody is named in them."""
    for family in read(written.text).values():
        assert all(sample.labels["campaign"] == "bench" for sample in family.samples)
    assert not re.search("alice|bob|in-", written.text)


def test_anybody_reads_it_and_it_is_always_whole(tmp_path: Path) -> None:
    """Mode 0644 whatever the umask; another file takes the name; nothing is left beside it."""
    path = tmp_path / "out" / "migrator.prom"
    path.parent.mkdir()
    before = os.umask(0o077)
    try:
        metrics.write(path, "# one\n")
        with path.open() as reader:
            metrics.write(path, "# two\n")
            assert reader.read() == "# one\n"
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text() == "# two\n"
    assert list(path.parent.iterdir()) == [path]
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        metrics.write(path, "# three\n")
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["metrics.txt", "metrics", ".prom", "nowhere/m.prom", "folder.prom"])
def test_a_file_that_nobody_would_read_is_refused(tmp_path: Path, name: str) -> None:
    """No name that node-exporter reads, or no place that can be written."""
    (tmp_path / "folder.prom").mkdir()
    with pytest.raises(ConfigError, match="metrics file"):
        metrics.require_writable(tmp_path / name)


def test_a_run_does_not_begin_without_its_file(bench: Bench, tmp_path: Path) -> None:
    """Refused before anything is written."""
    plan = bench.plan().plan_id
    with pytest.raises(ConfigError, match="metrics file"):
        bench.run(plan, metrics_file=tmp_path / "metrics.txt")
    assert bench.all(tables.run) == []


def test_as_configured(bench: Bench) -> None:
    """From the configuration's folder; a dry run leaves it alone; it does not make a plan stale."""
    plan = bench.plan().plan_id
    execution = bench.spec.settings.execution.model_copy(update={"metrics_file": "m.prom"})
    settings = bench.spec.settings.model_copy(update={"execution": execution})
    bench.spec = type(bench.spec)(
        settings=settings, directory=bench.folder, clock=bench.spec.clock, actor=bench.spec.actor
    )
    bench.run(plan, dry_run=True)
    assert not (bench.folder / "m.prom").exists()
    bench.run(plan)
    assert read((bench.folder / "m.prom").read_text())


def test_a_file_that_can_not_be_written_any_more_is_told_once(written: Written, tmp_path: Path) -> None:
    """And the run goes on."""
    path = tmp_path / "out" / "m.prom"
    path.parent.mkdir()
    notes, clock = Notes(), [0.0]
    with written.bench.open() as campaign, campaign.database.read() as connection:
        run = runs.find(connection, None)
        observer = Observer(campaign, RunOptions(metrics_file=path), notes, run.plan_id, monotonic=lambda: clock[-1])
        observer.begun(run)
        path.parent.rmdir()
        for seconds in (1.0, 100.0, 200.0):
            clock.append(seconds)
            observer.look(messages=1, held_seconds=0.0, waiting=None)
        assert len(notes.notes) == 1
        assert "can't be watched" in notes.notes[0]
        assert "m.prom" in notes.notes[0]
        path.parent.mkdir()
        clock.append(300.0)
        observer.look(messages=1, held_seconds=0.0, waiting=None)
    assert read(path.read_text())
    assert len(notes.notes) == 1


def test_names_are_escaped(written: Written) -> None:
    """Whatever a label holds, the parser gets it back."""
    odd = 'a"b\\c\nd'
    with written.bench.open() as campaign:
        found = read(metrics.render(odd, written.summary, snapshot.watch(campaign, written.summary)))
    assert found["migrator_run_info"].samples[0].labels["campaign"] == odd


def test_the_rules_of_the_runbook_name_metrics_that_exist(written: Written) -> None:
    """Whoever copies them is not left with an alert that never fires."""
    runbook = Path(__file__).parent.parent.parent / "runbooks" / "watching-a-run.md"
    named = set(re.findall(r"migrator_(?:run|metrics|audit|lease)_[a-z_]+", runbook.read_text(encoding="utf-8")))
    assert len(named) >= 6
    assert named <= read(written.text).keys()
