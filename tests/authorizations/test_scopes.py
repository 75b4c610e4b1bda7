"""Ids in a scope stand for threads, also for threads that appear after the record."""

import pytest

from migrator.authorizations import import_paths, link_scopes, scopes
from tests.authorizations.support import Desk, add_thread

IDS = ["alice-inbox/parent", "alice-inbox/never", "ID:odd", "id:x"]


def imported(desk: Desk) -> int:
    import_paths(desk.campaign, [desk.jws(desk.record(decision="withdraw", scope={"conversations": IDS}))])
    return desk.version()


@pytest.mark.parametrize("page", [1, 5000])
def test_a_thread_that_appears_later_is_covered_in_all_its_copies(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Once the source knows the id, the record covers its thread; running work is told; a repeat changes nothing."""
    monkeypatch.setattr(scopes, "_PAGE", page)
    version = imported(desk)
    assert link_scopes(desk.campaign) == 0
    assert desk.version() == version
    add_thread(desk.folder, "alice", "parent")
    assert link_scopes(desk.campaign) == 1
    assert desk.version() == version + 1
    thread = desk.campaign.store.conversations(["alice-inbox/parent"])["alice-inbox/parent"].thread_key
    assert [key for _, key in desk.scopes()] == sorted([thread, *[f"id:{identifier}" for identifier in IDS]])
    add_thread(desk.folder, "parent", "alice")
    assert desk.campaign.store.conversations(["parent-inbox/alice"])["parent-inbox/alice"].thread_key == thread
    assert link_scopes(desk.campaign) == 0
    assert desk.version() == version + 1


def test_only_unknown_ids_are_looked_up_again(desk: Desk) -> None:
    """Threads that were known at import need nothing."""
    import_paths(desk.campaign, [desk.jws(desk.record(scope={"conversations": ["alice-inbox/bob"]}))])
    before = desk.scopes()
    assert link_scopes(desk.campaign) == 0
    assert desk.scopes() == before
