"""Archives of a campaign that was really executed: nothing before the log has it, nothing that is not whole."""

import json
import mailbox
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator import archiving, reading
from migrator.archiving import Form
from migrator.archiving.html import sanitising
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.errors import GateError, IntegrityError, MigratorError, UsageError
from tests.verification.support import executed, rows, tamper

REASON = "ticket 4711"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign with one completed run; nobody here changes its history."""
    return executed(tmp_path_factory.mktemp("archiving"))


@pytest.fixture
def campaign(spec: CampaignSpec) -> Iterator[Campaign]:
    """The same, open."""
    with open_campaign(spec) as opened:
        yield opened


def with_gaps(spec: CampaignSpec) -> str:
    """The conversation with most gaps that is shown."""
    query = "SELECT conversation_id FROM migrator_conversation WHERE mode = 'server' ORDER BY gap_count DESC LIMIT 1"
    return str(rows(spec, query)[0][0])


def events(spec: CampaignSpec) -> list[dict[str, object]]:
    """The data of all readings that the outbox has."""
    return [json.loads(data) for (data,) in rows(spec, "SELECT data FROM migrator_outbox WHERE type = 'history.read'")]


def test_mbox_has_every_message_and_gap(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """As many mails as rows of both, in their order, each with its content exactly."""
    conversation = with_gaps(spec)
    archive = archiving.save(campaign, conversation, REASON, Form.MBOX, tmp_path / "x.mbox")
    assert archive.gaps > 0
    box = mailbox.mbox(tmp_path / "x.mbox")
    mails = [box[key] for key in box.iterkeys()]
    box.close()
    assert len(mails) == archive.messages + archive.gaps
    assert sum("X-Migrator-Gap" in mail for mail in mails) == archive.gaps
    parts = [list(mail.walk())[2] for mail in mails if "X-Migrator-Gap" not in mail]
    contents = [part.get_payload(decode=True) for part in parts]
    assert contents == [message.content for message in reading.read(campaign, conversation, REASON)]


def test_pages_have_every_message_and_gap(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """The folder is whole, with a manifest of it, and no file of ids is left."""
    archive = archiving.save(campaign, with_gaps(spec), REASON, Form.HTML, tmp_path / "pages")
    files = json.loads((tmp_path / "pages" / "manifest.json").read_bytes())["files"]
    assert sorted([file["name"] for file in files] + ["manifest.json"]) == sorted(
        path.name for path in (tmp_path / "pages").iterdir()
    )
    text = "".join(path.read_text() for path in (tmp_path / "pages").glob("messages-*.html"))
    assert text.count("<article ") == archive.messages + archive.gaps
    assert text.count("could not be migrated") + text.count("was redacted") == archive.gaps


def test_each_use_is_an_event_with_its_format(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """Saved or streamed, the log says who read what in which form, before the first byte."""
    before = len(events(spec))
    conversation = with_gaps(spec)
    archiving.save(campaign, conversation, REASON, Form.MBOX, tmp_path / "folder")
    next(archiving.stream(campaign, conversation, REASON, Form.MBOX))
    assert [event["format"] for event in events(spec)[before:]] == ["mbox", "mbox"]
    assert all(event["reason"] == REASON for event in events(spec)[before:])


def test_a_stream_is_what_a_file_holds(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """Byte for byte the same."""
    conversation = with_gaps(spec)
    archiving.save(campaign, conversation, REASON, Form.MBOX, tmp_path / "x.mbox")
    streamed = b"".join(archiving.stream(campaign, conversation, REASON, Form.MBOX))
    assert streamed == (tmp_path / "x.mbox").read_bytes()


@pytest.mark.parametrize(
    ("form", "name", "match"),
    [
        (Form.MATRIX_JSON, "new", "Matrix rooms"),
        (Form.MBOX, "there.mbox", "there already"),
        (Form.HTML, "full", "no empty folder"),
        (Form.MBOX, "full", "no empty folder"),
    ],
)
def test_what_can_not_be_written_is_refused_unread(
    spec: CampaignSpec, campaign: Campaign, tmp_path: Path, form: Form, name: str, match: str
) -> None:
    """Another source's history, a place that is taken: refused before anything was read, and the log has nothing."""
    (tmp_path / "there.mbox").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    before = len(events(spec))
    with pytest.raises(UsageError, match=match):
        archiving.save(campaign, with_gaps(spec), REASON, form, tmp_path / name)
    assert len(events(spec)) == before
    assert {path.name for path in tmp_path.iterdir()} == {"there.mbox", "full"}


def test_pages_are_no_stream(spec: CampaignSpec, campaign: Campaign) -> None:
    """Standard output holds one file."""
    with pytest.raises(UsageError, match="pages are files"):
        next(archiving.stream(campaign, with_gaps(spec), REASON, Form.HTML))


def test_a_disk_that_refuses_is_told(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """Where the folder can't be made, the error says so and what became of the archive."""
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="can't be written") as raised:
        archiving.save(campaign, with_gaps(spec), REASON, Form.MBOX, tmp_path / "file" / "below")
    assert "nothing" in raised.value.changed


def test_sealed_history_is_no_archive(spec: CampaignSpec, campaign: Campaign, tmp_path: Path) -> None:
    """What was not migrated can't be saved in any form."""
    sealed = rows(spec, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'sealed' LIMIT 1")[0][0]
    for form in (Form.HTML, Form.MBOX):
        with pytest.raises(GateError):
            archiving.save(campaign, sealed, REASON, form, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "statement"),
    [
        (Form.HTML, "UPDATE migrator_message SET sender_id = 'mallory'"),
        (Form.MBOX, "DELETE FROM migrator_message"),
        (Form.HTML, "DELETE FROM migrator_gap"),
        (Form.MBOX, "UPDATE migrator_conversation SET gap_count = gap_count + 1"),
    ],
)
def test_tampered_history_leaves_no_archive(tmp_path: Path, form: Form, statement: str) -> None:
    """A message that was altered, a message or a gap that is missing: an error, and nothing that looks whole."""
    own = executed(tmp_path)
    conversation = with_gaps(own)
    tamper(own, statement)
    (tmp_path / "out").mkdir()
    with open_campaign(own) as opened, pytest.raises(IntegrityError):
        archiving.save(opened, conversation, REASON, form, tmp_path / "out" / "a")
    assert not list((tmp_path / "out").iterdir())


def test_a_source_that_is_gone_is_done_without(tmp_path: Path) -> None:
    """After the source was retired there are no members to name, and the history is as readable as before."""
    own = executed(tmp_path)
    (own.directory / "store.db").rename(own.directory / "gone.db")
    with open_campaign(own) as opened:
        archive = archiving.save(opened, with_gaps(own), REASON, Form.HTML, tmp_path / "pages")
    assert archive.clear_text is None
    assert "could not be asked" in (tmp_path / "pages" / "index.html").read_text(encoding="utf-8")


def test_the_library_for_html_is_asked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nh3 a Matrix room's pages are refused with a remedy."""
    monkeypatch.setattr("migrator.archiving.html.sanitising.nh3", None)
    with pytest.raises(MigratorError) as raised:
        sanitising.require()
    assert "migrator[matrix]" in raised.value.hint
