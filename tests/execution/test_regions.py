"""Routing by region, from the plan to the report: a data key is wrapped where its owner lives, or not at all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from migrator import evidence, reporting, verification
from migrator.core.errors import PlanError
from migrator.core.outcomes import Outcome
from migrator.core.progress import NoProgress
from migrator.database import tables
from tests.execution.bench import Bench, run_in
from tests.execution.opened import history, run_killed

EU, US = "local:eu#migrator", "local:us#migrator"
PEOPLE = {"alice": "EU", "bob": "US", "carol": "JP", "dora": "", "erik": "EU"}
HELD = Outcome.HELD_NO_KEY_SERVICE.value


def bench_in(folder: Path, people: Mapping[str, str] = PEOPLE, messages: int = 3, page_size: int = 10) -> Bench:
    """One conversation each of people in regions; two of these have a key service, besides the campaign's own."""
    bench = Bench(
        folder / "campaign", keys={"regions": {"EU": EU, "US": US}},
        execution={"page_size": page_size, "max_failures": "100%"},
    )  # fmt: skip
    for owner, region in people.items():
        bench.account(owner, region=region)
        name = bench.thread(owner, "x")
        bench.messages(name, range(messages))
        bench.keys(owner, [name])
    return bench


def services(bench: Bench) -> dict[str, str]:
    """Conversation → the key service that wrapped its data key."""
    names = {row["conversation_no"]: row["conversation_id"] for row in bench.all(tables.conversation)}
    return {names[row["conversation_no"]]: row["key_service"] for row in bench.all(tables.data_key)}


def agree(bench: Bench) -> None:
    """The result verifies, reconciles with the log, and its report adds up."""
    with bench.open() as campaign:
        assert verification.verify(campaign, None, sample=None, progress=NoProgress()).mismatches == ()
        assert evidence.reconcile(campaign).findings == []
        assert reporting.summary(campaign, None)["reconciles"]


def move(bench: Bench, account: str, region: str) -> None:
    """Somebody moves."""
    bench.source(f"UPDATE account SET region = '{region}' WHERE account_id = '{account}'")


def set_regions(bench: Bench, **regions: str) -> None:
    """The operator edits `[keys.regions]`."""
    keys = bench.spec.settings.keys.model_copy(update={"regions": regions})
    bench.spec = replace(bench.spec, settings=bench.spec.settings.model_copy(update={"keys": keys}))


def test_each_where_its_owner_lives_or_not_at_all(tmp_path: Path) -> None:
    """Held are who lives where no service is, and who lives nowhere: the campaign's own service wraps no data key."""
    bench = bench_in(tmp_path)
    plan = bench.plan()
    assert plan.counts.skip[HELD].conversations == 2
    run = bench.run(plan.plan_id)
    assert services(bench) == {"in-alice/x": EU, "in-bob/x": US, "in-erik/x": EU}
    outcomes = bench.outcomes(run.run_id)
    assert {name for name, (outcome, *_) in outcomes.items() if outcome == HELD} == {"in-carol/x", "in-dora/x"}
    assert {event["key_service"] for event in bench.events("key.created")} == {EU, US}
    assert len(history(bench, "in-bob/x")) == 3
    agree(bench)
    with bench.open() as campaign:
        by_service = reporting.summary(campaign, None)["data_keys"]["by_key_service"]
    assert by_service == {EU: {"living": 2, "destroyed": 0}, US: {"living": 1, "destroyed": 0}}


def test_who_moves_after_the_plan_is_wrapped_where_they_live_now(tmp_path: Path) -> None:
    """To another region, to one without a service, and back from one: that is for the next plan."""
    bench = bench_in(tmp_path)
    plan = bench.plan().plan_id
    move(bench, "alice", "US")
    move(bench, "erik", "JP")
    move(bench, "carol", "EU")
    run = bench.run(plan)
    assert services(bench) == {"in-alice/x": US, "in-bob/x": US}
    outcomes = bench.outcomes(run.run_id)
    assert [outcomes[f"in-{name}/x"][0] for name in ("carol", "dora", "erik")] == [HELD] * 3
    agree(bench)
    again = bench.run()
    assert services(bench) == {"in-alice/x": US, "in-bob/x": US, "in-carol/x": EU}
    assert bench.outcomes(again.run_id)["in-alice/x"][0] == Outcome.ALREADY_SERVER.value
    agree(bench)


@pytest.mark.parametrize("regions", [{"EU": EU}, {"EU": US, "US": US}, {"EU": EU, "US": US, "JP": EU}, {}])
def test_other_regions_than_planned_make_the_plan_stale(tmp_path: Path, regions: dict[str, str]) -> None:
    """Removed, changed, added or none any more: nothing is wrapped by what nobody approved."""
    bench = bench_in(tmp_path, {"alice": "EU", "bob": "US"})
    plan = bench.plan().plan_id
    set_regions(bench, **regions)
    with pytest.raises(PlanError):
        bench.run(plan)
    assert bench.all(tables.data_key) == []
    run = bench.run()
    served = {"in-alice/x": regions.get("EU"), "in-bob/x": regions.get("US")}
    if not regions:
        served = dict.fromkeys(served, "local:keys#migrator")
    assert services(bench) == {name: service for name, service in served.items() if service}
    assert ("in-bob/x" in services(bench)) == (bench.outcomes(run.run_id)["in-bob/x"][0] != HELD)
    agree(bench)


def test_who_moves_while_a_long_conversation_is_under_way(tmp_path: Path) -> None:
    """What was sealed under a key of the old region goes, with its key; the new region's has all of it."""
    bench = bench_in(tmp_path, {"alice": "EU"}, messages=2500)
    run_killed(bench, "page", plan=bench.plan().plan_id)
    assert services(bench) == {"in-alice/x": EU}
    move(bench, "alice", "US")
    bench.resume()
    assert services(bench) == {"in-alice/x": US}
    assert len(history(bench, "in-alice/x")) == 2500
    assert len(bench.events("key.destroyed")) == 1
    agree(bench)


def test_one_call_a_unit_and_service_and_none_a_message(tmp_path: Path) -> None:
    """However many messages there are: as many wraps as units, per service; no unwrap but the recipient key's."""
    people = {f"user{number:02}": ("EU", "US")[number % 2] for number in range(20)}
    bench = bench_in(tmp_path, people, messages=25, page_size=100)
    with bench.open() as campaign:
        plan = bench.plan().plan_id
        run_in(campaign, plan)
        calls, items = dict(campaign.key_services.calls), dict(campaign.key_services.items)
    assert {key: calls[key] for key in calls if key[1] == "wrap"} == {(EU, "wrap"): 5, (US, "wrap"): 5}
    assert {key: items[key] for key in items if key[1] == "wrap"} == {(EU, "wrap"): 10, (US, "wrap"): 10}
    # The reference key once; the recipient key once a worker, and here each shard has one of its own.
    unwraps = 1 + len(bench.all(tables.shard))
    assert {key: calls[key] for key in calls if key[1] != "wrap"} == {("local:keys#migrator", "unwrap"): unwraps}
