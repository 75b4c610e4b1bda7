"""G5: plaintext and key bytes exist only in process memory: in no file, log, report, audit entry or temporary file."""

import base64
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tink import json_proto_keyset_format, secret_key_access
from tink.proto import aes_gcm_pb2, tink_pb2

from fixtures.messages import MARKER, VERSIONS
from fixtures.sealing import Sealer
from fixtures.world import FaultShares, Shape, UserShares, World
from migrator.campaign import CampaignSpec, open_campaign, reference_context
from migrator.cli.main import run as run_program
from migrator.execution import session, small
from migrator.keyservices.interface import KeyRefusal
from tests.execution.inline import InlineEngine
from tests.guarantees.support import DEADLINE, Operator, ended_within, family, plan, shell_campaign
from tests.support.campaigns import LATE, RUN
from tests.verification.support import rows

_SHAPE = Shape(
    accounts=14,
    conversations=24,
    messages=500,
    huge=1500,
    seed=9,
    users=UserShares.none(history_export=0.2, partial_export=0.2, too_broad_export=0.1),
    faults=FaultShares(flipped=0.005),
)
_LOUD = ("--log-level", "debug", "--log-format", "json", "--stats", "1s")


def test_a_whole_campaign_leaves_no_secret_behind(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No leaks: run with debug logs, killed, resumed, failing, reported, verified, read, extended and rolled back."""
    tmp_path = tmp_path_factory.mktemp("leaks")  # a short path: processes make sockets in TMPDIR, of 107 bytes at most
    outputs = tmp_path / "outputs"
    temporary = tmp_path / "tmp"
    for folder in (outputs, temporary):
        folder.mkdir()
    variables = {"AUTHORIZATION_QUORUM": "owner", "EXECUTION_PAGE_SIZE": "100", "EXECUTION_MAX_FAILURES": "100%"}
    spec, operator = shell_campaign(tmp_path / "campaign", _SHAPE, **variables)
    operator = Operator(operator.folder, RUN, (*operator.variables, ("TMPDIR", str(temporary))))
    plan_id = plan(spec)
    killed_in_the_middle(spec, operator, plan_id, outputs)
    secrets = all_secrets(spec)
    victim = "UPDATE message SET message_id = CAST(message_id AS BLOB) WHERE inbox_id = 'in00000002'"
    with_source(spec, victim)
    for number, (moment, arguments) in enumerate(
        (
            (RUN, ("resume", "--workers", "1")),
            (RUN, ("status",)),
            (RUN, ("verify",)),
            (RUN, ("report", "--save", "report")),
            (LATE, ("exports", "import", "hand-in/late")),
            (LATE, ("plan", "--save", "late.json")),
            (LATE, ("execute", "late.json", "--workers", "1", "-o", "jsonl")),
            (LATE, ("audit", "show")),
            (LATE, ("config", "show")),
        )
    ):
        loudly(operator.later(moment), outputs / str(number), *arguments)
    shown = rows(spec, "SELECT conversation_id FROM migrator_conversation WHERE mode = 'server'")[0][0]
    reading = operator.start("read", shown, "--reason", "test", *_LOUD, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    content, log = reading.communicate(timeout=DEADLINE)
    assert MARKER in content, "reading is the one command that prints content"
    (outputs / "read").write_bytes(log)
    search = Search(secrets | all_secrets(spec))
    found = {
        (str(path.relative_to(tmp_path)), name)
        for path in sorted(tmp_path.rglob("*"))
        if path.is_file()
        for name in search.kinds_in(path.read_bytes())
    }
    own = {("campaign/keys/migrator.json", "key service"), ("campaign/audit.key", "audit key")}
    assert found == own, "the search finds the two that must be there, and nothing else"


def killed_in_the_middle(spec: CampaignSpec, operator: Operator, plan_id: str, outputs: Path) -> None:
    """Start a run, look at its processes while it is at work, and kill it."""
    with (outputs / "killed").open("wb") as output:
        process = operator.start("execute", plan_id, "--workers", "2", *_LOUD, stdout=output, stderr=output)
        while not ended_within(process, 0.02) and not rows(spec, "SELECT 1 FROM migrator_message LIMIT 1"):
            pass
        members = family(process)
        limits = [member.rlimit(psutil.RLIMIT_CORE) for member in members if member.is_running()]
        assert len(limits) >= 3, (outputs / "killed").read_text()[-2000:]
        assert set(limits) == {(0, 0)}, "no process of the program leaves a core dump"
        process.kill()
        process.wait()
        psutil.wait_procs(members, timeout=DEADLINE)


def loudly(operator: Operator, output: Path, *arguments: str) -> None:
    """Run with everything that can be logged, all of it kept."""
    with output.open("wb") as file:
        process = operator.start(*arguments, *_LOUD, stdout=file, stderr=file)
        assert process.wait(timeout=DEADLINE) in (0, 30), (arguments, output.read_text()[-2000:])


def with_source(spec: CampaignSpec, statement: str) -> None:
    """Change the source underneath."""
    connection = sqlite3.connect(spec.directory / "store.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


# --- what must not be found ---


def all_secrets(spec: CampaignSpec) -> dict[bytes, str]:
    """Every secret of the campaign by its raw bytes, with its kind."""
    world = World(_SHAPE)
    sealer = Sealer(world)
    found = {MARKER: "plaintext"}
    for place, copy in enumerate(world.copies):
        owner = world.people[copy.owner]
        for epoch in range(owner.epochs):
            found[world.epoch_root_key(owner, epoch)] = "epoch root key"
            for version in VERSIONS.tolist():
                found[sealer.message_key(place, epoch, version, copy.thread_id)] = "message key"
    for person in world.people:
        found[world.device_key(person.device_id).private_bytes_raw()] = "device key"
    found.update(keys_of_the_campaign(spec))
    return found


def keys_of_the_campaign(spec: CampaignSpec) -> dict[bytes, str]:
    """Data keys, reference key, recipient key, the key service's own, and the log's."""
    found: dict[bytes, str] = {}
    with open_campaign(spec) as campaign:
        wrapped = [
            (row[0], row[1].encode(), "data key")
            for row in rows(spec, "SELECT wrapped_keyset, context FROM migrator_data_key")
        ]
        reference = rows(spec, "SELECT wrapped_reference_key FROM migrator_campaign")[0][0]
        wrapped.append((reference, reference_context(campaign.name), "reference key"))
        recipient, context = rows(spec, "SELECT wrapped_private_key, context FROM migrator_recipient_key")[0]
        wrapped.append((recipient, context.encode(), "recipient key"))
        service = campaign.key_services.default()
        for (secret, _, kind), answer in zip(wrapped, service.unwrap([w[:2] for w in wrapped]), strict=True):
            assert secret is not None
            assert not isinstance(answer, KeyRefusal)
            found[key_value(answer) if kind == "data key" else answer] = kind
    text = (spec.directory / "keys" / "migrator.json").read_text()
    for key in json.loads(text)["key"]:
        found[aes_gcm_pb2.AesGcmKey.FromString(base64.b64decode(key["keyData"]["value"])).key_value] = "key service"
    assert json_proto_keyset_format.parse(text, secret_key_access.TOKEN)
    pem = load_pem_private_key((spec.directory / "audit.key").read_bytes(), None)
    assert isinstance(pem, Ed25519PrivateKey)
    found[pem.private_bytes_raw()] = "audit key"
    return found


def key_value(keyset: bytes) -> bytes:
    """The raw key in a serialized keyset."""
    data = tink_pb2.Keyset.FromString(keyset).key[0].key_data.value
    value: bytes = aes_gcm_pb2.AesGcmKey.FromString(data).key_value
    return value


def forms(secret: bytes) -> Iterator[bytes]:
    """A secret as it is, in hex, and in both base64 alphabets wherever it may stand in what is encoded."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        padded = bytes(shift) + secret
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            # Only the digits that depend on nothing but the secret.
            yield encode(padded)[-(-8 * shift // 6) : 8 * len(padded) // 6]


class Search:
    """Looks for many secrets at once, by the first eight bytes of each of their forms."""

    WINDOW = 8

    def __init__(self, secrets: dict[bytes, str]) -> None:
        self.patterns: dict[int, list[tuple[bytes, str]]] = {}
        for secret, kind in secrets.items():
            for form in forms(secret):
                self.patterns.setdefault(int.from_bytes(form[: self.WINDOW], "little"), []).append((form, kind))
        self.beginnings = np.array(list(self.patterns), dtype=np.uint64)

    def kinds_in(self, data: bytes) -> set[str]:
        """Kinds of the secrets that stand in some bytes, in any form."""
        if len(data) < self.WINDOW:
            return set()
        octets = np.frombuffer(data, dtype=np.uint8)
        windows = np.zeros(len(data) - self.WINDOW + 1, dtype=np.uint64)
        for place in range(self.WINDOW):
            windows |= octets[place : len(windows) + place].astype(np.uint64) << np.uint64(8 * place)
        hits = np.unique(windows[np.isin(windows, self.beginnings)]).tolist()
        return {kind for hit in hits for form, kind in self.patterns[hit] if form in data}


@pytest.mark.parametrize("wrap", [bytes, bytes.hex, base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"x", b"xy", b"xyz"])
def test_the_search_finds_what_is_there(wrap: object, before: bytes) -> None:
    """No leaks: a search that can't find a secret would find none."""
    secret = bytes(range(200, 232))
    assert callable(wrap)
    encoded = wrap(before + secret + b"behind")
    text = encoded.encode() if isinstance(encoded, str) else bytes(encoded)
    assert Search({secret: "it"}).kinds_in(b"{..." + text + b"}") == {"it"}
    assert Search({bytes(32): "it"}).kinds_in(b"{..." + text[:-14] + b"}") == set()


def test_a_bug_in_the_middle_of_a_page_shows_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No leaks: an exception that carries content, raised among locals that hold content and keys, is told without."""
    spec, operator = shell_campaign(tmp_path / "campaign", _SHAPE, AUTHORIZATION_QUORUM="owner")
    plan_id = plan(spec)
    for name, value in operator.variables:
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(spec.directory)
    raised: list[str] = []

    def broken(*given: object) -> None:
        raised.append(repr(given))
        raise RuntimeError(repr(given))

    monkeypatch.setattr(small, "seal_page", broken)
    with open_campaign(spec) as campaign:
        monkeypatch.setattr(session, "engine_of", lambda *_: InlineEngine(campaign))
        arguments = ["execute", plan_id, *_LOUD, "--now", RUN.isoformat()]
        capsys.readouterr()
        assert run_program(arguments) == 1
    shown = capsys.readouterr()
    assert MARKER.decode() in raised[0]
    assert Search(all_secrets(spec)).kinds_in((shown.out + shown.err).encode()) == set()
    assert "RuntimeError" in shown.err
