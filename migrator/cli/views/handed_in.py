"""Views of what users and their clients handed in: authorisations and exports."""

from collections.abc import Mapping

from migrator.authorizations import AuthorizationStatus
from migrator.cli.output import View
from migrator.cli.views.text import Row, counted, table
from migrator.core.export import ExportKind
from migrator.core.imports import ImportResult
from migrator.exports.status import ExportStatus, KindCoverage

_SHOWN = 20


def imported(result: ImportResult, noun: str) -> View:
    """What an import recorded and refused; people see the first refusals, programs all."""
    lines = [f"recorded {counted(result.recorded, noun)}, {result.already:,} already there"]
    for refused in result.refused[:_SHOWN]:
        place = refused.file if refused.line is None else f"{refused.file}:{refused.line}"
        lines.append(f"refused {place}: {refused.reason.value}" + (f" ({refused.hint})" if refused.hint else ""))
    if len(result.refused) > _SHOWN:
        lines.append(f"… and {len(result.refused) - _SHOWN:,} more; --output json lists them all")
    return View(
        document={
            "schema": "migrator.import/1",
            "recorded": result.recorded,
            "already": result.already,
            "refused": [
                {"file": r.file, "line": r.line, "record_id": r.record_id, "reason": r.reason.value}
                for r in result.refused
            ],
        },
        lines=lines,
    )


def authorizations(found: AuthorizationStatus) -> View:
    """How many have answered, and what."""
    columns = {
        "accounts": found.accounts,
        "records": found.records,
        "issuer_records": found.issuer_records,
        "guardian_records": found.guardian_records,
    }
    return View(
        document={
            "schema": "migrator.authorization_status/1",
            **{name: {answer.value: count for answer, count in counts.items()} for name, counts in columns.items()},
        },
        lines=table(
            ["answer", "accounts", "records", "of these by issuers", "of these by guardians"],
            [(answer.value, *(counts[answer] for counts in columns.values())) for answer in found.records],
        ),
    )


def exports(found: ExportStatus) -> View:
    """How many exports there are."""
    lines = table(
        ["", ""],
        [
            *((f"exports of {kind}", count) for kind, count in found.exports.items()),
            ("accounts that exported", found.accounts),
            ("exports signed by issuers", found.issuer_signed),
            ("exports brought in by operators", found.brought_in),
            ("sealed parts", found.parts),
            ("sealed bytes", found.sealed_bytes),
            *((f"refused: {reason}", count) for reason, count in sorted(found.refused.items())),
        ],
    )
    return View(
        document={
            "schema": "migrator.export_status/1",
            "exports": dict(found.exports),
            "accounts": found.accounts,
            "issuer_signed": found.issuer_signed,
            "brought_in": found.brought_in,
            "parts": found.parts,
            "sealed_bytes": found.sealed_bytes,
            "refused": dict(found.refused),
        },
        lines=lines,
    )


def coverage(found: Mapping[ExportKind, KindCoverage]) -> View:
    """How much the exports claim to cover."""
    rows: list[Row] = []
    for kind, claimed in found.items():
        rows.append((kind.value, claimed.exports, claimed.conversations, claimed.messages))
    lines = table(["kind", "exports", "conversations", "messages"], rows)
    for kind, claimed in found.items():
        if claimed.unopened:
            lines.append(f"{kind.value}: {claimed.unopened:,} were sealed unopened; what they open shows in a run")
        lines += [
            f"left out by {kind.value}: {reason} {count:,}" for reason, count in sorted(claimed.omissions.items())
        ]
    return View(
        document={
            "schema": "migrator.export_coverage/1",
            "kinds": {
                kind.value: {
                    "exports": claimed.exports,
                    "unopened": claimed.unopened,
                    "conversations": claimed.conversations,
                    "messages": claimed.messages,
                    "omissions": dict(claimed.omissions),
                }
                for kind, claimed in found.items()
            },
        },
        lines=lines,
    )
