"""Events are taken apart without a byte changed, and whatever stands in them does no harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.archiving.matrix_event import MAX_DEPTH, is_json, parse


def test_members_are_kept_as_they_were_written() -> None:
    """Numbers, escapes, spaces and the last of repeated members, each exactly."""
    event = parse(b' { "type" : "m.x", "content":{"a":1.50, "b":1e400,"c":9007199254740993},\n"type":"m.\\u0079" }\n')
    assert event is not None
    assert event.type == "m.y"
    assert event.exact == {"type": '"m.\\u0079"', "content": '{"a":1.50, "b":1e400,"c":9007199254740993}'}


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'"x"', b"{}", b'{"type":1}', b'{"type":"m"} {}', b'{"type":"m",}', b'{"type":"m"', b"\xff{}",
     b'\xef\xbb\xbf{"type":"m"}', b'{"type":NaN}', b'{"type":"m","x":-Infinity}', b"{'type':'m'}", b'{"type":"m\n"}',
     b'{type:"m"}', b'{1:"m"}', b'{"type" "m"}', '{"type":"m"}'.encode("utf-16"), b"{" * 100_000, b"[" * 100_000,
     b'{"type":"m","a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"],
)  # fmt: skip
def test_what_is_no_event_is_none(payload: bytes) -> None:
    """Not strict JSON, no object, no type, too deep: no event, and no error."""
    assert parse(payload) is None


def test_numbers_of_any_length_are_taken() -> None:
    """Python refuses to compute with very long numbers; here nobody computes."""
    event = parse(b'{"type":"m","content":{"n":' + b"9" * 10_000 + b"}}")
    assert event is not None
    assert len(event.exact["content"]) == 10_000 + len('{"n":}')


@pytest.mark.parametrize(
    "relation",
    [None, [], "x", {"rel_type": []}, {"rel_type": "m.replace"}, {"rel_type": "m.replace", "event_id": 1},
     {"event_id": "$x"}, {"rel_type": "m.replace", "event_id": "\0"}, {"m.in_reply_to": []},
     {"m.in_reply_to": {"event_id": ""}}, {"m.in_reply_to": {"event_id": "x" * 2000}}],
)  # fmt: skip
def test_an_odd_relation_is_none(relation: object) -> None:
    """Whatever stands where a relation belongs, the message is a message."""
    event = parse(json.dumps({"type": "m.room.message", "content": {"body": "b", "m.relates_to": relation}}).encode())
    assert event is not None
    assert (event.edits, event.reacts_to, event.thread, event.replies_to, event.body) == (None, None, None, None, "b")


def test_an_edit_says_its_new_text() -> None:
    """The text for clients that know no edits is not what counts; without a relation the new text is nobody's."""
    relation = b'"m.relates_to":{"rel_type":"m.replace","event_id":"$a"}'
    new = b'"body":"* new","m.new_content":{"body":"new","format":"org.matrix.custom.html","formatted_body":"<b>n</b>"}'
    event = parse(b'{"type":"m.room.message","content":{' + new + b"," + relation + b"}}")
    assert event is not None
    assert (event.edits, event.body, event.formatted_body) == ("$a", "new", "<b>n</b>")
    alone = parse(b'{"type":"m.room.message","content":{' + new + b"}}")
    assert alone is not None
    assert (alone.edits, alone.body, alone.formatted_body) == (None, "* new", None)


def test_a_thread_is_no_answer_unless_it_says_so() -> None:
    """What a thread names for clients without threads is a fallback."""
    relation = '{"rel_type":"m.thread","event_id":"$r","is_falling_back":%s,"m.in_reply_to":{"event_id":"$p"}}'
    for fallback, answers in (("true", None), ("false", "$p")):
        text = '{"type":"m.room.message","content":{"m.relates_to":' + relation % fallback + "}}"
        event = parse(text.encode())
        assert event is not None
        assert (event.thread, event.replies_to) == ("$r", answers)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"body": "b.png", "info": {"mimetype": "image/png"}}, ("b.png", "image/png")),
        ({"body": "a caption", "filename": "b.png", "info": []}, ("b.png", None)),
        ({"body": 1, "filename": {}, "info": {"mimetype": 5}}, (None, None)),
    ],
)
def test_a_file_has_the_name_that_its_sender_gave(content: object, expected: tuple[str | None, str | None]) -> None:
    """`filename` where the body is a caption; a thumbnail has no name, and a type of its own."""
    event = parse(json.dumps({"type": "m.room.message", "content": content}).encode())
    assert event is not None
    assert event.file("file") == expected
    assert event.file("thumbnail") == (None, None)
    info = {"info": {"thumbnail_info": {"mimetype": "image/webp"}}}
    event = parse(json.dumps({"type": "m.room.message", "content": info}).encode())
    assert event is not None
    assert event.file("thumbnail") == (None, "image/webp")
    both = {"body": "old.png", "m.new_content": {"body": "new.png", **info}}
    event = parse(json.dumps({"type": "m.room.message", "content": both}).encode())
    assert event is not None
    assert (event.file("file"), event.file("new.file")) == (("old.png", None), ("new.png", None))
    assert event.file("new.thumbnail") == (None, "image/webp")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("application/json", True),
        ("Application/JSON ;type=m.sticker", True),
        ("application/octet-stream", False),
        ("application/jsonx", False),
    ],
)
def test_json_is_told_by_its_content_type(kind: str, expected: bool) -> None:
    """With or without parameters, in any case."""
    assert is_json(kind) is expected


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\ \t\na1e.-utype', max_size=60).map(str.encode))
def test_no_payload_makes_an_error(payload: bytes) -> None:
    """Any bytes are an event or none."""
    event = parse(payload)
    assert event is None or isinstance(event.body, str)
