"""A campaign whose local wrapping keys can be rotated as Tink's own tools do, and what its rows then are."""

import json
from dataclasses import replace
from pathlib import Path

from migrator import evidence, keys, verification
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.keys import RewrapResult
from tests.execution.bench import Bench
from tests.support.key_services import rotate_keyset

OWN, EU, US = "local:keys#migrator", "local:eu#migrator", "local:us#migrator"


def bench_in(folder: Path, conversations: int = 3, messages: int = 4, **key_settings: object) -> Bench:
    """So many people with a conversation each, in EU and US in turn."""
    bench = Bench(folder / "campaign", keys=key_settings, execution={"page_size": 50, "max_failures": "100%"})
    for number in range(conversations):
        owner = f"user{number}"
        bench.account(owner, region=("EU", "US")[number % 2])
        name = bench.thread(owner, "x")
        bench.messages(name, range(messages))
        bench.keys(owner, [name])
    return bench


def configure(bench: Bench, **changes: object) -> None:
    """The operator edits `[keys]`."""
    settings = bench.spec.settings
    changed = settings.keys.model_copy(update=changes)
    bench.spec = replace(bench.spec, settings=settings.model_copy(update={"keys": changed}))


def rotate(bench: Bench, folder: str = "keys") -> str:
    """Give a local keyset a new primary key; the new version."""
    return rotate_keyset(bench.folder / folder / "migrator.json")


def disable_old(bench: Bench, folder: str = "keys") -> None:
    """Leave only the primary key enabled."""
    path = bench.folder / folder / "migrator.json"
    keyset = json.loads(path.read_text())
    for key in keyset["key"]:
        if key["keyId"] != keyset["primaryKeyId"]:
            key["status"] = "DISABLED"
    path.write_text(json.dumps(keyset))


def rewrap(bench: Bench, to: str | None = None) -> RewrapResult:
    """In a process of its own."""
    with bench.open() as campaign:
        return keys.rewrap(campaign, to=to, progress=NoProgress())


def versions(bench: Bench) -> dict[tuple[str, str, str], int]:
    """Keys by kind, service and version."""
    with bench.open() as campaign:
        found = keys.status(campaign)
    return {(w.kind, w.key_service, w.key_version): w.keys for w in found.wrapped}


def agree(bench: Bench) -> None:
    """The result verifies, and the log reconciles with the database."""
    with bench.open() as campaign:
        assert verification.verify(campaign, None, sample=None, progress=NoProgress()).mismatches == ()
        assert evidence.reconcile(campaign).findings == []


def blobs(bench: Bench) -> dict[int, bytes]:
    """Wrapped data keys by conversation."""
    return {row["conversation_no"]: row["wrapped_keyset"] for row in bench.all(tables.data_key)}
