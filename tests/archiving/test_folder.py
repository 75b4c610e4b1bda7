"""An archive on disk is whole or not there, its owner's alone, and its manifest knows every byte."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.archiving.folder import MANIFEST, new_file, new_folder, require_new
from migrator.archiving.interface import Form
from migrator.core.errors import UsageError
from tests.archiving.rooms import Room

ABOUT = Room([]).about(clear_text=3)


def broken() -> Iterator[bytes]:
    """Something that fails half way."""
    yield b"half"
    raise KeyboardInterrupt


def test_manifest_lists_every_file_with_its_digest(tmp_path: Path) -> None:
    """Name, size and SHA-256 of each, what was said of an attachment, and what the archive is of."""
    with new_folder(tmp_path / "new" / "out", Form.MBOX, ABOUT) as folder:
        assert folder.save("a", [b"1", b"", b"23"], {}) == 3
        folder.save("attachments/b", [], {"name": 'x"\n', "kind": "file"})
        assert folder.count() == 2
    out = tmp_path / "new" / "out"
    manifest = json.loads((out / MANIFEST).read_bytes())
    assert manifest["files"] == [
        {"name": "a", "size": 3, "sha256": hashlib.sha256(b"123").hexdigest()},
        {"name": "attachments/b", "size": 0, "sha256": hashlib.sha256(b"").hexdigest(),
         "attachment": {"name": 'x"\n', "kind": "file"}},
    ]  # fmt: skip
    assert (manifest["format"], manifest["clear_text"]) == ("mbox", 3)
    modes = {path.relative_to(out).as_posix(): path.stat().st_mode & 0o777 for path in [out, *out.rglob("*")]}
    assert modes == {".": 0o700, "a": 0o600, "attachments": 0o700, "attachments/b": 0o600, MANIFEST: 0o600}


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    """Interrupted in a file or between two: no folder, no file, no temporary name."""

    def fill() -> None:
        with new_folder(tmp_path / "out", Form.MBOX, ABOUT) as folder:
            folder.save("a", [b"1"], {})
            folder.save("b", broken(), {})

    with pytest.raises(KeyboardInterrupt):
        fill()
    with pytest.raises(KeyboardInterrupt):
        new_file(tmp_path / "x.mbox", broken())
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced(tmp_path: Path) -> None:
    """A folder with something in it, a file, a dangling link: refused unread. An empty one is filled."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    for name in ("full", "file", "link"):
        with pytest.raises(UsageError, match="no empty folder"):
            require_new(tmp_path / name, single=False)
    for name in ("file", "link"):
        with pytest.raises(UsageError, match="there already"):
            require_new(tmp_path / name, single=True)
    require_new(tmp_path / "empty", single=False)
    with new_folder(tmp_path / "empty", Form.MBOX, ABOUT):
        pass
    assert [path.name for path in (tmp_path / "empty").iterdir()] == [MANIFEST]


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    """Whoever was quicker keeps the name, and nothing of ours is left."""

    def meanwhile() -> Iterator[bytes]:
        (tmp_path / "x.mbox").write_bytes(b"theirs")
        yield b"ours"

    with pytest.raises(FileExistsError):
        new_file(tmp_path / "x.mbox", meanwhile())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"theirs"]


def test_one_file_is_its_owners(tmp_path: Path) -> None:
    """Whole, private, with its digest."""
    assert new_file(tmp_path / "x.json", [b"a", b"b"]) == (2, hashlib.sha256(b"ab").hexdigest())
    assert (tmp_path / "x.json").stat().st_mode & 0o777 == 0o600
