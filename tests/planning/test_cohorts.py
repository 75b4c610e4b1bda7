"""Plans for a part of the population: who is in it, each time the same, and that nothing stretches it afterwards."""

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import config
from migrator.audit.references import References
from migrator.campaign import reference_context
from migrator.core.cohorts import Rule
from migrator.core.errors import ConfigError, PlanError, UsageError
from migrator.core.model import Conversation
from migrator.core.plan import from_file
from migrator.database import tables
from migrator.facts import Membership
from migrator.planning import limiting, stored
from migrator.planning.making import PlanSummary
from tests.execution.bench import NOW, Bench

COHORTS = {
    "canary": "20%",
    "half": "50%",
    "europe": "region:EU",
    "german": "locale:de",
    "staff": "file:staff.txt",
}
PEOPLE = ("anna", "bert", "cleo", "dora", "emil", "fritz")
LEFT = "skipped:out_of_cohort"


def populated(folder: Path, key: bytes = bytes(32)) -> Bench:
    """Everybody writes to everybody, both copies are there; Anna and Bert live elsewhere, Anna and Cleo read German.

    `key`: the campaign's reference key, so that the same are in a share in each run of the tests.
    """
    bench = Bench(folder / "campaign", cohorts=COHORTS)
    with bench.open() as campaign:
        context = reference_context(campaign.name)
        wrapped = campaign.key_services.named("local:keys#migrator").wrap([(key, context)])[0]
    with bench.database() as connection:
        connection.execute(tables.campaign.update().values(wrapped_reference_key=wrapped))
    for person in PEOPLE:
        bench.account(
            person,
            region="US" if person in ("anna", "bert") else "EU",
            locale="de-AT" if person in ("anna", "cleo") else "en",
        )
    for person in PEOPLE:
        names = [bench.thread(person, other) for other in PEOPLE if other != person]
        for name in names:
            bench.messages(name, range(2))
        bench.keys(person, names)
    (bench.folder / "staff.txt").write_text("bert\ncleo\ndora\n")
    return bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The campaign, for plans alone."""
    return populated(tmp_path_factory.mktemp("cohorts"))


def decisions(bench: Bench, plan: PlanSummary) -> dict[str, str]:
    """Decision by conversation."""
    names = {row["conversation_no"]: row["conversation_id"] for row in bench.all(tables.conversation)}
    rows = [row for row in bench.all(tables.plan_item) if row["plan_id"] == plan.plan_id]
    return {names[row["conversation_no"]]: row["decision"] for row in rows}


def chosen(bench: Bench, plan: PlanSummary) -> set[str]:
    """What a plan opens; all else is out of its cohort."""
    found = decisions(bench, plan)
    assert set(found.values()) <= {"rewrap", LEFT}
    return {name for name, decision in found.items() if decision == "rewrap"}


def threads(names: set[str]) -> set[frozenset[str]]:
    """The pairs of people of some conversations."""
    return {frozenset(name.removeprefix("in-").split("/")) for name in names}


def test_a_cohort_is_the_same_each_time_and_lies_inside_a_larger_one(bench: Bench) -> None:
    """20 % within 50 %, whole threads, again and again; the file says what it is for, and its counts add up."""
    canary, half = bench.plan(cohort="canary"), bench.plan(cohort="half")
    few, many = chosen(bench, canary), chosen(bench, half)
    assert 0 < len(few) < len(many) < len(decisions(bench, half))
    assert few < many
    assert len(few) == 2 * len(threads(few)), "both copies of each thread"
    assert chosen(bench, bench.plan(cohort="canary")) == few
    document = from_file(canary.path.read_bytes())
    assert document["cohort"] == {"name": "canary", "rule": "20%"}
    assert "limit" not in document
    counts = canary.document["counts"]
    assert counts == canary.counts.to_json()
    total = counts["rewrap"]["conversations"] + sum(c["conversations"] for c in counts["skip"].values())
    assert total == canary.document["source"]["conversations"]  # type: ignore[index]  # JSON
    with bench.open() as campaign, campaign.database.read() as connection:
        assert canary.document["items_root"] == stored.items_root(connection, canary.plan_id)


def test_new_arrivals_move_nobody(tmp_path: Path) -> None:
    """Whoever comes later is in or out by a place of their own; those who were there keep theirs."""
    bench = populated(tmp_path)
    before = chosen(bench, bench.plan(cohort="half"))
    everybody = set(decisions(bench, bench.plan()))
    bench.account("zoe")
    for person in PEOPLE:
        for name in (bench.thread("zoe", person), bench.thread(person, "zoe")):
            bench.messages(name, range(1))
            bench.keys(name.removeprefix("in-").partition("/")[0], [name])
    after = chosen(bench, bench.plan(cohort="half"))
    assert after & everybody == before
    assert after > before


def test_another_campaign_draws_others(bench: Bench, tmp_path: Path) -> None:
    """Places come from a key of the campaign's own: who knows all ids, and the program, knows nobody's place."""
    other = populated(tmp_path, bytes(range(32)))
    assert chosen(bench, bench.plan(cohort="half")) != chosen(other, other.plan(cohort="half"))


class Keyed:
    """As much of a campaign as membership by share looks at."""

    def __init__(self, key: bytes) -> None:
        self.references = References(key)


def thread(key: str, copy: int) -> Conversation:
    """A copy of a thread."""
    return Conversation(f"in-{copy}/{key}", f"owner-{copy}", key, (), 1)


@given(
    st.sets(st.text(min_size=1), max_size=40),
    st.lists(st.integers(1, 1_000_000), min_size=2, max_size=2).map(sorted),
    st.binary(min_size=32, max_size=32),
)
def test_shares_nest_and_keep_copies_together(keys: set[str], shares: list[int], secret: bytes) -> None:
    """Whatever threads and key: the smaller share is inside the larger, copies of a thread stay together."""
    campaign: Any = Keyed(secret)
    small, large = (Rule.parse(f"{share // 10_000}.{share % 10_000:04}%") for share in shares)
    copies = [thread(key, copy) for key in sorted(keys) for copy in (1, 2, 3)]
    outside = {rule.text: Membership(campaign, rule).outside(copies) for rule in (small, large)}
    assert outside[large.text] <= outside[small.text]
    for found in outside.values():
        assert {c.thread_key for c in copies if c.conversation_id in found}.isdisjoint(
            {c.thread_key for c in copies if c.conversation_id not in found}
        )
    for alone in copies:
        assert (Membership(campaign, small).outside([alone]) != set()) == (alone.conversation_id in outside[small.text])


@pytest.mark.parametrize(
    ("cohort", "people"),
    [
        ("europe", set(PEOPLE) - {"anna", "bert"}),
        ("german", {"anna", "cleo"}),
        ("staff", {"bert", "cleo", "dora"}),
    ],
)
def test_a_cohort_of_people_has_the_threads_among_them(bench: Bench, cohort: str, people: set[str]) -> None:
    """Nobody outside is touched, and both copies belong together."""
    found = chosen(bench, bench.plan(cohort=cohort))
    assert threads(found) == {frozenset((one, other)) for one in people for other in people if one != other}
    assert len(found) == 2 * len(threads(found))


def test_the_plan_of_a_file_names_nobody(bench: Bench) -> None:
    """Their number, and a digest that confirms no guess: it takes the campaign's key."""
    made = bench.plan(cohort="staff", limit="3")
    assert {"cohort": "staff", "limit": "3"}.items() <= bench.events("plan.created")[-1].items()
    cohort = from_file(made.path.read_bytes())["cohort"]
    assert isinstance(cohort, dict)
    assert (cohort["accounts"], cohort["rule"]) == (3, "file:staff.txt")
    with bench.open() as campaign:
        assert cohort["accounts_hmac"] == campaign.references.digest(["bert", "cleo", "dora"], "cohort-file")
    assert not any(person in made.path.read_text() for person in PEOPLE)


@pytest.mark.parametrize("limit", ["1", "1000", "25%"])
def test_a_limit_takes_the_first_by_place(bench: Bench, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly so many, a smaller limit inside a larger; counts, root and file fit; nothing is left lying about."""
    monkeypatch.setattr(limiting, "_PAGE", 7)
    made = bench.plan(limit=limit)
    with bench.open() as campaign:
        stored.require_executable(campaign, stored.load(campaign, made.plan_id))
    found = chosen(bench, made)
    wanted = {"1": 1, "25%": 8}.get(limit, 30)
    assert len(found) == wanted
    assert found <= chosen(bench, bench.plan(limit=str(wanted + 3)))
    assert len(threads(found)) == (wanted + 1) // 2, "copies of a thread stand side by side"
    assert made.document["limit"] == limit
    assert made.counts.rewrap.conversations == wanted
    assert made.counts.rewrap.messages == 2 * wanted
    assert (LEFT.removeprefix("skipped:") in made.counts.skip) == (wanted < 30)
    assert bench.all(tables.plan_order) == []


def test_a_limit_lies_inside_its_cohort(bench: Bench) -> None:
    """Both in one order: a limited half is a part of the half, and of a limit on everything."""
    half = chosen(bench, bench.plan(cohort="half"))
    limited = chosen(bench, bench.plan(cohort="half", limit="5"))
    assert limited < half
    assert limited == chosen(bench, bench.plan(limit="5"))
    europe = chosen(bench, bench.plan(cohort="europe", limit="50%"))
    assert len(europe) == 6


def test_an_interrupted_plan_leaves_no_order(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between walk and cut: the next plan removes what it kept."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr("migrator.planning.making.cut", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.plan(limit="3")
    assert len(bench.all(tables.plan_order)) == 30
    bench.plan()
    assert bench.all(tables.plan_order) == []


def test_what_is_none_is_refused_before_anything_is_planned(bench: Bench) -> None:
    """An unknown name with the nearest known one, a limit of nothing."""
    before = len(bench.all(tables.plan))
    with pytest.raises(UsageError, match=r"no cohort 'cannary'; the nearest known one is 'canary'"):
        bench.plan(cohort="cannary")
    with pytest.raises(UsageError, match="above 0"):
        bench.plan(limit="0")
    assert len(bench.all(tables.plan)) == before


def test_a_file_that_cant_be_used_is_refused(tmp_path: Path) -> None:
    """Missing, empty, damaged: the file and the line. A misspelt account is not left out without a word."""
    bench = Bench(tmp_path / "campaign", cohorts=COHORTS)
    bench.account("bert")
    for text, message in {
        None: "can't be read: No such file",
        b"": "names nobody",
        b"bert\n\xff": "line 2 is not UTF-8",
        b"bert\ncleo \n": "line 2 is no account id",
    }.items():
        if text is not None:
            (bench.folder / "staff.txt").write_bytes(text)
        with pytest.raises(ConfigError, match=message):
            bench.plan(cohort="staff")
    (bench.folder / "staff.txt").write_text("zero\nbert\n")
    with pytest.raises(UsageError, match=r"does not know 1 of the accounts in staff\.txt"):
        bench.plan(cohort="staff")
    (bench.folder / "staff.txt").unlink()
    (bench.folder / "staff.txt").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        bench.plan(cohort="staff")
    (bench.folder / "staff.txt").rmdir()
    os.mkfifo(bench.folder / "staff.txt")
    with pytest.raises(ConfigError, match=r"staff\.txt: it is not a file"):
        bench.plan(cohort="staff")
    assert bench.all(tables.plan) == []


def test_a_file_that_changed_makes_the_plan_stale(tmp_path: Path) -> None:
    """Grown or shrunk it is refused, whoever approved; in another order it is the same, and so it is when put back."""
    bench = populated(tmp_path)
    file = bench.folder / "staff.txt"
    plan = bench.plan(cohort="staff").plan_id
    for text in ("bert\ncleo\ndora\nemil\n", "bert\ncleo\n"):
        file.write_text(text)
        with pytest.raises(PlanError, match="cohort 'staff' have changed"):
            bench.run(plan)
        with pytest.raises(PlanError, match="have changed"):
            bench.run(plan, dry_run=True)
    file.unlink()
    with pytest.raises(ConfigError, match="can't be read"):
        bench.run(plan)
    assert bench.all(tables.run) == []
    file.write_text("dora\r\n\r\ncleo\r\nbert\r\n")
    assert bench.run(plan).counts["rewrapped"].conversations == 6


def test_an_edited_cohort_makes_the_plan_stale(bench: Bench) -> None:
    """20 % that became 100 %: another configuration, and other rules than those that were rehearsed."""
    plan = bench.plan(cohort="canary").plan_id
    before, old = bench.spec, bench.spec.settings
    wider = old.model_copy(update={"cohorts": {**COHORTS, "canary": "100%"}})
    bench.spec = type(before)(settings=wider, directory=before.directory, clock=before.clock, actor=before.actor)
    with pytest.raises(PlanError, match="configuration has changed"):
        bench.run(plan)
    bench.spec = before
    assert config.rules_digest(old) != config.rules_digest(wider)
    assert config.digest(old) != config.digest(wider)


def test_a_plan_file_may_lack_what_it_need_not_say(bench: Bench) -> None:
    """Plans from before there were cohorts are still read; a member that nobody knows is not."""
    made = bench.plan()
    document = json.loads(made.path.read_bytes())
    assert not {"cohort", "limit", "extend", "arrivals"} & document.keys()
    document["chort"] = {}
    with pytest.raises(PlanError, match="not a plan file of this version"):
        from_file(json.dumps(document).encode())


def test_who_moves_out_of_a_region_is_left_when_executing(tmp_path: Path) -> None:
    """Decided again as of now: both copies end out of the cohort; who moves in waits for the next plan."""
    bench = populated(tmp_path)
    plan = bench.plan(cohort="europe")
    bench.source("UPDATE account SET region = 'US' WHERE account_id = 'cleo'")
    bench.source("UPDATE account SET region = 'EU' WHERE account_id = 'anna'")
    found = bench.outcomes(bench.run(plan.plan_id).run_id)
    moved = {name for name, (outcome, *_) in found.items() if outcome == "rewrapped"}
    assert threads(moved) == {frozenset((a, b)) for a in PEOPLE[3:] for b in PEOPLE[3:] if a != b}
    assert {outcome for outcome, *_ in found.values()} == {"rewrapped", LEFT}
    bench.at(NOW + timedelta(days=1))
    assert {"anna", "dora"} in threads(chosen_again(bench))


def chosen_again(bench: Bench) -> set[str]:
    """What a new plan for Europe opens."""
    found = decisions(bench, bench.plan(cohort="europe"))
    return {name for name, decision in found.items() if decision == "rewrap"}
