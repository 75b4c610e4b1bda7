"""Tests of migrator.stores.synapse_people: accounts, devices, legal holds."""

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import SourceError
from migrator.core.model import AccountStatus
from migrator.stores.synapse import SynapseStore
from tests.support.synapse import DOMAIN, Homeserver, key_of, opened, source

NOW = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Homeserver]:
    """An empty homeserver."""
    with closing(Homeserver(tmp_path / "homeserver.db")) as made:
        yield made


@pytest.fixture
def store(server: Homeserver) -> Iterator[SynapseStore]:
    """A store on it."""
    with opened(source(server.url)) as found:
        yield found


# --- accounts ---


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, AccountStatus.ACTIVE),
        ({"deactivated": 1}, AccountStatus.LOCKED),
        ({"locked": 1}, AccountStatus.LOCKED),
        ({"suspended": 1}, AccountStatus.LOCKED),
        ({"is_guest": 1}, AccountStatus.ACTIVE),
        ({"user_type": "bot"}, AccountStatus.ACTIVE),
        ({"appservice_id": "bridge"}, AccountStatus.ACTIVE),
    ],
)
def test_who_can_act_is_active(server: Homeserver, store: SynapseStore, values: Any, status: AccountStatus) -> None:
    """Deactivated, locked and suspended users fulfil no quorum. Guests and bots have to be asked like anybody."""
    ada = server.user("ada", **values)
    account = store.accounts([ada])[ada]
    assert (account.status, account.minor, account.guardian_account_id) == (status, False, None)


def test_who_was_erased_is_locked(server: Homeserver, store: SynapseStore) -> None:
    """Whatever the other columns say."""
    ada = server.user("ada")
    server.insert("erased_users", user_id=ada)
    assert store.accounts([ada])[ada].status is AccountStatus.LOCKED


def test_users_of_other_servers_are_nobody(server: Homeserver, store: SynapseStore) -> None:
    """Their authorisation can't count; the domain is what follows the first colon, port and all."""
    ada = server.user("ada")
    for name in ("@eve:b.example", f"@eve:b.example:{DOMAIN}", f"@eve:{DOMAIN}:8448", f"eve@{DOMAIN}", "@eve"):
        server.insert("users", name=name)
    assert store.accounts([ada, "@eve:b.example", f"@eve:{DOMAIN}:8448"]).keys() == {ada}
    assert [account.account_id for page in store.all_accounts() for account in page] == [ada]


def test_a_port_belongs_to_the_domain(server: Homeserver) -> None:
    """As in server names of test installations."""
    server.insert("users", name="@ada:localhost:8448", creation_ts=1)
    with opened(source(server.url, domain="localhost:8448")) as store:
        assert store.accounts(["@ada:localhost:8448"]).keys() == {"@ada:localhost:8448"}


def test_the_mail_address_is_the_one_that_was_added_first(server: Homeserver, store: SynapseStore) -> None:
    """Of those that are mail addresses."""
    ada = server.user("ada")
    for medium, address, added in (("email", "b@x", 2), ("email", "a@x", 1), ("msisdn", "49", 0)):
        server.insert("user_threepids", user_id=ada, medium=medium, address=address, validated_at=1, added_at=added)
    assert store.accounts([ada])[ada].email == "a@x"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_page_without_local_users_ends_no_walk(server: Homeserver, size: int) -> None:
    """Rows that are no accounts are passed over."""
    for name in ("@a:b.example", "@b:b.example", f"@c:{DOMAIN}", "@d:b.example", f"@e:{DOMAIN}"):
        server.insert("users", name=name)
    server.execute("INSERT INTO users (name) VALUES (CAST(x'40ff' AS TEXT)), (NULL), ('@n' || char(0))")
    with opened(source(server.url), population_page=size) as store:
        found = [account.account_id for page in store.all_accounts() for account in page]
    assert found == [f"@c:{DOMAIN}", f"@e:{DOMAIN}"]


# --- devices ---


def test_a_device_has_its_signing_key_and_time(server: Homeserver, store: SynapseStore) -> None:
    """The Ed25519 key that it uploaded, under its plain id and under its full one."""
    ada = server.user("ada")
    server.device(ada, "PHONE", added=1_700_000_000_123)
    found = store.devices(["PHONE", f"{ada}|PHONE", f"{ada}|OTHER", f"@eve:{DOMAIN}|PHONE", "phone"])
    assert found.keys() == {"PHONE", f"{ada}|PHONE"}
    for asked, device in found.items():
        assert (device.device_id, device.account_id, device.revoked_at) == (asked, ada, None)
        assert base64.b64encode(device.signing_key).decode().rstrip("=") == key_of(3)
        assert device.added_at == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)


def test_a_plain_id_of_two_users_is_unknown(server: Homeserver, store: SynapseStore) -> None:
    """Each goes by its full id, also where a user id holds a bar."""
    ada, odd = server.user("ada"), server.user("o|dd")
    for user_id in (ada, odd):
        server.device(user_id, "PHONE")
    server.device(odd, "TAB|LET")
    full = [f"{ada}|PHONE", f"{odd}|PHONE", "TAB|LET"]
    assert store.devices(["PHONE", *full]).keys() == set(full)
    assert [device.device_id for device in store.devices_of([ada, odd])] == full
    assert store.devices([f"{odd}|TAB|LET"])[f"{odd}|TAB|LET"].account_id == odd


def test_another_servers_device_makes_no_id_ambiguous(server: Homeserver, store: SynapseStore) -> None:
    """Local users' devices only: a stranger can't take a plain id away."""
    ada = server.user("ada")
    server.device(ada, "PHONE")
    server.device("@eve:b.example", "PHONE")
    assert store.devices(["PHONE"])["PHONE"].account_id == ada
    assert store.devices_of(["@eve:b.example"]) == []


def test_hidden_and_dehydrated_devices_sign_nothing(server: Homeserver, store: SynapseStore) -> None:
    """Cross-signing keys are stored as hidden devices; a dehydrated device is nobody's hand."""
    ada = server.user("ada")
    for device_id in ("HIDDEN", "DRY", "PHONE"):
        server.device(ada, device_id)
    server.execute("UPDATE devices SET hidden = 1 WHERE device_id = 'HIDDEN'")
    server.insert("dehydrated_devices", user_id=ada, device_id="DRY", device_data="{}")
    server.device(ada, "DRY2", keys=json.dumps({"user_id": ada, "device_id": "DRY2", "dehydrated": True}))
    assert [device.device_id for device in store.devices_of([ada])] == ["PHONE"]


@pytest.mark.parametrize(
    "keys",
    [
        "no JSON",
        "[]",
        "{}",
        '{"user_id":"@ada:a.example","device_id":"PHONE"}',
        '{"user_id":"@ada:a.example","device_id":"PHONE","keys":{"ed25519:PHONE":"short"}}',
        '{"user_id":"@ada:a.example","device_id":"PHONE","keys":{"ed25519:PHONE":5}}',
        f'{{"user_id":"@bob:a.example","device_id":"PHONE","keys":{{"ed25519:PHONE":"{key_of(9)}"}}}}',
        f'{{"user_id":"@ada:a.example","device_id":"OTHER","keys":{{"ed25519:PHONE":"{key_of(9)}"}}}}',
    ],
)
def test_a_device_that_can_not_be_understood_is_left_out(server: Homeserver, store: SynapseStore, keys: str) -> None:
    """What it signed would be no proof."""
    ada = server.user("ada")
    server.device(ada, "PHONE", keys=keys)
    server.device(ada, "LATE", added=10**18)
    assert store.devices(["PHONE", "LATE"]) == {}
    assert store.devices_of([ada]) == []


# --- legal holds ---


def on_hold(server: Homeserver, text: str | bytes, folder: Path, *asked: str) -> set[str]:
    """Who of these is on hold by a file with this text."""
    path = folder / "holds.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with opened(source(server.url, legal_holds=str(path))) as store:
        return store.on_hold(list(asked), NOW)


def test_holds_are_one_a_line(server: Homeserver, tmp_path: Path) -> None:
    """Comments, blank lines, a byte order mark, other line ends, and people of other servers are fine."""
    ada, bob = server.user("ada"), server.user("bob")
    text = f"\ufeff# case 17\r\n\r\n  {ada}  # since May\n@eve:b.example\n{ada}\n"
    assert on_hold(server, text, tmp_path, ada, bob, "@eve:b.example") == {ada, "@eve:b.example"}
    assert on_hold(server, "", tmp_path, ada) == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ada\n", "line 1"),
        ("# x\n@ada\n", "line 2"),
        ("@ada:a.example @bob:a.example\n", "line 1"),
        ("@ada:\n", "line 1"),
        ("@adda:a.example\n", "does not have: line 1"),
        (b"\xff\xfe", "UTF-8"),
        (b"#" * (16 * 1024 * 1024 + 1), "too large"),
    ],
)
def test_a_file_of_holds_that_is_none(server: Homeserver, tmp_path: Path, text: str | bytes, said: str) -> None:
    """A slip of the pen frees nobody: the line is named, and nothing may be deleted."""
    server.user("ada")
    with pytest.raises(SourceError, match=said):
        on_hold(server, text, tmp_path, f"@ada:{DOMAIN}")


def test_without_a_file_of_holds_nobody_can_tell(server: Homeserver, tmp_path: Path) -> None:
    """Not set, not there, or a folder."""
    server.user("ada")
    for path in (None, str(tmp_path / "missing"), str(tmp_path)):
        with opened(source(server.url, legal_holds=path)) as store, pytest.raises(SourceError) as caught:
            store.on_hold([], NOW)
        assert "legal_holds" in caught.value.message + caught.value.hint
