"""A campaign whose every row a test lays by hand: a store, keys that open it, answers, notices and exports.

Nothing here goes through the import of signed files, which has tests of its own: rows stand as an import leaves them.
"""

import hashlib
import json
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from migrator import recipient_key, setup
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.client.sealing import Recipient
from migrator.core.clock import FixedClock, format_time
from migrator.core.encoding import b64url_encode, canonical_json
from migrator.core.export import part_info
from migrator.core.progress import NoProgress
from migrator.core.settings import Settings
from migrator.database import tables
from migrator.execution.coordinator import RunOptions, StopSignal, execute, resume
from migrator.execution.runs import RunSummary
from migrator.planning.making import PlanSummary, make_plan
from migrator.schemes.labyrinth_format import seal_many, thread_of
from tests.execution.inline import InlineEngine, NoStop
from tests.stores.mailboxes import Mailboxes

CUTOVER = datetime(2026, 5, 8, tzinfo=UTC)
NOW = CUTOVER + timedelta(days=1)
NOTICED = CUTOVER - timedelta(days=70)
ANSWERED = CUTOVER - timedelta(days=30)
KEY = bytes(range(32))
"""The message key of all that `Bench.messages` writes, unless told otherwise."""
EPOCH = "epoch-1"
_TEMPLATES: list[TemporaryDirectory[str]] = []


def content_of(number: int) -> bytes:
    """What message `number` of `Bench.messages` says."""
    return b"what was said in message %d" % number


def settings_of(sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings by section, over one page of a thousand messages and the owner's quorum."""
    given: dict[str, dict[str, Any]] = {
        "campaign": {"name": "bench", "cutover_at": CUTOVER},
        "source": {"url": "sqlite:///store.db"},
        "authorization": {"quorum": "owner"},
        "execution": {"page_size": 1000, "workers": 1, "max_failures": "100%"},
    }
    merged = {name: given.get(name, {}) | dict(sections.get(name, {})) for name in given.keys() | sections.keys()}
    return Settings.model_validate(merged)


@cache
def _template(serialized: str) -> Path:
    """A campaign that was set up over an empty store, made once for all tests of a process."""
    _TEMPLATES.append(TemporaryDirectory(prefix="migrator-test-"))
    folder = Path(_TEMPLATES[-1].name) / "campaign"
    folder.mkdir()
    Mailboxes(folder / "store.db").close()
    settings = Settings.model_validate_json(serialized)
    setup.initialise(CampaignSpec(settings=settings, directory=folder, clock=FixedClock(NOTICED), actor="tester"))
    return folder


class Bench:
    """The campaign in a folder of its own, after its cutover, with a store of no accounts."""

    def __init__(self, folder: Path, **sections: Mapping[str, Any]) -> None:
        settings = settings_of(sections)
        shutil.copytree(_template(settings.model_dump_json(by_alias=True)), folder)
        self.folder = folder
        self.spec = CampaignSpec(settings=settings, directory=folder, clock=FixedClock(NOW), actor="tester")
        self._engine = self._connect()
        with self._engine.begin() as connection:
            key = recipient_key.current(connection)
        self.recipient = Recipient(recipient_key_id=key.recipient_key_id, kem=key.kem, public_key=key.public_key)

    def _connect(self) -> sa.Engine:
        return sa.create_engine(f"sqlite:///{self.folder / 'migrator.db'}", poolclass=sa.NullPool)

    def at(self, moment: datetime) -> None:
        """Move the campaign's clock."""
        self.spec = replace(self.spec, clock=FixedClock(moment))

    @contextmanager
    def open(self, *, read_only: bool = False) -> Iterator[Campaign]:
        """The campaign, open."""
        with open_campaign(self.spec, read_only=read_only) as campaign:
            yield campaign

    @contextmanager
    def database(self) -> Iterator[sa.Connection]:
        """The migrator database as somebody uses it who is not migrator."""
        with self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA synchronous = OFF")
            yield connection

    # --- the source ---

    def source(self, statement: str, rows: Iterable[Sequence[Any]] = ((),)) -> None:
        """What the platform does with its store."""
        connection = sqlite3.connect(self.folder / "store.db")
        connection.execute("PRAGMA synchronous = OFF")
        with connection:
            connection.executemany(statement, rows) if "?" in statement else connection.execute(statement)
        connection.close()

    def account(self, account_id: str, *, answer: str | None = "grant", noticed: bool = True, **values: Any) -> None:
        """An account with a mailbox, that granted everything and was told in time, unless said otherwise."""
        row = {"email": None, "locale": "en", "timezone": "UTC", "region": "EU", "jurisdiction": "DE",
               "age_band": "adult", "guardian_account_id": None, "status": "active",
               "created_at": "2020-01-01T00:00:00Z", **values}  # fmt: skip
        marks = ", ".join("?" * (len(row) + 1))
        self.source(
            f"INSERT INTO account (account_id, {', '.join(row)}) VALUES ({marks})", [(account_id, *row.values())]
        )
        self.source("INSERT INTO inbox VALUES (?, ?)", [(f"in-{account_id}", account_id)])
        if answer is not None:
            self.answer(account_id, answer)
        if noticed:
            self.notice(account_id)

    def thread(self, owner: str, other: str, *, members: Sequence[str] | None = None) -> str:
        """The owner's copy of a direct thread; with `members`, of a group."""
        inbox = f"in-{owner}"
        kind = "direct" if members is None else "group"
        self.source("INSERT INTO thread VALUES (?, ?, ?)", [(inbox, other, kind)])
        named = (owner, other) if members is None else members
        self.source("INSERT INTO thread_member VALUES (?, ?, ?)", [(inbox, other, member) for member in named])
        return f"{inbox}/{other}"

    def messages(
        self,
        conversation_id: str,
        numbers: Iterable[int],
        *,
        key: bytes = KEY,
        epoch: str = EPOCH,
        sender: str = "them",
    ) -> None:
        """Messages m<number> at that many milliseconds, which say `content_of(number)`."""
        wanted = list(numbers)
        thread = thread_of(conversation_id)
        nonces = [hashlib.sha256(f"{conversation_id}:{number}".encode()).digest()[:28] for number in wanted]
        sealed = seal_many([key] * len(wanted), nonces, [thread] * len(wanted), [content_of(n) for n in wanted])
        rows = [(number, f"m{number:06}", data) for number, data in zip(wanted, sealed, strict=True)]
        self.rows(conversation_id, [(*row, epoch) for row in rows], sender=sender)

    def rows(self, conversation_id: str, rows: Iterable[Sequence[Any]], *, sender: str = "them") -> None:
        """Message rows as they are: sent at, id, ciphertext, epoch."""
        inbox, _, thread = conversation_id.partition("/")
        self.source(
            "INSERT INTO message (inbox_id, thread_id, sent_at, message_id, encrypted_message_data, epoch_id, version, "
            "sender_id) VALUES (?, ?, ?, ?, ?, ?, 4, ?)",
            [(inbox, thread, *row, sender) for row in rows],
        )

    # --- what people handed in ---

    def answer(
        self,
        account_id: str,
        answer: str,
        *,
        decided_at: datetime = ANSWERED,
        valid_until: datetime | None = None,
        guardian: str | None = None,
        threads: Sequence[str] | None = None,
    ) -> int:
        """A recorded answer, for everything or for threads by key; its number."""
        with self.database() as connection:
            table = tables.authorization
            made = connection.execute(
                table.insert().values(
                    record_id=str(uuid.uuid4()), record_sha256="00" * 32, account_id=account_id, guardian_id=guardian,
                    answer=answer, covers_all=threads is None, decided_at=format_time(decided_at),
                    valid_until=format_time(valid_until) if valid_until else None, notice_id="cutover",
                    notice_version="1", notice_locale="en", recorded_at=format_time(decided_at), record="",
                )
            )  # fmt: skip
            number = int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
            for key in threads or ():
                connection.execute(tables.authorization_scope.insert().values(authorization_no=number, thread_key=key))
            version = tables.campaign.c.authorization_version
            connection.execute(tables.campaign.update().values(authorization_version=version + 1))
        return number

    def notice(self, account_id: str, sent_at: datetime | None = NOTICED, *, notice_id: str = "cutover") -> None:
        """A notice that was sent; without a time, one that failed."""
        with self.database() as connection:
            connection.execute(
                tables.notice.insert().values(
                    account_id=account_id, notice_id=notice_id, channel="maildir", version="1",
                    state="sent" if sent_at else "failed", queued_at=format_time(NOTICED),
                    sent_at=format_time(sent_at) if sent_at else None,
                )
            )  # fmt: skip

    def keys(
        self, account_id: str, conversations: Sequence[str], *, key: bytes = KEY, epoch: str = EPOCH, **changes: Any
    ) -> int:
        """A `keys` export that opens what `messages` wrote; its number."""
        entries = [
            {
                "conversation_id": c,
                "epoch_id": epoch,
                "epoch_sequence": 1,
                "version": 4,
                "message_key": b64url_encode(key),
            }
            for c in conversations
        ]
        coverage = [{"epoch_id": epoch, "versions": [4]}]
        return self.export(account_id, entries, dict.fromkeys(conversations, (1, coverage)), **changes)

    def history(self, account_id: str, entries: Sequence[Mapping[str, Any]], **changes: Any) -> int:
        """A `history` export of these messages; its number."""
        listed: dict[str, tuple[int, list[Any]]] = {}
        for entry in entries:
            listed[entry["conversation_id"]] = (listed.get(entry["conversation_id"], (0, []))[0] + 1, [])
        return self.export(account_id, entries, listed, kind="history", **changes)

    def export(
        self,
        account_id: str,
        entries: Sequence[Mapping[str, Any]],
        listed: Mapping[str, tuple[int, list[Any]]],
        *,
        kind: str = "keys",
        refused: str | None = None,
    ) -> int:
        """An export with one part, sealed to the campaign's key."""
        export_id = str(uuid.uuid4())
        plaintext = b"".join(canonical_json(dict(entry)) + b"\n" for entry in entries)
        sealed = self.recipient.seal(plaintext, part_info(export_id, 0))
        manifest = json.dumps({"conversations": [{"id": c, "messages": n} for c, (n, _) in listed.items()]}).encode()
        with self.database() as connection:
            made = connection.execute(
                tables.export.insert().values(
                    export_id=export_id, account_id=account_id, kind=kind, scheme="labyrinth",
                    created_at=format_time(ANSWERED), recipient_key_id=self.recipient.recipient_key_id,
                    manifest_sha256="00" * 32, manifest=f"e30.{b64url_encode(manifest)}.e30", refused=refused,
                    recorded_at=format_time(ANSWERED),
                )
            )  # fmt: skip
            number = int(made.inserted_primary_key[0]) if made.inserted_primary_key else 0
            connection.execute(
                tables.export_part.insert().values(
                    export_no=number, part_no=0, sha256=hashlib.sha256(sealed).hexdigest(), sealed=sealed
                )
            )
            for conversation_id, (messages, coverage) in listed.items():
                connection.execute(
                    tables.export_conversation.insert().values(
                        conversation_id=conversation_id, export_no=number, messages=messages,
                        coverage=canonical_json(coverage).decode(),
                    )
                )  # fmt: skip
        return number

    # --- work ---

    def plan(self, **part: str) -> PlanSummary:
        """A new plan, for everything or for a part: `cohort`, `limit`."""
        with self.open() as campaign:
            return make_plan(campaign, save=None, progress=NoProgress(), **part)

    def run(self, plan: str | None = None, *, stop: StopSignal | None = None, **options: Any) -> RunSummary:
        """Execute a plan, by default a new one, in this process."""
        plan = self.plan().plan_id if plan is None else plan
        with self.open() as campaign:
            return run_in(campaign, plan, stop, **options)

    def resume(self, run_id: str | None = None, *, stop: StopSignal | None = None, **options: Any) -> RunSummary:
        """Go on with a run, by default the latest."""
        with self.open() as campaign:
            given = RunOptions(**{"engine": InlineEngine(campaign)} | options)
            return resume(campaign, run_id, given, NoProgress(), stop or NoStop())

    def all(self, table: sa.Table) -> list[dict[str, Any]]:
        """Every row of a table."""
        with self.database() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def outcomes(self, run_id: str) -> dict[str, tuple[str, int, int]]:
        """Outcome, messages and gaps by conversation."""
        names = {row["conversation_no"]: row["conversation_id"] for row in self.all(tables.conversation)}
        return {
            names[row["conversation_no"]]: (row["outcome"], row["messages"], row["gaps"])
            for row in self.all(tables.item)
            if row["run_id"] == run_id
        }

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a type."""
        return [json.loads(row["data"]) for row in self.all(tables.outbox) if row["type"] == kind]


def run_in(campaign: Campaign, plan: str, stop: StopSignal | None = None, **options: Any) -> RunSummary:
    """Execute a plan on a campaign that is open already, with an engine in this process unless another is given."""
    given = RunOptions(**{"engine": InlineEngine(campaign)} | options)
    return execute(campaign, plan, given, NoProgress(), stop or NoStop())


def entry(conversation_id: str, number: int, *, sender: str = "them", content: str | None = None) -> dict[str, Any]:
    """A line of a `history` export for message `number`."""
    return {
        "conversation_id": conversation_id,
        "message_id": f"m{number:06}",
        "sender_id": sender,
        "sent_at": number,
        "content_type": "text/plain",
        "content": content if content is not None else f"history of {number}",
    }
