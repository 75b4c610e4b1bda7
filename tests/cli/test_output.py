"""Tests of migrator.cli.output."""

import io
import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.cli.output import Output, View, printable
from migrator.core.errors import UsageError

VIEW = View(document={"schema": "test/1", "n": 1}, lines=["one", "ok two"])


def test_people_get_the_lines() -> None:
    """And no JSON."""
    stream = io.StringIO()
    Output("human", color=False, stream=stream).result(VIEW)
    assert stream.getvalue() == "one\nok two\n"


def test_programs_get_one_document() -> None:
    """And nothing else on standard output."""
    stream = io.StringIO()
    output = Output("json", color=False, stream=stream)
    output.text("for people")
    output.event("progress", {})
    output.result(VIEW)
    assert json.loads(stream.getvalue()) == VIEW.document


def test_json_lines_begin_with_the_version_and_end_with_the_summary() -> None:
    """Whatever comes between."""
    stream = io.StringIO()
    output = Output("jsonl", color=False, stream=stream)
    output.event("progress", {"done": 1})
    output.result(VIEW)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["type"] for event in events] == ["version", "progress", "summary"]
    assert events[-1] == {"type": "summary", **VIEW.document}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_listing_is_one_document(count: int) -> None:
    """However many entries it has."""
    stream = io.StringIO()
    with Output("json", color=False, stream=stream).listing("test/1", "entries", "entry") as listing:
        for number in range(count):
            assert listing.add({"n": number}, "line")
    assert json.loads(stream.getvalue()) == {"schema": "test/1", "entries": [{"n": n} for n in range(count)]}


def test_a_listing_in_json_lines_ends_with_its_count() -> None:
    """So that a reader knows that nothing is missing."""
    stream = io.StringIO()
    with Output("jsonl", color=False, stream=stream).listing("test/1", "entries", "entry") as listing:
        listing.add({"n": 1}, "line")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["type"] for event in events] == ["version", "entry", "summary"]
    assert events[-1]["entries"] == 1


def test_a_reader_that_goes_away_ends_the_writing_alone() -> None:
    """`migrator audit show | head`: the listing is told, nothing is raised."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        output = Output("human", color=False, stream=stream)
        with output.listing("test/1", "entries", "entry") as listing:
            assert not listing.add({}, "line")
            assert not listing.add({}, "line")
        output.result(VIEW)


def test_a_full_disk_is_an_error_and_says_that_the_work_was_done() -> None:
    """The result is lost, not what the command did."""
    with open("/dev/full", "w", encoding="utf-8") as stream, pytest.raises(UsageError) as caught:  # noqa: PTH123
        Output("human", color=False, stream=stream).result(VIEW)
    assert "was done" in caught.value.changed


def test_colours_are_of_states_alone() -> None:
    """The first word of a line decides."""
    stream = io.StringIO()
    Output("human", color=True, stream=stream).result(VIEW)
    assert stream.getvalue() == "one\n\x1b[32mok\x1b[0m two\n"


@given(st.text())
def test_no_text_steers_the_terminal(text: str) -> None:
    """Identifiers come from outside: escapes, line breaks and lone surrogates show as what they are."""
    shown = printable(text)
    assert {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Cn", "Co", "Zl", "Zp"} == set()
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff")
    shown.encode()


def test_spaces_and_joiners_of_scripts_stay() -> None:
    """A notice in Hindi, and a time with a narrow space, read as they are."""
    text = "12:00\u202fAM क्\u200dष"
    assert printable(text) == text
