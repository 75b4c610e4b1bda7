"""What every store of sealed blobs, and every source of attachments, must do: subclass and give one."""

from abc import ABC, abstractmethod

import pytest

from migrator.blobs.interface import BlobRefusal, BlobSource, BlobStore
from migrator.core.attachments import AttachmentGap

NAMES = ["00" * 16, "0a" + "1f" * 15, "0a" + "2f" * 15, "ff" * 16]


class BlobStoreConformance(ABC):
    """Tests of the port to sealed blobs."""

    @abstractmethod
    def store(self) -> BlobStore:
        """A store in the same empty place each time within a test."""

    def put(self, name: str, data: bytes = b"sealed") -> None:
        """Write a blob."""
        with self.store().writing(name) as file:
            file.write(data)

    def fail_in(self, name: str, size: int) -> None:
        """Write some of a blob, then fail."""
        with self.store().writing(name) as file:
            file.write(bytes(size))
            raise ZeroDivisionError

    def get(self, name: str) -> bytes:
        """Read a blob whole, in odd pieces."""
        data = b""
        with self.store().reading(name) as file:
            while piece := file.read(700_001):
                data += piece
        return data

    @pytest.mark.parametrize("size", [0, 1, 3_000_000], ids=["empty", "byte", "blocks"])
    def test_what_is_written_is_read(self, size: int) -> None:
        """Byte for byte, whatever its size."""
        data = bytes(range(256)) * (size // 256 + 1)
        self.put(NAMES[0], data[:size])
        assert self.get(NAMES[0]) == data[:size]

    def test_a_blob_is_replaced_whole(self) -> None:
        """By one that is shorter, too."""
        self.put(NAMES[0], b"longer than that")
        self.put(NAMES[0], b"short")
        assert self.get(NAMES[0]) == b"short"

    @pytest.mark.parametrize("size", [10, 9_000_000], ids=["small", "blocks"])
    def test_what_fails_in_the_middle_leaves_nothing(self, size: int) -> None:
        """No blob, not even a part of one; an earlier one stays."""
        self.put(NAMES[1], b"before")
        for name in NAMES[:2]:
            with pytest.raises(ZeroDivisionError):
                self.fail_in(name, size)
        assert list(self.store().names()) == [NAMES[1]]
        assert self.get(NAMES[1]) == b"before"

    def test_one_that_is_not_there_is_missing(self) -> None:
        """Also one that was removed; the others are where they were."""
        for name in NAMES:
            self.put(name)
        self.store().delete([NAMES[0], NAMES[2], "aa" * 16])
        self.store().delete([NAMES[0]])
        self.store().delete([])
        for name in (NAMES[0], NAMES[2], "aa" * 16):
            with pytest.raises(BlobRefusal) as refused, self.store().reading(name):
                pass
            assert refused.value.reason is AttachmentGap.MISSING
        assert self.get(NAMES[3]) == b"sealed"

    def test_names_come_in_order(self) -> None:
        """All of them, once; none in an empty store."""
        assert list(self.store().names()) == []
        for name in reversed(NAMES):
            self.put(name)
        assert list(self.store().names()) == NAMES

    @pytest.mark.parametrize("name", ["", "../x", "0" * 31, "G" * 32, "A" * 32, "0" * 33, "0" * 32 + "\n"])
    def test_other_names_are_refused(self, name: str) -> None:
        """What a row may hold after somebody wrote to it is no way out of the store."""
        with pytest.raises(BlobRefusal), self.store().writing(name):
            pass
        with pytest.raises(BlobRefusal), self.store().reading(name):
            pass


class BlobSourceConformance(ABC):
    """Tests of the port to the source's attachments."""

    @abstractmethod
    def source(self) -> BlobSource:
        """A source with `ab/cd/blob` (5,000,000 times `x`), `with space` (`y`), and the folder `ab`."""

    def test_a_blob_is_read(self) -> None:
        """Whole, in pieces, from folders inside."""
        with self.source().reading("ab/cd/blob") as file:
            total = 0
            while piece := file.read(1_000_000):
                assert set(piece) == {ord("x")}
                total += len(piece)
        assert total == 5_000_000
        with self.source().reading("with space") as file:
            assert file.read(10) == b"y"

    def test_one_that_is_not_there_is_missing(self) -> None:
        """In a folder that is there, or in none."""
        for location in ("nothing", "ab/nothing", "no/where"):
            with pytest.raises(BlobRefusal) as refused, self.source().reading(location):
                pass
            assert refused.value.reason is AttachmentGap.MISSING

    @pytest.mark.parametrize(
        "location",
        ["", "/", "/etc/passwd", "..", "../x", "ab/../../x", "ab//cd/blob", "./ab/cd/blob", "ab/cd/blob/", "a\0b",
         "a\nb", "a\\b", "x" * 2000, "x" * 256, "\ud800", "file:///etc/passwd", "http://169.254.169.254/x"],
    )  # fmt: skip
    def test_unsafe_locations_are_refused(self, location: str) -> None:
        """What climbs, is absolute, leads elsewhere, or is no path at all; nothing is removed there either."""
        with pytest.raises(BlobRefusal) as refused, self.source().reading(location):
            pass
        assert refused.value.reason is AttachmentGap.UNSAFE_PATH
        self.source().delete(location)

    def test_a_location_is_no_pattern(self) -> None:
        """Whoever names an attachment `*` removes nothing, and reads nothing."""
        for location in ("*", "ab/*", "ab/cd/*", "with?space", "[a-z]*", "**"):
            self.source().delete(location)
            with pytest.raises(BlobRefusal), self.source().reading(location):
                pass
        with self.source().reading("with space") as file:
            assert file.read(10) == b"y"
        with self.source().reading("ab/cd/blob") as file:
            assert file.read(1) == b"x"

    def test_a_blob_is_removed(self) -> None:
        """Once; doing it again does nothing, and the others stay."""
        self.source().delete("ab/cd/blob")
        self.source().delete("ab/cd/blob")
        self.source().delete("nothing")
        with pytest.raises(BlobRefusal), self.source().reading("ab/cd/blob"):
            pass
        with self.source().reading("with space") as file:
            assert file.read(10) == b"y"
