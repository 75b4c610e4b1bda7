"""The runbooks' commands run, each in a campaign that is where the runbook begins, and end as they say."""

import atexit
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from migrator.core.errors import ExitStatus
from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program
from tests.support.cluster import Cluster

RUNBOOKS = Path(__file__).parent.parent.parent / "runbooks"
BEGINS: dict[str, Callable[[Path], None] | None] = {
    "staging-rehearsal": None,
    "cutover-day": None,
    "approving-a-plan": campaigns.planned_by_operators,
    "a-run-that-stopped": campaigns.stopped,
    "pausing-and-throttling": campaigns.throttled,
    "verification-mismatch": campaigns.damaged,
    "rollback": campaigns.executed,
    "making-it-final": campaigns.out_of_its_window,
    "late-keys": campaigns.executed,
    "canary": campaigns.with_cohorts,
    "freezing-enrolment": campaigns.went_on,
    "retrying-what-failed": campaigns.some_failed,
    "attachments": campaigns.with_attachments,
    "audit-review": campaigns.executed,
    "a-wrong-notice": campaigns.misinformed,
    "notice-campaign": campaigns.bounced,
    "notice-bounces": campaigns.bounced,
    "incomplete-addresses": campaigns.bounced,
    "a-cluster": campaigns.planned,
    "key-least-privilege": campaigns.executed,
    "key-compromise": campaigns.executed,
    "kms-outage": campaigns.stopped,
    "key-rotation": campaigns.rotated,
    "watching-a-run": campaigns.planned,
    "keeping-e2ee-off": campaigns.executed,
}
"""What has happened before somebody opens the runbook; None: everything was imported."""
STATIONS = ["Symptom", "Check", "Act", "Verify", "Roll back"]


def commands(text: str) -> list[tuple[str, int]]:
    """The lines of the console blocks that begin with a prompt, and the exit status that a comment announces."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in filter(str.strip, block.splitlines()):
            prompt, _, rest = line.strip().partition("$ ")
            assert not prompt, f"not a command: {line}"
            command, _, comment = rest.partition("  #")
            status = re.fullmatch(r"\s*exit (\d+)\s*", comment)
            found.append((command.strip(), int(status[1]) if status else 0))
    return found


def filled_in(command: str, folder: Path) -> list[str]:
    """The words of a command with what an operator would put for its placeholders."""
    values: dict[str, Callable[[Path], str]] = {
        "PLAN": campaigns.newest_plan,
        "RUN": campaigns.newest_run,
        "CONVERSATION": campaigns.migrated,
        "SERVICE": lambda _: "local:keys#migrator",
        "ACCOUNT": lambda place: campaigns.ask(place, "SELECT account_id FROM migrator_notice WHERE state = 'sent'"),
        "ENGINE": lambda _: f"dask:{_cluster().address}",
        "CAMPAIGN": lambda place: campaigns.spec_of(place).settings.campaign.name,
    }
    program, *words = shlex.split(command)
    assert program == "migrator"
    return [values[word](folder) if word in values else word for word in words]


@cache
def _cluster() -> Cluster:
    """One worker, for the runbook that wants it."""
    made = Cluster()
    atexit.register(made.remove)
    made.start(1)
    return made


def test_every_runbook_is_known_here() -> None:
    """A new one needs a beginning."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(BEGINS)


@pytest.mark.parametrize("name", BEGINS)
def test_a_runbook_has_its_stations(name: str) -> None:
    """Symptom, check, act, verify, roll back, in that order, and a command wherever one is due."""
    text = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == STATIONS
    assert len(commands(text)) >= 5
    for status in re.findall(r"# exit (\d+)", text):
        assert int(status) in set(ExitStatus)


@pytest.mark.usefixtures("today")
@pytest.mark.parametrize("name", BEGINS)
def test_a_runbook_leads_where_it_says(name: str, folder: Path, program: Program, templates: Templates) -> None:
    """Each command, in order, ends with 0 or with the status that stands beside it."""
    templates.copy(BEGINS[name], folder)
    for command, status in commands((RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")):
        done = program(*filled_in(command, folder))
        assert done.status == status, f"{command}\n{done.out}\n{done.err}"
