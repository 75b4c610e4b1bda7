"""Tests of blobs in folders."""

import os
import stat
from pathlib import Path

import pytest

from migrator.blobs.folder_source import FolderSource
from migrator.blobs.folder_store import FolderStore
from migrator.blobs.interface import BlobRefusal
from migrator.core.attachments import AttachmentGap
from migrator.core.errors import BlobsUnavailableError
from tests.blobs.conformance import NAMES, BlobSourceConformance, BlobStoreConformance


class TestFolderStore(BlobStoreConformance):
    """Sealed blobs in a folder."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.directory = tmp_path

    def store(self) -> FolderStore:
        """Below the test's folder."""
        return FolderStore.open("file:blobs", directory=self.directory)

    def test_blobs_are_their_owner_s(self) -> None:
        """Folders 0700, files 0600, and no temporary file stays."""
        self.put(NAMES[0])
        for path in (self.directory / "blobs").rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert list((self.directory / "blobs" / "partial").iterdir()) == []

    def test_abandoned_temporary_files_go(self) -> None:
        """Of a writer that was killed long ago; one that may be at work stays."""
        self.put(NAMES[0])
        old, new = ((self.directory / "blobs" / "partial" / name) for name in ("old", "new"))
        old.touch()
        new.touch()
        os.utime(old, (0, 0))
        assert list(self.store().names()) == [NAMES[0]]
        assert (old.exists(), new.exists()) == (False, True)

    def test_a_folder_that_is_away_is_not_a_blob_that_is_gone(self) -> None:
        """An unmounted store has lost nothing."""
        with pytest.raises(BlobsUnavailableError, match="there is no folder"), self.store().reading(NAMES[0]):
            pass

    def test_other_files_are_not_its_own(self) -> None:
        """Whatever else lies there is not listed."""
        self.put(NAMES[0])
        for name in ("00/00/notes.txt", f"00/00/{NAMES[1]}", "README"):
            (self.directory / "blobs" / name).touch()
        assert list(self.store().names()) == [NAMES[0]]


class TestFolderSource(BlobSourceConformance):
    """Attachments of a source in a folder."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        (tmp_path / "media" / "ab" / "cd").mkdir(parents=True)
        (tmp_path / "media" / "ab" / "cd" / "blob").write_bytes(b"x" * 5_000_000)
        (tmp_path / "media" / "with space").write_bytes(b"y")

    def source(self) -> FolderSource:
        """Below the test's folder."""
        return FolderSource.open("media", directory=self.directory)

    def test_links_inside_are_followed_and_links_out_are_not(self) -> None:
        """An operator may spread a media store; nobody may reach beyond it."""
        media, secret = self.directory / "media", self.directory / "secret"
        secret.write_text("secret")
        (media / "inside").symlink_to(media / "ab")
        (media / "out").symlink_to(secret)
        (media / "outer").symlink_to(self.directory)
        (media / "loop").symlink_to(media / "loop")
        with self.source().reading("inside/cd/blob") as file:
            assert file.read(1) == b"x"
        for location in ("out", "outer/secret", "loop"):
            with pytest.raises(BlobRefusal) as refused, self.source().reading(location):
                pass
            assert refused.value.reason is AttachmentGap.UNSAFE_PATH
            self.source().delete(location)
        assert secret.exists()

    def test_what_is_no_regular_file_is_refused(self) -> None:
        """A pipe would be read for ever, and a folder is none."""
        os.mkfifo(self.directory / "media" / "pipe")
        for location in ("pipe", "ab"):
            with pytest.raises(BlobRefusal) as refused, self.source().reading(location):
                pass
            assert refused.value.reason is AttachmentGap.UNSAFE_PATH

    def test_a_folder_that_is_away_or_empty_is_refused(self) -> None:
        """It is not mounted, most likely: everything in it would look missing."""
        with pytest.raises(BlobsUnavailableError):
            FolderSource.open("nowhere", directory=self.directory)
        (self.directory / "bare").mkdir()
        with pytest.raises(BlobsUnavailableError, match="empty"):
            FolderSource.open("bare", directory=self.directory)

    def test_folders_that_are_empty_go_with_the_last_blob(self) -> None:
        """The media folder itself stays."""
        self.source().delete("ab/cd/blob")
        assert sorted(path.name for path in (self.directory / "media").iterdir()) == ["with space"]
