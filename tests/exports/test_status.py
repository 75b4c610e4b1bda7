"""Counts of exports and of what they claim."""

from pathlib import Path

from migrator.campaign import Campaign
from migrator.client.signing import Signer
from migrator.core.export import ExportKind
from migrator.core.outcomes import RefusalReason
from migrator.database import tables
from migrator.exports.opening import ExportRefusal, record_refusals
from migrator.exports.status import ExportStatus, KindCoverage, coverage, status
from tests.exports.support import ALICE, BOB, CONSENT, Export, device_key, jsonl, key, record


def listed(conversation_id: str, messages: int, **omissions: int) -> dict[str, object]:
    """A conversation of a manifest."""
    missing = [{"reason": reason, "count": count} for reason, count in omissions.items()]
    return {"id": conversation_id, "coverage": [], "messages": messages, "omissions": missing}


def test_nothing_is_nothing(campaign: Campaign) -> None:
    """A campaign without exports has counts, all of them zero."""
    assert status(campaign) == ExportStatus(
        exports={"keys": 0, "history": 0},
        issuer_signed=0,
        brought_in=0,
        accounts=0,
        parts=0,
        sealed_bytes=0,
        refused={},
    )
    empty = KindCoverage(exports=0, unopened=0, conversations=0, messages=0, omissions={})
    assert coverage(campaign) == {ExportKind.KEYS: empty, ExportKind.HISTORY: empty}


def test_exports_are_counted(campaign: Campaign, inbox: Path) -> None:
    """By kind, signer and account; sealed bytes as they stand there; refusals of exports and parts."""
    exports = [
        Export(campaign, [jsonl(key(ALICE[0], 1)), b""]),
        Export(campaign, [b"junk"], signer=Signer.issuer("consent", CONSENT), kind="history"),
        Export(campaign, account_id="bob", signer=Signer.device("bobs", device_key("bobs")), listed=BOB),
    ]
    record(campaign, inbox, *exports)
    refusals = [
        ExportRefusal(export_no=1, part_no=None, reason=RefusalReason.SCOPE_TOO_BROAD),
        ExportRefusal(export_no=2, part_no=0, reason=RefusalReason.UNUSABLE_PART),
    ]
    with campaign.database.write("test") as connection:
        record_refusals(connection, campaign, refusals, None)
    assert status(campaign) == ExportStatus(
        exports={"keys": 2, "history": 1},
        issuer_signed=1,
        brought_in=0,
        accounts=2,
        parts=3,
        sealed_bytes=sum(len(part) for export in exports for part in export.sealed),
        refused={"scope_too_broad": 1, "unusable_part": 1},
    )


def test_claims_are_added_up_by_kind(campaign: Campaign, inbox: Path) -> None:
    """Conversations once each, messages and omissions as claimed; reasons that nobody knows are `other`."""
    record(
        campaign, inbox,
        Export(campaign, conversations=[listed(ALICE[0], 5, no_key=2, lost_phone=1), listed(ALICE[1], 1)]),
        Export(campaign, conversations=[listed(ALICE[0], 7, no_key=1, made_up=3)]),
        Export(campaign, conversations=[listed(ALICE[0], 9)], kind="history"),
    )  # fmt: skip
    assert coverage(campaign) == {
        ExportKind.KEYS: KindCoverage(
            exports=2, unopened=0, conversations=2, messages=13, omissions={"no_key": 3, "other": 4}
        ),
        ExportKind.HISTORY: KindCoverage(exports=1, unopened=0, conversations=1, messages=9, omissions={}),
    }


def test_a_refused_export_claims_nothing(campaign: Campaign, inbox: Path) -> None:
    """What counts as absent covers nothing."""
    record(campaign, inbox, Export(campaign, conversations=[listed(ALICE[0], 5, no_key=2)]))
    with campaign.database.write("test") as connection:
        connection.execute(tables.export.update().values(refused="scope_too_broad"))
    assert coverage(campaign)[ExportKind.KEYS] == KindCoverage(
        exports=0, unopened=0, conversations=0, messages=0, omissions={}
    )
