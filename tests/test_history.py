"""Stored history as rows: pages in message order, keys unwrapped in one call, and nothing trusted that is not bound."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator import history
from migrator.campaign import open_campaign
from migrator.core.envelope import DataKey, key_context
from migrator.core.errors import IntegrityError, KeyServiceError
from migrator.keyservices.interface import KeyRefusal
from tests.verification.support import executed, rows, tamper


@given(st.text())
def test_context_that_is_none_of_ours_has_no_reference(context: str) -> None:
    """Whatever stands in the column, it is a reference or nothing, never an exception."""
    assert history.context_ref(context) is None or '"conversation"' in context


@pytest.mark.parametrize("context", ["[" * 100_000, '{"conversation":7}', '{"conversation":null}', "null", ""])
def test_misshapen_context_has_no_reference(context: str) -> None:
    """Depth, other types and nothing at all are no reference."""
    assert history.context_ref(context) is None


def test_context_names_the_reference() -> None:
    """The inverse of what execution writes."""
    assert history.context_ref(key_context("dm", "00ff", 7).decode()) == "00ff"


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_pages_are_the_conversation_in_order(tmp_path: Path, size: int) -> None:
    """Pages of any size put together are all rows in message order, the same as read at once."""
    spec = executed(tmp_path)
    number = rows(spec, "SELECT conversation_no FROM migrator_conversation WHERE message_count > 9 LIMIT 1")[0][0]
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        pages = list(history.message_pages(connection, number, size))
        whole = history.messages_of(connection, [number])[number]
    assert all(0 < len(page) <= size for page in pages)
    together = [row for page in pages for row in page]
    assert together == whole == sorted(whole, key=lambda row: (row[0], row[1].encode()))


def test_many_keys_take_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All keys of a service are unwrapped together, and each conversation gets its own."""
    spec = executed(tmp_path)
    numbers = [n for (n,) in rows(spec, "SELECT conversation_no FROM migrator_data_key ORDER BY 1")]
    calls: list[int] = []
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        service = campaign.key_services.default()
        unwrap = type(service).unwrap

        def counting(_self: object, items: Sequence[tuple[bytes, bytes]]) -> list[bytes | KeyRefusal]:
            calls.append(len(items))
            return unwrap(service, items)

        monkeypatch.setattr(type(service), "unwrap", counting)
        stored = [keys[0] for keys in history.living_keys(connection, numbers).values()]
        keys = history.unwrap(campaign, stored)
    assert calls == [len(numbers)]
    assert [key.key_id for key in keys if isinstance(key, DataKey)] == [key.key_id for key in stored]


def test_one_bad_key_costs_no_other(tmp_path: Path) -> None:
    """A key that was altered, and one of an unknown service, are errors in their own places (G10)."""
    spec = executed(tmp_path)
    first, second, *others = [n for (n,) in rows(spec, "SELECT conversation_no FROM migrator_data_key ORDER BY 1")]
    tamper(
        spec,
        f"UPDATE migrator_data_key SET wrapped_keyset = x'00' WHERE conversation_no = {first}",
        f"UPDATE migrator_data_key SET key_service = 'gone:1' WHERE conversation_no = {second}",
    )
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        stored = [keys[0] for keys in history.living_keys(connection, [first, second, *others]).values()]
        keys = history.unwrap(campaign, stored)
    assert isinstance(keys[0], IntegrityError)
    assert isinstance(keys[1], KeyServiceError)
    assert all(isinstance(key, DataKey) for key in keys[2:])


def test_wrapped_keyset_is_not_in_a_repr(tmp_path: Path) -> None:
    """What ends up in a log by accident shows no key material, not even wrapped."""
    spec = executed(tmp_path)
    with open_campaign(spec) as campaign, campaign.database.read() as connection:
        number = rows(spec, "SELECT MIN(conversation_no) FROM migrator_data_key")[0][0]
        key = history.living_keys(connection, [number])[number][0]
    assert repr(key.wrapped_keyset) not in repr(key)
