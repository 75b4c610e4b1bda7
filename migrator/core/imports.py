"""What came of an import of authorisations or exports: the same for both, and what the command line shows."""

from dataclasses import dataclass

from migrator.core.outcomes import RefusalReason


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedFile:
    """One record or archive that was not taken.

    `file` is the path as given, or joined from the folder that was given; `line` counts from 1 in a `.jsonl` and is
    None elsewhere; `record_id` is what the thing calls itself, unverified, None where it can't be told.
    `hint`: what people can do about it, where the reason alone doesn't say so.
    """

    file: str
    line: int | None
    record_id: str | None
    reason: RefusalReason
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """How many were recorded, how many were there before, and what was refused, in the order of reading."""

    recorded: int
    already: int
    refused: tuple[RefusedFile, ...] = ()
