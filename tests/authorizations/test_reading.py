"""Finding records in files and folders: order, bounds, and what is left alone."""

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.authorizations.reading import Candidate, candidates
from migrator.core.errors import UsageError
from migrator.core.limits import LIMITS

MAX = LIMITS.authorization_chars


def read(*paths: Path) -> list[tuple[str, int | None, str | None]]:
    return [(Path(c.file).name, c.line, c.text) for c in candidates(paths)]


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_one_record_a_file(tmp_path: Path) -> None:
    """A `.jws` is one record with at most one line ending after it, with or without CR."""
    for number, data in enumerate([b"abc", b"abc\n", b"abc\r\n"]):
        assert read(write(tmp_path, f"{number}.jws", data)) == [(f"{number}.jws", None, "abc")]
    assert read(write(tmp_path, "two.jws", b"abc\ndef\n")) == [("two.jws", None, "abc\ndef")]
    assert read(write(tmp_path, "empty.jws", b"")) == [("empty.jws", None, "")]


def test_one_record_a_line(tmp_path: Path) -> None:
    """Lines are numbered from 1; blank lines, CRLF and a missing last newline are fine."""
    path = write(tmp_path, "a.jsonl", b"one\r\n\n \t\r\ntwo\nthree")
    assert read(path) == [("a.jsonl", 1, "one"), ("a.jsonl", 4, "two"), ("a.jsonl", 5, "three")]


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    """Other separators of Unicode and ASCII, and a lone CR, stay in the line, where they are malformed."""
    data = b"a\rb\x0bc\x0cd\x1ce\xc2\x85f\xe2\x80\xa8g\n"
    [(_, line, text)] = read(write(tmp_path, "a.jsonl", data))
    assert line == 1
    assert text is not None
    assert not text.isascii()


def test_a_bom_is_not_taken_off(tmp_path: Path) -> None:
    """A byte order mark stays in front of the first record, which is malformed by it."""
    [(_, _, text)] = read(write(tmp_path, "a.jsonl", b"\xef\xbb\xbfabc\n"))
    assert text != "abc"


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_limit_in_both_kinds_of_file(tmp_path: Path, ending: bytes) -> None:
    """64 KiB of text are read whatever ends the line; one more character is told as too large."""
    for name in ("a.jsonl", "a.jws"):
        assert read(write(tmp_path, name, b"x" * MAX + ending))[0][2] == "x" * MAX
        assert read(write(tmp_path, name, b"x" * (MAX + 1) + ending))[0][2] is None


@given(st.lists(st.integers(0, 3 * MAX), max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_long_lines_cost_only_themselves(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], ending: bytes, ended: bool
) -> None:
    """Whatever lengths lines have, each is told once, at its number, and its neighbours are read."""
    data = ending.join(b"x" * n for n in lengths) + (ending if ended else b"")
    path = write(tmp_path_factory.mktemp("lines"), "a.jsonl", data)
    expected = [("a.jsonl", n, "x" * size if size <= MAX else None) for n, size in enumerate(lengths, 1) if size]
    assert read(path) == expected


def test_memory_does_not_grow_with_a_line(tmp_path: Path) -> None:
    """A line of 200 MB, and a file of one record as large, are passed over in bounded memory (G11)."""
    for name in ("huge.jsonl", "huge.jws"):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(200_000_000)  # sparse: NUL bytes without a newline
        tracemalloc.start()
        assert read(path) == [(name, 1 if name == "huge.jsonl" else None, None)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


def test_folders_in_order_of_names(tmp_path: Path) -> None:
    """Everything below a folder, in bytewise order, however the file system lists it; other files are ignored."""
    for name in ("b.jws", "a/z.jws", "a/b/c.jsonl", "Z.jws", "é.jws", "notes.txt", "x.jws.tmp", "e.JWS"):
        write(tmp_path, name, b"abc")
    found = [Path(c.file).relative_to(tmp_path).as_posix() for c in candidates([tmp_path])]
    assert found == ["Z.jws", "a/b/c.jsonl", "a/z.jws", "b.jws", "é.jws"]


def test_links_in_folders_are_not_followed(tmp_path: Path) -> None:
    """Links to files and folders, loops, pipes and dangling links are left alone; a link given as a path is read."""
    outside = write(tmp_path, "outside/secret.jws", b"abc")
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "file.jws").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    (folder / "loop").symlink_to(folder)
    (folder / "dangling.jws").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jws")
    assert read(folder) == []
    assert read(folder / "file.jws") == [("file.jws", None, "abc")]


@pytest.mark.parametrize("name", ["missing.jws", "notes.txt", "pipe.jws", "nul\0.jws", "a.jws/b.jws"])
def test_paths_that_make_no_sense(tmp_path: Path, name: str) -> None:
    """A missing path, another kind of file, a pipe: a usage error before anything is read."""
    write(tmp_path, "a.jws", b"abc")
    write(tmp_path, "notes.txt", b"abc")
    os.mkfifo(tmp_path / "pipe.jws")
    with pytest.raises(UsageError):
        candidates([tmp_path / "a.jws", tmp_path / name])


def test_names_that_are_not_text(tmp_path: Path) -> None:
    """A file name that is not UTF-8 is shown so that it can be printed."""
    write(tmp_path, os.fsdecode(b"\xff.jws"), b"abc")
    [found] = candidates([tmp_path])
    assert found == Candidate(f"{tmp_path}/\\xff.jws", None, "abc")
    found.file.encode()
