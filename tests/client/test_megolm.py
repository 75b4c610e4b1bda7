"""The reference client's export of Megolm sessions: what it writes is taken, covers what it says, and opens."""

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.campaign import Campaign
from migrator.client.exporting import ExportHeader
from migrator.client.megolm import MEGOLM, RoomSession, sessions_of_file, write_sessions
from migrator.client.signing import Signer
from migrator.core.encoding import b64url_encode
from migrator.core.export import ExportKind
from migrator.core.model import Device
from migrator.database import tables
from migrator.exports.importing import import_paths
from migrator.exports.opening import ExportReader
from migrator.facts import Watermarks
from migrator.facts.coverage import read_coverage
from tests.execution.bench import ANSWERED, NOTICED
from tests.execution.room_bench import RoomBench
from tests.support.megolm import ALICE, MALLORY, PASSPHRASE, ROOM, Sending, key_file

DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
CONSENT_KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
SECOND = "!second:lab"


@pytest.fixture
def bench(tmp_path: Path) -> RoomBench:
    """Alice's device ALICEPHONE is known, and so is a consent service."""
    issuers = {"consent": b64url_encode(CONSENT_KEY.public_key().public_bytes_raw())}
    bench = RoomBench(tmp_path, authorization={"quorum": "any_participant", "issuers": issuers})
    bench.rooms.devices_by_id["ALICEPHONE"] = Device(
        device_id="ALICEPHONE",
        account_id=ALICE,
        signing_key=DEVICE_KEY.public_key().public_bytes_raw(),
        added_at=NOTICED - timedelta(days=1),
    )
    bench.rooms.room(SECOND, (ALICE,))
    return bench


@pytest.fixture
def campaign(bench: RoomBench) -> Iterator[Campaign]:
    """Its campaign, open."""
    with bench.open() as opened:
        yield opened


def export(
    bench: RoomBench, sessions: list[RoomSession], *, signer: Signer | None = None, rooms: tuple[str, ...] = (ROOM,)
) -> Path:
    """An archive, written down."""
    stream = io.BytesIO()
    header = ExportHeader(
        export_id=UUID(int=len(sessions) + 1), campaign="bench", account_id=ALICE, kind=ExportKind.KEYS,
        created_at=ANSWERED, scheme=MEGOLM,
    )  # fmt: skip
    write_sessions(
        stream, header, recipient=bench.recipient, signer=signer or Signer.device("ALICEPHONE", DEVICE_KEY),
        sessions=sessions, messages=dict.fromkeys(rooms, 3),
    )  # fmt: skip
    path = bench.folder / f"{len(sessions)}.export.tar"
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize("by_issuer", [False, True])
def test_a_matrix_devices_export_is_taken_and_opens(bench: RoomBench, campaign: Campaign, by_issuer: bool) -> None:
    """Signed by the device under its Matrix id, or by a consent service; with what it covers, from the lowest index."""
    signer = Signer.issuer("consent", CONSENT_KEY) if by_issuer else None
    sending, other = Sending(), Sending(SECOND)
    sessions = [RoomSession.of(entry) for entry in (sending.entry(4), sending.entry(2), other.entry())]
    path = export(bench, sessions, signer=signer, rooms=(ROOM, SECOND))
    assert import_paths(campaign, [path]).recorded == 1
    bench.rooms.add(ROOM, sending.row(1, sending.send()))
    room = campaign.store.conversations([ROOM])[ROOM]
    with campaign.database.read() as connection:
        found = read_coverage(campaign, connection, [room], {ROOM: {ALICE}}, Watermarks(1, 1))
        material = ExportReader(campaign, last_export_no=1).keys(connection, {ROOM: {ALICE}, SECOND: {ALICE}})
    assert found[ROOM].exporters == {ALICE}
    assert {room: set(ring) for room, ring in material.rings.items()} == {
        ROOM: {sending.session_id},
        SECOND: {other.session_id},
    }
    assert len(material.rings[ROOM][sending.session_id]) == 2
    texts = {row["conversation_id"]: row["coverage"] for row in bench.all(tables.export_conversation)}
    assert texts[ROOM] == f'[{{"first_index":2,"session_id":"{sending.session_id}"}}]'
    [row] = bench.all(tables.export)
    assert (row["issuer"], row["device_id"], row["brought_in_by"]) == (
        ("consent", None, None) if by_issuer else (None, "ALICEPHONE", None)
    )


def test_more_than_fits_in_a_line_goes_over_several(bench: RoomBench, campaign: Campaign) -> None:
    """As many sessions in a line as it may hold, and every one of them arrives."""
    sessions = [RoomSession.of(Sending().entry()) for _ in range(150)]
    assert import_paths(campaign, [export(bench, sessions)]).recorded == 1
    with campaign.database.read() as connection:
        material = ExportReader(campaign, last_export_no=1).keys(connection, {ROOM: {ALICE}})
    assert set(material.rings[ROOM]) == {session.session_id for session in sessions}
    assert material.refusals == ()


def test_sessions_of_rooms_that_are_not_listed_stay_at_home(bench: RoomBench, campaign: Campaign) -> None:
    """What the person did not authorise is not in the export, whatever the client has."""
    stay, go = Sending(SECOND), Sending()
    export_path = export(bench, [RoomSession.of(stay.entry()), RoomSession.of(go.entry())])
    assert import_paths(campaign, [export_path]).recorded == 1
    with campaign.database.read() as connection:
        material = ExportReader(campaign, last_export_no=1).keys(connection, {ROOM: {ALICE}, SECOND: {ALICE}})
    assert (set(material.rings), material.ignored) == ({ROOM}, 0)


def test_a_key_export_file_is_opened_on_the_clients_side() -> None:
    """With its passphrase; what is no session of Megolm's is left out, and no member that is not needed goes along."""
    sending = Sending()
    text = key_file([sending.entry(3, shared=True), sending.entry(algorithm="m.other"), {"room_id": 7}, "x"])
    [session] = sessions_of_file(text, PASSPHRASE)
    assert (session.room_id, session.session_id, session.first_index) == (ROOM, sending.session_id, 3)
    assert "shared" not in session.entry
    assert sending.entry()["session_key"][20:40] not in repr(session)
    with pytest.raises(ValueError, match="passphrase"):
        sessions_of_file(text, "other")


def test_a_room_of_somebody_else_is_foreign(bench: RoomBench, campaign: Campaign) -> None:
    """Alice is no member there."""
    bench.rooms.room("!private:lab", (MALLORY,))
    path = export(bench, [RoomSession.of(Sending("!private:lab").entry())], rooms=("!private:lab",))
    assert [refused.reason.value for refused in import_paths(campaign, [path]).refused] == ["foreign_conversation"]
