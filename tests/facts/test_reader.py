"""What the policy is given to look at: watermarks, scopes, guardians, notices, coverage, and what is kept in memory."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from migrator.core.model import Conversation
from migrator.core.outcomes import RefusalReason
from migrator.core.policy import AccountFacts, Answer
from migrator.facts import FactsReader, Gathered, Judge, Watermarks, current_watermarks
from migrator.facts import reader as reading
from migrator.planning.making import policy_of
from tests.execution.bench import ANSWERED, CUTOVER, KEY, NOTICED, NOW, Bench, entry

EVERYBODY = {"authorization": {"quorum": "every_participant"}}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Alice and Bob, who both granted and were told, and Alice's copy of their thread with three messages."""
    made = Bench(tmp_path / "campaign", **EVERYBODY)
    made.account("alice")
    made.account("bob")
    made.messages(made.thread("alice", "bob"), range(3))
    return made


def watermarks(bench: Bench) -> Watermarks:
    """Everything that is there now."""
    with bench.open() as campaign, campaign.database.read() as connection:
        return current_watermarks(connection)


def gather(bench: Bench, wanted: Sequence[str] = ("in-alice/bob",), known: Watermarks | None = None) -> list[Gathered]:
    """The facts of some conversations, up to watermarks, by default the present ones."""
    with bench.open() as campaign, campaign.database.read() as connection:
        reader = FactsReader(campaign, known or current_watermarks(connection))
        found = campaign.store.conversations(wanted)
        return reader.gather(connection, [found[name] for name in wanted])


def of(gathered: Gathered, account_id: str) -> AccountFacts:
    """What was gathered of one account."""
    return next(a for a in gathered.facts.accounts if a.account.account_id == account_id)


def answers(gathered: Gathered, account_id: str) -> list[str]:
    """The answers of one account that cover the thread."""
    return sorted(record.answer.value for record in of(gathered, account_id).records)


# --- watermarks ---


def test_an_empty_campaign_has_watermarks_too(tmp_path: Path) -> None:
    """Nothing recorded is number 0, and what comes later is over it."""
    bench = Bench(tmp_path / "campaign")
    assert watermarks(bench) == Watermarks(0, 0)


def test_later_grants_wait_and_later_objections_count(bench: Bench) -> None:
    """G1: a grant behind the watermark is not there; a refusal or a withdrawal behind it is."""
    known = watermarks(bench)
    bench.answer("alice", "grant", decided_at=CUTOVER)
    assert answers(gather(bench, known=known)[0], "alice") == ["grant"]
    bench.answer("alice", "withdraw", decided_at=CUTOVER)
    bench.answer("alice", "refuse", decided_at=CUTOVER)
    assert answers(gather(bench, known=known)[0], "alice") == ["grant", "refuse", "withdraw"]
    assert answers(gather(bench)[0], "alice") == ["grant", "grant", "refuse", "withdraw"]


def test_later_exports_wait(bench: Bench) -> None:
    """An export behind the watermark covers nothing and is not the newest."""
    known = watermarks(bench)
    bench.keys("alice", ["in-alice/bob"])
    (before,) = gather(bench, known=known)
    assert (before.facts.exporters, before.newest_export_no) == (frozenset(), 0)
    (after,) = gather(bench)
    assert (after.facts.exporters, after.newest_export_no) == (frozenset({"alice"}), 1)


# --- scopes ---


def test_a_scoped_record_covers_its_thread_in_every_copy_and_no_other(tmp_path: Path) -> None:
    """Direct threads by the pair of accounts, groups by the thread id; what covers everything is there as well."""
    bench = Bench(tmp_path / "campaign", **EVERYBODY)
    for name in ("alice", "bob", "carol"):
        bench.account(name, answer="refuse")
    names = [bench.thread("alice", "bob"), bench.thread("bob", "alice"), bench.thread("alice", "carol"),
             bench.thread("alice", "g1", members=["alice", "bob"]),
             bench.thread("bob", "g1", members=["alice", "bob"])]  # fmt: skip
    bench.answer("alice", "grant", threads=["direct:5:alice:bob", "group:g1"])
    found = [answers(gathered, "alice") for gathered in gather(bench, names)]
    assert found == [["grant", "refuse"], ["grant", "refuse"], ["refuse"], ["grant", "refuse"], ["grant", "refuse"]]
    assert [answers(gathered, "bob") for gathered in gather(bench, names[:2])] == [["refuse"], ["refuse"]]


def test_an_id_that_no_source_knew_covers_that_one_conversation(bench: Bench) -> None:
    """A record kept under `id:` counts for the conversation of that id, not for the other copy of its thread."""
    copy = bench.thread("bob", "alice")
    bench.answer("alice", "withdraw", threads=["id:in-alice/bob"])
    own, other = gather(bench, ["in-alice/bob", copy])
    assert answers(own, "alice") == ["grant", "withdraw"]
    assert answers(other, "alice") == ["grant"]


def test_a_record_of_many_threads_is_not_one_record_many_times(bench: Bench) -> None:
    """One record that names both the thread and the id is two coverings of one decision; others stay apart."""
    bench.answer("bob", "refuse", threads=[f"direct:4:bob:{n}" for n in range(700)])
    assert answers(gather(bench)[0], "bob") == ["grant"]


# --- people ---


def test_a_guardian_comes_with_the_minor(tmp_path: Path) -> None:
    """The guardian's account, notice and records made for the minor; an adult's guardian is nobody's business."""
    bench = Bench(tmp_path / "campaign")
    bench.account("parent")
    bench.account("child", answer=None, age_band="minor", guardian_account_id="parent")
    bench.account("grown", guardian_account_id="parent")
    bench.answer("child", "grant", guardian="parent")
    child, grown = gather(bench, [bench.thread("child", "x"), bench.thread("grown", "x")])
    found = of(child, "child")
    assert found.guardian is not None
    assert (found.guardian.account_id, found.guardian_noticed_at) == ("parent", NOTICED)
    assert [(r.answer, r.guardian_id) for r in found.records] == [(Answer.GRANT, "parent")]
    assert of(grown, "grown").guardian is None
    assert of(grown, "grown").guardian_noticed_at is None


def test_a_guardian_who_is_gone_is_no_guardian(tmp_path: Path) -> None:
    """A minor whose guardian the source does not know has none."""
    bench = Bench(tmp_path / "campaign")
    bench.account("child", age_band="minor", guardian_account_id="nobody")
    (child,) = gather(bench, [bench.thread("child", "x")])
    assert of(child, "child").guardian is None


def test_the_first_notice_that_was_sent_counts(tmp_path: Path) -> None:
    """Of several notices the first; one that failed was none."""
    bench = Bench(tmp_path / "campaign")
    bench.account("alice", noticed=False)
    bench.account("bob", noticed=False)
    bench.notice("alice", NOTICED + timedelta(days=3), notice_id="reminder")
    bench.notice("alice", NOTICED + timedelta(days=1))
    bench.notice("bob", None)
    alice, bob = gather(bench, [bench.thread("alice", "x"), bench.thread("bob", "x")])
    assert of(alice, "alice").noticed_at == NOTICED + timedelta(days=1)
    assert of(bob, "bob").noticed_at is None


def test_who_is_named_follows_from_the_quorum(tmp_path: Path) -> None:
    """The owner alone, or every participant and always the owner; of an orphan nobody, of a stranger that much."""
    for quorum, named in (("owner", ["alice"]), ("every_participant", ["alice", "bob"])):
        bench = Bench(tmp_path / quorum, authorization={"quorum": quorum})
        bench.account("alice")
        bench.source("INSERT INTO message VALUES ('in-alice', 'gone', 'm1', 1, 'x', 'e', 4, x'00')")
        thread, orphan = gather(bench, [bench.thread("alice", "bob"), "in-alice/gone"])
        assert sorted(a.account.account_id for a in thread.facts.accounts) == named
        assert orphan.facts.orphan
        assert orphan.facts.accounts == ()
    assert of(thread, "bob").account.status == "unresolvable"


def test_the_region_is_the_owners(tmp_path: Path) -> None:
    """Not that of another participant."""
    bench = Bench(tmp_path / "campaign", **EVERYBODY)
    bench.account("alice", region="EU")
    bench.account("bob", region="US")
    alice, bob = gather(bench, [bench.thread("alice", "bob"), bench.thread("bob", "alice")])
    assert (set(alice.regions), set(bob.regions)) == ({"EU"}, {"US"})


def test_a_shared_room_is_where_all_its_members_are(tmp_path: Path) -> None:
    """Also one whose account nobody knows: planning and execution see the same regions."""
    bench = Bench(tmp_path / "campaign", **EVERYBODY)
    bench.account("alice", region="EU")
    bench.account("bob", region="US")
    room = Conversation("!room", None, "room", ("alice", "bob", "remote"), 3)
    with bench.open() as campaign, campaign.database.read() as connection:
        (gathered,) = FactsReader(campaign, watermarks(bench)).gather(connection, [room])
        (judged,) = Judge(campaign, watermarks(bench), policy_of(campaign), NOW).judge(connection, [room])
    assert set(gathered.regions) == set(judged[2]) == {"EU", "US", None}


# --- coverage ---


def test_keys_cover_by_the_slots_that_messages_need(bench: Bench) -> None:
    """A key of another epoch covers nothing; one that a single message needs is enough."""
    bench.keys("alice", ["in-alice/bob"], epoch="another")
    (gathered,) = gather(bench)
    assert (gathered.facts.exporters, gathered.newest_export_no) == (frozenset(), 1)
    bench.messages("in-alice/bob", [50], epoch="another")
    (gathered,) = gather(bench)
    assert gathered.facts.exporters == {"alice"}


def test_a_history_export_covers_and_claims(bench: Bench) -> None:
    """It counts by what it claims to hold, also where the source has less; one that holds nothing covers nothing."""
    bench.export("alice", [], {"in-alice/bob": (0, [])}, kind="history")
    (nothing,) = gather(bench)
    assert (nothing.facts.exporters, nothing.claimed_messages, nothing.facts.messages) == (frozenset(), 0, 3)
    bench.history("alice", [entry("in-alice/bob", number) for number in range(100, 105)])
    (five,) = gather(bench)
    assert (five.facts.exporters, five.claimed_messages, five.facts.messages) == (frozenset({"alice"}), 5, 5)


def test_an_export_that_was_too_broad_still_covers(bench: Bench) -> None:
    """Its conversations end held, not as if nobody had handed anything in; refused for another reason it is absent."""
    bench.keys("alice", ["in-alice/bob"], refused=RefusalReason.UNUSABLE_PART.value)
    assert gather(bench)[0].facts.exporters == frozenset()
    bench.keys("alice", ["in-alice/bob"], refused=RefusalReason.SCOPE_TOO_BROAD.value)
    assert gather(bench)[0].facts.exporters == {"alice"}


def test_an_export_of_somebody_else_covers_nothing(bench: Bench) -> None:
    """Whoever is neither owner nor participant has nothing to hand in for the conversation."""
    bench.account("mallory")
    bench.keys("mallory", ["in-alice/bob"], key=KEY)
    (gathered,) = gather(bench)
    assert (gathered.facts.exporters, gathered.newest_export_no) == (frozenset(), 0)


# --- memory ---


def test_what_is_kept_is_bounded_and_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accounts are read once until the bound or `forget`; a page whose accounts are over the bound is still whole."""
    names = [bench.thread("alice", f"friend-{number}") for number in range(4)]
    with bench.open() as campaign, campaign.database.read() as connection:
        asked: list[list[str]] = []
        found = campaign.store.conversations(names)
        accounts = campaign.store.accounts

        def counting(wanted: Sequence[str]) -> Any:
            asked.append(sorted(wanted))
            return accounts(wanted)

        monkeypatch.setattr(campaign.store, "accounts", counting)
        reader = FactsReader(campaign, current_watermarks(connection))
        reader.gather(connection, [found[names[0]]])
        reader.gather(connection, [found[names[0]]])
        assert [wanted for wanted in asked if wanted] == [["alice", "friend-0"]]
        reader.forget()
        reader.gather(connection, [found[names[0]]])
        assert asked.count(["alice", "friend-0"]) == 2
        monkeypatch.setattr(reading, "_CACHED_ACCOUNTS", 3)
        gathered = reader.gather(connection, [found[name] for name in names])
        assert [len(g.facts.accounts) for g in gathered] == [2, 2, 2, 2]
        assert asked[-2] == ["alice", *(f"friend-{number}" for number in range(4))]


def test_a_withdrawal_is_seen_after_forgetting(bench: Bench) -> None:
    """What `forget` is for: the next look finds what was recorded meanwhile."""
    with bench.open() as campaign, campaign.database.read() as connection:
        reader = FactsReader(campaign, current_watermarks(connection))
        conversations = list(campaign.store.conversations(["in-alice/bob"]).values())
        reader.gather(connection, conversations)
    bench.answer("alice", "withdraw", decided_at=ANSWERED + timedelta(days=1))
    with bench.open() as campaign, campaign.database.read() as connection:
        assert answers(reader.gather(connection, conversations)[0], "alice") == ["grant"]
        reader.forget()
        assert answers(reader.gather(connection, conversations)[0], "alice") == ["grant", "withdraw"]


def test_queries_do_not_grow_with_the_page(bench: Bench) -> None:
    """As many statements for two hundred conversations as for one: none is asked for by itself."""
    names = [bench.thread("alice", f"friend-{number}") for number in range(200)]
    bench.keys("alice", names)
    counts = []
    for wanted in (names[:1], names):
        with bench.open() as campaign:
            statements: list[str] = []
            found = campaign.store.conversations(wanted)
            sa.event.listen(campaign.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))  # noqa: B023
            with campaign.database.read() as connection:
                reader = FactsReader(campaign, Watermarks(1000, 1000))
                reader.gather(connection, list(found.values()))
            counts.append(len(statements))
    assert counts[0] == counts[1]
