"""Memory: an archive of any length costs a page of it (G11)."""

import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from migrator.archiving import matrix_json, mbox, paging
from migrator.archiving.folder import Folder, new_folder
from migrator.archiving.html import index, pages
from migrator.archiving.interface import Attachment, Form, NoAttachments
from migrator.history import Place
from migrator.reading import Entry, ReadMessage
from tests.archiving.rooms import ROOM, Attached, Room, attachment, said

COUNT = 500
LENGTH = 8000


class LongRoom(Room):
    """Its messages are made as they are asked for: 4 MB in all."""

    def __init__(self) -> None:
        super().__init__([])
        self.conversation_id, self.messages = ROOM, COUNT

    def entries(self) -> Iterator[Entry]:
        """All of them, each an answer to the first."""
        relation = {"m.in_reply_to": {"event_id": "$0"}}
        return (said(f"${n}", "x" * LENGTH, {"m.relates_to": relation}) for n in range(COUNT))

    def at(self, places: Sequence[Place]) -> Mapping[Place, ReadMessage]:
        """Some of them."""
        return {place: said(place[1], "x" * LENGTH) for place in places}


def write(form: Form, room: LongRoom, folder: Folder) -> None:
    """The archive in one format."""
    if form is Form.HTML:
        pages.write(room, room.about(), NoAttachments(), folder, folder.path / ".index")
    elif form is Form.MBOX:
        folder.save("x", mbox.pieces(room, room.about(), NoAttachments()), {})
    else:
        folder.save("x", matrix_json.pieces(room, room.about(), NoAttachments(), folder), {})


@pytest.mark.parametrize("form", Form)
def test_memory_does_not_grow_with_a_conversation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    """4 MB of messages pass through less: one page of them, or one stretch."""
    monkeypatch.setattr(index, "PAGE_BYTES", 100_000)
    monkeypatch.setattr(paging, "STRETCH", 10)
    room = LongRoom()
    tracemalloc.start()
    with new_folder(tmp_path / "out", form, room.about()) as folder:
        write(form, room, folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written > COUNT * LENGTH
    assert peak < 2_000_000


def test_memory_does_not_grow_with_an_attachment(tmp_path: Path) -> None:
    """6 MB of one attachment pass through in chunks."""

    def chunks() -> Iterator[bytes]:
        return (bytes(65_536) for _ in range(100))

    huge = Attachment(kind="file", name="x", mimetype=None, size=None, gap=None, chunks=chunks)
    room, files = Room([said("$a")]), Attached(a=[huge, attachment(b"small")])
    tracemalloc.start()
    with new_folder(tmp_path / "out", Form.MBOX, room.about()) as folder:
        folder.save("x", mbox.pieces(room, room.about(), files), {})
        folder.save("y", matrix_json.pieces(room, room.about(), files, folder), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out" / "x").stat().st_size > 8_000_000
    assert peak < 2_000_000
