"""Tests of migrator.core.streams."""

import io
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import tink
from hypothesis import given
from hypothesis import strategies as st
from tink import aead, cleartext_keyset_handle, streaming_aead

from migrator.core.envelope import DataKey
from migrator.core.errors import IntegrityError
from migrator.core.streams import CHUNK, Hashed, Sink, StreamKey

KEY = DataKey.generate()
BOUND = b"the place of this attachment"


def sealed(content: bytes, key: StreamKey, bound: bytes = BOUND) -> bytes:
    """Seal content in one go."""
    file = io.BytesIO()
    sink = Sink(file)
    stream = key.sealing(sink, bound)
    stream.write(content)
    stream.close()
    assert sink.size == len(file.getvalue())
    return file.getvalue()


def opened(blob: bytes, key: StreamKey, bound: bytes = BOUND) -> bytes:
    """The content of a blob."""
    return b"".join(key.opened(io.BytesIO(blob), bound))


@given(st.integers(0, 5000), st.sampled_from([0, CHUNK - 60, CHUNK, 2 * CHUNK]))
def test_what_is_sealed_opens(rest: int, segments: int) -> None:
    """Of any length, also around the ends of segments."""
    content, key = bytes(segments + rest), StreamKey.generate()
    assert opened(sealed(content, key), key) == content


@pytest.fixture(scope="module")
def blob() -> tuple[StreamKey, bytes]:
    """A blob of three segments."""
    key = StreamKey.generate()
    return key, sealed(b"z" * (2 * CHUNK + 5), key)


@pytest.mark.parametrize("cut", [0, 1, 39, 40, 56, CHUNK, 2 * CHUNK, -1])
def test_a_blob_that_was_cut_does_not_open(blob: tuple[StreamKey, bytes], cut: int) -> None:
    """Anywhere, also between two segments and before everything."""
    with pytest.raises(IntegrityError):
        opened(blob[1][:cut], blob[0])


@pytest.mark.parametrize("place", [0, 1, 30, 39, 41, CHUNK + 7, -1])
def test_a_blob_that_was_altered_does_not_open(blob: tuple[StreamKey, bytes], place: int) -> None:
    """One bit, anywhere; nor with something behind its end, nor with segments in another order."""
    changed = bytearray(blob[1])
    changed[place] ^= 1
    moved = blob[1][:40] + blob[1][CHUNK : 2 * CHUNK] + blob[1][40:CHUNK] + blob[1][2 * CHUNK :]
    for bad in (bytes(changed), blob[1] + b"\0", moved):
        with pytest.raises(IntegrityError):
            opened(bad, blob[0])


def test_a_blob_opens_in_its_place_only(blob: tuple[StreamKey, bytes]) -> None:
    """Neither stream nor keyset, nor under another data key (G9)."""
    with pytest.raises(IntegrityError):
        opened(blob[1], blob[0], b"another place")
    wrapped = blob[0].wrap(KEY, BOUND)
    assert opened(blob[1], StreamKey.unwrap(wrapped, KEY, BOUND))[:1] == b"z"
    for key, bound in ((KEY, b"another place"), (DataKey.generate(), BOUND)):
        with pytest.raises(IntegrityError):
            StreamKey.unwrap(wrapped, key, bound)
    for broken in (b"", wrapped[:-1], b"\0" + wrapped, bytes(50)):
        with pytest.raises(IntegrityError):
            StreamKey.unwrap(broken, KEY, BOUND)


def test_tink_alone_reads_it(blob: tuple[StreamKey, bytes]) -> None:
    """G12: from the data key's keyset, the row's keyset and the blob, with nothing of migrator's."""
    wrapped, data_keyset = blob[0].wrap(KEY, BOUND), KEY.to_keyset()
    aead.register()
    streaming_aead.register()
    data_key = cleartext_keyset_handle.read(tink.BinaryKeysetReader(data_keyset)).primitive(aead.Aead)
    handle = tink.proto_keyset_format.parse_encrypted(wrapped, data_key, BOUND)
    with handle.primitive(streaming_aead.StreamingAead).new_decrypting_stream(io.BytesIO(blob[1]), BOUND) as stream:
        assert stream.read() == b"z" * (2 * CHUNK + 5)


def test_sealing_again_gives_another_blob() -> None:
    """Under another key, and other bytes: nothing tells that two blobs are the same attachment."""
    first, second = StreamKey.generate(), StreamKey.generate()
    assert first.wrap(KEY, BOUND) != second.wrap(KEY, BOUND)
    assert sealed(b"same", first)[40:] != sealed(b"same", second)[40:]


def test_errors_of_files_are_what_they_were() -> None:
    """A full disk and a connection that broke are no broken cipher."""

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    class Away:
        def read(self, size: int = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    sink = Sink(Full())
    stream = StreamKey.generate().sealing(sink, BOUND)
    with pytest.raises(tink.TinkError):
        stream.write(bytes(3 * CHUNK))
    assert sink.error is not None
    assert sink.error.errno == 28
    with pytest.raises(OSError, match="Input/output"):
        list(StreamKey.generate().opened(Away(), BOUND))


def test_keys_stay_in_their_process() -> None:
    """Not shown, not pickled."""
    key = StreamKey.generate()
    assert repr(key) == "StreamKey(…)"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_memory_does_not_grow_with_the_blob(tmp_path: Path) -> None:
    """256 MiB sealed and opened, with what 8 MiB take (G11)."""
    key, path = StreamKey.generate(), tmp_path / "blob"

    def through(mebibytes: int) -> int:
        with path.open("wb") as file:
            stream = key.sealing(Sink(file), BOUND)
            for _ in range(mebibytes):
                stream.write(bytes(CHUNK))
            stream.close()
        with path.open("rb") as file:
            hashed = Hashed(file)
            assert sum(map(len, key.opened(hashed, BOUND))) == mebibytes * CHUNK
            assert hashed.size == path.stat().st_size
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = through(8)
    assert through(256) - before < 16 * 1024


def pieces(content: bytes) -> Iterator[bytes]:
    """Content in pieces of odd sizes."""
    for start in range(0, len(content), 70_001):
        yield content[start : start + 70_001]


def test_pieces_of_any_size() -> None:
    """However the content comes, it is the same."""
    key, file, content = StreamKey.generate(), io.BytesIO(), bytes(range(256)) * 9000
    stream = key.sealing(Sink(file), BOUND)
    for piece in pieces(content):
        stream.write(piece)
    stream.close()
    assert opened(file.getvalue(), key) == content
