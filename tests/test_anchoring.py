"""A run has its log vouched for: before the work and after it, and never held up by who is away."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from migrator import anchoring
from migrator.audit.anchors import kept
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import AuditLogError, ConfigError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.notes import parse_vkey
from migrator.execution.status import summary
from tests.audit.anchor_servers import Witness, serving
from tests.audit.executed import SHAPE, execute, with_settings
from tests.support.campaigns import small_campaign


@pytest.fixture
def spec(tmp_path: Path) -> CampaignSpec:
    """A campaign that is ready to be executed."""
    return small_campaign(tmp_path, SHAPE)


@pytest.fixture
def witness(spec: CampaignSpec) -> Witness:
    """A witness of its log, which is not running yet."""
    key = parse_vkey((spec.directory / "audit" / "log.vkey").read_text())
    return Witness(key.name, Ed25519PublicKey.from_public_bytes(key.public_key))


def _witnessed(spec: CampaignSpec, url: str, witness: Witness, **more: Any) -> CampaignSpec:
    return with_settings(spec, "audit", witnesses={url: witness.vkey}, **more)


def test_a_run_is_vouched_for_at_both_ends(spec: CampaignSpec, witness: Witness) -> None:
    """Two cosigned checkpoints, the second over everything that the run wrote."""
    with serving(witness.answer) as url:
        execute(_witnessed(spec, url, witness))
    with open_campaign(spec) as campaign:
        newest = anchoring.published(campaign).size
    first, second = sorted(kept.sizes(spec.directory / "audit", kept.WITNESS))
    assert 0 < first < second == newest == witness.size


def test_a_witness_that_is_away_does_not_hold_up_a_run(spec: CampaignSpec, witness: Witness) -> None:
    """The run completes; nothing is kept, and the next asking catches up."""
    with serving(witness.answer) as url:
        pass
    away = _witnessed(spec, url, witness)
    run_id = execute(away)
    with open_campaign(away) as campaign:
        assert summary(campaign, run_id).state is RunState.COMPLETED
    assert list(kept.sizes(spec.directory / "audit", kept.WITNESS)) == []
    with serving(witness.answer) as url, open_campaign(_witnessed(spec, url, witness)) as campaign:
        assert [result.state.value for result in anchoring.sign_and_anchor(campaign)] == ["vouches"]


def test_a_witness_that_has_seen_another_log_stops_a_run(spec: CampaignSpec, witness: Witness) -> None:
    """Before anything is opened: the log may have been set back."""
    witness.size = 10**6
    with serving(witness.answer) as url:
        conflicting = _witnessed(spec, url, witness)
        with pytest.raises(AuditLogError, match="has seen another log"):
            execute(conflicting)
    with open_campaign(spec) as campaign:
        found = summary(campaign, None)
    assert (found.state, found.stop_reason) == (RunState.STOPPED, StopReason.AUDIT_LOG)
    assert not [outcome for outcome in found.counts if outcome.startswith("rewrapped")]


def test_nobody_to_ask(spec: CampaignSpec) -> None:
    """Quiet for a run, an error for who asks on purpose."""
    with open_campaign(spec) as campaign:
        assert anchoring.anchor(campaign) == []
        with pytest.raises(ConfigError, match="nobody is configured"):
            anchoring.sign_and_anchor(campaign)
