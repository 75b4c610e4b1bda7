"""Tests of who takes part in a room: membership over time and history visibility."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.synapse import DOMAIN, Homeserver, opened, source

ADA, BOB = f"@ada:{DOMAIN}", f"@bob:{DOMAIN}"
VISIBILITIES = ("joined", "invited", "shared", "world_readable", None)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Homeserver]:
    """A homeserver with two users."""
    with closing(Homeserver(tmp_path / "homeserver.db")) as made:
        made.user("ada")
        made.user("bob")
        yield made


def people(server: Homeserver, room: str = "!r") -> set[str]:
    """The participants of a room, by both ways to ask."""
    with opened(source(server.url)) as store:
        found = store.conversations([room])[room]
        assert [found] == [one for page in store.population() for one in page if one[0] == room]
        return set(found.participants)


@pytest.mark.parametrize(
    ("visibility", "end"),
    [("joined", "leave"), ("invited", "ban"), ("shared", "leave"), ("world_readable", "knock"), (None, None)],
)
def test_who_was_joined_is_a_participant(server: Homeserver, visibility: str | None, end: str | None) -> None:
    """Under any visibility, also who left or was banned since: they could read what came meanwhile."""
    server.room("!r", ADA, visibility=visibility)
    server.member("!r", BOB, "invite")
    server.member("!r", BOB, "join")
    if end is not None:
        server.member("!r", BOB, end)
    assert people(server) == {ADA, BOB}


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_who_joins_late_is_a_participant(server: Homeserver, visibility: str | None) -> None:
    """Of the whole room: what they hold of what came before is a matter of their keys."""
    server.room("!r", ADA, visibility=visibility)
    server.message("!r", ADA)
    server.member("!r", BOB, "join")
    assert people(server) == {ADA, BOB}


@pytest.mark.parametrize(
    ("visibility", "end"),
    [
        ("joined", None),
        ("invited", None),
        ("invited", "leave"),
        ("shared", None),
        ("world_readable", "ban"),
        (None, None),
    ],
)
def test_an_invitation_counts_under_invited_alone(server: Homeserver, visibility: str | None, end: str | None) -> None:
    """One that was never taken up: only `invited` lets its guest read."""
    server.room("!r", ADA, visibility=visibility)
    server.member("!r", BOB, "invite")
    if end is not None:
        server.member("!r", BOB, end)
    assert people(server) == ({ADA, BOB} if visibility == "invited" else {ADA})


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_a_knock_is_no_membership(server: Homeserver, visibility: str | None) -> None:
    """Nor is an odd membership."""
    server.room("!r", ADA, visibility=visibility)
    server.member("!r", BOB, "knock")
    server.member("!r", f"@eve:{DOMAIN}", "Join")
    assert people(server) == {ADA}


def test_visibility_counts_while_it_lasts(server: Homeserver) -> None:
    """An invitation that ended before `invited` began, or came after it ended, lets nobody read."""
    early, during, after, before = (f"@{name}:{DOMAIN}" for name in ("early", "during", "after", "before"))
    server.room("!r", ADA, visibility="shared")
    server.member("!r", early, "invite")
    server.member("!r", early, "leave")
    server.member("!r", before, "invite")
    server.visibility("!r", "invited")
    server.member("!r", during, "invite")
    server.member("!r", during, "leave")
    server.visibility("!r", "joined")
    server.member("!r", after, "invite")
    assert people(server) == {ADA, before, during}


def test_the_order_is_the_rooms_own(server: Homeserver) -> None:
    """Backfilled state comes late and stands early: topological order decides."""
    server.room("!r", ADA, visibility="shared")
    server.member("!r", BOB, "invite")
    server.visibility("!r", "invited", topological_ordering=1, stream_ordering=-3)
    assert people(server) == {ADA}, "it was `invited` before it was `shared`"
    server.visibility("!r", "invited", stream_ordering=-2, topological_ordering=1000)
    assert people(server) == {ADA, BOB}


@pytest.mark.parametrize("value", ["Invited", 5, None, ["invited"]])
def test_an_odd_visibility_is_shared(server: Homeserver, value: object) -> None:
    """As Synapse takes it; and a state event that was rejected sets nothing."""
    server.room("!r", ADA)
    server.visibility("!r", value)
    server.visibility("!r", "invited", rejection_reason="auth_error")
    server.member("!r", BOB, "invite")
    assert people(server) == {ADA}


def test_a_rejected_join_is_none_and_a_remote_state_is_one(server: Homeserver) -> None:
    """Members whom a joined server told us of come as outliers: they count."""
    server.room("!r", ADA)
    server.member("!r", BOB, "join", rejection_reason="auth_error")
    server.member("!r", "@eve:b.example", "join", outlier=1)
    assert people(server) == {ADA, "@eve:b.example"}


def test_members_who_can_not_be_named_make_an_orphan(server: Homeserver) -> None:
    """Nobody can be asked for them, so nobody is."""
    server.room("!r", ADA)
    server.execute("UPDATE room_memberships SET user_id = CAST(x'40ff' AS TEXT)")
    with opened(source(server.url)) as store:
        found = store.conversations(["!r"])["!r"]
    assert (found.orphan, found.participants) == (True, ())


def test_an_upgraded_room_and_its_successor_are_two(server: Homeserver) -> None:
    """Nothing is merged: each has its members, messages and keys."""
    server.room("!old", ADA, BOB)
    server.message("!old", ADA)
    server.event("!old", "m.room.tombstone", {"replacement_room": "!new"}, state_key="")
    server.event("!new", "m.room.create", {"predecessor": {"room_id": "!old"}}, state_key="")
    server.room("!new", BOB)
    server.message("!new", BOB)
    assert people(server, "!old") == {ADA, BOB}
    assert people(server, "!new") == {BOB}


def test_a_room_with_many_people_ends_a_page(server: Homeserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds memory is people: pages are cut by them as well, and lose nobody."""
    monkeypatch.setattr("migrator.stores.synapse_walk._MEMBERS_A_PAGE", 3)
    for number in range(5):
        server.room(f"!{number}", ADA, BOB)
    with opened(source(server.url)) as store:
        pages = list(store.population())
    assert [len(page) for page in pages] == [2, 2, 1]
