"""The plan file: canonical, with a digest that anybody can check, and refused once a byte of it has changed."""

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from migrator.core.errors import ExitStatus, PlanError
from migrator.core.plan import MAX_FILE_BYTES, SCHEMA, PlanCounts, digest_of, from_file, is_work, item_leaf, to_file

DOCUMENT: dict[str, Any] = {
    "schema": SCHEMA, "plan_id": "plan-1", "campaign": "c", "created_at": "2026-05-09T00:00:00.000000Z",
    "tool_version": "0.1.0", "config_sha256": "ab", "source": {"conversations": 2, "messages": 9}, "policy": {},
    "counts": {"rewrap": {"conversations": 1, "messages": 9}, "skip": {}}, "coverage": {}, "estimate": {"seconds": 1},
    "items_root": "sha256:00",
}  # fmt: skip


def test_the_file_is_canonical_json() -> None:
    """RFC 8785, byte for byte as an independent implementation writes it."""
    data = to_file(DOCUMENT)
    assert data == rfc8785.dumps(json.loads(data))


def test_the_digest_is_sha256_over_the_file_without_it() -> None:
    """Worked out with nothing but a JSON parser, RFC 8785 and SHA-256."""
    document = json.loads(to_file(DOCUMENT))
    digest = document.pop("digest")
    assert digest == "sha256:" + hashlib.sha256(rfc8785.dumps(document)).hexdigest() == digest_of(DOCUMENT)


def test_what_was_written_is_read_back() -> None:
    """The inverse, with the digest in it."""
    assert from_file(to_file(DOCUMENT)) == {**DOCUMENT, "digest": digest_of(DOCUMENT)}


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_any_altered_byte_is_found(at: int, change: int) -> None:
    """Whatever byte is another one: refused with status 10, never a traceback."""
    data = bytearray(to_file(DOCUMENT))
    data[at % len(data)] ^= change
    with pytest.raises(PlanError) as caught:
        from_file(bytes(data))
    assert caught.value.exit_status is ExitStatus.PLAN_STALE
    assert caught.value.hint


@given(st.integers(min_value=0, max_value=len(to_file(DOCUMENT)) - 1))
def test_a_file_that_was_cut_is_refused(length: int) -> None:
    """An interrupted copy is no plan."""
    with pytest.raises(PlanError):
        from_file(to_file(DOCUMENT)[:length])


@pytest.mark.parametrize(
    "change",
    [{"digest": 7}, {"digest": None}, {"digest": "sha256:ü"}, {"schema": "migrator.plan/2"}, {"more": 1}],
)
def test_other_documents_are_refused(change: dict[str, Any]) -> None:
    """Of another version, with a member that is not known, or with something that is no digest."""
    document = {**DOCUMENT, "digest": digest_of(DOCUMENT), **change}
    with pytest.raises(PlanError):
        from_file(json.dumps(document).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"7", b"\xff", b"[" * 5000, b'{"schema":"a","schema":"b"}', b" " * (MAX_FILE_BYTES + 1)],
    ids=["empty", "list", "null", "number", "not UTF-8", "deep", "repeated member", "huge"],
)
def test_what_is_no_plan_is_refused(data: bytes) -> None:
    """Whatever else somebody may name by mistake."""
    with pytest.raises(PlanError):
        from_file(data)


def test_counts_put_work_together_and_skips_under_their_reason() -> None:
    """`extend` counts as `rewrap`; a skip loses its prefix; held, failed and migrated ones keep their outcome."""
    counts = PlanCounts()
    for decision, messages in (
        ("rewrap", 5), ("extend", 7), ("skipped:refused", 1), ("skipped:refused", 2), ("held:no_key_service", 3),
        ("already_server", 4),
    ):  # fmt: skip
        counts.add(decision, messages)
    assert counts.to_json() == {
        "rewrap": {"conversations": 2, "messages": 12},
        "skip": {
            "already_server": {"conversations": 1, "messages": 4},
            "held:no_key_service": {"conversations": 1, "messages": 3},
            "refused": {"conversations": 2, "messages": 3},
        },
    }
    assert [is_work(d) for d in ("rewrap", "extend", "already_server", "skipped:empty")] == [True, True, False, False]


@given(st.lists(st.text(alphabet="ab1\0", max_size=3), min_size=2, max_size=2, unique=True))
def test_items_that_differ_have_leaves_that_differ(names: list[str]) -> None:
    """Of any two conversations, whatever ids they have."""
    assert item_leaf(1, names[0], "rewrap", 1) != item_leaf(1, names[1], "rewrap", 1)
