"""Who signs the audit log: the key of `audit.signing_key`, under the log's origin.

A signer may be a service. One that is away is waited for; then it is `KeyServiceUnavailableError`, so that a run stops
and is resumed. One that refuses is a log that can't be signed (`AuditLogError`). Either way nothing was published: the
lines are in the log, and the next flush signs them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from migrator.audit import wal
from migrator.core import notes
from migrator.core.errors import AuditLogError, ConfigError, KeyServiceError, KeyServiceUnavailableError
from migrator.core.notes import NoteError, VerifierKey
from migrator.key_routing import bearing
from migrator.keyservices.interface import Signer
from migrator.patience import PATIENCE_SECONDS


class LogSigner:
    """Signs as one log. `load` is called when the key is needed first, once."""

    def __init__(self, origin: str, load: Callable[[], Signer]) -> None:
        self._origin = origin
        self._load = load
        self._signer: Signer | None = None

    def verifier(self) -> VerifierKey:
        """What verifies its signatures; `ConfigError` where the origin can't name a log."""
        with _told_as_ours():
            public_key = self._loaded().public_key
        try:
            return notes.verifier(self._origin, public_key)
        except NoteError:
            raise ConfigError(
                "audit.origin can't name a log", hint="for example example.org/migrator/name; no spaces, no plus"
            ) from None

    def sign(self, body: str) -> bytes:
        """A note of that text with the log's signature, which was verified."""
        key = self.verifier()
        with _told_as_ours():
            sign = self._loaded().sign
            return notes.sign_note(body, key, lambda message: bearing(lambda: sign(message), PATIENCE_SECONDS))

    def _loaded(self) -> Signer:
        if self._signer is None:
            self._signer = self._load()
        return self._signer


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except KeyServiceUnavailableError as error:
        raise KeyServiceUnavailableError(
            f"the audit log can't be signed now: {error.message}",
            hint=error.hint,
            changed=wal.KEPT,
            **error.particulars(),
        ) from None
    except KeyServiceError as error:
        raise AuditLogError(
            f"the audit log can't be signed: {error.message}", hint=error.hint, changed=wal.KEPT
        ) from None
    except NoteError as error:
        raise AuditLogError(
            f"the audit log can't be signed: {error}", hint="check the key of audit.signing_key", changed=wal.KEPT
        ) from None
