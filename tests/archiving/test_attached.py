"""Attachments of migrated messages in archives: byte for byte under their names, or with the reason, or no archive."""

import json
import mailbox
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrator import archiving, plugins
from migrator.archiving import Form
from migrator.core.errors import BlobsUnavailableError, ConfigError, IntegrityError, MigratorError
from tests.execution.house import ADA, ROOM, House
from tests.execution.media import encrypted_file, event
from tests.execution.test_taking_back_attachments import MEDIA, TARGET, EventsInPlain, lost, picture
from tests.support.synapse import DOMAIN

REASON = "ticket 4711"
LARGE = bytes(range(256)) * 4096 * 8
"""8 MiB."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A room with a picture, a file that the media store lost, and a large file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "scheme", lambda _name: EventsInPlain())
        made = House(tmp_path_factory.mktemp("house") / "c", source=MEDIA, attachments=TARGET)
        with closing(made.home):
            picture(made, "one")
            lost(made)
            large = encrypted_file(made.folder / "media", "largefile", LARGE, url=f"mxc://{DOMAIN}/largefile")
            place = made.folder / "media" / "local_content" / "la" / "rg" / "efile"
            place.parent.mkdir(parents=True)
            (made.folder / "media" / "mxc-largefile").rename(place)
            made.home.message(ROOM, ADA, say=event(large, mimetype="video/mp4").decode())
            made.run()
            yield made


@pytest.fixture
def house(whole: House, tmp_path: Path) -> Iterator[House]:
    """A copy, of which something may be damaged."""
    made = whole.copied(tmp_path / "c")
    with closing(made.home):
        yield made


def save(house: House, form: Form, path: Path) -> Path:
    """An archive of the room."""
    with house.open() as campaign:
        archiving.save(campaign, ROOM, REASON, form, path)
    return path


def test_pages_and_json_have_the_files(whole: House, tmp_path: Path) -> None:
    """Each file is in the folder, and the manifest says whose it is; the page says why one is not."""
    for form in (Form.HTML, Form.MATRIX_JSON):
        folder = save(whole, form, tmp_path / form)
        listed = json.loads((folder / "manifest.json").read_bytes())["files"]
        files = [file for file in listed if "attachment" in file]
        assert [(folder / file["name"]).read_bytes() for file in files] == [b"onepicture", b"onethumbnail", LARGE]
        said = [tuple(file["attachment"][name] for name in ("kind", "name", "mimetype")) for file in files]
        assert said == [("file", "x", None), ("thumbnail", None, None), ("file", "x", "video/mp4")]
    page = (tmp_path / Form.HTML / "messages-00001.html").read_text(encoding="utf-8")
    assert "could not be migrated: it was not in the media store (missing)" in page
    events = json.loads((tmp_path / Form.MATRIX_JSON / "events.json").read_bytes())["messages"]
    named = [one["gap"] for e in events for one in e.get("unsigned", {}).get("migrator.attachments", ())]
    assert named == [None, None, "missing", None]


def test_mails_have_them(whole: House, tmp_path: Path) -> None:
    """As parts behind the payload."""
    box = mailbox.mbox(save(whole, Form.MBOX, tmp_path / "x.mbox"))
    parts = [part.get_payload(decode=True) for key in box.iterkeys() for part in list(box[key].walk())[3:]]
    box.close()
    assert parts == [b"onepicture", b"onethumbnail", LARGE]


def test_memory_does_not_grow_with_a_file(whole: House, tmp_path: Path) -> None:
    """It passes through in pieces of a megabyte; what an open campaign and the first archive take is not counted."""
    with whole.open() as campaign:
        archiving.save(campaign, ROOM, REASON, Form.HTML, tmp_path / "first")
        tracemalloc.start()
        try:
            archiving.save(campaign, ROOM, REASON, Form.HTML, tmp_path / "second")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < len(LARGE) / 2


@pytest.mark.parametrize("form", [Form.HTML, Form.MBOX])
@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ("altered", IntegrityError),
        ("cut", IntegrityError),
        ("gone", IntegrityError),
        ("away", BlobsUnavailableError),
        ("unset", ConfigError),
    ],
)
def test_one_that_does_not_open_leaves_no_archive(
    house: House, tmp_path: Path, form: Form, damage: str, error: type[MigratorError]
) -> None:
    """Altered, cut, gone, out of reach: an error that says so, and nothing that looks whole."""
    blobs = house.folder / "blobs"
    path = max((path for path in blobs.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    if damage == "altered":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[: 5 * 2**20])
    elif damage == "gone":
        path.unlink()
    elif damage == "away":
        blobs.rename(house.folder / "elsewhere")
    else:
        given = house.spec.settings.model_dump(by_alias=True) | {"attachments": {}}
        settings = type(house.spec.settings).model_validate(given)
        house.spec = type(house.spec)(
            settings=settings, directory=house.spec.directory, clock=house.spec.clock, actor=house.spec.actor
        )
    (tmp_path / "out").mkdir()
    with pytest.raises(error):
        save(house, form, tmp_path / "out" / "archive")
    assert not list((tmp_path / "out").iterdir())
