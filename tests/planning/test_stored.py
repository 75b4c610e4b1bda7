"""Whether a plan may still be executed: each refusal with status 10, its reason and its remedy."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrator.core.errors import ExitStatus, PlanError, UsageError
from migrator.core.plan import MAX_FILE_BYTES, to_file
from migrator.core.settings import Settings
from migrator.database import tables
from migrator.planning import stored
from migrator.planning.making import PlanSummary
from tests.execution.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A campaign with one conversation to open."""
    made = Bench(tmp_path / "campaign")
    made.account("alice")
    name = made.thread("alice", "bob")
    made.messages(name, range(4))
    made.keys("alice", [name])
    return made


@pytest.fixture
def plan(bench: Bench) -> PlanSummary:
    """Its plan."""
    return bench.plan()


def refused(bench: Bench, reference: str, message: str, hint: str) -> None:
    """The plan is refused as a whole, and nothing has changed."""
    before = bench.all(tables.plan), bench.all(tables.run), bench.all(tables.outbox)
    with pytest.raises(PlanError, match=message) as caught:
        bench.run(reference)
    assert caught.value.exit_status is ExitStatus.PLAN_STALE
    assert hint in caught.value.hint
    assert (bench.all(tables.plan), bench.all(tables.run), bench.all(tables.outbox)) == before


def test_found_by_file_and_by_id(bench: Bench, plan: PlanSummary) -> None:
    """Either way the same plan, with the watermarks it was made with."""
    with bench.open() as campaign:
        by_file, by_id = stored.load(campaign, str(plan.path)), stored.load(campaign, plan.plan_id)
    assert by_file == by_id
    assert (by_id.plan_id, by_id.document) == (plan.plan_id, plan.document)
    assert (by_id.watermarks.authorization_no, by_id.watermarks.export_no) == (1, 1)


def test_a_file_that_was_copied_is_still_the_plan(bench: Bench, plan: PlanSummary, tmp_path: Path) -> None:
    """It is known by its content, not by its place."""
    copy = tmp_path / "approved by hand"
    shutil.copy(plan.path, copy)
    assert bench.run(str(copy)).pending == 0


def test_edited_by_hand(bench: Bench, plan: PlanSummary) -> None:
    """The digest shows it."""
    document = json.loads(plan.path.read_text())
    document["counts"]["rewrap"]["messages"] += 1
    plan.path.write_text(json.dumps(document))
    refused(bench, str(plan.path), "altered", "new plan")


def test_edited_and_sealed_again(bench: Bench, plan: PlanSummary) -> None:
    """The digest fits the file then, and not the one that the database remembers."""
    document = json.loads(plan.path.read_text())
    document["counts"]["rewrap"]["messages"] += 1
    plan.path.write_bytes(to_file(document))
    refused(bench, str(plan.path), "not the one that this campaign's database remembers", "migrator plan")


def test_altered_in_the_database(bench: Bench, plan: PlanSummary) -> None:
    """Document and digest of the row don't fit."""
    with bench.database() as connection:
        connection.execute(tables.plan.update().values(digest="sha256:00"))
    refused(bench, plan.plan_id, "altered", "who did it")


@pytest.mark.parametrize(
    "statement",
    [
        tables.plan_item.update().values(decision="rewrap", messages=5),
        tables.plan_item.update().values(decision="skipped:refused"),
        tables.plan_item.delete(),
        tables.plan_item.update().values(conversation_no=7),
        tables.conversation.update().values(conversation_id="in-alice/carol"),
    ],
)
def test_items_that_were_altered(bench: Bench, plan: PlanSummary, statement: sa.Executable) -> None:
    """Another decision, count or conversation, or one less: the root over the items is another one."""
    with bench.database() as connection:
        connection.execute(statement)
    refused(bench, plan.plan_id, "items", "changed the database")


def test_of_another_campaign(bench: Bench, plan: PlanSummary, tmp_path: Path) -> None:
    """A file that is sound, and not of this campaign."""
    other = Bench(tmp_path / "other")
    refused(other, str(plan.path), "there is no plan", "migrator plan")
    with bench.database() as connection:
        document = json.loads(plan.path.read_text()) | {"campaign": "other"}
        data = to_file(document)
        values = {"document": data.decode(), "digest": json.loads(data)["digest"]}
        connection.execute(tables.plan.update().values(values))
    refused(bench, plan.plan_id, "belongs to campaign 'other'", "--config")


def test_of_another_configuration(bench: Bench, plan: PlanSummary) -> None:
    """Any setting may change what is decided or how."""
    changed = bench.spec.settings.model_dump() | {"execution": {"page_size": 999}}
    bench.spec = replace(bench.spec, settings=Settings.model_validate(changed))
    refused(bench, plan.plan_id, "configuration has changed", "migrator plan")


def test_of_another_source(bench: Bench, plan: PlanSummary) -> None:
    """Another store in the same place."""
    bench.source("UPDATE account SET account_id = 'somebody else'")
    refused(bench, plan.plan_id, "source is not the one", "source.url")


def test_superseded(bench: Bench, plan: PlanSummary) -> None:
    """The newest plan is the plan; one that was never finished supersedes nothing."""
    with bench.database() as connection:
        row = dict(bench.all(tables.plan)[0]) | {"plan_id": "plan-unfinished", "plan_no": 2, "state": "making"}
        connection.execute(tables.plan.insert().values(row))
    with bench.open() as campaign:
        stored.require_executable(campaign, stored.load(campaign, plan.plan_id))
    newer = bench.plan()
    refused(bench, plan.plan_id, f"superseded by {newer.plan_id}", newer.plan_id)


def test_consumed(bench: Bench, plan: PlanSummary) -> None:
    """It belongs to its run, which the hint names."""
    run = bench.run(plan.plan_id)
    refused(bench, plan.plan_id, f"executed by run {run.run_id}", f"migrator resume {run.run_id}")


@pytest.mark.parametrize("reference", ["", "plan-unknown", "x" * 5000, "%", "'; DROP TABLE migrator_plan; --", "."])
def test_what_is_no_plan_at_all(bench: Bench, reference: str) -> None:
    """Whatever somebody types."""
    refused(bench, reference, "there is no plan", "migrator plan")


def test_files_that_are_none(bench: Bench, tmp_path: Path) -> None:
    """A missing file, a folder, a huge file: said in a sentence each."""
    for path in (tmp_path / "missing.json", tmp_path / f"{'x' * 300}.json"):
        with bench.open() as campaign, pytest.raises(UsageError, match="can't be read"):
            stored.load(campaign, str(path))
    (tmp_path / "folder.json").mkdir()
    with bench.open() as campaign, pytest.raises(UsageError, match="can't be read"):
        stored.load(campaign, str(tmp_path / "folder.json"))
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(MAX_FILE_BYTES * 1000)
    refused(bench, str(tmp_path / "huge.json"), "too large", "migrator plan")


def test_what_is_stale_can_not_be_rehearsed_either(bench: Bench, plan: PlanSummary) -> None:
    """A dry run of a plan for another source would say nothing; one of a consumed plan does."""
    bench.run(plan.plan_id)
    assert bench.run(plan.plan_id, dry_run=True).dry_run
    bench.source("UPDATE account SET account_id = 'somebody else'")
    with pytest.raises(PlanError, match="source is not the one"):
        bench.run(plan.plan_id, dry_run=True)
