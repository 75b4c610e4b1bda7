"""Real clients' attachments on a real Synapse: all of them open, and are sealed to what their users sent."""

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fixtures import synapse_lab
from migrator.blobs.folder_source import FolderSource
from migrator.blobs.folder_store import FolderStore
from migrator.core.attachments import Attachment, AttachmentPlace
from migrator.core.envelope import DataKey
from migrator.core.streams import StreamKey
from migrator.execution.resealing import reseal
from migrator.schemes.encrypted_file import attachments_of
from migrator.stores.source_database import SourceDatabase
from migrator.stores.synapse_media import media_paths

EVENTS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "lab_events.jsonl").read_text(encoding="utf-8").splitlines()
]
LAB = Path(synapse_lab.__file__).parent


@pytest.fixture(scope="module")
def homeserver(tmp_path_factory: pytest.TempPathFactory) -> SourceDatabase:
    """What of a homeserver's database it takes to find media, with one file fetched from another server."""
    path = tmp_path_factory.mktemp("synapse") / "homeserver.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE remote_media_cache (media_origin TEXT, media_id TEXT, filesystem_id TEXT)")
        rows = [
            ("far.example", "remote1", "abcdefghij"),
            ("far.example", "evil", "../../../x"),
            ("b.example", "n", None),
        ]
        connection.executemany("INSERT INTO remote_media_cache VALUES (?, ?, ?)", rows)
    connection.close()
    return SourceDatabase(f"sqlite:///{path}")


def test_all_attachments_and_thumbnails_of_the_lab(homeserver: SourceDatabase, tmp_path: Path) -> None:
    """15 of 15, each sealed and opened again, to the digest of what its client had."""
    source, store = FolderSource.open("media_store", directory=LAB), FolderStore(tmp_path)
    key, opened = DataKey.generate(), 0
    for number, event in enumerate(EVENTS):
        described = attachments_of("application/json;type=m.room.message", event["plaintext"].encode())
        assert {one.attachment_id for one in described} == event["sha256"].keys()
        for one in described:
            assert isinstance(one, Attachment)
            location = media_paths(homeserver, "lab.example", [one.uri])[one.uri]
            assert location is not None
            bound = AttachmentPlace(
                conversation_id=event["room_id"], message_id=event["event_id"], sender_id=event["sender"],
                sent_at=number, attachment_id=one.attachment_id, kind=one.kind,
            ).bound()  # fmt: skip
            stream, name = StreamKey.generate(), f"{opened:032x}"
            reseal(source, location, one, store, name, stream, bound, limit=2**20, look=lambda: None)
            wrapped = stream.wrap(key, bound)
            with store.reading(name) as sealed:
                content = b"".join(StreamKey.unwrap(wrapped, key, bound).opened(sealed, bound))
            assert hashlib.sha256(content).hexdigest() == event["sha256"][one.attachment_id]
            opened += 1
    assert opened == 15


def test_media_of_other_servers_lie_under_another_name(homeserver: SourceDatabase) -> None:
    """One that was never fetched is nowhere; what is no URI, or would climb, is not among them."""
    uris = {
        "mxc://far.example/remote1": "remote_content/far.example/ab/cd/efghij",
        "mxc://far.example/remote2": None,
        "mxc://near.example/remote1": None,
        "mxc://far.example/evil": None,
        "mxc://b.example/n": None,
        "mxc://lab.example/abcdefg": "local_content/ab/cd/efg",
        "mxc://lab.example/evil..": "no",
        "mxc://../abcdefg": "no",
        "mxc://lab.example/../../x": "no",
        "mxc://lab.example/abcdefg/x": "no",
        "mxc://lab.example/abcdefg\n": "no",
        "https://lab.example/abcdefg": "no",
        "mxc://lab.example/": "no",
    }
    found = media_paths(homeserver, "lab.example", list(uris))
    assert {uri: found.get(uri, "no") for uri in uris} == {
        uri: "no" if "evil" in uri or uri == "mxc://b.example/n" else path for uri, path in uris.items()
    }
