"""Every error that migrator raises on purpose, in one tree.

An error knows its `code` (stable, for programs), its `exit_status`, a `hint` for the person who reads it (the kind's
`usual_hint`, where nothing better was said), and whether something was changed before it was raised. Adapters turn
foreign exceptions into one of these at their edge; the command line turns these into text or JSON and the exit status.
No error carries plaintext or keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum, StrEnum
from typing import Any, ClassVar


class ExitStatus(IntEnum):
    """Exit status of the command; 10 to 19: nothing was changed, 20 to 29: `migrator resume` goes on."""

    OK = 0
    BUG = 1
    USAGE = 2
    WORK_TO_DO = 3
    PLAN_STALE = 10
    LEASE_HELD = 11
    GATE = 12
    PREFLIGHT = 13
    LIMIT_REACHED = 20
    ERROR_BUDGET = 21
    STOPPED_BY_OPERATOR = 22
    SERVICE_DOWN = 24
    SOME_FAILED = 30
    MISMATCH = 40
    AUDIT_LOG = 41
    INTERRUPTED = 130
    TERMINATED = 143


NOTHING_CHANGED = "nothing was changed"
KEPT = "what was committed before is kept; nothing else was changed"
RESUMABLE = "everything committed so far is kept; `migrator resume` goes on from there"


class MigratorError(Exception):
    """The root of the tree: a message for people, a hint what to do, and what was or was not changed."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[ExitStatus] = ExitStatus.USAGE
    usual_hint: ClassVar[str] = "the command's --help shows how it is used"

    def __init__(self, message: str, *, hint: str = "", changed: str = NOTHING_CHANGED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint
        self.changed = changed

    def particulars(self) -> dict[str, Any]:
        """What this kind of error knows besides: the further keywords of its constructor."""
        return {}

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process boundaries whole: hint and all."""
        return _rebuild, (type(self), self.message, self.hint, self.changed, self.particulars())


def _rebuild(
    kind: type[MigratorError], message: str, hint: str, changed: str, particulars: dict[str, Any]
) -> MigratorError:
    return kind(message, hint=hint, changed=changed, **particulars)


class RunStoppedError(MigratorError):
    """A run was brought to a stop by something that it can't do without."""

    code = "run_stopped"
    exit_status = ExitStatus.SERVICE_DOWN
    usual_hint = "mend what stopped it; then `migrator resume`"


def resumable(error: MigratorError) -> MigratorError:
    """What stopped a run that had begun, told as such: its commits are kept, and the exit status is no usage error."""
    if error.exit_status is ExitStatus.USAGE:
        return RunStoppedError(error.message, hint=error.hint, changed=RESUMABLE)
    return type(error)(error.message, hint=error.hint, changed=RESUMABLE, **error.particulars())


class UsageError(MigratorError):
    """A command that makes no sense as it was given."""

    code = "usage"


class ConfigError(MigratorError):
    """A setting that is missing, unknown, malformed or contradicts another."""

    code = "configuration"
    usual_hint = "`migrator config show --provenance` says where each setting comes from"


class SchemaVersionError(MigratorError):
    """The migrator database is newer than this program knows, or older and not upgraded."""

    code = "schema_version"
    usual_hint = "`migrator init` upgrades an older database; a newer one needs a newer migrator"


class SourceError(MigratorError):
    """The source can't be opened, is not what the configuration says, or can't be read."""

    code = "source"
    usual_hint = "check source.url and source.kind; `migrator preflight` tries them"


class SourceUnavailableError(SourceError):
    """The source is away for the moment: the same read again may succeed."""

    code = "source_unavailable"
    exit_status = ExitStatus.SERVICE_DOWN


class SourceGoneError(SourceError):
    """There is no source where the configuration says, or none with its tables: it was moved, or retired."""

    code = "source_gone"


class SourceBusyError(SourceError):
    """Somebody else's work locks the source, longer than a read waits."""

    code = "source_busy"
    exit_status = ExitStatus.SERVICE_DOWN


class BlobsUnavailableError(MigratorError):
    """Where attachments lie, or are to lie, can't be reached as a whole; that says nothing about any one of them."""

    code = "blobs_unavailable"
    exit_status = ExitStatus.SERVICE_DOWN


class DatabaseError(MigratorError):
    """The migrator database can't be opened or written: locked, read-only, full, gone."""

    code = "database"
    exit_status = ExitStatus.SERVICE_DOWN
    usual_hint = "check database.url; `migrator preflight` tries it"


class DatabaseUnavailableError(DatabaseError):
    """The migrator database is away for the moment, or gave a transaction up: the same again may succeed."""

    code = "database_unavailable"


class PlanError(MigratorError):
    """The plan is stale, consumed, superseded or altered."""

    code = "plan"
    exit_status = ExitStatus.PLAN_STALE
    usual_hint = "`migrator plan` makes a new one"


class LeaseHeldError(MigratorError):
    """Another process holds the campaign's lease."""

    code = "lease_held"
    exit_status = ExitStatus.LEASE_HELD
    usual_hint = "`migrator status` says who holds it; try again when it is free"


class GateError(MigratorError):
    """A date, confirmation, approval or verification that has to come first."""

    code = "gate"
    exit_status = ExitStatus.GATE
    usual_hint = "see to that first, then try again"


class KeyProblem(StrEnum):
    """What is wrong with a key or its service until somebody mends it (closed)."""

    UNKNOWN_KEY = "unknown_key"
    DISABLED = "disabled"
    DENIED = "denied"
    MISCONFIGURED = "misconfigured"


class KeyDelay(StrEnum):
    """Why a key service can't answer at the moment (closed)."""

    THROTTLED = "throttled"
    SLOW = "slow"
    DOWN = "down"
    SEALED = "sealed"


class KeyServiceError(MigratorError):
    """The key service refuses for good, whatever is asked; the same again gives the same until somebody mends it."""

    code = "key_service"
    usual_hint = "`migrator preflight` tries each key service"

    def __init__(
        self,
        message: str,
        *,
        problem: KeyProblem = KeyProblem.MISCONFIGURED,
        hint: str = "",
        changed: str = NOTHING_CHANGED,
    ) -> None:
        super().__init__(message, hint=hint, changed=changed)
        self.problem = problem

    def particulars(self) -> dict[str, Any]:
        """Which problem."""
        return {"problem": self.problem}


class NotConfiguredKeyServiceError(KeyServiceError):
    """A key was wrapped by a service that nobody configured: this key can't be had, and no service failed."""


class KeyServiceUnavailableError(MigratorError):
    """The key service can't answer now; worth another try later, after `retry_after` seconds if it says so."""

    code = "key_service_unavailable"
    exit_status = ExitStatus.SERVICE_DOWN
    usual_hint = "see that the key service runs and can be reached, then try again"

    def __init__(
        self,
        message: str,
        *,
        delay: KeyDelay = KeyDelay.DOWN,
        retry_after: float | None = None,
        hint: str = "",
        changed: str = NOTHING_CHANGED,
    ) -> None:
        super().__init__(message, hint=hint, changed=changed)
        self.delay = delay
        self.retry_after = retry_after

    def particulars(self) -> dict[str, Any]:
        """Which delay, and for how long."""
        return {"delay": self.delay, "retry_after": self.retry_after}


class ChannelError(MigratorError):
    """The notice channel as a whole can't be opened or used."""

    code = "notice_channel"
    exit_status = ExitStatus.SERVICE_DOWN
    usual_hint = "`migrator preflight` tries each channel"


class AuditLogError(MigratorError):
    """The audit log can't be written, or is not the log that the database remembers."""

    code = "audit_log"
    exit_status = ExitStatus.AUDIT_LOG
    usual_hint = "`migrator audit verify` says more; keep the log and the database as they are until then"


class IntegrityError(MigratorError):
    """A ciphertext, key or digest that is not what was written: never passed over in silence."""

    code = "integrity"
    exit_status = ExitStatus.MISMATCH
    usual_hint = "keep everything as it is; `migrator verify` and `migrator audit verify` say what else is wrong"


@contextmanager
def resumable_from_here() -> Iterator[None]:
    """A run has begun: where the database fails now, `migrator resume` goes on."""
    try:
        yield
    except DatabaseError as error:
        raise resumable(error) from None
