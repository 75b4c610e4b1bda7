"""Bundles: they verify with nothing but Python and `cryptography`, and with no byte of them changed."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from migrator import audit_review, evidence
from migrator.audit import exporting, query
from migrator.audit.anchors import kept
from migrator.audit.bundle import verify as shipped
from migrator.audit.exporting import ExportFormat
from migrator.audit.published import PublishedLog
from migrator.audit.query import Filters
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import AuditLogError, IntegrityError, UsageError
from migrator.core.notes import parse_vkey, vkey
from migrator.core.proofs import includes, tree_hash
from migrator.database import tables
from migrator.evidence import pages
from tests.audit.anchor_servers import OPENSSL, Authority, Witness, serving
from tests.audit.executed import executed_campaign, longest, with_settings

Run = subprocess.CompletedProcess[str]
Document = dict[str, Any]
Change = Callable[[Document], object]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> CampaignSpec:
    """A campaign that was executed."""
    return executed_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture(scope="module")
def bundle(spec: CampaignSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle about a message of a conversation."""
    folder = tmp_path_factory.mktemp("bundles") / "message"
    with open_campaign(spec) as campaign:
        conversation, ids = longest(campaign)
        evidence.prove(campaign, folder, conversation=conversation, message=ids[len(ids) // 2])
    return folder


def check(folder: Path, *options: str) -> Run:
    """The bundle's own verifier, in an interpreter that sees nothing of this project."""
    return subprocess.run(
        [sys.executable, "-I", folder / "verify.py", *options], capture_output=True, text=True, check=False, cwd="/"
    )


def check_here(folder: Path, *options: str) -> str | None:
    """The same verifier in this process, for many cases; None where everything holds, else what it says."""
    try:
        shipped.main([str(folder), *options])
    except (shipped.BundleError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def listed(folder: Path) -> dict[str, str]:
    """The files and their digests by `bundle.json`."""
    files: dict[str, str] = json.loads((folder / "bundle.json").read_text())["files"]
    return files


def rewrite(folder: Path, change: Change) -> None:
    """A forger's `bundle.json`: changed, with all digests right again."""
    path = folder / "bundle.json"
    document = json.loads(path.read_text())
    change(document)
    del document["digest"]
    for name in document["files"]:
        document["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    compact = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    document["digest"] = hashlib.sha256(compact).hexdigest()
    path.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n")


def nothing(_: Document) -> None:
    """Leave the list as it is but for the digests."""


def test_the_verifier_is_short_and_stands_alone() -> None:
    """At most 200 lines, and imports of the standard library and `cryptography` only."""
    text = Path(shipped.__file__).read_text()
    assert len(text.splitlines()) <= 200
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_bundle_verifies_offline(bundle: Path) -> None:
    """In a process of its own, with status 0, it says what was shown and what to compare."""
    done = check(bundle)
    assert done.returncode == 0, done.stderr
    assert "conversation.rewrapped" in done.stdout
    assert "SHA-256 of its E2EE ciphertext" in done.stdout
    assert "compare log.vkey" in done.stdout
    assert check(bundle, "--vkey", (bundle / "log.vkey").read_text()).returncode == 0
    assert not (bundle / "__pycache__").exists()


def test_every_file_of_a_bundle_counts(bundle: Path, tmp_path: Path) -> None:
    """A flipped bit in any file, one cut off, longer, taken away or added: the bundle's own verifier says no."""
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"README.md", "verify.py", "bundle.json", "log.vkey", "page.jsonl"}
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    for path in files:
        whole = path.read_bytes()
        name = path.relative_to(bundle)
        middle = len(whole) // 2
        for data in (whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :], whole[:-2], whole + b"\n"):
            (altered / name).write_bytes(data)
            done = check(altered)
            assert done.returncode != 0, f"{name} was altered, and nobody minded"
            assert "OK:" not in done.stdout
        (altered / name).write_bytes(whole)
    assert check(altered).returncode == 0
    leaf = next((altered / "leaves").iterdir())
    leaf.rename(tmp_path / "away")
    assert check(altered).returncode == 1
    (tmp_path / "away").rename(leaf)
    (altered / "more").write_text("x")
    assert check(altered).returncode == 1


def test_a_forger_who_corrects_the_digests(bundle: Path, tmp_path: Path) -> None:
    """Leaves, proofs, key and page are held by signatures and hashes, not by the list."""
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    rewrite(altered, nothing)
    assert check_here(altered) is None
    for name in [name for name in listed(bundle) if name not in ("README.md", "verify.py")]:
        whole = (bundle / name).read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            (altered / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            rewrite(altered, nothing)
            assert check_here(altered) is not None, f"byte {at} of {name}"
        (altered / name).write_bytes(whole)
    rewrite(altered, nothing)
    assert check_here(altered) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(entries=[]),
        lambda d: d.update(schema="migrator.audit_bundle/2"),
        lambda d: d["about"].update(ref="00" * 16),
        lambda d: d["entries"][0].update(seq=d["entries"][0]["seq"] + 1),
        lambda d: d["entries"][0].update(leaf=d["entries"][1]["leaf"]),
        lambda d: d["entries"][0].update(leaf="/etc/hostname"),
        lambda d: d["files"].update({"../elsewhere": ""}),
        lambda d: d["files"].update({"leaves/../../elsewhere": ""}),
        lambda d: d["entries"][0].update(leaf="leaves/../bundle.json"),
        lambda d: d["entries"][0].update(leaf="nowhere"),
        lambda d: d["entries"][0].update(seq=10**4000),
        lambda d: d["entries"][0].update(seq=-1),
        lambda d: d["entries"][0].update(seq=1.5),
        lambda d: d["entries"][0].update(seq=None),
        lambda d: d.update(entries={"seq": 0}),
        lambda d: d.update(entries=[[]]),
        lambda d: d.update(about=[]),
        lambda d: d.update(message=3),
        lambda d: d["message"].update(page_no=10**4000),
        lambda d: d["message"].update(pages=10**4000),
        lambda d: d["message"].update(page="/dev/zero"),
        lambda d: d["message"].update(message_id="\u0661"),
        lambda d: d["message"].update(message_id=base64.b64encode(b"nobody").decode()),
        lambda d: d["message"].update(page_no=7),
        lambda d: d["message"].update(pages=9),
        lambda d: d["message"].update(ref="00" * 16),
        lambda d: d["message"].update(path=[base64.b64encode(bytes(32)).decode()]),
        lambda d: d["message"].update(seq=d["entries"][0]["seq"]),
        lambda d: d["message"].update(seq=-1),
    ],
)
def test_a_list_that_tells_something_else(bundle: Path, tmp_path: Path, change: Change) -> None:
    """What `bundle.json` says is compared with what is proved."""
    altered = tmp_path / "inner" / "altered"
    shutil.copytree(bundle, altered)
    (altered.parent / "elsewhere").write_text("x")
    rewrite(altered, change)
    assert check_here(altered) is not None


def test_links_pipes_and_files_without_end(bundle: Path, tmp_path: Path) -> None:
    """A bundle of somebody who means harm leads to no other file, waits for nobody, and fills no memory."""
    altered = tmp_path / "altered"

    def link(path: Path) -> None:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")

    def pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def endless(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(1 << 40)

    def device(path: Path) -> None:
        path.unlink()
        path.symlink_to("/dev/zero")

    for name in ("bundle.json", "log.vkey", "page.jsonl", next(n for n in listed(bundle) if n.startswith("leaves/"))):
        for act in (link, pipe, endless, device):
            shutil.copytree(bundle, altered)
            act(altered / name)
            said = check_here(altered)
            assert said is not None, (name, act)
            assert "link" in said or "too long" in said
            shutil.rmtree(altered)


def test_nothing_of_a_bundle_reaches_the_terminal_as_it_is(bundle: Path, tmp_path: Path) -> None:
    """Names and texts with control characters are shown escaped, in what is found and in what is refused."""
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    (altered / "\x1b[2J\u202e").write_text("x")
    done = check(altered)
    assert done.returncode == 1
    assert done.stderr.startswith("FAILED: ")
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"3", b"\xff", b"[" * 100_000, b'{"digest":"x"}'])
def test_a_list_that_is_none(bundle: Path, tmp_path: Path, text: bytes) -> None:
    """Refused in one way, with status 1 and a line of reason."""
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    (altered / "bundle.json").write_bytes(text)
    done = check(altered)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("FAILED: ")
    assert "Traceback" not in done.stderr


def test_a_log_under_another_key(bundle: Path, spec: CampaignSpec, tmp_path: Path) -> None:
    """A key that the auditor knows is stronger than the one in the bundle; what is no key is refused."""
    own = Ed25519PrivateKey.generate().public_key()
    other = vkey(spec.settings.origin, own)
    for text in (other, "nonsense", Witness(spec.settings.origin, own).vkey):
        assert check(bundle, "--vkey", text).returncode == 1
    altered = tmp_path / "altered"
    shutil.copytree(bundle, altered)
    (altered / "log.vkey").write_text(other)
    rewrite(altered, nothing)
    assert "has not signed" in (check_here(altered) or "")


def test_an_account_and_an_entry(spec: CampaignSpec, tmp_path: Path) -> None:
    """All entries under the account's reference, the look-up among them; or the one that was named."""
    with open_campaign(spec) as campaign:
        with campaign.database.read() as connection:
            account = connection.scalar(sa.select(tables.authorization.c.account_id).limit(1))
        made = evidence.prove(campaign, tmp_path / "account", account=account)
        assert len(made.entries) >= 2
        one = evidence.prove(campaign, tmp_path / "entry", seq=0)
        assert one.entries == (0,)
        assert made.size <= one.size == campaign.audit.state().size
    done = check(tmp_path / "account")
    assert done.returncode == 0, done.stderr
    assert "authorization.recorded" in done.stdout
    assert "log.read" in done.stdout
    assert str(account) not in "".join(path.read_text() for path in (tmp_path / "account").rglob("*") if path.is_file())
    done = check(tmp_path / "entry")
    assert done.returncode == 0, done.stderr
    assert "log.opened" in done.stdout


def test_an_account_with_its_conversations(spec: CampaignSpec, tmp_path: Path) -> None:
    """Entries of its mailboxes are in the bundle, each under its own reference, with a message's page where asked."""
    with open_campaign(spec) as campaign:
        conversation, ids = longest(campaign)
        owner = campaign.store.conversations([conversation])[conversation].owner_id
        assert owner is not None
        owned = {c.conversation_id: owner for page in campaign.store.population() for c in page if c.owner_id == owner}
        with campaign.database.read() as connection:
            refs = campaign.references.of(connection, owned | {owner: owner})
        made = evidence.prove(campaign, tmp_path / "account", account=owner)
        expected = [e["seq"] for e in query.show(campaign.audit, Filters(subjects=set(refs.values())))]
        assert list(made.entries) == expected
        kinds = {json.loads(line)["type"] for line in exporting.lines(campaign.audit, ExportFormat.JSONL)}
        assert "dev.migrator.conversation.rewrapped" in kinds
        evidence.prove(campaign, tmp_path / "page", account=owner, conversation=conversation, message=ids[0])
        other = next(c.conversation_id for page in campaign.store.population() for c in page if c.owner_id != owner)
        with pytest.raises(UsageError, match="does not own"):
            evidence.prove(campaign, tmp_path / "no", account=owner, conversation=other, message=ids[0])
    for name in ("account", "page"):
        assert check_here(tmp_path / name) is None
        about = json.loads((tmp_path / name / "bundle.json").read_text())["about"]
        assert refs[conversation] in about["conversations"]
        assert about["ref"] == refs[owner]
    subjects = {json.loads(path.read_bytes())["subject"] for path in (tmp_path / "account" / "leaves").iterdir()}
    assert subjects == {about["ref"], *about["conversations"]}
    rewrite(tmp_path / "account", lambda d: d["about"].pop("conversations"))
    assert "about somebody else" in (check_here(tmp_path / "account") or "")


@pytest.mark.parametrize("page_size", [1, 3, 5000])
def test_the_page_of_a_message(spec: CampaignSpec, tmp_path: Path, page_size: int) -> None:
    """The proved root is the logged one, for the first message and the last, however small the reads are."""
    with open_campaign(with_settings(spec, "execution", page_size=page_size)) as campaign:
        conversation, ids = longest(campaign)
        for number, identifier in enumerate((ids[0], ids[-1])):
            folder = tmp_path / str(number)
            evidence.prove(campaign, folder, conversation=conversation, message=identifier)
            assert check_here(folder) is None
            rows = [json.loads(line) for line in (folder / "page.jsonl").read_text().splitlines()]
            assert identifier in {base64.b64decode(row["message_id"]).decode() for row in rows}


def test_a_page_among_several(spec: CampaignSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a conversation of many pages only one is shown, and its place under the root is proved."""
    monkeypatch.setattr(pages, "PAGE_MESSAGES", 4)
    with open_campaign(spec) as campaign:
        conversation, ids = longest(campaign)
        ref = audit_review.look_up(campaign, conversation=conversation) or ""
        with campaign.database.read() as connection:
            found = pages._visible(connection, conversation)
            hashes, page_no = pages._pages(campaign, connection, found, ids[9].encode())
        assert page_no is not None
        assert len(hashes) == -(-len(ids) // 4)
        root = tree_hash(pages._Nodes(hashes), len(hashes))
        monkeypatch.setattr(pages, "_logged", lambda *_: (0, root.hex()))
        page = pages.prove_message(campaign, conversation, ref, ids[9])
        assert page.page_no == page_no == 2
        assert len(list(page.rows)) == 4
        path = [base64.b64decode(node) for node in page.path]
        assert includes(root, page.pages, hashes[2], 2, path)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "exactly one"),
        ({"account": "a", "seq": 1}, "exactly one"),
        ({"seq": 10**9}, "no entry 1000000000"),
        ({"seq": -1}, "no entry -1"),
        ({"account": "nobody"}, "can be linked"),
        ({"conversation": "no/body"}, "no such conversation"),
        ({"seq": 1, "message": "m"}, "in its conversation"),
    ],
)
def test_what_cannot_be_proved(spec: CampaignSpec, tmp_path: Path, named: dict[str, Any], said: str) -> None:
    """Said before anything is written."""
    with open_campaign(spec) as campaign, pytest.raises(UsageError) as caught:
        evidence.prove(campaign, tmp_path / "out", **named)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_message_that_is_not_there(spec: CampaignSpec, tmp_path: Path) -> None:
    """An unknown id, and a conversation that stayed sealed."""
    with open_campaign(spec) as campaign:
        conversation, _ = longest(campaign)
        with pytest.raises(UsageError, match="no such message"):
            evidence.prove(campaign, tmp_path / "a", conversation=conversation, message="nobody's")
        table = tables.conversation
        with campaign.database.read() as connection:
            sealed = list(connection.scalars(sa.select(table.c.conversation_id).where(table.c.mode == "sealed")))
        with pytest.raises(UsageError, match="no visible server history"):
            pages.prove_message(campaign, sealed[0], "00" * 16, "m")
        with pytest.raises(IntegrityError, match="no single entry"):
            pages.prove_message(campaign, conversation, "00" * 16, "m")


def test_a_folder_that_is_in_use(spec: CampaignSpec, tmp_path: Path) -> None:
    """Nothing is overwritten; a place that can't be written is said."""
    (tmp_path / "file").write_text("x")
    with open_campaign(spec) as campaign:
        with pytest.raises(UsageError, match="not empty"):
            evidence.prove(campaign, tmp_path, seq=0)
        with pytest.raises(UsageError, match="can't be written"):
            evidence.prove(campaign, tmp_path / "file", seq=0)


def test_stored_messages_that_were_changed(tmp_path: Path) -> None:
    """A ciphertext that is not the logged one has no proof."""
    spec = executed_campaign(tmp_path / "campaign")
    with open_campaign(spec) as campaign:
        conversation, ids = longest(campaign)
        with campaign.database.write("test") as connection:
            table = tables.message
            connection.execute(table.update().where(table.c.message_id == ids[0]).values(ciphertext=b"other"))
        with pytest.raises(IntegrityError, match="not those that the audit log has the root of"):
            evidence.prove(campaign, tmp_path / "out", conversation=conversation, message=ids[1])


def test_a_log_that_was_changed(tmp_path: Path) -> None:
    """A bundle with another entry in it, a checkpoint of another key: no proof is written."""
    spec = executed_campaign(tmp_path / "campaign")
    folder = tmp_path / "campaign" / "audit"
    log = PublishedLog(folder, origin=spec.settings.origin)
    with pytest.raises(AuditLogError, match="is not the one that was signed"):
        log.prove(3, b"another entry")
    checkpoint = folder / "checkpoint"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b"/migrator/", b"/migrateR/", 1))
    with pytest.raises(AuditLogError, match="does not verify"):
        PublishedLog(folder, origin=spec.settings.origin)
    checkpoint.unlink()
    with pytest.raises(AuditLogError, match="no checkpoint"):
        PublishedLog(folder, origin=spec.settings.origin)


def test_an_anchored_bundle(spec: CampaignSpec, tmp_path: Path) -> None:
    """Where anchors are configured, the bundle has the cosignature and the timestamp, and the verifier wants them."""
    audit = spec.directory / spec.settings.audit.directory
    log = PublishedLog(audit, origin=spec.settings.origin)
    public_key = Ed25519PublicKey.from_public_bytes(parse_vkey(log.vkey_text.decode()).public_key)
    server = Witness(spec.settings.origin, public_key)
    stranger = Witness(spec.settings.origin, public_key)
    with serving(server.answer) as url:
        values: dict[str, Any] = {"witnesses": {url: server.vkey}}
        if OPENSSL is None:
            made = None
            _prove_anchored(with_settings(spec, "audit", **values), tmp_path / "out")
        else:
            made = Authority(tmp_path / "tsa")
            with serving(made.answer) as tsa:
                stamped = {"timestamp_url": tsa, "timestamp_certificates": str(made.root)}
                _prove_anchored(with_settings(spec, "audit", **values, **stamped), tmp_path / "out")
    assert check(tmp_path / "out", "--witness", server.vkey).returncode == 0
    missing = check(tmp_path / "out", "--witness", stranger.vkey)
    assert missing.returncode == 1
    assert "has not signed" in missing.stderr
    if made is not None:
        done = subprocess.run(
            ["openssl", "ts", "-verify", "-data", "checkpoint", "-in", "checkpoint.tsr", "-CAfile", made.root],
            cwd=tmp_path / "out",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert next(kept.sizes(audit, kept.WITNESS)) == log.directory.checkpoint_sizes()[-1]


def _prove_anchored(spec: CampaignSpec, folder: Path) -> None:
    with open_campaign(spec) as campaign:
        evidence.prove(campaign, folder, seq=1)
