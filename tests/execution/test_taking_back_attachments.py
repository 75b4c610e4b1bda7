"""Attachments of what a homeserver has taken back: they go with their message, unopened, and stay away."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from migrator import plugins
from migrator.core.model import Conversation, MessageRow
from migrator.core.outcomes import GapReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution import attaching
from migrator.execution.runs import RunSummary
from migrator.schemes.encrypted_file import attachments_of
from migrator.schemes.interface import KeyRing, Opened
from migrator.verification.verifying import verify
from tests.execution.house import ADA, ROOM, House
from tests.execution.media import EVENT_TYPE, encrypted_file, event
from tests.support.plain_scheme import PlainScheme
from tests.support.synapse import DOMAIN

MEDIA, TARGET = {"media": "media"}, {"target": "file:blobs"}


class EventsInPlain(PlainScheme):
    """Messages are Matrix events, with encrypted attachments in them."""

    def open_messages(
        self, units: Sequence[tuple[Conversation, KeyRing, Sequence[MessageRow]]]
    ) -> list[list[Opened | GapReason]]:
        """With the content type of an event."""
        return [
            [(EVENT_TYPE, result[1]) if isinstance(result, tuple) else result for result in results]
            for results in super().open_messages(units)
        ]

    def attachments_of(self, content_type: str, content: bytes) -> Any:
        """As the Matrix scheme reads them."""
        return attachments_of(content_type, content)


def picture(house: House, name: str) -> str:
    """A message with a file and its thumbnail."""
    media = house.folder / "media"
    media.mkdir(exist_ok=True)
    urls = []
    for media_id in (f"{name}picture", f"{name}thumbnail"):
        file = encrypted_file(media, media_id, media_id.encode(), url=f"mxc://{DOMAIN}/{media_id}")
        path = media / "local_content" / media_id[:2] / media_id[2:4] / media_id[4:]
        path.parent.mkdir(parents=True, exist_ok=True)
        (media / f"mxc-{media_id}").rename(path)
        urls.append(file)
    return house.home.message(ROOM, ADA, say=event(*urls).decode())


def lost(house: House) -> str:
    """A message with a file that the media store does not have."""
    file = encrypted_file(house.folder / "media", "nowhere", b"x", url=f"mxc://{DOMAIN}/nowhere")
    (house.folder / "media" / "mxc-nowhere").unlink()
    return house.home.message(ROOM, ADA, say=event(file).decode())


@pytest.fixture(autouse=True)
def plain_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that needs no cryptography."""
    monkeypatch.setattr(plugins, "scheme", lambda _name: EventsInPlain())


def made(folder: Path, **sections: Any) -> tuple[House, list[str]]:
    """A room with two pictures and a file that is lost."""
    house = House(folder, **sections)
    return house, [picture(house, "one"), picture(house, "two"), lost(house)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, list[str], RunSummary]]:
    """The room as it was migrated, with its attachments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "scheme", lambda _name: EventsInPlain())
        house, pictures = made(tmp_path_factory.mktemp("house") / "c", source=MEDIA, attachments=TARGET)
        with closing(house.home):
            yield house, pictures, house.run()


@pytest.fixture
def migrated(
    whole: tuple[House, list[str], RunSummary], tmp_path: Path
) -> Iterator[tuple[House, list[str], RunSummary]]:
    """A copy of it."""
    house = whole[0].copied(tmp_path / "c")
    with closing(house.home):
        yield house, *whole[1:]


def attached(house: House) -> dict[str, list[str]]:
    """Kind, or reason, of each attachment by message; and no blob is in the store but theirs, and none is noted."""
    rows = house.all(tables.attachment)
    files = sorted(path.name for path in (house.folder / "blobs").rglob("*") if path.is_file())
    assert sorted(row["blob"] for row in rows if row["blob"]) == files
    assert house.all(tables.stray_blob) == []
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["message_id"], []).append(str(row["reason"] or row["kind"]))
    return {message_id: sorted(kinds) for message_id, kinds in found.items()}


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs that are read from now on, whether to seal them or to rehearse that."""
    read: list[str] = []
    for name in ("reseal", "rehearse"):
        original = getattr(attaching, name)

        def noting(media: Any, location: str, attachment: Any, *more: Any, _to: Any = original, **rest: Any) -> Any:
            read.append(attachment.uri)
            return _to(media, location, attachment, *more, **rest)

        monkeypatch.setattr(attaching, name, noting)
    return read


def test_they_go_with_their_message(migrated: tuple[House, list[str], RunSummary]) -> None:
    """Row and blob, or the reason that was recorded; the event counts what is left, and a rehearsal said as much."""
    house, (one, two, missing), first = migrated
    both = ["file", "thumbnail"]
    assert attached(house) == {one: both, two: both, missing: ["missing"]}
    assert house.verified(first).checked["attachments"] == 4
    house.home.redact(ROOM, one)
    house.home.redact(ROOM, missing)
    before = house.all(tables.attachment)
    rehearsed = house.run(dry_run=True).counts
    assert house.all(tables.attachment) == before
    second = house.run()
    assert second.counts == rehearsed
    assert attached(house) == {two: both}
    said = house.events("conversation.rewrapped")[-1]
    assert (said["attachments"], said["attachment_gaps"]) == (2, 0)
    assert house.verified(second).checked["attachments"] == 2


def test_a_rollback_brings_none_of_them_back(migrated: tuple[House, list[str], RunSummary]) -> None:
    """The earlier run shows what is left, verification agrees, and the next run says it anew."""
    house, (one, two, missing), first = migrated
    house.home.redact(ROOM, one)
    tail = picture(house, "new")
    second = house.run()
    assert attached(house).keys() == {two, missing, tail}
    house.roll_back(second)
    assert attached(house) == {two: ["file", "thumbnail"], missing: ["missing"]}
    assert house.verified(first).checked["attachments"] == 2
    third = house.run()
    assert attached(house).keys() == {two, missing, tail}
    assert house.verified(third).checked["attachments"] == 4
    house.roll_back(third)
    house.roll_back(first)
    assert attached(house) == {}


@pytest.mark.parametrize(
    ("change", "says"), [("lacks", "neither sealed nor a gap"), ("more", "another attachment_gaps")]
)
def test_after_a_rollback_what_is_wrong_is_found(
    migrated: tuple[House, list[str], RunSummary], change: str, says: str
) -> None:
    """One that is lacking, though the event's count can't say so any more; one that the event never spoke of."""
    house, (one, two, _), first = migrated
    house.home.redact(ROOM, one)
    house.roll_back(house.run())
    table = tables.attachment
    mine = table.c.message_id == two
    with house.database() as connection:
        if change == "lacks":
            connection.execute(table.delete().where(mine, table.c.kind == "thumbnail"))
        else:
            gap = {"reason": "missing", "blob": None, "attachment_id": "x"}
            connection.execute(table.insert().values(dict(house.all(table)[0]) | gap))
    with house.open() as campaign:
        found = verify(campaign, first.run_id, sample=None, progress=NoProgress())
    assert [says in mismatch.detail for mismatch in found.mismatches] == [True]


def test_what_is_going_is_not_opened_on_its_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign that takes attachments over by now: those of messages that go in the same unit are not read."""
    house, (one, two, missing) = made(tmp_path / "c")
    with closing(house.home):
        house.run()
        assert house.all(tables.attachment) == []
        given = house.spec.settings.model_dump(by_alias=True)
        given["source"]["media"], given["attachments"]["target"] = "media", "file:blobs"
        settings = type(house.spec.settings).model_validate(given)
        house.spec = type(house.spec)(
            settings=settings, directory=house.spec.directory, clock=house.spec.clock, actor=house.spec.actor
        )
        house.home.redact(ROOM, one)
        read = spied(monkeypatch)
        rehearsed = house.run(dry_run=True).counts
        second = house.run()
        assert second.counts == rehearsed
        assert {uri for uri in read if "one" in uri} == set()
        assert len(read) == 2 * 3
        assert attached(house) == {two: ["file", "thumbnail"], missing: ["missing"]}
        house.verified(second)
