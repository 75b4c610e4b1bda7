"""The strict tar reader against good and hostile archives."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.outcomes import RefusalReason, Refused
from migrator.exports.archive import BLOCK, MAX_PAX_BYTES, ArchiveReader
from tests.exports.tars import END, header, member, pax, written_by_tarfile

GOOD = member(b"manifest.jws", b"m" * 700) + member(b"part-00000.hpke", b"p") + member(b"part-00001.hpke", b"")
NAMES = ("manifest.jws", "part-00000.hpke", "part-00001.hpke")


def read(archive: bytes, names: tuple[str, ...] = NAMES, limit: int = 1000) -> list[bytes]:
    """Read an archive as the import does."""
    reader = ArchiveReader(io.BytesIO(archive))
    contents = [reader.member(name, max_bytes=limit, later=names[1:]) for name in names]
    reader.end()
    return contents


def reason_of(archive: bytes, limit: int = 1000) -> RefusalReason:
    """Why an archive is refused."""
    with pytest.raises(Refused) as caught:
        read(archive, limit=limit)
    return caught.value.reason


def test_members_come_back_as_they_were_written() -> None:
    """Contents of any length, also none; trailing records of zeros are the end."""
    assert read(GOOD + END) == [b"m" * 700, b"p", b""]
    assert read(GOOD + END + bytes(10_240)) == [b"m" * 700, b"p", b""]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_an_ordinary_writer_are_read(tar_format: int) -> None:
    """Every format of `tarfile`, the pax headers for fractions of a second included."""
    members = [(name, name.encode() * 50) for name in NAMES]
    assert read(written_by_tarfile(members, tar_format)) == [content for _, content in members]


@pytest.mark.parametrize("magic", [bytes(8), b"ustar  \0"])
def test_older_headers_are_read(magic: bytes) -> None:
    """Seventh Edition and GNU headers, which have no prefix field."""
    archive = header(b"manifest.jws", 1, magic=magic, prefix=b"x" if magic[0] else b"") + b"m".ljust(BLOCK, b"\0") + END
    assert read(archive, NAMES[:1]) == [b"m"]


@given(st.integers(0, len(GOOD) + BLOCK - 1))
def test_an_archive_cut_anywhere_is_truncated(length: int) -> None:
    """Whatever the cut leaves, it is not taken for whole."""
    assert reason_of((GOOD + END)[:length]) is (RefusalReason.TRUNCATED if length < len(GOOD) + BLOCK else None)


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_a_flipped_bit_is_refused_or_in_content_that_digests_cover(bit: int) -> None:
    """Nothing but `Refused` leaves the reader, and every content keeps its length or is refused."""
    damaged = bytearray(GOOD + END)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        contents = read(bytes(damaged))
    except Refused:
        return
    assert [len(content) for content in contents] == [700, 1, 0]


@given(st.binary(max_size=2000))
def test_any_bytes_are_refused(data: bytes) -> None:
    """No other exception leaves the reader."""
    assert reason_of(data) in (RefusalReason.MALFORMED, RefusalReason.TRUNCATED, RefusalReason.PART_MISSING)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(GOOD + END),
        bz2.compress(GOOD + END),
        lzma.compress(GOOD + END),
        b"PK\x03\x04" * 200,
        b"hello",
        b"{}" * 400,
    ],
)
def test_what_is_no_tar_is_malformed(data: bytes) -> None:
    """Compressed archives among them: unpacking is where bombs are."""
    assert reason_of(data) is RefusalReason.MALFORMED


def test_zeros_only_are_an_archive_without_a_manifest() -> None:
    """An empty tar is a tar."""
    assert reason_of(END) is RefusalReason.PART_MISSING


FIRST = member(b"manifest.jws", b"m")


@pytest.mark.parametrize(
    "hostile",
    [
        *(header(b"part-00000.hpke", 0, kind) for kind in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"S")),
        header(b"folder/", 0, b"0"),
        header(b"folder/", 0, b"\0"),
        member(b"/part-00000.hpke", b"p"),
        member(b"../part-00000.hpke", b"p"),
        member(b"a/../../part-00000.hpke", b"p"),
        header(b"part-00000.hpke", 0, prefix=b"/etc"),
        header(b"part-00000.hpke", 0, prefix=b".."),
        header(b"part-00000.hpke", b"\xff" * 12),
        pax([("path", "../../etc/passwd")]) + member(b"part-00000.hpke", b"p"),
        pax([("path", "part-00000.hpke")]) + member(b"other", b"p"),
        pax([("size", "999999999999")]) + member(b"part-00000.hpke", b"p"),
        pax([("size", "0")]) + member(b"part-00000.hpke", b"p"),
        pax([("linkpath", "/etc/passwd")]) + member(b"part-00000.hpke", b"p"),
        pax([("GNU.sparse.major", "1")]) + member(b"part-00000.hpke", b"p"),
        pax([("size", "1")], b"g") + member(b"part-00000.hpke", b"p"),
        pax([("mtime", "1")]) + pax([("mtime", "2")]) + member(b"part-00000.hpke", b"p"),
    ],
)
def test_odd_members_are_unsafe(hostile: bytes) -> None:
    """Links, devices, folders, sparse files, climbing names, negative sizes, pax headers that change what is said."""
    assert reason_of(FIRST + hostile + END) is RefusalReason.UNSAFE_MEMBER


def test_pax_headers_that_repeat_what_is_said_are_harmless() -> None:
    """Some writers name and size every member twice."""
    doubled = pax([("path", "manifest.jws"), ("size", "1"), ("uname", "ünï")]) + FIRST
    assert read(pax([("comment", "x")], b"g") + doubled + END, NAMES[:1]) == [b"m"]


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (member(b"part-00000.hpke", b"p") + FIRST, RefusalReason.UNEXPECTED_MEMBER),
        (member(b"./manifest.jws", b"p"), RefusalReason.UNEXPECTED_MEMBER),
        (member("manifest.jwß".encode(), b"p"), RefusalReason.UNEXPECTED_MEMBER),
        (FIRST + member(b"notes.txt", b"n"), RefusalReason.UNEXPECTED_MEMBER),
        (FIRST + member(b"part-00001.hpke", b"p") + member(b"part-00000.hpke", b"p"), RefusalReason.UNEXPECTED_MEMBER),
        (FIRST + member(b"part-00000.hpke", b"p") * 2, RefusalReason.UNEXPECTED_MEMBER),
        (GOOD + member(b"part-00002.hpke", b"p"), RefusalReason.UNEXPECTED_MEMBER),
        (GOOD + END + FIRST, RefusalReason.UNEXPECTED_MEMBER),
        (GOOD + END + bytes(2_000_000), RefusalReason.UNEXPECTED_MEMBER),
        (FIRST, RefusalReason.PART_MISSING),
        (FIRST + member(b"part-00000.hpke", b"p"), RefusalReason.PART_MISSING),
        (FIRST + member(b"part-00001.hpke", b"p" * 5000), RefusalReason.PART_MISSING),
    ],
)
def test_members_are_exactly_the_listed_ones_in_order(archive: bytes, reason: RefusalReason) -> None:
    """What is in the wrong place is unexpected; what is nowhere is missing."""
    assert reason_of(archive + END) is reason


@pytest.mark.parametrize("size", [1001, b"\x80" + b"\0" * 3 + b"\xff" * 8])
def test_a_large_member_is_refused_by_its_header(size: int | bytes) -> None:
    """The content is not even there."""
    assert reason_of(header(b"manifest.jws", size)) is RefusalReason.TOO_LARGE


def test_a_huge_pax_header_is_never_loaded() -> None:
    """Eight gigabytes of records, of which nothing is read."""
    tracemalloc.start()
    try:
        assert reason_of(header(b"pax", 0o77777777777, b"x") + bytes(4 * MAX_PAX_BYTES)) is RefusalReason.TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"nonsense", b"99 a=b\n", b"0 a=b\n", b"6 a=b", b"3 a=b\n", b"999999999999999999 a=b\n", b"5 =\n\n"]
)
def test_a_broken_pax_header_is_malformed(content: bytes) -> None:
    """Lengths that lie, records without a key."""
    assert reason_of(member(b"pax", content, b"x") + FIRST + END) is RefusalReason.MALFORMED


def test_a_pax_header_without_its_member_is_truncated() -> None:
    """The end marker stands where a member should."""
    assert reason_of(FIRST + pax([("mtime", "1")]) + END) is RefusalReason.TRUNCATED
