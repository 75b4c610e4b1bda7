"""What witnesses and authorities answered, beside the checkpoint that it is about.

`checkpoints/<size>.witness` is the checkpoint with the cosignatures under it, a note that any C2SP tool opens.
`checkpoints/<size>.tsr` is a `TimeStampResp` over the exact bytes of `checkpoints/<size>`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from migrator.core.errors import AuditLogError
from migrator.core.notes import NOTE_BYTES, NoteSignature
from migrator.private_files import replace_private

FOLDER: Final = "checkpoints"
WITNESS: Final = ".witness"
TIMESTAMP: Final = ".tsr"
_MAX_TIMESTAMP_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(r"([1-9][0-9]{0,18})(\.witness|\.tsr)\Z")


def cosigned(log: Path, size: int) -> bytes | None:
    """The cosigned checkpoint of that size; None if no witness has signed it."""
    return _read(_path(log, size, WITNESS), NOTE_BYTES)


def timestamp(log: Path, size: int) -> bytes | None:
    """The timestamp on the checkpoint of that size; None if there is none."""
    return _read(_path(log, size, TIMESTAMP), _MAX_TIMESTAMP_BYTES)


def keep_cosignatures(log: Path, size: int, note: bytes, signatures: Sequence[NoteSignature]) -> None:
    """Write the checkpoint with all its cosignatures."""
    _write(_path(log, size, WITNESS), note + "".join(signature.line() for signature in signatures).encode())


def keep_timestamp(log: Path, size: int, answer: bytes) -> None:
    """Write the authority's answer."""
    _write(_path(log, size, TIMESTAMP), answer)


def sizes(log: Path, suffix: str) -> Iterator[int]:
    """Sizes of the checkpoints that have a file of that kind, the largest first."""
    try:
        names = [path.name for path in (log / FOLDER).iterdir()]
    except OSError:
        return iter(())
    found = (match for name in names if (match := _NAME.match(name)) and match[2] == suffix)
    return iter(sorted((int(match[1]) for match in found), reverse=True))


def _path(log: Path, size: int, suffix: str) -> Path:
    return log / FOLDER / f"{size}{suffix}"


def _read(path: Path, limit: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuditLogError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from None
    if len(data) > limit:
        raise AuditLogError(f"{path} is longer than anything that was kept there", hint="restore it from a backup")
    return data


def _write(path: Path, data: bytes) -> None:
    try:
        replace_private(path, data)
    except OSError as error:
        raise AuditLogError(
            f"{path} can't be written: {error.strerror}", hint="check free space and permissions; then ask again"
        ) from None
