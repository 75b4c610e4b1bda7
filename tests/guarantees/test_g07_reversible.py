"""G7: the source is only read; until a run is final, a rollback takes it back. More: `tests/rollback`."""

import hashlib
from pathlib import Path

from fixtures.world import FaultShares, Shape, UserShares
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.progress import NoProgress
from migrator.reporting import save
from migrator.rollback import rollback
from migrator.verification import verify
from tests.guarantees import reader
from tests.guarantees.support import plan, run
from tests.support.campaigns import LATE, at, import_exports, small_campaign
from tests.verification.support import rows

_SHAPE = Shape(
    accounts=30,
    conversations=60,
    messages=800,
    huge=1200,
    users=UserShares(partial_export=0.2, history_export=0.1),
    faults=FaultShares(flipped=0.004),
)


def of_source(spec: CampaignSpec) -> dict[str, str]:
    """Digests of the source's file and of whatever stands beside it."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in spec.directory.glob("store.db*")}


def test_the_source_keeps_every_byte(tmp_path: Path) -> None:
    """Reversible: planning, rehearsal, run, report, verification, late keys and rollback write nothing to it."""
    spec = small_campaign(tmp_path / "campaign", _SHAPE, authorization={"quorum": "owner"})
    before = of_source(spec)
    assert set(before) == {"store.db"}
    late = at(spec, LATE)
    plan_id = plan(spec)
    run(spec, plan_id, dry_run=True)
    run(spec, plan_id)
    assert of_source(spec) == before
    import_exports(late, late=True)
    run(late)
    with open_campaign(late) as campaign:
        save(campaign, None, tmp_path / "report")
        verify(campaign, None, sample=None, progress=NoProgress())
        rollback(campaign, None, NoProgress())
        assert of_source(spec) == before
    assert of_source(spec) == before


def test_a_rollback_leaves_what_was_and_a_new_plan_comes_to_the_same_end(tmp_path: Path) -> None:
    """Reversible: nothing of the run is readable afterwards, and it can be done again, to the last message and gap."""
    spec = small_campaign(tmp_path / "campaign", _SHAPE, authorization={"quorum": "owner"})
    run(spec)
    first = reader.read(spec.directory)
    with open_campaign(spec) as campaign:
        rollback(campaign, None, NoProgress())
    assert reader.read(spec.directory) == {}
    for table in ("migrator_message", "migrator_gap", "migrator_progress", "migrator_addition"):
        assert rows(spec, f"SELECT COUNT(*) FROM {table}") == [(0,)]
    assert rows(spec, "SELECT COUNT(*) FROM migrator_data_key WHERE wrapped_keyset IS NOT NULL") == [(0,)]
    run(at(spec, LATE))
    assert reader.read(spec.directory) == first
    assert first
