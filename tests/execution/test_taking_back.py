"""What a homeserver has taken back since it was migrated: removed by the next run, and gone for good."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from migrator import plugins
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution.runs import RunSummary
from migrator.verification.verifying import verify
from tests.execution.bench import NOW
from tests.execution.house import ADA, BOB, ROOM, House, HouseOnPostgresql
from tests.support import postgres
from tests.support.plain_scheme import PlainScheme


@pytest.fixture(autouse=True)
def plain_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheme that needs no cryptography."""
    monkeypatch.setattr(plugins, "scheme", lambda _name: PlainScheme())


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, RunSummary]]:
    """The campaign once it was carried out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "scheme", lambda _name: PlainScheme())
        made = House(tmp_path_factory.mktemp("house") / "campaign")
        with closing(made.home):
            yield made, made.run()


@pytest.fixture
def first(migrated: tuple[House, RunSummary]) -> RunSummary:
    """The run that showed it."""
    return migrated[1]


@pytest.fixture
def house(migrated: tuple[House, RunSummary], tmp_path: Path) -> Iterator[House]:
    """A copy of it."""
    made = migrated[0].copied(tmp_path / "campaign")
    with closing(made.home):
        yield made


def test_a_late_redaction_is_found_and_carried_out(house: House, first: RunSummary) -> None:
    """The plan sees it, the run removes the message, and counts, root and event say so."""
    assert house.shown() == (sorted(house.said), {house.lost: "no_key"})
    assert house.decision() == "already_server"
    house.home.redact(ROOM, house.said[1], sender=BOB)
    assert house.decision() == "extend"
    second = house.run()
    assert house.outcomes(second.run_id) == {ROOM: ("rewrapped_with_gaps", 2, 2)}
    assert house.shown() == (sorted([house.said[0], house.said[2]]), {house.lost: "no_key", house.said[1]: "redacted"})
    assert house.counts() == ("server", 2, 2)
    assert house.verified().checked["items_roots"] == 1
    house.verified(first)
    assert house.decision() == "already_server"
    event = house.events("conversation.rewrapped")[-1]
    assert (event["messages"], event["gaps"]) == (2, 2)


def test_what_a_history_covers_says_changes_only_where_there_are_any(house: House) -> None:
    """So nothing of what other stores have stored reads otherwise."""
    (row,) = house.all(tables.conversation)
    assert "changes" not in row["source_through"]
    house.home.redact(ROOM, house.said[0])
    house.run()
    (row,) = house.all(tables.conversation)
    assert '"changes":1' in row["source_through"]


def test_it_comes_together_with_a_tail_and_late_keys(house: House) -> None:
    """One transaction: a message goes, a gap closes, a new message comes."""
    house.home.redact(ROOM, house.said[0])
    tail = house.home.message(ROOM, ADA)
    house.sessions(BOB, "lost")
    run = house.run()
    assert house.outcomes(run.run_id) == {ROOM: ("rewrapped_with_gaps", 4, 1)}
    assert house.shown() == (sorted([*house.said[1:], house.lost, tail]), {house.said[0]: "redacted"})
    house.verified()


def test_a_gap_that_is_redacted_gets_its_reason(house: House) -> None:
    """Nobody's key may open it any more, and it does not count towards what is missing."""
    house.home.redact(ROOM, house.lost)
    run = house.run()
    assert house.outcomes(run.run_id) == {ROOM: ("rewrapped_with_gaps", 3, 1)}
    assert house.shown()[1] == {house.lost: "redacted"}
    house.verified()


@pytest.mark.parametrize("why", ["withdraw", "erased", "nobody"])
def test_it_goes_whoever_may_be_asked(house: House, why: str) -> None:
    """No authorisation is needed to forget: nothing is opened, not even a tail, and no key service asked."""
    if why == "withdraw":
        house.answer(BOB, "withdraw", decided_at=NOW)
    elif why == "nobody":
        house.home.execute("DELETE FROM users WHERE name = ?", [(BOB,)])
    else:
        house.home.execute("UPDATE users SET deactivated = 1 WHERE name = ?", [(BOB,)])
    if why == "erased":
        house.home.insert("erased_users", user_id=BOB)
    else:
        house.home.redact(ROOM, house.said[1])
        house.home.redact(ROOM, house.lost)
    house.home.message(ROOM, ADA)
    PlainScheme.opened = 0
    run = house.run()
    assert house.outcomes(run.run_id) == {ROOM: ("rewrapped_with_gaps", 2, 2)}
    assert PlainScheme.opened == 0
    assert house.shown() == (
        sorted([house.said[0], house.said[2]]),
        {house.lost: "redacted", house.said[1]: "redacted"},
    )
    assert house.verified().checked["not_compared"] == 1
    assert house.decision() == "already_server"


def test_the_tail_comes_once_it_may(house: House) -> None:
    """A run that only took back covers no more of the source than the one before."""
    house.answer(BOB, "withdraw", decided_at=NOW)
    house.home.redact(ROOM, house.said[1])
    tail = house.home.message(ROOM, ADA)
    house.run()
    assert tail not in house.shown()[0]
    house.answer(BOB, "grant", decided_at=NOW + timedelta(seconds=1))
    house.at(NOW + timedelta(minutes=1))
    assert house.decision() == "extend"
    house.run()
    assert tail in house.shown()[0]
    house.verified()


def test_a_change_that_concerns_nothing_that_is_shown(house: House) -> None:
    """A redaction that does not count, where nobody may be asked: nothing is shown anew, and it is no news again."""
    house.answer(BOB, "withdraw", decided_at=NOW)
    house.home.redact(ROOM, house.said[0], sender="@eve:b.example", internal='{"recheck_redaction":true}')
    assert house.decision() == "extend"
    run = house.run()
    assert house.outcomes(run.run_id) == {ROOM: ("skipped:withdrawn", 4, 0)}
    assert house.counts() == ("server", 3, 1)
    assert house.decision() == "already_server"
    house.verified()


def test_everything_may_go(house: House) -> None:
    """The conversation stays visible, with gaps alone."""
    for event_id in (*house.said, house.lost):
        house.home.redact(ROOM, event_id)
    run = house.run()
    assert house.outcomes(run.run_id) == {ROOM: ("rewrapped_with_gaps", 0, 4)}
    assert house.shown()[0] == []
    house.verified()


def test_a_rehearsal_counts_it_and_changes_nothing(house: House) -> None:
    """The same counts as the real run."""
    house.home.redact(ROOM, house.said[1])
    before = house.all(tables.message), house.all(tables.gap), house.all(tables.addition)
    summary = house.run(dry_run=True)
    counts = summary.counts["rewrapped_with_gaps"]
    assert (counts.messages, counts.gaps) == (2, 2)
    assert (house.all(tables.message), house.all(tables.gap), house.all(tables.addition)) == before


def test_before_the_next_run_a_verification_says_what_is_due(house: House, first: RunSummary) -> None:
    """Readers still see it: no mismatch, but counted; the root can't be proved, as the source has lost a leaf."""
    house.home.redact(ROOM, house.said[1])
    checked = house.verified(first).checked
    assert (checked["taken_back_since"], checked["items_roots_unprovable"]) == (1, 1)


def test_a_rollback_brings_nothing_back_that_was_redacted(house: House, first: RunSummary) -> None:
    """The run's additions go, the earlier gaps return; what the source has taken back stays away, and verify agrees."""
    house.home.redact(ROOM, house.said[1])
    tail = house.home.message(ROOM, ADA)
    house.sessions(BOB, "lost")
    second = house.run()
    assert house.counts() == ("server", 4, 1)
    result = house.roll_back(second)
    assert result.messages == 2, "the tail and the closed gap"
    assert house.shown() == (sorted([house.said[0], house.said[2]]), {house.lost: "no_key", house.said[1]: "redacted"})
    assert house.counts() == ("server", 2, 2)
    assert tail not in house.shown()[0]
    house.verified(first)
    house.verified(second)
    assert house.decision() == "extend"


def test_after_a_rollback_the_next_run_says_it_anew(house: House, first: RunSummary) -> None:
    """Also where there is nothing else to do: then counts, root and event agree again."""
    house.home.redact(ROOM, house.said[1])
    house.roll_back(house.run())
    third = house.run()
    assert house.outcomes(third.run_id) == {ROOM: ("rewrapped_with_gaps", 2, 2)}
    assert house.verified(third).checked["items_roots"] == 1
    house.verified(first)
    assert house.decision() == "already_server"


def test_a_rollback_of_both_seals_the_room(house: House, first: RunSummary) -> None:
    """And a later run leaves the redacted message where it is."""
    house.home.redact(ROOM, house.said[1])
    house.roll_back(house.run())
    house.roll_back(first)
    assert house.counts() == ("sealed", 0, 0)
    assert house.shown() == ([], {})
    again = house.run()
    assert house.outcomes(again.run_id) == {ROOM: ("rewrapped_with_gaps", 2, 2)}
    assert house.verified(again).checked["items_roots"] == 1


def test_a_forged_note_explains_nothing(house: House, first: RunSummary) -> None:
    """A message that somebody deletes is missing, whatever note is written beside it: no run was rolled back."""
    with house.database() as connection:
        connection.execute(tables.message.delete().where(tables.message.c.message_id == house.said[0]))
        connection.execute(
            tables.addition.insert().values(
                run_id=first.run_id, conversation_no=1, sent_at=1, message_id=house.said[0], taken_back=True
            )
        )
        connection.execute(tables.conversation.update().values(message_count=2))
    with house.open() as campaign:
        assert not verify(campaign, first.run_id, sample=None, progress=NoProgress()).ok


def test_pages_of_any_size_take_back_the_same(tmp_path: Path) -> None:
    """A long room, page by page."""
    house = House(tmp_path / "campaign", execution={"page_size": 2, "workers": 1, "max_failures": "100%"})
    more = [house.home.message(ROOM, ADA) for _ in range(9)]
    house.run()
    for event_id in more[::2]:
        house.home.redact(ROOM, event_id)
    house.run()
    assert house.counts() == ("server", 7, 6)
    assert house.verified().checked["items_roots"] == 1
    house.home.close()


def test_on_postgresql(tmp_path: Path) -> None:
    """Taken back, rolled back, and said anew."""
    with postgres.database() as url:
        house = HouseOnPostgresql(tmp_path / "campaign", database={"url": url})
        with closing(house.home):
            house.run()
            house.home.redact(ROOM, house.said[1])
            tail = house.home.message(ROOM, ADA)
            second = house.run()
            assert house.shown() == (
                sorted([house.said[0], house.said[2], tail]),
                {house.lost: "no_key", house.said[1]: "redacted"},
            )
            assert house.verified().checked["items_roots"] == 1
            house.roll_back(second)
            assert house.counts() == ("server", 2, 2)
            third = house.run()
            assert house.outcomes(third.run_id) == {ROOM: ("rewrapped_with_gaps", 3, 2)}
            assert house.verified().checked["items_roots"] == 1
