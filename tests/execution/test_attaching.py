"""Attachments of messages: sealed with them, shown with them, and each that can't be is a gap with a reason."""

import base64
from pathlib import Path
from typing import Any

import pytest

from migrator.core.errors import BlobsUnavailableError, ConfigError
from migrator.database import tables
from tests.execution.bench import Bench, content_of
from tests.execution.media import EventScheme, attachment_row, bytes_of, encrypted_file, event, shown

SECTIONS: dict[str, dict[str, Any]] = {
    "source": {"url": "sqlite:///store.db", "media": "media"},
    "attachments": {"target": "file:blobs"},
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Ann's mailbox with one thread, whose attachments go to a folder."""
    made = Bench(tmp_path / "c", **SECTIONS)
    made.account("ann")
    (made.folder / "media").mkdir()
    (made.folder / "media" / "keep").touch()
    return made


def blobs(bench: Bench) -> list[str]:
    """Every file in the store of sealed blobs."""
    return sorted(path.name for path in (bench.folder / "blobs").rglob("*") if path.is_file())


def test_labyrinth_attachments_are_sealed_as_their_clients_made_them(bench: Bench) -> None:
    """Two of one message, one of another, an empty one, and one of several segments: byte for byte, and counted."""
    name = bench.thread("ann", "bob")
    bench.messages(name, range(4))
    bench.keys("ann", [name])
    contents = {"x/one": b"1", "two": bytes_of(2, 5000), "three": bytes_of(3, 3 * 1024 * 1024 + 7), "four": b""}
    for (file, content), message in zip(contents.items(), ("m000000", "m000000", "m000001", "m000002"), strict=True):
        attachment_row(bench, name, message, file, content)
    run = bench.run()
    assert bench.outcomes(run.run_id)[name] == ("rewrapped", 4, 0)
    with bench.open() as campaign:
        assert {key[2]: value for key, value in shown(campaign).items()} == {f"a-{f}": c for f, c in contents.items()}
    rows = bench.all(tables.attachment)
    assert sorted(row["blob"] for row in rows) == blobs(bench)
    assert bench.all(tables.stray_blob) == []
    event_data = bench.events("conversation.rewrapped")[0]
    assert (event_data["attachments"], event_data["attachment_gaps"]) == (4, 0)
