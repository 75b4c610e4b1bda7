"""A campaign made final: exactly what readers see leaves the source, whatever interrupts it; holds are kept (G7)."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy as sa

from fixtures.shape import FaultShares, Shape, UserShares
from migrator import evidence, reading
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import GateError, SourceError, UsageError
from migrator.core.notes import open_note
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.finalization import Finalized, Preview, finalize, preview, retiring, shredding
from migrator.planning.making import make_plan
from migrator.rollback import rollback
from migrator.stores import labyrinth_tables
from migrator.stores.labyrinth_erasing import LabyrinthEraser
from migrator.stores.source_database import SourceDatabase
from tests.execution.bench import Bench
from tests.support.campaigns import CUTOVER, LATE, NAME, RUN, at, small_campaign
from tests.verification.support import Killed, database, extended, forget_made, on_postgresql, rows, run, tamper
from tests.verification.test_verifying import verified

DAY = timedelta(days=1)
WINDOW = 30 * DAY
OF_TEXT = "SELECT inbox_id || '/' || thread_id, sent_at, message_id FROM message"
OF_TEXT_SHOWN = (
    "SELECT c.conversation_id, m.sent_at, m.message_id "
    "FROM migrator_message m JOIN migrator_conversation c USING (conversation_no) WHERE c.mode = 'server'"
)
PLACES = "SELECT inbox_id || '/' || thread_id, sent_at, CAST(message_id AS BLOB) FROM message"
MIGRATED = (
    "SELECT c.conversation_id, m.sent_at, CAST(m.message_id AS BLOB) "
    "FROM migrator_message m JOIN migrator_conversation c USING (conversation_no) WHERE c.mode = 'server'"
)
SHAPE = Shape(
    accounts=16, conversations=18, messages=260, users=UserShares.none(refuse=0.1, partial_export=0.3),
    faults=FaultShares(empty=0.05, flipped=0.01),
)  # fmt: skip
"""Whole conversations and ones with gaps, and some that stay sealed."""
_FOLDERS: list[TemporaryDirectory[str]] = []
_COUNTS = "conversations, messages, exports, recipient_keys, kept_conversations, kept_exports"


@pytest.fixture(autouse=True)
def in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a campaign is that campaign: where its source lies does not tell them apart."""
    monkeypatch.setattr(SourceDatabase, "location", lambda _: "here")


def on_one_server(spec: CampaignSpec) -> CampaignSpec:
    """The same campaign whose source is in migrator's own database."""
    url = spec.settings.database.url
    old = sa.create_engine(f"sqlite:///{spec.directory / 'store.db'}")
    new = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with old.connect() as reading, new.begin() as writing:
        labyrinth_tables.metadata.create_all(writing)
        for table in labyrinth_tables.metadata.sorted_tables:
            everything = [dict(row) for row in reading.execute(sa.select(table)).mappings()]
            found = [row for row in everything if not any("\0" in str(value) for value in row.values())]
            if found:
                writing.execute(table.insert(), found)
    old.dispose()
    new.dispose()
    own = spec.settings.source.model_copy(update={"url": url})
    return replace(spec, settings=spec.settings.model_copy(update={"source": own}))


@pytest.fixture
def spec(tmp_path: Path) -> CampaignSpec:
    """A campaign that was executed and verified, the day after its rollback window, which no attachment is in."""
    shutil.copytree(_verified().directory, tmp_path / "campaign")
    return replace(at(_verified(), RUN + WINDOW), directory=tmp_path / "campaign")


@cache
def _verified() -> CampaignSpec:
    _FOLDERS.append(TemporaryDirectory(prefix="migrator-test-"))
    found = small_campaign(Path(_FOLDERS[-1].name), SHAPE, execution={"page_size": 100, "workers": 1})
    run(found)
    with database(found, "store.db") as store:
        store.execute("DELETE FROM attachment")
    verified(found)
    return found


def finalized(spec: CampaignSpec, *, sealed: bool = False, confirm: str | None = NAME) -> Finalized:
    """Finalise in a process of its own."""
    with open_campaign(spec) as campaign:
        return finalize(campaign, None, sealed=sealed, confirm=confirm, progress=NoProgress())


def looked_ahead(spec: CampaignSpec, *, sealed: bool = False) -> tuple[dict[str, int], Preview]:
    """What a dry run lists."""
    with open_campaign(spec, read_only=True) as campaign, campaign.database.read() as connection:
        found = preview(campaign, connection, None, sealed=sealed)
        return dict(found.conversations), found


def source(spec: CampaignSpec) -> set[tuple[Any, ...]]:
    """Every message of the source: conversation, time, id."""
    return set(rows(spec, PLACES, name="store.db"))


def migrated(spec: CampaignSpec) -> set[tuple[Any, ...]]:
    """Every message that readers see."""
    return set(rows(spec, MIGRATED))


def counts(spec: CampaignSpec) -> list[tuple[Any, ...]]:
    """The numbers of every finalisation."""
    return rows(spec, f"SELECT what, state, {_COUNTS} FROM migrator_finalization ORDER BY finalization_no")


def hold(spec: CampaignSpec, account: str, released: str | None = None) -> None:
    """Place a legal hold on an account, or release it."""
    with database(spec, "store.db") as store:
        store.execute("INSERT OR REPLACE INTO legal_hold VALUES (?, '2026-01-01T00:00:00Z', ?)", (account, released))


def owner_of_some(spec: CampaignSpec) -> str:
    """Somebody whose mailbox has a migrated conversation, and who handed in an export."""
    found = rows(spec, "SELECT account_id FROM migrator_export ORDER BY export_no")
    owners = {row[0] for row in rows(spec, "SELECT account_id FROM inbox", name="store.db")}
    return str(next(account for (account,) in found if account in owners))


# --- gates ---


@pytest.mark.parametrize("confirm", [None, "", "yes", NAME.upper()])
def test_the_name_is_asked_for_also_in_staging(spec: CampaignSpec, confirm: str | None) -> None:
    """Nothing brings ciphertext back."""
    with pytest.raises(GateError, match="asks for its name"):
        finalized(spec, confirm=confirm)
    assert counts(spec) == []


def test_another_run_than_the_latest(spec: CampaignSpec) -> None:
    """Whoever names one means it; one that does not exist is none."""
    with open_campaign(spec) as campaign, pytest.raises(GateError, match="not the latest"):
        finalize(campaign, "run-x", sealed=False, confirm=NAME, progress=NoProgress())


def test_not_within_the_rollback_window(spec: CampaignSpec) -> None:
    """To the microsecond."""
    with pytest.raises(GateError, match="may be rolled back until"):
        finalized(at(spec, RUN + WINDOW - DAY / 86_400_000_000))
    assert not finalized(spec).already


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DELETE FROM migrator_verification", "was not verified"),
        ("UPDATE migrator_verification SET ok = 0", "found a mismatch"),
        ("UPDATE migrator_verification SET sample = '5%'", "only 5% of it"),
        ("UPDATE migrator_run SET state = 'stopped'", "is unfinished"),
        ("UPDATE migrator_run SET state = 'rolling_back'", "is unfinished"),
    ],
)
def test_only_what_was_verified_whole(spec: CampaignSpec, change: str, reason: str) -> None:
    """And only when nothing is half done."""
    tamper(spec, change)
    before = source(spec)
    with pytest.raises(GateError, match=reason):
        finalized(spec)
    assert source(spec) == before
    assert looked_ahead(spec)[1].refusal


@pytest.mark.parametrize("begun", [False, True])
def test_another_source_than_the_one_that_was_migrated(spec: CampaignSpec, begun: bool) -> None:
    """A slip in `source.url` deletes nothing from the store that it leads to, also where it comes half way."""
    if begun:
        with smaller():
            assert interrupted(spec, 8, sealed=False)
    with database(spec, "store.db") as store:
        store.execute("UPDATE account SET account_id = 'other-' || account_id")
    before = source(spec)
    with pytest.raises(GateError, match="not the one that was migrated"):
        finalized(spec)
    assert source(spec) == before
    assert "not the one" in looked_ahead(spec)[1].refusal


def test_attachments_are_in_the_way(spec: CampaignSpec) -> None:
    """Their keys are in the messages that would go: refused before anything goes; those of other messages stay."""
    ((conversation, _, message_id),) = rows(spec, f"{OF_TEXT_SHOWN} LIMIT 1")
    inbox, _, thread = conversation.partition("/")
    with database(spec, "store.db") as store:
        store.execute("INSERT INTO attachment VALUES (?, 'a', ?, ?, 'x:', 1, X'')", (inbox, thread, message_id))
    before = source(spec)
    with pytest.raises(GateError, match="1 attachments"):
        finalized(spec)
    assert (source(spec), counts(spec)) == (before, [])
    with database(spec, "store.db") as store:
        store.execute("UPDATE attachment SET message_id = 'of no message'")
    assert not finalized(spec).already
    assert rows(spec, "SELECT attachment_id FROM attachment", name="store.db") == [("a",)]


@pytest.mark.parametrize("table", ["legal_hold", "attachment"])
def test_a_store_that_cant_tell(spec: CampaignSpec, table: str) -> None:
    """Without its table nobody knows what must be kept: refused."""
    with database(spec, "store.db") as store:
        store.execute(f"DROP TABLE {table}")
    before = source(spec)
    with pytest.raises(SourceError, match=table):
        finalized(spec)
    assert source(spec) == before


# --- what goes ---


def test_exactly_what_readers_see_leaves_the_source(spec: CampaignSpec) -> None:
    """Gaps, skipped and held conversations stay; numbers, events and the dry run say the same."""
    before, gone = source(spec), migrated(spec) & source(spec)
    history = rows(spec, "SELECT * FROM migrator_message")
    listed, ahead = looked_ahead(spec)
    assert (sum(listed.values()), ahead.kept, ahead.refusal) == (len(gone), 0, "")
    assert source(spec) == before
    result = finalized(spec)
    assert source(spec) == before - gone
    assert rows(spec, "SELECT * FROM migrator_message") == history
    visible = len(rows(spec, "SELECT 1 FROM migrator_conversation WHERE mode = 'server'"))
    exports = len(rows(spec, "SELECT 1 FROM migrator_export"))
    expected = {"conversations": visible, "messages": len(gone), "exports": exports, "recipient_keys": 1,
                "kept_conversations": 0, "kept_exports": 0}  # fmt: skip
    assert (result.already, result.row.counts, len(listed)) == (False, expected, visible)
    assert rows(spec, "SELECT COUNT(*) FROM migrator_conversation WHERE mode = 'server' AND retired_at IS NULL") == [
        (0,)
    ]
    (data,) = rows(spec, "SELECT data FROM migrator_outbox WHERE type = 'source.retired'")
    keys = dict(rows(spec, "SELECT recipient_key_id, destroyed_at FROM migrator_recipient_key"))
    assert json.loads(data[0]) == {"what": "migrated", **expected, "destroyed_keys": keys}


def test_exports_and_recipient_key_are_destroyed(spec: CampaignSpec) -> None:
    """No sealed part and no private key is left; manifests stay."""
    manifests = rows(spec, "SELECT manifest FROM migrator_export")
    finalized(spec)
    assert rows(spec, "SELECT COUNT(*) FROM migrator_export_part") == [(0,)]
    assert rows(spec, "SELECT COUNT(*) FROM migrator_export WHERE destroyed_at IS NULL") == [(0,)]
    assert rows(spec, "SELECT manifest FROM migrator_export") == manifests
    assert rows(spec, "SELECT wrapped_private_key, destroyed_at IS NOT NULL FROM migrator_recipient_key") == [(None, 1)]


def test_nothing_can_be_rolled_back(spec: CampaignSpec) -> None:
    """From the first moment on, not only at the end."""

    def killed(label: str, moment: str) -> None:
        if (label, moment) == ("finalize-begin", "after"):
            raise Killed

    with open_campaign(spec) as campaign:
        campaign.database.boundary = killed
        with pytest.raises(Killed):
            finalize(campaign, None, sealed=False, confirm=NAME, progress=NoProgress())
    with open_campaign(spec) as campaign, pytest.raises(GateError, match="is final"):
        rollback(campaign, None, NoProgress())


def test_what_is_left_still_holds_together(spec: CampaignSpec) -> None:
    """Readers read, verification and reconciliation agree, and a plan finds nothing to do."""
    finalized(spec)
    assert verified(spec).ok
    with open_campaign(spec) as campaign:
        assert evidence.reconcile(campaign).ok
        identifier = rows(spec, "SELECT conversation_id FROM migrator_conversation WHERE message_count > 0 LIMIT 1")[0][
            0
        ]
        assert list(reading.read(campaign, identifier, "an audit"))
        plan = make_plan(campaign, save=None, progress=NoProgress())
        assert plan.counts.rewrap.conversations == 0


@pytest.mark.parametrize("stop", [None, 9])
def test_what_is_left_beside_a_hold_still_holds_together(spec: CampaignSpec, stop: int | None) -> None:
    """The recipient key is there, most exports and sources are not; the same in the middle of it."""
    hold(spec, owner_of_some(spec))
    if stop is None:
        assert finalized(spec).row.counts["recipient_keys"] == 0
    else:
        with smaller():
            assert interrupted(spec, stop, sealed=False)
    result = verified(spec)
    assert result.ok, result
    with open_campaign(spec) as campaign:
        assert evidence.reconcile(campaign).ok


def test_twice_is_once(spec: CampaignSpec) -> None:
    """It says so, and writes its certificate again."""
    first = finalized(spec)
    first.certificate.unlink()
    again = finalized(spec)
    assert (again.already, again.row, again.certificate) == (True, first.row, first.certificate)
    assert again.certificate.exists()
    assert len(counts(spec)) == 1


def test_the_certificate_is_signed_with_the_logs_key(spec: CampaignSpec) -> None:
    """As a note that any tool for signed notes checks; document and note say the same."""
    result = finalized(spec)
    document = json.loads(result.certificate.read_text())
    assert {name: document[name] for name in result.row.counts} == result.row.counts
    note = result.certificate.with_suffix(".note").read_bytes()
    vkey = (spec.directory / "audit" / "log.vkey").read_text()
    assert json.loads(open_note(note, [vkey]).body) == document
    assert result.certificate.stat().st_mode & 0o777 == 0o600


# --- holds ---


def test_what_is_under_a_hold_stays(spec: CampaignSpec) -> None:
    """Every conversation that somebody on hold takes part in, their exports, and the key that opens them."""
    account = owner_of_some(spec)
    hold(spec, account)
    members = rows(spec, "SELECT inbox_id || '/' || thread_id, account_id FROM thread_member", name="store.db")
    inboxes = rows(spec, "SELECT inbox_id FROM inbox WHERE account_id = ?", account, name="store.db")
    theirs = {conversation for conversation, member in members if member == account}
    before, gone = source(spec), migrated(spec) & source(spec)
    kept = {p for p in gone if p[0] in theirs or p[0].partition("/")[0] in {row[0] for row in inboxes}}
    result = finalized(spec)
    assert source(spec) == before - (gone - kept)
    assert kept
    assert (result.row.counts["kept_conversations"], result.row.counts["kept_exports"] > 0) == (
        len({place[0] for place in kept}), True,
    )  # fmt: skip
    assert result.row.counts["recipient_keys"] == 0
    left = rows(spec, "SELECT DISTINCT e.export_no, e.account_id = ? FROM migrator_export_part p "
                      "JOIN migrator_export e USING (export_no)", account)  # fmt: skip
    opening = {
        row[0] for row in rows(spec, "SELECT export_no, conversation_id FROM migrator_export_conversation")
        if row[1] in {place[0] for place in kept}
    }  # fmt: skip
    others = {number for number, own in left if not own}
    assert others
    assert others == opening - {number for number, own in left if own}
    assert finalized(spec).already
    hold(spec, account, released="2026-06-01T00:00:00Z")
    rest = finalized(spec)
    assert source(spec) == before - gone
    assert (rest.already, rest.row.counts["messages"], rest.row.counts["recipient_keys"]) == (False, len(kept), 1)
    assert account not in json.dumps([row[0] for row in rows(spec, "SELECT data FROM migrator_outbox")])


def test_exports_go_when_their_hold_is_released(spec: CampaignSpec) -> None:
    """Also where no conversation had to stay with them: then the recipient key goes as well."""
    account = owner_of_some(spec)
    with database(spec, "store.db") as store:
        store.execute("UPDATE inbox SET account_id = 'somebody' WHERE account_id = ?", (account,))
        store.execute("UPDATE thread_member SET account_id = 'somebody-' || thread_id WHERE account_id = ?", (account,))
    hold(spec, account)
    first = finalized(spec).row.counts
    assert (first["kept_conversations"], first["kept_exports"] > 0, first["recipient_keys"]) == (0, True, 0)
    assert finalized(spec).already
    hold(spec, account, released="2026-06-01T00:00:00Z")
    rest = finalized(spec)
    assert not rest.already
    assert (rest.row.counts["exports"], rest.row.counts["recipient_keys"]) == (first["kept_exports"], 1)
    assert finalized(spec).already


@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_nobodys_stays(spec: CampaignSpec, sealed: bool) -> None:
    """Where the source knows neither owner nor member any more, nobody can tell whether a hold is on it."""
    if sealed:
        finalized(spec)
        spec = at(spec, CUTOVER + 180 * DAY)
    identifier = sorted(place[0] for place in (source(spec) if sealed else migrated(spec) & source(spec)))[0]
    inbox, _, thread = identifier.partition("/")
    with database(spec, "store.db") as store:
        store.execute("DELETE FROM inbox WHERE inbox_id = ?", (inbox,))
        store.execute("DELETE FROM thread_member WHERE thread_id = ?", (thread,))
    theirs = {place for place in source(spec) if place[0] == identifier}
    result = finalized(spec, sealed=sealed)
    assert theirs
    assert theirs <= source(spec)
    assert result.row.counts["kept_conversations"] > 0


@pytest.mark.parametrize(
    ("released", "held"),
    [(None, True), ("2999-01-01T00:00:00Z", True), ("someday", True), ("2026-01-02T00:00:00Z", False)],
)
def test_when_a_hold_holds(spec: CampaignSpec, released: str | None, held: bool) -> None:
    """Until it was released: an end that lies ahead or can't be read is none."""
    hold(spec, owner_of_some(spec), released=released)
    assert (finalized(spec).row.counts["kept_conversations"] > 0) is held


# --- what stayed sealed ---


def test_sealed_needs_the_migrated_first_and_the_grace(spec: CampaignSpec) -> None:
    """In this order, and to the microsecond."""
    late = at(spec, CUTOVER + 180 * DAY)
    with pytest.raises(GateError, match="not final yet"):
        finalized(late, sealed=True)
    finalized(spec)
    with pytest.raises(GateError, match="is kept until"):
        finalized(at(spec, CUTOVER + 180 * DAY - DAY / 86_400_000_000), sealed=True)
    assert not finalized(late, sealed=True).already


def test_all_that_stayed_sealed_is_shredded(spec: CampaignSpec) -> None:
    """Every message that is left, but for holds; and only once."""
    finalized(spec)
    late = at(spec, CUTOVER + 180 * DAY)
    addressable = {place for place in source(spec) if "/" not in place[0].partition("/")[0]}
    account = owner_of_some(spec)
    hold(spec, account)
    listed, ahead = looked_ahead(late, sealed=True)
    result = finalized(late, sealed=True)
    assert result.row.counts["messages"] == sum(listed.values()) == len(addressable) - len(source(spec))
    assert result.row.counts["kept_conversations"] == ahead.kept > 0
    hold(spec, account, released="2026-06-01T00:00:00Z")
    assert finalized(late, sealed=True).row.counts["messages"] > 0
    assert source(spec) == set()
    assert finalized(late, sealed=True).already


def arrived(spec: CampaignSpec, conversation: str, sent_at: int, message_id: str) -> None:
    """One more message in the source."""
    inbox, _, thread = conversation.partition("/")
    with database(spec, "store.db") as store:
        store.execute(
            "INSERT INTO message (inbox_id, thread_id, sent_at, message_id, sender_id, epoch_id, version, "
            "encrypted_message_data) VALUES (?, ?, ?, ?, 's', 'e', 4, x'00')",
            (inbox, thread, sent_at, message_id),
        )


def test_what_was_never_announced_stays_sealed(spec: CampaignSpec) -> None:
    """Messages from after the grace period, and a conversation that no run decided about: kept, counted, and told."""
    finalized(spec)
    end = CUTOVER + 180 * DAY
    ms = round(end.timestamp() * 1000)
    (ours, other), *_ = rows(spec, "SELECT min(c), max(c) FROM (SELECT inbox_id || '/' || thread_id AS c FROM message)",
                             name="store.db")  # fmt: skip
    inbox = ours.partition("/")[0]
    with database(spec, "store.db") as store:
        store.execute("INSERT INTO thread VALUES (?, 'unplanned', 'group')", (inbox,))
        store.execute("INSERT INTO message SELECT inbox_id, 'unplanned', sent_at, message_id, sender_id, epoch_id, "
                      "version, encrypted_message_data FROM message WHERE inbox_id || '/' || thread_id = ?",
                      (ours,))  # fmt: skip
    arrived(spec, ours, ms, "at the end")
    arrived(spec, ours, ms - 1, "just before it")
    arrived(spec, other, 10**18, "at no time")
    before = source(spec)
    stays = {place for place in before if place[0].endswith("/unplanned") or place[2] == b"at the end"}
    assert len(stays) > 1
    listed, ahead = looked_ahead(at(spec, end + DAY), sealed=True)
    assert (ahead.unannounced, ahead.late, sum(listed.values())) == (1, 1, len(before - stays))
    with smaller():
        stop = 1
        while interrupted(at(spec, end + DAY), stop, sealed=True) and stop < 40:
            stop += 7
        result = finalized(at(spec, end + DAY), sealed=True)
    assert source(spec) == stays
    counted = result.row.counts
    assert (counted["kept_unannounced"], counted["kept_messages"]) == (1, 1)
    assert counted["messages"] == len(before - stays)
    assert json.loads(result.certificate.read_text())["kept_unannounced"] == 1
    again = finalized(at(spec, end + DAY), sealed=True)
    assert again.already
    assert source(spec) == stays


def test_who_was_only_ever_left_out_keeps_export_and_key(tmp_path: Path) -> None:
    """After a canary alone nothing is final: everybody else has granted, and waits. After the rest it is."""
    bench = Bench(tmp_path / "campaign", campaign={"name": "bench", "cutover_at": CUTOVER, "rollback_window_days": 0})
    for owner in ("alice", "bob", "carol"):
        bench.account(owner)
        name = bench.thread(owner, "x")
        bench.messages(name, range(3))
        bench.keys(owner, [name])
    bench.thread("carol", "empty")
    bench.run(bench.plan(limit="1").plan_id)
    verified(bench.spec)
    with open_campaign(bench.spec) as campaign, pytest.raises(GateError, match="no run decided about 2 conversations"):
        finalize(campaign, None, sealed=False, confirm="bench", progress=NoProgress())
    with open_campaign(bench.spec, read_only=True) as campaign, campaign.database.read() as connection:
        assert "no run decided" in preview(campaign, connection, None, sealed=False).refusal
    bench.run()
    bench.run(bench.plan(limit="1").plan_id)
    for row in bench.all(tables.run):
        verified(bench.spec, row["run_id"])
    with open_campaign(bench.spec) as campaign:
        result = finalize(campaign, None, sealed=False, confirm="bench", progress=NoProgress())
    assert result.row.counts["conversations"] == 3


# --- interrupted ---


@contextmanager
def smaller() -> Iterator[None]:
    """Pages and batches of a few, so that there is much to interrupt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retiring, "PAGE", 2)
        patch.setattr(retiring, "BATCH", 10)
        patch.setattr(shredding, "PAGE", 1)
        yield


def interrupted(spec: CampaignSpec, stop_at: int, *, sealed: bool) -> bool:
    """Kill a finalisation at its n-th step: before or after a commit, or around a deletion. False: it had fewer."""
    steps = [0]

    def step(label: str = "erase", _: str = "") -> None:
        if label.startswith("lease"):
            return  # a process that is killed gives none back; this one lives on
        steps[0] += 1
        if steps[0] == stop_at:
            raise Killed

    class Eraser(LabyrinthEraser):
        def erase(self, places: Any) -> None:
            step()
            super().erase(places)
            step()

        def erase_all(self, conversation_ids: Any, before: int | None = None) -> None:
            step()
            super().erase_all(conversation_ids, before)
            step()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("migrator.stores.labyrinth.LabyrinthEraser", Eraser)
        with open_campaign(spec) as campaign:
            campaign.database.boundary = step
            try:
                finalize(campaign, None, sealed=sealed, confirm=NAME, progress=NoProgress())
            except Killed:
                return True
            return False


@pytest.mark.parametrize("sealed", [False, True])
def test_killed_at_every_step(spec: CampaignSpec, tmp_path: Path, sealed: bool) -> None:
    """One campaign killed at its first step, resumed and killed at its second, and so on: the end is the same."""
    if sealed:
        finalized(spec)
        spec = at(spec, CUTOVER + 180 * DAY)
    shutil.copytree(spec.directory, tmp_path / "undisturbed")
    undisturbed = replace(spec, directory=tmp_path / "undisturbed")
    kills = 0
    with smaller():
        expected = finalized(undisturbed, sealed=sealed)
        while interrupted(spec, 5 + kills % 6, sealed=sealed):
            kills += 1
            assert kills < 1000
        finalized(spec, sealed=sealed)
    assert kills > 10
    assert source(spec) == source(undisturbed)
    assert counts(spec) == counts(undisturbed)
    assert counts(spec)[-1][1] == "completed"
    assert expected.row.counts["messages"] == counts(spec)[-1][3]


@pytest.fixture
def made_here(in_one_place: None) -> Iterator[None]:
    """Campaigns that other tests share are made where this module's sources lie, and for this test alone."""
    del in_one_place
    forget_made()
    yield
    forget_made()


@on_postgresql
@pytest.mark.usefixtures("database_kind", "made_here")
def test_two_runs_on_postgresql_killed_now_and_then(tmp_path: Path) -> None:
    """The source in the same database as migrator's; of what readers see it has lost some already."""
    spec = extended(tmp_path)
    with database(spec, "store.db") as store:
        store.execute("DELETE FROM attachment")
    spec = on_one_server(at(spec, LATE + WINDOW + DAY))
    assert {verified(spec, run_id).ok for (run_id,) in rows(spec, "SELECT run_id FROM migrator_run")} == {True}
    shown = set(rows(spec, OF_TEXT_SHOWN))
    for place in sorted(shown)[:3]:
        tamper(spec, f"DELETE FROM message WHERE message_id = '{place[2]}'")
    before = set(rows(spec, OF_TEXT))
    kills = 0
    while kills < 6 and interrupted(spec, 5 + kills, sealed=False):
        kills += 1
    result = finalized(spec)
    assert kills > 3
    assert set(rows(spec, OF_TEXT)) == before - shown
    assert result.row.counts["messages"] == len(before & shown)
    rest = finalized(at(spec, CUTOVER + 200 * DAY), sealed=True)
    orphans = {place[0] for place in rows(spec, OF_TEXT)}
    assert orphans
    assert rest.row.counts["kept_conversations"] == len(orphans)


def test_a_hold_placed_while_it_was_interrupted(spec: CampaignSpec) -> None:
    """What came under a hold after it was announced and before it was deleted stays, and is not counted as gone."""
    with smaller():
        stop = 1
        while interrupted(spec, stop, sealed=False) and not rows(
            spec, "SELECT 1 FROM migrator_finalization WHERE pending IS NOT NULL"
        ):
            stop += 1
        (pending,) = rows(spec, "SELECT pending FROM migrator_finalization")[0]
        number = json.loads(pending)["numbers"][0]
        (identifier,) = rows(
            spec, "SELECT conversation_id FROM migrator_conversation WHERE conversation_no = ?", number
        )[0]
        (owner,) = rows(
            spec, "SELECT account_id FROM inbox WHERE inbox_id = ?", identifier.partition("/")[0], name="store.db"
        )[0]
        before = source(spec)
        hold(spec, owner)
        result = finalized(spec)
    assert {place for place in before if place[0] == identifier} <= source(spec)
    assert result.row.counts["messages"] == len(before) - len(source(spec))


def test_no_run_begins_beside_an_unfinished_one(spec: CampaignSpec) -> None:
    """It goes on without asking its gates again: what another run migrates meanwhile would go unverified."""
    assert interrupted(spec, 2, sealed=False)
    with pytest.raises(GateError, match="is unfinished"):
        run(spec)
    finalized(spec)
    run(spec)


def test_a_source_that_cant_be_written(spec: CampaignSpec) -> None:
    """A clear error; what was announced is done when it can."""
    gone = migrated(spec) & source(spec)
    lock = database(spec, "store.db")
    with lock as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("migrator.stores.labyrinth_erasing._WAIT_SECONDS", 0.01)
        store.execute("BEGIN IMMEDIATE")
        with pytest.raises(SourceError, match="can't be written"):
            finalized(spec)
    assert finalized(spec).row.counts["messages"] == len(gone)


def test_a_campaign_without_a_run(tmp_path: Path) -> None:
    """There is nothing to make final."""
    with Bench(tmp_path / "campaign").open() as campaign, pytest.raises(UsageError, match="no run yet"):
        finalize(campaign, None, sealed=False, confirm="bench", progress=NoProgress())


def test_a_second_run_after_it_is_refused_or_finds_nothing(spec: CampaignSpec) -> None:
    """A plan after the end is one of skips: executing it opens nothing."""
    finalized(spec)
    summary = run(spec)
    assert not any(outcome.startswith("rewrapped") for outcome in summary.counts)
