"""G12: who has the key service reads the migrated history with Google Tink, by the formats alone."""

import json
import sqlite3
from pathlib import Path

import pytest
import tink
from tink import proto_keyset_format, secret_key_access

from fixtures.expected import expect
from fixtures.world import FaultShares, Shape, UserShares, World
from migrator.campaign import CampaignSpec
from tests.guarantees import reader
from tests.guarantees.support import run
from tests.support.campaigns import small_campaign
from tests.verification.support import rows

_SHAPE = Shape(
    accounts=30,
    conversations=60,
    messages=900,
    huge=1500,
    users=UserShares(history_export=0.15, partial_export=0.1),
    faults=FaultShares(flipped=0.004),
)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign after its run: small, long and history conversations, with gaps."""
    spec = small_campaign(tmp_path_factory.mktemp("g12") / "campaign", _SHAPE, authorization={"quorum": "owner"})
    run(spec)
    return spec


def test_tink_opens_every_row(migrated: CampaignSpec) -> None:
    """No lock-in: each row of the server history opens with Tink, and says what the client wrote, byte for byte."""
    world = World(_SHAPE)
    shown = reader.read(migrated.directory)
    expected = {n: e for n, e in expect(world, "owner").items() if e.outcome.startswith("rewrapped")}
    assert {n: (len(s.messages), len(s.gaps)) for n, s in shown.items()} == {
        name: (found.messages, found.gaps) for name, found in expected.items()
    }
    for name, conversation in shown.items():
        for (_, message_id, _, content_type), content in conversation.messages.items():
            assert content == world.content(name, world.index_of(name, message_id))
            assert content_type in ("application/octet-stream", "text/plain")
    assert rows(migrated, "SELECT COUNT(*) FROM migrator_message") == [(sum(len(s.messages) for s in shown.values()),)]


def test_each_keyset_holds_the_one_key_that_its_row_names(migrated: CampaignSpec) -> None:
    """No lock-in: one AES-GCM key with the TINK prefix, its id in keyset, row, context and ciphertexts alike."""
    kek = reader.key_encryption_key(migrated.directory)
    keys = rows(migrated, "SELECT conversation_no, key_id, wrapped_keyset, context FROM migrator_data_key")
    assert keys
    for number, key_id, wrapped, context in keys:
        handle = proto_keyset_format.parse(kek.decrypt(wrapped, context.encode()), secret_key_access.TOKEN)
        info = handle.keyset_info()
        assert info.primary_key_id == key_id
        assert [key.key_id for key in info.key_info] == [key_id]
        assert info.key_info[0].type_url == "type.googleapis.com/google.crypto.tink.AesGcmKey"
        bound = json.loads(context)
        assert set(bound) == {"campaign", "conversation", "key_id"}
        assert (bound["campaign"], bound["key_id"]) == (migrated.settings.campaign.name, str(key_id))
        assert context == json.dumps(bound, sort_keys=True, separators=(",", ":"))
        query = "SELECT DISTINCT substr(ciphertext, 1, 5), key_id FROM migrator_message WHERE conversation_no = ?"
        assert rows(migrated, query, number) == [(b"\x01" + key_id.to_bytes(4, "big"), key_id)]


def test_a_wrapped_key_is_bound_to_its_context(migrated: CampaignSpec) -> None:
    """No lock-in and no mix-up: the key service itself refuses a keyset under another conversation's context."""
    kek = reader.key_encryption_key(migrated.directory)
    (_, one, own), (_, _, other), *_ = rows(
        migrated, "SELECT conversation_no, wrapped_keyset, context FROM migrator_data_key"
    )
    assert kek.decrypt(one, own.encode())
    with pytest.raises(tink.TinkError):
        kek.decrypt(one, other.encode())


def test_the_history_outlives_everything_else(migrated: CampaignSpec, tmp_path: Path) -> None:
    """No lock-in: three tables and the key service are enough."""
    source = sqlite3.connect(migrated.directory / "migrator.db")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "migrator.json").write_bytes((migrated.directory / "keys" / "migrator.json").read_bytes())
    target = sqlite3.connect(tmp_path / "migrator.db")
    for table in ("migrator_conversation", "migrator_message", "migrator_data_key", "migrator_gap"):
        statement = source.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        target.execute(statement)
        found = source.execute(f"SELECT * FROM {table}").fetchall()
        target.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(found[0]))})", found)
    target.commit()
    source.close()
    target.close()
    assert reader.read(tmp_path) == reader.read(migrated.directory)
