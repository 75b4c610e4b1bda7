"""finalize on the command line: what an operator types, reads and is refused."""

import json
from pathlib import Path

import pytest

from tests.cli import campaigns
from tests.cli.campaigns import Templates
from tests.cli.running import Program

pytestmark = pytest.mark.usefixtures("today")


@pytest.fixture
def campaign(folder: Path, templates: Templates) -> Path:
    """A campaign whose run is completed and out of its window, which is the current one."""
    return templates.copy(campaigns.out_of_its_window, folder)


def test_from_the_dry_run_to_the_certificate(campaign: Path, program: Program) -> None:
    """Refused until verified; the dry run lists what the real one then deletes; the second time says so."""
    name = campaigns.spec_of(campaign).settings.campaign.name
    refused = program("finalize", "--confirm", name)
    assert (refused.status, "was not verified" in refused.err, "migrator verify" in refused.err) == (12, True, True)
    assert "it would be refused now" in program("finalize", "--dry-run").out
    assert program("verify").status == 0
    assert program("finalize").status == 12
    listed = program("finalize", "--dry-run", "-o", "json").json
    assert listed["schema"] == "migrator.finalization_preview/1"
    dry = program("finalize", "--dry-run").out
    assert "nothing was deleted" in dry
    assert "refused" not in dry
    done = program("finalize", "--confirm", name, "-o", "json").json
    assert (done["schema"], done["what"], done["already"]) == ("migrator.finalization/1", "migrated", False)
    assert done["messages"] == sum(entry["messages"] for entry in listed["conversations"]) > 0
    assert done["conversations"] == len(listed["conversations"])
    assert json.loads(Path(done["certificate"]).read_text())["messages"] == done["messages"]
    again = program("finalize", "--confirm", name)
    assert (again.status, again.out.startswith("already final: ")) == (0, True)
    assert program("rollback").status == 12
    assert program("verify").status == 0
    assert program("audit", "reconcile").status == 0
    assert program("read", campaigns.migrated(campaign), "--reason", "an audit").status == 0


def test_usage(campaign: Path, program: Program) -> None:
    """A run that is none, and a grace period that is not over."""
    name = campaigns.spec_of(campaign).settings.campaign.name
    assert program("finalize", "run-x", "--confirm", name).status == 12
    assert program("finalize", "--sealed", "--confirm", name).status == 12
