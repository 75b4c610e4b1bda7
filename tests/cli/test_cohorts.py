"""plan --cohort, --limit, execute --retry-failed, status: what operators type, and what they read."""

import json
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def campaign(templates: Templates, folder: Path) -> Path:
    """Everything was imported, and parts of the population have names."""
    return templates.copy(campaigns.with_cohorts, folder)


def test_a_cohort_from_plan_to_report(program: Program, campaign: Path) -> None:
    """Summary, file, `show` and report name it; counts add up to the population; the rest waits and is told nobody."""
    done = program("plan", "--cohort", "staff", "--limit", "2", "-o", "json").json
    assert set(done) == {"schema", "plan_id", "path", "counts", "cohort", "limit"}
    assert (done["cohort"]["name"], done["limit"]) == ("staff", "2")
    assert done["counts"]["rewrap"]["conversations"] == 2
    document = json.loads((campaign / done["path"]).read_bytes())
    assert (document["cohort"], document["limit"]) == (done["cohort"], "2")
    shown = program("show", done["plan_id"])
    assert "cohort:   staff (file:staff.txt, 20 accounts); what is outside waits for another plan" in shown.out
    assert "limit:    2 of the work; what is beyond waits for another plan" in shown.out
    assert "leave: out_of_cohort" in shown.out
    ended = program("execute", done["plan_id"], "-o", "json").json
    assert sum(count["conversations"] for count in ended["counts"].values()) == document["source"]["conversations"]
    assert ended["counts"]["skipped:out_of_cohort"] == {**done["counts"]["skip"]["out_of_cohort"], "gaps": 0}
    assert program("verify").status == 0
    program("report", "--save", "report")
    summary = json.loads((campaign / "report" / "summary.json").read_bytes())
    assert (summary["plan"]["cohort"], summary["plan"]["limit"]) == (done["cohort"], "2")
    page = (campaign / "report" / "report.html").read_text(encoding="utf-8")
    assert "staff (file:staff.txt)" in page
    assert "This run was for a part of the population" in page
    told = (campaign / "report" / "told.csv").read_text(encoding="utf-8").splitlines()[1:]
    counted = sum(int(cell) for line in told for cell in line.split(",")[-2:])
    in_question = document["source"]["conversations"] - ended["counts"]["skipped:out_of_cohort"]["conversations"]
    assert 0 < counted <= in_question


def test_what_cant_be_planned(program: Program, campaign: Path) -> None:
    """2, with the nearest name, the file's line, or how a limit reads; nothing was planned."""
    assert "the nearest known one is 'canary'" in program("plan", "--cohort", "canari").err
    for words in (["--cohort", "x"], ["--limit", "0"], ["--limit", "101%"], ["--limit", "-1"], ["--limit", "many"]):
        assert program("plan", *words).status == 2
    (campaign / "staff.txt").write_bytes(b"account-01\n\xff\n")
    refused = program("plan", "--cohort", "staff")
    assert (refused.status, "line 2 is not UTF-8" in refused.err) == (2, True)
    assert campaigns.ask(campaign, "SELECT COUNT(*) FROM migrator_plan") == "0"


def test_a_retry(program: Program, templates: Templates, folder: Path) -> None:
    """Of a new plan only what failed; results and `status` name the run; what is refused leaves the plan as it is."""
    templates.copy(campaigns.some_failed, folder)
    run = campaigns.newest_run(folder)
    failed = program("status", run, "-o", "json").json["counts"]["failed:source"]
    plan = program("plan", "-o", "json").json["plan_id"]
    of_run = ["--retry-failed", run, "--only"]
    for words in (["--retry-failed", "run-x"], ["--only", "x"], [*of_run, "failed:database"], [*of_run, "held:x"]):
        assert program("execute", plan, *words).status == 2
    done = program("execute", plan, "--retry-failed", run, "--only", "failed:source", "-o", "json")
    assert (done.status, done.json["retry_of"]) == (0, run)
    moved = sum(n["conversations"] for o, n in done.json["counts"].items() if o.startswith(("rewrapped", "held")))
    assert moved == failed["conversations"] > 0
    assert f"opens only what failed in run {run}" in " ".join(program("status").out.split())
    assert program("verify").status == 0
    program("report", "--save", "report")
    assert f"what ended as failed:source in <code>{run}</code>" in (folder / "report" / "report.html").read_text()


def test_what_came_after_the_flip(program: Program, templates: Templates, folder: Path) -> None:
    """The plan tells tails apart, `status` says how many wait and who counted; executed, none wait any more."""
    templates.copy(campaigns.went_on, folder)
    assert "newer than their flip" not in program("status").out
    planned = program("plan", "-o", "json").json
    assert planned["extend"]["tails"] == planned["arrivals"] == {"conversations": 2, "messages": 2}
    shown = program("show", planned["plan_id"]).out
    assert "of rewrap, 2 conversations migrated before: 2 with 2 new messages, 0 with newer exports for 0 gaps" in shown
    status = program("status")
    shown = " ".join(status.out.split())
    assert f"newer than their flip: 2 messages of 2 conversations, as plan {planned['plan_id']} counted" in shown
    found = program("status", "-o", "json").json["arrivals"]
    assert (found["plan_id"], found["conversations"], found["messages"]) == (planned["plan_id"], 2, 2)
    assert program("execute", planned["plan_id"]).status == 0
    assert program("status", "-o", "json").json["arrivals"]["conversations"] == 0
    assert program("verify").status == 0
