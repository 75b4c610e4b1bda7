"""Keys that an operator brings in: sealed unopened, once, counted apart; what is not taken says why."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrator.campaign import Campaign
from migrator.core.encoding import b64url_decode
from migrator.core.errors import UsageError
from migrator.core.imports import ImportResult
from migrator.core.limits import LIMITS
from migrator.core.megolm_export import FOOTER, HEADER, pbkdf2
from migrator.core.outcomes import RefusalReason, Refused
from migrator.core.secret import Secret
from migrator.core.signatures import read_token
from migrator.database import tables
from migrator.exports import bringing_in, status
from migrator.exports.bringing_in import BACKUP, bring_in
from migrator.schemes import megolm_keys
from tests.execution.room_bench import RoomBench
from tests.schemes.test_megolm_backup import Backup, recovery_key
from tests.support.megolm import ALICE, MALLORY, PASSPHRASE, ROOM, Sending, key_file

SECOND = "!second:lab"


@pytest.fixture
def bench(tmp_path: Path) -> RoomBench:
    """Two rooms of Alice's, one of Mallory's alone."""
    bench = RoomBench(tmp_path)
    bench.rooms.room(SECOND, (ALICE,))
    bench.rooms.room("!mallorys:lab", (MALLORY,))
    return bench


@pytest.fixture
def campaign(bench: RoomBench) -> Iterator[Campaign]:
    """The campaign, open."""
    with bench.open() as opened:
        yield opened


def bring(campaign: Campaign, *paths: Path, passphrase: str | None = PASSPHRASE, **changes: Any) -> ImportResult:
    """Bring files in for Alice."""
    given = {"account_id": ALICE, "recovery_key": None} | changes
    secret = None if passphrase is None else Secret(passphrase.encode())
    return bring_in(campaign, list(paths), passphrase=secret, **given)


def saved(bench: RoomBench, text: str | bytes, name: str = "element-keys.txt") -> Path:
    """A file of a client's."""
    path = bench.folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_is_sealed_unopened(bench: RoomBench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part that only the recipient key opens, the account's rooms as they are, and who brought it in."""
    monkeypatch.setattr(megolm_keys, "pbkdf2", None)  # deriving anything would fail
    text = key_file([Sending().entry()])
    assert bring(campaign, saved(bench, text)).recorded == 1
    [row], [part] = bench.all(tables.export), bench.all(tables.export_part)
    assert (row["account_id"], row["device_id"], row["issuer"], row["brought_in_by"]) == (ALICE, None, None, "tester")
    for kept in (part["sealed"], row["manifest"].encode()):
        assert PASSPHRASE.encode() not in kept
        assert text.encode()[50:80] not in kept
    listed = {c["conversation_id"]: c["coverage"] for c in bench.all(tables.export_conversation)}
    assert listed == dict.fromkeys((ROOM, SECOND), '[{"sessions":"unknown"}]')


def test_its_manifest_is_nobodys_signature(bench: RoomBench, campaign: Campaign) -> None:
    """An unsecured JWS: it says what a manifest says, and no import of archives takes it."""
    bring(campaign, saved(bench, key_file([])))
    [row] = bench.all(tables.export)
    header, payload, signature = row["manifest"].split(".")
    assert json.loads(b64url_decode(header)) == {"alg": "none", "typ": "migrator-export+jws"}
    assert json.loads(b64url_decode(payload))["export_id"] == row["export_id"]
    assert signature == ""
    with pytest.raises(Refused):
        read_token(row["manifest"], typ="migrator-export+jws", max_chars=LIMITS.manifest_bytes)


def test_it_is_counted_apart(bench: RoomBench, campaign: Campaign) -> None:
    """In the status, and in the audit log."""
    bring(campaign, saved(bench, key_file([])))
    bench.hand_over(Sending().entry())
    found = status.status(campaign)
    assert (found.exports["keys"], found.issuer_signed, found.brought_in) == (2, 0, 1)
    [event] = bench.events("export.recorded")
    assert (event["brought_in"], event["issuer"], event["parts"]) == (True, None, 1)


def test_the_same_again_is_already_there(bench: RoomBench, campaign: Campaign) -> None:
    """Whatever it is called by now; another passphrase or account is another export."""
    text = key_file([])
    assert bring(campaign, saved(bench, text)).recorded == 1
    again = bring(campaign, saved(bench, text + "\n", "copy.txt"))
    assert (again.recorded, again.already) == (0, 1)
    assert bring(campaign, saved(bench, text), passphrase="mistyped").recorded == 1
    assert bring(campaign, saved(bench, text), account_id=MALLORY).recorded == 1
    assert len(bench.all(tables.export)) == 3


def test_it_opens_when_it_is_needed(bench: RoomBench, campaign: Campaign) -> None:
    """From import to server history; one that does not open is a refused part, and costs nothing else."""
    sending = Sending()
    rows = bench.send(sending, range(20))
    bring(campaign, saved(bench, key_file([sending.entry()])), passphrase="mistyped")
    bring(campaign, saved(bench, key_file([sending.entry()])))
    bench.run()
    assert bench.shown() == {row[1] for row in rows}
    assert {row["export_no"]: row["refused"] for row in bench.all(tables.export_part)} == {1: "unusable_part", 2: None}
    assert bench.verify().ok


def test_keys_are_derived_once_a_worker(bench: RoomBench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once a unit, also where what an export gave is no longer kept."""
    derived: list[int] = []

    def counting(passphrase: bytes, salt: bytes, rounds: int, length: int) -> bytes:
        derived.append(rounds)
        return pbkdf2(passphrase, salt, rounds, length)

    monkeypatch.setattr(megolm_keys, "pbkdf2", counting)
    monkeypatch.setattr("migrator.exports.opening.MAX_ENTRIES", 0)
    sendings = [Sending(room_id) for room_id in (ROOM, SECOND)]
    for sending in sendings:
        bench.rooms.add(sending.room_id, *[sending.row(n, sending.send(str(n))) for n in range(600)])
    bring(campaign, saved(bench, key_file([s.entry() for s in sendings], rounds=7)))
    summary = bench.run()
    assert summary.counts["rewrapped"].conversations == 2
    assert derived == [7]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "malformed"),
        (b"just text", "malformed"),
        (b"\xff" * 500, "malformed"),
        (key_file([]).replace("BEGIN", "BEGUN").encode(), "malformed"),
        (key_file([]).replace("\n", "\n!", 1).encode(), "malformed"),
        (key_file([]).encode()[:-40], "malformed"),
    ],
)
def test_what_is_no_key_export_is_refused(bench: RoomBench, campaign: Campaign, content: bytes, reason: str) -> None:
    """By its form alone; the files beside it are taken, and the log says what was refused."""
    bad, good = saved(bench, content, "bad.txt"), saved(bench, key_file([]), "good.txt")
    result = bring(campaign, bad, good)
    assert result.recorded == 1
    assert [(r.file, r.reason.value) for r in result.refused] == [(str(bad), reason)]
    assert [event["reason"] for event in bench.events("export.refused")] == [reason]


def test_too_many_rounds_are_refused_as_too_large(bench: RoomBench, campaign: Campaign) -> None:
    """2^31 of them: nobody's worker is to compute these."""
    body = b"\x01" + bytes(32) + (2**31).to_bytes(4) + bytes(64)
    text = f"{HEADER}\n{base64.b64encode(body).decode()}\n{FOOTER}"
    assert [r.reason for r in bring(campaign, saved(bench, text)).refused] == [RefusalReason.TOO_LARGE]


def test_a_file_that_is_too_large_says_what_to_do(
    bench: RoomBench, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more of it is read than a part may have: 100 MB are 8 MiB."""
    huge = bench.folder / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(100_000_000)
    [refused] = bring(campaign, huge).refused
    assert refused.reason is RefusalReason.TOO_LARGE
    assert "in parts" in str(refused.hint)
    monkeypatch.setattr(bringing_in, "LIMITS", type(LIMITS)(part_bytes=2000))
    text = key_file([Sending().entry() for _ in range(3)])
    assert [r.reason for r in bring(campaign, saved(bench, text)).refused] == [RefusalReason.TOO_LARGE]


def test_an_account_that_the_source_does_not_know_is_refused(bench: RoomBench, campaign: Campaign) -> None:
    """As a result, for files and for the backup alike."""
    path = saved(bench, key_file([]))
    for result in (
        bring(campaign, path, account_id="@nobody:lab"),
        bring(campaign, passphrase=None, recovery_key=Secret(b"key"), account_id="@nobody:lab"),
    ):
        assert [r.reason for r in result.refused] == [RefusalReason.UNKNOWN_ACCOUNT]
    assert bench.all(tables.export) == []


@pytest.mark.parametrize("way", ["recovery_key", "passphrase"])
def test_a_backup_is_completed_by_the_source(bench: RoomBench, campaign: Campaign, way: str) -> None:
    """The way to it is sealed; its sessions come from the source when the rooms are executed."""
    sending = Sending()
    bench.send(sending, range(20))
    backup = Backup(sending)
    if way == "passphrase":
        backup.store_secret(pbkdf2(b"phrase", b"salt", 3, 32), algorithm="m.pbkdf2", salt="salt", iterations=3)
    bench.rooms.backups[ALICE] = backup
    secret = Secret(b"phrase" if way == "passphrase" else recovery_key(b"\x11" * 32).encode())
    given: dict[str, Any] = {"passphrase": None, "recovery_key": None} | {way: secret}
    result = bring_in(campaign, [], account_id=ALICE, **given)
    assert result.recorded == 1
    assert bring_in(campaign, [], account_id=ALICE, **given).already == 1
    bench.run()
    assert len(bench.shown()) == 20
    assert bench.verify().ok


def test_a_backup_key_that_opens_nothing_is_a_refused_part(bench: RoomBench, campaign: Campaign) -> None:
    """Found out when it is needed, and written down once."""
    bench.send(Sending(), range(5))
    bench.rooms.backups[ALICE] = Backup(Sending())
    bring(campaign, passphrase=None, recovery_key=Secret(recovery_key(b"\x12" * 32).encode()))
    bench.run()
    assert [row["refused"] for row in bench.all(tables.export_part)] == ["unusable_part"]
    assert bench.shown() == set()


@pytest.mark.parametrize(
    "given",
    [
        {"account_id": None},
        {"recovery_key": Secret(b"key")},
        {"passphrase": None, "recovery_key": Secret(b"key")},
        {"passphrase": None},
        {"passphrase": Secret(b"\xff")},
        {"passphrase": Secret(b"nul\0")},
        {"passphrase": Secret(b"x" * (LIMITS.passphrase_bytes + 1))},
    ],
)
def test_what_makes_no_sense_together(bench: RoomBench, campaign: Campaign, given: dict[str, Any]) -> None:
    """Says so before anything is read."""
    path = saved(bench, key_file([]))
    settled = {"account_id": ALICE, "recovery_key": None, "passphrase": Secret(PASSPHRASE.encode())} | given
    with pytest.raises(UsageError):
        bring_in(campaign, [path], **settled)
    assert bench.all(tables.export) == []


def test_neither_secret_nor_both_is_no_way_to_a_backup(campaign: Campaign) -> None:
    """One of the two, or no account."""
    for secret, other in ((Secret(b"a"), Secret(b"b")), (None, None)):
        with pytest.raises(UsageError):
            bring_in(campaign, [], account_id=ALICE, passphrase=secret, recovery_key=other)


def test_mailboxes_have_no_such_keys(bench: RoomBench) -> None:
    """A source of another scheme says so."""
    with super(RoomBench, bench).open() as campaign, pytest.raises(UsageError, match="no Matrix keys"):
        bring(campaign, saved(bench, key_file([])))


def test_a_backup_is_called_by_a_name(campaign: Campaign) -> None:
    """A result names files: what is none has a name in brackets."""
    [refused] = bring(campaign, passphrase=None, recovery_key=Secret(b"k"), account_id="@x:lab").refused
    assert refused.file == BACKUP


@pytest.mark.parametrize(("files", "refused"), [(2, None), (3, "unusable_part")])
def test_an_exports_passphrases_may_ask_for_so_much_work(
    bench: RoomBench, files: int, refused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile device has room for ten thousand files in an export: together they have a bound, remembered or not."""
    monkeypatch.setattr("migrator.exports.opening.LIMITS", type(LIMITS)(export_pbkdf2_rounds=10))
    sending = Sending()
    bench.send(sending, range(5))
    line = {"megolm_key_export": key_file([sending.entry()], rounds=5), "passphrase": PASSPHRASE}
    bench.export(ALICE, [line] * files, {ROOM: (1, [{"sessions": "unknown"}])})
    bench.run()
    assert [row["refused"] for row in bench.all(tables.export_part)] == [refused]
    assert len(bench.shown()) == (0 if refused else 5)


@pytest.mark.parametrize("account_id", ["", "a\0b", "\udcff"])
def test_an_id_that_no_database_could_hold_is_unknown(campaign: Campaign, account_id: str) -> None:
    """The command line hands over any bytes."""
    result = bring(campaign, passphrase=None, recovery_key=Secret(b"k"), account_id=account_id)
    assert [r.reason for r in result.refused] == [RefusalReason.UNKNOWN_ACCOUNT]
