"""Text encodings of the formats: base64url without padding, strict JSON, canonical JSON.

Strict JSON (RFC 8259) refuses repeated members, floats, constants such as `NaN`, surrogates that are not pairs, and
nesting over a limit. Canonical JSON is RFC 8785 for what migrator writes: objects whose names sort alike by code
point and by UTF-16 unit (all ours are ASCII), integers and strings.
"""

import base64
import binascii
import json
import re
from collections.abc import Sequence
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
