"""Anchors: asked over real HTTP, believed only when they verify, and kept beside the checkpoint."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from migrator.audit.anchors import http, kept, timestamp, witness
from migrator.audit.anchors.asking import Anchors, AnchorState
from migrator.audit.anchors.http import AnchorError
from migrator.audit.anchors.verifying import verify_anchors
from migrator.audit.directory import LogDirectory
from migrator.audit.findings import Verification
from migrator.core.errors import AuditLogError, ConfigError
from migrator.core.notes import Checkpoint, open_note, parse_vkey, vkey
from migrator.core.settings import AuditSettings
from tests.audit.anchor_servers import OPENSSL, Authority, Reply, Witness, serving
from tests.audit.naive_tree import Nodes, mth
from tests.support.notes import signed

ORIGIN = "example.org/migrator/dm"
LEAVES = [f"entry {n}".encode() for n in range(40)]


class Log:
    """A log in memory, and the folder in which its checkpoints lie."""

    def __init__(self, folder: Path, leaves: list[bytes] = LEAVES) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.folder = folder
        self.leaves = leaves

    def note(self, size: int) -> bytes:
        """The signed checkpoint of a size, also put where a log keeps it."""
        checkpoint = Checkpoint(origin=ORIGIN, size=size, root=mth(self.leaves[:size]))
        note = signed(checkpoint.body(), ORIGIN, self.key)
        path = self.folder / "checkpoints" / str(size)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(note)
        return note

    def ask(self, anchors: Anchors, size: int) -> list[tuple[str, AnchorState]]:
        """Ask about a checkpoint."""
        results = anchors.ask(self.note(size), Nodes(self.leaves[:size]))
        assert all(result.size == size for result in results)
        return [(result.name, result.state) for result in results]

    def checked(self, anchors: Anchors, size: int) -> list[tuple[str, AnchorState]]:
        """Check what is kept."""
        return [(result.name, result.state) for result in anchors.check(self.note(size))]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A log."""
    return Log(tmp_path)


@pytest.fixture
def one(log: Log) -> Iterator[tuple[Witness, Anchors]]:
    """A witness of the log that is running, and anchors that know it."""
    server = Witness(ORIGIN, log.key.public_key())
    with serving(server.answer) as url:
        yield server, Anchors(AuditSettings(witnesses={url: server.vkey}), log.folder, log.folder)


VOUCHES, UNREACHED, INVALID = AnchorState.VOUCHES, AnchorState.UNREACHED, AnchorState.INVALID


# --- witnesses ---


def test_a_witness_cosigns_as_the_log_grows(log: Log, one: tuple[Witness, Anchors]) -> None:
    """From nothing, then with a proof from what it cosigned last; the kept note verifies for anybody with its key."""
    server, anchors = one
    assert log.ask(anchors, 3) == [(server.name, VOUCHES)]
    assert log.ask(anchors, 27) == [(server.name, VOUCHES)]
    assert server.requests[0].startswith(b"old 0\n\nexample.org/")
    assert server.requests[1].startswith(b"old 3\n")
    assert len(server.requests) == 2
    cosigned = (log.folder / "checkpoints" / "27.witness").read_bytes()
    opened = open_note(cosigned, [parse_vkey(server.vkey)])
    assert Checkpoint.parse(opened.body).size == 27
    assert cosigned.startswith(log.note(27))
    assert log.checked(anchors, 27) == [(server.name, VOUCHES)]
    assert anchors.anchored_through() == 27


def test_what_vouches_already_is_not_asked_again(log: Log, one: tuple[Witness, Anchors]) -> None:
    """Asking twice costs one request."""
    server, anchors = one
    log.ask(anchors, 5)
    assert log.ask(anchors, 5) == [(server.name, VOUCHES)]
    assert len(server.requests) == 1


def test_a_witness_that_knows_more_than_we_remember(log: Log, one: tuple[Witness, Anchors]) -> None:
    """Its conflict says how far it is, and the second request is right; also at the very size that is asked."""
    server, anchors = one
    log.ask(anchors, 8)
    (log.folder / "checkpoints" / "8.witness").unlink()
    assert log.ask(anchors, 13) == [(server.name, VOUCHES)]
    assert [request.split(b"\n")[0] for request in server.requests] == [b"old 0", b"old 0", b"old 8"]
    (log.folder / "checkpoints" / "13.witness").unlink()
    assert log.ask(anchors, 13) == [(server.name, VOUCHES)]


def test_a_log_that_was_set_back_or_rewritten_is_found_out(log: Log, one: tuple[Witness, Anchors]) -> None:
    """Fewer entries than the witness has seen, other entries, another tree of the same size: never an outage."""
    _, anchors = one
    log.ask(anchors, 20)
    with pytest.raises(AuditLogError, match="has cosigned 20 entries, the log has 12"):
        log.ask(anchors, 12)
    log.leaves = [b"rewritten", *LEAVES[1:]]
    with pytest.raises(AuditLogError, match="does not begin with"):
        log.ask(anchors, 30)
    (log.folder / "checkpoints" / "20.witness").unlink()
    with pytest.raises(AuditLogError, match="another tree"):
        log.ask(anchors, 20)


@pytest.mark.parametrize(
    ("status", "said"), [(403, "status 403"), (404, "status 404"), (500, "status 500"), (302, "status 302")]
)
def test_a_witness_that_refuses(log: Log, status: int, said: str) -> None:
    """Every other status is a result with a reason, and nothing is kept."""
    server = Witness(ORIGIN, log.key.public_key())
    with serving(lambda *_: (status, "text/plain", b"no")) as url:
        anchors = Anchors(AuditSettings(witnesses={url: server.vkey}), log.folder, log.folder)
        (result,) = anchors.ask(log.note(4), Nodes(LEAVES[:4]))
    assert result.state is UNREACHED
    assert said in result.detail
    assert anchors.anchored_through() == 0


def _answers(server: Witness) -> dict[str, Reply]:
    stranger = Witness(ORIGIN, server.log_key, name=server.name)
    forged = Witness(ORIGIN, server.log_key, name=server.name)
    forged._key_id = server._key_id  # type: ignore[method-assign]  # claims another's key id
    text = Checkpoint(origin=ORIGIN, size=4, root=mth(LEAVES[:4])).body().encode()
    other = Checkpoint(origin=ORIGIN, size=4, root=bytes(32)).body().encode()
    late = Witness(ORIGIN, server.log_key, name=server.name)
    late.key, late.time = server.key, 2**63 - 1
    bodies = {
        "nothing": b"",
        "noise": b"\xff\x00",
        "no line": b"hello\n",
        "another key": stranger.cosign(text),
        "another's key id": forged.cosign(text),
        "another checkpoint": server.cosign(other),
        "cut off": server.cosign(text)[:-20] + b"\n",
        "in the year 292 billion": late.cosign(text),
    }
    replies = {name: (200, "text/plain", body) for name, body in bodies.items()}
    replies["endless"] = (200, "text/plain", bytes(http.MAX_ANSWER_BYTES + 1))
    replies["a size that is none"] = (409, "text/x.tlog.size", b"many\n")
    return replies


@pytest.mark.parametrize(
    "name",
    ["nothing", "noise", "no line", "another key", "another's key id", "another checkpoint", "cut off",
     "in the year 292 billion", "endless", "a size that is none"],
)  # fmt: skip
def test_answers_that_are_no_cosignature(log: Log, name: str) -> None:
    """Nothing but this witness's signature on this checkpoint counts."""
    server = Witness(ORIGIN, log.key.public_key())
    with serving(lambda *_: _answers(server)[name]) as url:
        anchors = Anchors(AuditSettings(witnesses={url: server.vkey}), log.folder, log.folder)
        assert log.ask(anchors, 4) == [(server.name, UNREACHED)]
    assert not (log.folder / "checkpoints" / "4.witness").exists()


def test_one_witness_that_is_away_costs_nobody_else(log: Log, one: tuple[Witness, Anchors]) -> None:
    """The other's cosignature is kept; when the first is back, both stand under the checkpoint."""
    server, anchors = one
    away = Witness(ORIGIN, log.key.public_key(), name="witness.example/w2")
    url = next(iter(anchors.witnesses)).url
    with serving(away.answer) as other_url:
        pass
    settings = AuditSettings(witnesses={other_url: away.vkey, url: server.vkey})
    both = Anchors(settings, log.folder, log.folder)
    assert log.ask(both, 6) == [(away.name, UNREACHED), (server.name, VOUCHES)]
    with serving(away.answer) as back:
        both = Anchors(AuditSettings(witnesses={back: away.vkey, url: server.vkey}), log.folder, log.folder)
        assert log.ask(both, 6) == [(away.name, VOUCHES), (server.name, VOUCHES)]
        assert sorted(log.checked(both, 6)) == [(server.name, VOUCHES), (away.name, VOUCHES)]
        # A witness that is no longer configured keeps its line when another one is added.
        third = Witness(ORIGIN, log.key.public_key(), name="witness.example/w3")
        with serving(third.answer) as third_url:
            alone = Anchors(AuditSettings(witnesses={third_url: third.vkey, url: server.vkey}), log.folder, log.folder)
            assert log.ask(alone, 6) == [(third.name, VOUCHES), (server.name, VOUCHES)]
    assert len(log.checked(both, 6)) == 2
    assert away.name.encode() in (log.folder / "checkpoints" / "6.witness").read_bytes()


def test_a_kept_cosignature_that_was_altered_is_found(log: Log, one: tuple[Witness, Anchors]) -> None:
    """Any changed byte of the checkpoint or the witness's line, or the file of another checkpoint in its place."""
    server, anchors = one
    log.ask(anchors, 9)
    path = log.folder / "checkpoints" / "9.witness"
    whole = path.read_bytes()
    for at in (3, whole.index(b"\n9\n") + 1, len(whole) - 20):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert log.checked(anchors, 9) == [("witness", INVALID)]
    log.ask(anchors, 10)
    path.write_bytes((log.folder / "checkpoints" / "10.witness").read_bytes())
    assert log.checked(anchors, 9) == [("witness", INVALID)]
    path.write_bytes(whole)
    assert log.checked(anchors, 9) == [(server.name, VOUCHES)]


def test_nobody_configured(log: Log) -> None:
    """Off by default: nothing is asked, nothing is kept."""
    anchors = Anchors(AuditSettings(), log.folder, log.folder)
    assert not anchors.configured
    assert log.ask(anchors, 4) == []
    assert log.checked(anchors, 4) == []
    assert anchors.anchored_through() == 0


# --- timestamps ---


def test_the_year_of_a_cosignature(log: Log, one: tuple[Witness, Anchors]) -> None:
    """The detail is the witness's own time."""
    server, anchors = one
    server.time = 1_778_241_600
    (result,) = anchors.ask(log.note(2), Nodes(LEAVES[:2]))
    assert result.detail.startswith("2026-05-08T12:00:00")
    signature = open_note(kept.cosigned(log.folder, 2) or b"", [parse_vkey(server.vkey)]).verified[0]
    assert witness.cosigned_at(signature) == server.time


needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="the timestamp authority of the tests is `openssl ts`")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Authority, str]]:
    """A timestamp authority that is running, and its address."""
    made = Authority(tmp_path / "tsa")
    with serving(made.answer) as url:
        yield made, url


def _stamping(log: Log, url: str) -> Anchors:
    settings = AuditSettings(timestamp_url=url, timestamp_certificates="tsa/root.pem")
    return Anchors(settings, log.folder, log.folder)


@needs_openssl
def test_a_timestamp_is_kept_and_verifies_by_openssl(log: Log, authority: tuple[Authority, str]) -> None:
    """Asked once, kept beside the checkpoint, checked again by us and by OpenSSL over the checkpoint's file."""
    made, url = authority
    anchors = _stamping(log, url)
    assert log.ask(anchors, 7) == [(url, VOUCHES)]
    assert log.ask(anchors, 7) == [(url, VOUCHES)]
    assert made.requests == 1
    (result,) = anchors.check(log.note(7))
    assert result.detail.startswith(datetime.now(UTC).strftime("%Y-%m"))
    assert anchors.anchored_through() == 7
    folder = log.folder / "checkpoints"
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-data", folder / "7", "-in", folder / "7.tsr", "-CAfile", made.root],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@needs_openssl
def test_a_timestamp_that_does_not_verify(log: Log, authority: tuple[Authority, str], tmp_path: Path) -> None:
    """Altered, of another checkpoint, of another request, of an authority with another root: not kept, or found."""
    made, url = authority
    anchors = _stamping(log, url)
    log.ask(anchors, 7)
    log.ask(anchors, 8)
    path = log.folder / "checkpoints" / "7.tsr"
    whole = path.read_bytes()
    for altered in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b"", path.with_name("8.tsr").read_bytes()):
        path.write_bytes(altered)
        assert log.checked(anchors, 7) == [("timestamp", INVALID)]
    replayed = (made.folder / "1.tsr").read_bytes()
    with serving(lambda *_: (200, "application/timestamp-reply", replayed)) as replaying:
        path.unlink()
        assert log.ask(_stamping(log, replaying), 7) == [(replaying, UNREACHED)]
        assert not path.exists()
    Authority(tmp_path / "other")
    settings = AuditSettings(timestamp_url=url, timestamp_certificates="other/root.pem")
    assert log.ask(Anchors(settings, log.folder, log.folder), 7) == [(url, UNREACHED)]
    assert not path.exists()


def test_an_authority_that_answers_nonsense(log: Log, tmp_path: Path) -> None:
    """A refusal and a page of text are results, not tracebacks."""
    Authority(tmp_path / "tsa")
    for reply in ((500, "text/html", b"oops"), (200, "text/html", b"<html>")):
        with serving(lambda *_, reply=reply: reply) as url:
            assert log.ask(_stamping(log, url), 7) == [(url, UNREACHED)]


def test_certificates_that_are_none(tmp_path: Path) -> None:
    """Missing, no PEM, without a root: named before anybody is asked."""
    (tmp_path / "text.pem").write_text("hello")
    made = Authority(tmp_path / "tsa")
    for name in ("missing.pem", "text.pem"):
        with pytest.raises(ConfigError, match="can't be read as certificates"):
            timestamp.load_authority("http://x/", tmp_path / name)
    with pytest.raises(ConfigError, match="no root"):
        timestamp.load_authority("http://x/", made.folder / "tsa.pem")


# --- audit verify ---


def _notes(log: Log, anchors: Anchors, size: int) -> list[tuple[str, int | None]]:
    found = Verification(size=size)
    verify_anchors(anchors, LogDirectory(log.folder), found)
    return [(finding.kind.value, finding.at) for finding in found.findings]


def test_verification_says_how_far_somebody_vouches(log: Log, one: tuple[Witness, Anchors]) -> None:
    """Nothing while it is the newest; then the tail, which is no fault; all of it where nobody is configured."""
    _, anchors = one
    log.ask(anchors, 10)
    assert _notes(log, anchors, 10) == []
    assert _notes(log, anchors, 15) == [("unanchored_tail", 10)]
    nobody = Anchors(AuditSettings(), log.folder, log.folder)
    assert _notes(log, nobody, 15) == [("unanchored_tail", 0)]


def test_verification_finds_altered_answers(log: Log, one: tuple[Witness, Anchors]) -> None:
    """An altered cosignature, one beside a checkpoint that is gone, one beside a checkpoint that is no note."""
    _, anchors = one
    for size in (10, 12, 14):
        log.ask(anchors, size)
    folder = log.folder / "checkpoints"
    path = folder / "10.witness"
    path.write_bytes(path.read_bytes().replace(b"\n10\n", b"\n11\n"))
    (folder / "12").unlink()
    (folder / "14").write_bytes(b"no note")
    assert _notes(log, anchors, 14) == [("anchor", 10), ("anchor", 12), ("anchor", 14), ("unanchored_tail", 0)]


# --- settings ---


@pytest.mark.parametrize(
    "settings",
    [
        {"witnesses": {"ftp://w/": "KEY"}},
        {"witnesses": {"https://user:password@w/": "KEY"}},
        {"witnesses": {"https://w/?q=1": "KEY"}},
        {"witnesses": {"https://w/": "not a key"}},
        {"witnesses": {"https://w/": "LOG KEY"}},
        {"timestamp_url": "https://tsa/"},
        {"timestamp_url": "tsa", "timestamp_certificates": "x.pem"},
    ],
)
def test_settings_that_make_no_sense(log: Log, settings: dict[str, dict[str, str] | str]) -> None:
    """Refused when they are read, a log's own key in the place of a witness's too."""
    good = Witness(ORIGIN, log.key.public_key()).vkey
    own = vkey(ORIGIN, log.key.public_key())
    values = {"KEY": good, "LOG KEY": own}
    filled = {
        name: {url: values.get(key, key) for url, key in value.items()} if isinstance(value, dict) else value
        for name, value in settings.items()
    }
    with pytest.raises(ValueError, match=r"."):
        AuditSettings.model_validate(filled)
    assert AuditSettings(witnesses={"https://w/": good}).witnesses


def test_an_address_where_nobody_is() -> None:
    """A closed port, a name that can't be, are `AnchorError`."""
    with serving(lambda *_: (200, "text/plain", b"")) as url:
        pass
    for address in (url, "http://[::1"):
        with http.client() as connections, pytest.raises(AnchorError, match="can't be reached"):
            http.post(connections, address, b"", "text/plain")
