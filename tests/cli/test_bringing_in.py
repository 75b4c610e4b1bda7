"""`exports import` for keys that an operator brings in: what its options mean, and that no secret shows."""

import os
from pathlib import Path

import pytest

from migrator.campaign import Campaign
from migrator.schemes.megolm import MegolmScheme
from tests.cli import campaigns
from tests.cli.running import Program
from tests.stores.mailboxes import Mailboxes
from tests.stores.rooms import RoomStore
from tests.support.megolm import ALICE, PASSPHRASE, ROOM, Sending, key_file


@pytest.fixture
def rooms(folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A campaign over a room of Alice's, with a key export and its passphrase beside it."""
    Mailboxes(folder / "store.db").close()
    assert program("init", "--name", "rooms", "--cutover-at", "2026-05-08T00:00:00Z").status == 0
    store = RoomStore()
    store.room(ROOM, (ALICE,))
    monkeypatch.setattr(Campaign, "store", store)
    monkeypatch.setattr(Campaign, "scheme", MegolmScheme())
    (folder / "keys.txt").write_text(key_file([Sending().entry()]), encoding="ascii")
    secret = folder / "pass.secret"
    secret.write_text(PASSPHRASE + "\n", encoding="ascii")
    secret.chmod(0o600)
    return folder


def test_a_key_export_comes_in(rooms: Path, program: Program) -> None:
    """By file, by environment; the second time it is there already."""
    done = program("exports", "import", rooms / "keys.txt", "--account", ALICE, "--passphrase", "file:pass.secret")
    assert (done.status, "recorded 1 export" in done.out) == (0, True)
    os.environ["KEYS_PASSPHRASE"] = PASSPHRASE
    try:
        again = program(
            "exports", "import", rooms / "keys.txt", "--account", ALICE, "--passphrase", "env:KEYS_PASSPHRASE",
            "-o", "json",
        )  # fmt: skip
    finally:
        del os.environ["KEYS_PASSPHRASE"]
    assert (again.status, again.json["already"]) == (0, 1)
    shown = program("exports", "status", "-o", "json").json
    assert (shown["brought_in"], shown["issuer_signed"]) == (1, 0)


def test_what_is_refused_ends_with_30_and_a_hint(rooms: Path, program: Program) -> None:
    """As with archives."""
    with (rooms / "huge.txt").open("wb") as file:
        file.truncate(9 * 2**20)
    (rooms / "other.txt").write_text("not a key export", encoding="ascii")
    done = program("exports", "import", rooms, "--account", ALICE, "--passphrase", "file:pass.secret")
    assert done.status == 30
    assert "huge.txt: too_large (the account's client can export" in done.out
    assert "other.txt: malformed" in done.out


NONSENSE = (
    (), ("--account", ALICE), ("--passphrase", "file:pass.secret"), ("keys.txt", "--account", ALICE),
    ("keys.txt", "--passphrase", "file:pass.secret"), ("--account", ALICE, "--passphrase", PASSPHRASE),
    ("keys.txt", "--account", ALICE, "--recovery-key", "file:pass.secret"),
    ("--account", ALICE, "--passphrase", "file:pass.secret", "--recovery-key", "file:pass.secret"),
    ("--account", ALICE, "--recovery-key", "file:none.secret"),
)  # fmt: skip


def test_what_makes_no_sense_is_usage(rooms: Path, program: Program) -> None:
    """Nothing is recorded, and no secret is repeated."""
    for arguments in NONSENSE:
        done = program("exports", "import", *arguments)
        assert done.status == 2, arguments
        assert f"{PASSPHRASE}'" not in done.err
    assert campaigns.ask(rooms, "SELECT count(*) FROM migrator_export") == "0"
