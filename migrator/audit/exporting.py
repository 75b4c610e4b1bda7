"""`audit export`: the log as lines for other programs, in bounded memory."""

import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path

from migrator.audit import ocsf
from migrator.audit.log import AuditLog
from migrator.core.errors import AuditLogError, UsageError


class ExportFormat(StrEnum):
    """What a line is."""

    JSONL = "jsonl"
    """The entry, the exact bytes that were hashed."""
    OCSF = "ocsf"
    """The entry as an OCSF event: a view, nothing that can be verified."""


def lines(log: AuditLog, form: ExportFormat, *, first: int = 0) -> Iterator[bytes]:
    """Lines without their newline, from the entry with number `first` on. Raises `AuditLogError`."""
    for number, line in islice(enumerate(log.lines()), first, None):
        yield line if form is ExportFormat.JSONL else _ocsf(log, number, line)


def _ocsf(log: AuditLog, number: int, line: bytes) -> bytes:
    try:
        view = ocsf.event(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise AuditLogError(
            f"line {number + 1} of {log.path} is not an entry of the audit log",
            hint="`migrator audit verify` says more; keep the file as it is",
        ) from None
    return json.dumps(view, separators=(",", ":"), sort_keys=True).encode()


def save(exported: Iterable[bytes], path: Path) -> int:
    """Write lines into a new file of mode 0600; returns how many. What a failure cut short is removed again."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    count = 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            for line in exported:
                file.write(line + b"\n")
                count += 1
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from None
        raise
    return count


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path} can't be written: {error.strerror}", hint="name a new file in a folder that is there")
