"""What the server history of a bench says, opened again, and roots worked out a second time from the rows."""

import hashlib
import json
from typing import Any

import sqlalchemy as sa

from migrator.core.envelope import DataKey, associated_data, open_message
from migrator.core.merkle import root_of
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution.coordinator import RunOptions, resume
from migrator.keyservices.interface import KeyRefusal
from tests.execution.bench import Bench, run_in
from tests.execution.inline import InlineEngine, NoStop


class Killed(BaseException):
    """The process ends here."""


def history(bench: Bench, conversation_id: str) -> dict[tuple[int, str], tuple[str, bytes]]:
    """Sender and content of each message of a conversation, by place."""
    number = number_of(bench, conversation_id)
    keys: dict[int, DataKey] = {}
    with bench.open() as campaign:
        for row in bench.all(tables.data_key):
            if row["wrapped_keyset"] is None:
                continue
            service = campaign.key_services.named(row["key_service"])
            answer = service.unwrap([(row["wrapped_keyset"], row["context"].encode())])[0]
            assert not isinstance(answer, KeyRefusal)
            keys[row["key_id"]] = DataKey.from_keyset(answer, row["key_id"])
    found = {}
    for row in bench.all(tables.message):
        if row["conversation_no"] == number:
            bound = associated_data(
                conversation_id, row["message_id"], row["sender_id"], row["sent_at"], row["content_type"]
            )
            content = open_message(keys[row["key_id"]], row["ciphertext"], bound)
            found[row["sent_at"], row["message_id"]] = (row["sender_id"], content)
    return found


def number_of(bench: Bench, conversation_id: str) -> int:
    """The number of a conversation."""
    rows = bench.all(tables.conversation)
    return int(next(row["conversation_no"] for row in rows if row["conversation_id"] == conversation_id))


def gaps(bench: Bench, conversation_id: str) -> dict[tuple[int, str], str]:
    """Reason of each gap of a conversation, by place."""
    number = number_of(bench, conversation_id)
    return {
        (row["sent_at"], row["message_id"]): row["reason"]
        for row in bench.all(tables.gap)
        if row["conversation_no"] == number
    }


def defined_root(bench: Bench, conversation_id: str) -> str:
    """`items_root` by its definition (formats, section 7), from the rows of source and server alone."""
    inbox, _, thread = conversation_id.partition("/")
    engine = sa.create_engine(f"sqlite:///{bench.folder / 'store.db'}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        source: dict[tuple[int, bytes], bytes] = {
            (at, name.encode()): data
            for at, name, data in connection.exec_driver_sql(
                "SELECT sent_at, message_id, encrypted_message_data FROM message WHERE inbox_id = ? AND thread_id = ?",
                (inbox, thread),
            )
        }
    number = number_of(bench, conversation_id)
    server = {
        (row["sent_at"], row["message_id"].encode()): row["ciphertext"]
        for row in bench.all(tables.message)
        if row["conversation_no"] == number
    }
    parts = [(place[1], source.get(place, b""), server.get(place, b"")) for place in sorted(source.keys() | server)]
    pages = [
        b"".join(len(piece).to_bytes(4, "big") + piece for message in parts[at : at + 1000] for piece in message)
        for at in range(0, len(parts), 1000)
    ]
    return root_of([hashlib.sha256(page).digest() for page in pages]).hex()


def rewrapped(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    """What a run's events say of the conversations that it showed."""
    return [
        json.loads(row["data"])
        for row in bench.all(tables.outbox)
        if row["type"] == "conversation.rewrapped" and row["run_id"] == run_id
    ]


def run_killed(bench: Bench, label: str, *, times: int = 1, plan: str | None = None) -> None:
    """Execute (or resume, without a plan) up to the n-th commit of a label, right after which the process ends."""
    left = times

    def pull_the_plug(found: str, moment: str) -> None:
        nonlocal left
        if (found, moment) == (label, "after"):
            left -= 1
            if left == 0:
                raise Killed

    with bench.open() as campaign:
        campaign.database.boundary = pull_the_plug
        try:
            if plan is not None:
                run_in(campaign, plan)
            else:
                resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())
        except Killed:
            return
    raise AssertionError(f"the run never came to {times} of {label!r}")
