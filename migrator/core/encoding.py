"""Text encodings of the formats: base64url without padding, strict JSON, canonical JSON.

Strict JSON (RFC 8259) refuses repeated members, floats, constants such as `NaN`, surrogates that are not pairs, and
nesting over a limit. Canonical JSON is RFC 8785 for what migrator writes: objects whose names sort alike by code
point and by UTF-16 unit (all ours are ASCII), integers and strings.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

import numpy as np

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """The inverse; refuses padding, other alphabets and non-canonical trailing bits with `ValueError`."""
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise ValueError("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url without padding") from error
    if b64url_encode(data) != text:
        raise ValueError("not canonical base64url")
    return data


def b64_decode(text: str) -> bytes:
    """Standard base64 (RFC 4648, section 4), padded or not; `ValueError` for anything else, also odd trailing bits.

    Matrix writes no padding (specification, appendix "Unpadded Base64") and has decoders take it.
    """
    bare = text.rstrip("=")
    if len(text) - len(bare) > 2:
        raise ValueError("not base64")
    try:
        data = binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:
        raise ValueError("not base64") from None
    if b64_encode(data) != bare:
        raise ValueError("not canonical base64")
    return data


def b64_encode(data: bytes) -> str:
    """Standard base64 without padding."""
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def pieces(data: bytes, size: int) -> list[bytes]:
    """Data cut into pieces of `size` bytes, of which there is a whole number; a quarter of slicing's cost."""
    found: list[bytes] = np.frombuffer(data, dtype=f"V{size}").tolist()
    return found


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes: sorted, compact, UTF-8; floats are not accepted."""
    return _CANONICAL.encode(value).encode()


def strict_json(text: str | bytes, *, max_depth: int) -> object:
    """Parse JSON, refusing what formats forbid; `ValueError` says what, never repeating content."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")  # UnicodeDecodeError is a ValueError
    check_depth(text, max_depth)
    try:
        value: object = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    if "\\u" in text:
        _check_surrogates(value)
    return value


def strict_json_items(text: str, *, max_depth: int, max_chars: int) -> Iterator[object]:
    """The items of a JSON array, one in memory at a time, each at most `max_chars` long; `ValueError` as above."""
    position = _after_space(text, 0)
    if not text.startswith("[", position):
        raise ValueError("not a JSON array")
    position = _after_space(text, position + 1)
    more = not text.startswith("]", position)
    while more:
        window = text[position : position + max_chars]
        try:
            value, length = _STRICT.raw_decode(window)
        except json.JSONDecodeError:
            raise ValueError("not JSON, or an item that is too long") from None
        except RecursionError:
            raise ValueError("JSON nested too deeply") from None
        item = window[:length]
        check_depth(item, max_depth)
        if "\\u" in item:
            _check_surrogates(value)
        yield value
        position = _after_space(text, position + length)
        more = text.startswith(",", position)
        if more:
            position = _after_space(text, position + 1)
    if not text.startswith("]", position) or _after_space(text, position + 1) != len(text):
        raise ValueError("not a JSON array")


_SPACE = re.compile(r"[ \t\r\n]*")


def _after_space(text: str, position: int) -> int:
    """Where the first character stands that is no white space of JSON."""
    found = _SPACE.match(text, position)
    return found.end() if found else position


def check_depth(text: str, max_depth: int) -> None:
    """Bound the nesting before a parser recurses, by `ValueError`; brackets inside strings don't count."""
    if text.count("{") + text.count("[") <= max_depth:
        return
    depth = 0
    in_string = False
    for token in re.finditer(r'\\.|["{}\[\]]', text):
        mark = token.group()
        if mark == '"':
            in_string = not in_string
        elif not in_string and mark in "{[":
            depth += 1
            if depth > max_depth:
                raise ValueError("JSON nested too deeply")
        elif not in_string and mark in "}]":
            depth -= 1


def _unique_members(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("JSON with a repeated member")
    return members


def _no_float(_: str) -> NoReturn:
    raise ValueError("JSON with a number that is not an integer")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_members, parse_float=_no_float, parse_constant=_no_float)
"""Made once: exports have a line for each key, and making a decoder takes as long as reading one."""


def _check_surrogates(value: object) -> None:
    """A lone surrogate can't be written as UTF-8, so it can't be an identifier or content."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("JSON with a lone surrogate") from None
