"""G8: the audit log during a run: signed at the run's edges, never silent for an hour, and a run stops without it."""

import json
from pathlib import Path

import pytest

from migrator.audit import signing, signing_key, verifying
from migrator.audit.findings import FindingKind
from migrator.campaign import open_campaign
from migrator.core.errors import RESUMABLE, AuditLogError, ExitStatus, KeyDelay, KeyServiceUnavailableError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.execution.journal import HEARTBEAT_SECONDS, Journal
from migrator.execution.status import summary
from tests.execution.inline import StopAfter
from tests.execution.ready import Ready


def signed_ends(ready: Ready) -> dict[int, str]:
    """The size of each kept checkpoint, with the type of the last entry under it."""
    with open_campaign(ready.spec) as campaign:
        lines = [json.loads(line) for line in campaign.audit.lines()]
        return {size: lines[size - 1]["type"] for size in campaign.audit.directory.checkpoint_sizes()}


def test_a_run_begins_and_ends_with_a_checkpoint(ready: Ready) -> None:
    """One over its beginning, before anything is opened; one over its end."""
    ready.run()
    ends = list(signed_ends(ready).values())
    assert "dev.migrator.run.started" in ends
    assert ends[-1] == "dev.migrator.run.completed"


def test_a_stop_is_signed(ready: Ready) -> None:
    """A run that was interrupted leaves nothing unsigned, and neither does its resumption."""
    ready.run(stop=StopAfter(0))
    assert list(signed_ends(ready).values())[-1] == "dev.migrator.run.paused"
    ready.resume()
    ends = list(signed_ends(ready).values())
    assert "dev.migrator.run.resumed" in ends
    with open_campaign(ready.spec) as campaign:
        found = verifying.verify(campaign.audit, NoProgress())
    assert (found.ok, found.size) == (True, found.checked["leaves"])
    assert {finding.kind for finding in found.findings} <= {FindingKind.UNANCHORED_TAIL}


def test_the_heartbeat_is_hourly_and_signed(ready: Ready) -> None:
    """Nothing before the hour is over; then one event under a checkpoint, and the next an hour later."""
    now = [0.0]
    with open_campaign(ready.spec) as campaign:
        journal = Journal(campaign, "run-1", monotonic=lambda: now[0])
        before = campaign.audit.state().size
        for moment, beats in ((HEARTBEAT_SECONDS - 1, 0), (HEARTBEAT_SECONDS, 1), (HEARTBEAT_SECONDS + 1, 1),
                              (2 * HEARTBEAT_SECONDS, 2)):  # fmt: skip
            now[0] = moment
            assert journal.keep() is None
            state = campaign.audit.state()
            assert (state.size - before, state.head.size) == (beats, state.size)
        last = json.loads(list(campaign.audit.lines())[-1])
    assert (last["type"], last["runid"]) == ("dev.migrator.log.heartbeat", "run-1")


@pytest.mark.parametrize("name", ["checkpoint", "wal.jsonl", "tile/entries"])
def test_a_run_is_refused_without_its_log(ready: Ready, name: str) -> None:
    """A log that lost something stops a run before it begins: no run, no message."""
    audit = Path(ready.spec.directory) / ready.spec.settings.audit.directory
    (audit / name).rename(audit / "elsewhere")
    with pytest.raises(AuditLogError):
        ready.run()
    with open_campaign(ready.spec) as campaign, campaign.database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM migrator_run").scalar() == 0


def test_a_log_that_breaks_stops_the_run(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be signed at the beginning ends the run before any conversation, resumable; then it goes on."""
    original = Journal.seal

    def broken(_: Journal) -> AuditLogError:
        return AuditLogError("the disk is full")

    monkeypatch.setattr(Journal, "seal", broken)
    with pytest.raises(AuditLogError):
        ready.run()
    with open_campaign(ready.spec) as campaign:
        stopped = summary(campaign, None)
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.AUDIT_LOG)
    assert not stopped.counts
    monkeypatch.setattr(Journal, "seal", original)
    assert ready.resume().state is RunState.COMPLETED


def test_a_signer_that_is_away_stops_the_run_resumable(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttled in the middle of a run: exit 24, every line is kept, and the resumed run signs them all."""

    def throttled(_: object, _message: bytes) -> bytes:
        raise KeyServiceUnavailableError("too many calls", delay=KeyDelay.THROTTLED, retry_after=1)

    monkeypatch.setattr(signing, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(signing_key.FileSigner, "sign", throttled)
    with pytest.raises(KeyServiceUnavailableError, match="can't be signed now") as caught:
        ready.run()
    assert (caught.value.exit_status, caught.value.changed) == (ExitStatus.SERVICE_DOWN, RESUMABLE)
    assert (caught.value.delay, caught.value.retry_after) == (KeyDelay.THROTTLED, 1)
    with open_campaign(ready.spec) as campaign:
        stopped = summary(campaign, None)
    assert (stopped.state, stopped.stop_reason) == (RunState.STOPPED, StopReason.AUDIT_LOG)
    monkeypatch.undo()
    assert ready.resume().state is RunState.COMPLETED
    with open_campaign(ready.spec) as campaign:
        assert verifying.verify(campaign.audit, NoProgress()).ok
        assert campaign.audit.state().head.size == campaign.audit.state().size
