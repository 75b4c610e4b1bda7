"""A log whose key lies in a service: what becomes of it while the service is away, refuses, or signs as another."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.audit import signing, signing_key, verifying, wal
from migrator.audit.log import AuditLog
from migrator.core.errors import (
    AuditLogError,
    ConfigError,
    ExitStatus,
    KeyDelay,
    KeyProblem,
    KeyServiceError,
    KeyServiceUnavailableError,
)
from migrator.core.progress import NoProgress
from tests.audit.support import KEY, ORIGIN, make_log, open_database, open_log, record


class RemoteSigner:
    """A signer with a fault that comes and goes."""

    def __init__(self, key: Ed25519PrivateKey = KEY) -> None:
        self.key = key
        self.fault: Exception | None = None
        self.faults: list[Exception] = []

    @property
    def public_key(self) -> bytes:
        """That of the log."""
        return KEY.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """A signature, or the fault."""
        if self.faults:
            raise self.faults.pop()
        if self.fault is not None:
            raise self.fault
        return self.key.sign(message)


def log_signed_by(folder: Path, signer: RemoteSigner) -> AuditLog:
    """The log in a folder, signed elsewhere."""
    return AuditLog(open_database(folder), folder / "audit", origin=ORIGIN, load_signer=lambda: signer)


THROTTLED = KeyServiceUnavailableError("too many calls", delay=KeyDelay.THROTTLED, retry_after=2)
DENIED = KeyServiceError("no permission to sign", problem=KeyProblem.DENIED, hint="ask for it")


@pytest.mark.parametrize(
    ("fault", "raised", "status"),
    [(THROTTLED, KeyServiceUnavailableError, ExitStatus.SERVICE_DOWN), (DENIED, AuditLogError, ExitStatus.AUDIT_LOG)],
)
@pytest.mark.parametrize("entries", [3, 2500])
def test_what_can_not_be_signed_waits(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    raised: type[Exception],
    status: ExitStatus,
    entries: int,
) -> None:
    """The lines are in the log and acknowledged; no checkpoint is; once the signer is back the next flush signs all."""
    monkeypatch.setattr(signing, "PATIENCE_SECONDS", 0.0)
    make_log(tmp_path)
    record(tmp_path, 2)
    open_log(tmp_path).flush()
    signed_before = (tmp_path / "audit/checkpoint").read_bytes()
    record(tmp_path, entries, start=2)
    signer = RemoteSigner()
    signer.fault = fault
    log = log_signed_by(tmp_path, signer)
    with pytest.raises(raised, match="can't be signed") as caught:
        log.flush()
    assert isinstance(caught.value, AuditLogError | KeyServiceUnavailableError)
    assert caught.value.exit_status is status
    assert caught.value.changed == wal.KEPT
    assert (tmp_path / "audit/checkpoint").read_bytes() == signed_before
    assert log.state().size == 2 + entries
    assert log.state().head.size == 2
    log_signed_by(tmp_path, RemoteSigner()).check(replay=True)

    signer.fault = None
    log.flush()
    assert log.state().head.size == 2 + entries
    found = verifying.verify(log, NoProgress())
    assert (found.ok, found.size) == (True, 2 + entries)


def test_a_signer_that_is_away_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """Throttled once, and the flush ends as if nothing had been."""
    make_log(tmp_path)
    record(tmp_path, 2)
    signer = RemoteSigner()
    signer.faults = [KeyServiceUnavailableError("too many calls", delay=KeyDelay.THROTTLED)]
    log = log_signed_by(tmp_path, signer)
    log.flush()
    assert (log.state().head.size, signer.faults) == (2, [])


def test_a_signature_that_is_not_the_logs_is_not_published(tmp_path: Path) -> None:
    """A service that signs with another version of its key than it says stops the log, and is not believed."""
    make_log(tmp_path)
    record(tmp_path, 2)
    signer = RemoteSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(AuditLogError, match="not that key's signature"):
        log_signed_by(tmp_path, signer).flush()
    assert not (tmp_path / "audit/checkpoint").exists()


@pytest.mark.parametrize("reference", ["file:audit.key", "local:keys#migrator", "nowhere:x"])
def test_which_references_are_missing_files(tmp_path: Path, reference: str) -> None:
    """Only a file can be missing; whatever a service holds is asked for when it is opened."""
    assert signing_key.missing(reference, tmp_path) is reference.startswith("file:")


@pytest.mark.parametrize(
    ("reference", "said"), [("local:keys#migrator", "no keys that sign"), ("nowhere:x", "there is no 'nowhere'")]
)
def test_services_that_do_not_sign(tmp_path: Path, reference: str, said: str) -> None:
    """A key service without signers, and one that is not installed; neither makes a file."""
    assert signing_key.create(reference, tmp_path) is False
    with pytest.raises(ConfigError, match=said):
        signing_key.load(reference, tmp_path)
    assert list(tmp_path.iterdir()) == []
