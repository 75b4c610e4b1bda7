"""Text encodings: base64url, canonical JSON, strict JSON; what is refused, and that refusals repeat no content."""

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.encoding import b64url_decode, b64url_encode, canonical_json, strict_json

DEPTH = 16
_ASCII = st.text(st.characters(max_codepoint=127), max_size=8)
_TEXT = st.text(max_size=8)
_INTEGERS = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
_VALUES = st.recursive(
    _TEXT | _INTEGERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ASCII, inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=100))
def test_base64url_round_trip(data: bytes) -> None:
    """The same as the standard library's, without padding."""
    text = b64url_encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert b64url_decode(text) == data


@pytest.mark.parametrize(
    "text", ["A", "AA=", "AA==", "A+==", "+A", "/A", "A A", "AA\n", "\nAA", "AB", "AAB", "é", "A\0"]
)
def test_base64url_that_is_not_canonical_is_refused(text: str) -> None:
    """Padding, the other alphabet, white space, and trailing bits that are not zero: one value, one text."""
    with pytest.raises(ValueError, match="base64url"):
        b64url_decode(text)


@given(_VALUES)
def test_canonical_json_is_rfc_8785(value: Any) -> None:
    """For what migrator writes: names in ASCII, integers that are exact in a double, any text."""
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_canonical_json_has_no_constants_beyond_json(value: object) -> None:
    """`NaN` is not JSON."""
    with pytest.raises(ValueError, match=r"\w"):
        canonical_json(value)


@given(_VALUES)
def test_strict_json_reads_what_is_written(value: object) -> None:
    """Canonical text and the standard library's, as text and as bytes, give the value back."""
    assert strict_json(canonical_json(value), max_depth=DEPTH) == value
    assert strict_json(json.dumps(value), max_depth=DEPTH) == value
    assert strict_json(json.dumps(value, indent=1).encode(), max_depth=DEPTH) == value


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_strict_json_only_ever_raises_value_error(text: str | bytes) -> None:
    """Whatever comes in, the caller has one exception to think of."""
    with suppress(ValueError):
        strict_json(text, max_depth=DEPTH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        "{'a':1}",
        '{"a":1}{"a":1}',
        "1.0",
        "1e3",
        '{"a":-0.5}',
        "NaN",
        "[Infinity]",
        "-Infinity",
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1,"\\u0061":2}',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '{"\\ud800":1}',
        '"\x00"',
        '"tab\there"',
        "\ufeff{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'"\xed\xa0\x80"',
    ],
)
def test_strict_json_refuses(text: str | bytes) -> None:
    """What the formats forbid, or what two parsers could read in two ways."""
    with pytest.raises(ValueError, match=r"\w"):
        strict_json(text, max_depth=DEPTH)


def test_pairs_of_surrogates_are_characters() -> None:
    """An escaped pair is one character, as RFC 8259 says."""
    assert strict_json('"\\ud83d\\ude00"', max_depth=1) == "😀"


@given(st.integers(min_value=1, max_value=40), st.sampled_from(["[]", "{}"]))
def test_depth_is_counted(depth: int, brackets: str) -> None:
    """Nesting up to the limit is read, one more is refused."""
    opening = "[" if brackets == "[]" else '{"a":'
    text = opening * depth + "1" + brackets[1] * depth
    strict_json(text, max_depth=depth)
    with pytest.raises(ValueError, match="nested"):
        strict_json(text, max_depth=depth - 1)


@pytest.mark.parametrize("text", ['["[[[[[["]', '["\\"[[[[[[\\\\"]', '{"{{{{":"}}}}"}', "[[],[],[],[],[],[],[]]"])
def test_brackets_in_text_and_side_by_side_are_no_depth(text: str) -> None:
    """Only nesting counts."""
    assert strict_json(text, max_depth=2) == json.loads(text)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_nesting_without_end_does_not_end_the_program(bracket: str) -> None:
    """A million brackets are refused before a parser recurses."""
    with pytest.raises(ValueError, match="nested"):
        strict_json(bracket * 1_000_000, max_depth=DEPTH)


def test_numbers_without_end_are_refused() -> None:
    """Python's own limit on digits holds, as a `ValueError`."""
    with pytest.raises(ValueError, match=r"\w"):
        strict_json("9" * 10_000, max_depth=1)


@pytest.mark.parametrize(
    "text", ['{"hunter2":1,"hunter2":2}', '["hunter2",]', '["hunter2", 1.5]', '["hunter2\\ud800"]']
)
def test_refusals_repeat_no_content(text: str) -> None:
    """What an error says can be logged."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        strict_json(text, max_depth=DEPTH)
    assert "hunter2" not in str(caught.value)
