"""Exports: the exact lines, or OCSF events that have what the schema requires and say what the entries say."""

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrator.audit import exporting, ocsf
from migrator.audit.events import EventType
from migrator.audit.exporting import ExportFormat
from migrator.core.errors import AuditLogError, UsageError
from tests.audit.support import entries, make_log, record

REQUIRED = {"activity_id", "actor", "api", "category_uid", "class_uid", "metadata", "severity_id", "src_endpoint",
            "time", "type_uid"}  # fmt: skip
"""Of class API Activity in OCSF 1.6.0."""


def _entry(kind: str, **values: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "8a0e",
        "source": "example.org/migrator/dm",
        "type": f"dev.migrator.{kind}",
        "time": "2026-05-08T12:00:00.123999Z",
        "dataschema": f"urn:migrator:event:{kind}:1",
        "data": {"n": 1},
        "seq": 7,
        "actor": "ops",
        **values,
    }


@pytest.mark.parametrize("kind", EventType)
def test_every_type_of_event_has_a_view(kind: EventType) -> None:
    """What the class requires is there, and its numbers agree with one another."""
    event = ocsf.event(_entry(kind.value, subject="ab", runid="run-1"))
    assert event.keys() >= REQUIRED
    assert event["class_uid"] == 6003
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["activity_id"] in (1, 2, 3, 4, 99)
    assert event["api"]["operation"] == kind.value
    assert event["src_endpoint"]
    assert event["metadata"]["version"] == "1.6.0"
    assert event["metadata"]["product"]["name"]


def test_what_an_event_says() -> None:
    """Time in milliseconds, who, about what, in which run, and where the entry stands in the log."""
    event = ocsf.event(_entry("key.destroyed", subject="ab", runid="run-1"))
    assert event["time"] == 1_778_241_600_123
    assert event["activity_name"] == "Delete"
    assert event["status"] == "Success"
    assert event["actor"] == {"user": {"name": "ops"}}
    assert event["resources"] == [{"uid": "ab", "type": "key"}]
    assert event["unmapped"] == {"data": {"n": 1}}
    metadata = event["metadata"]
    assert (metadata["uid"], metadata["sequence"], metadata["correlation_uid"]) == ("8a0e", 7, "run-1")
    assert metadata["original_time"] == "2026-05-08T12:00:00.123999Z"
    bare = ocsf.event(_entry("export.refused"))
    assert bare["status"] == "Failure"
    assert "resources" not in bare
    assert "correlation_uid" not in bare["metadata"]


def test_the_exact_lines(tmp_path: Path) -> None:
    """As JSON Lines the export has the bytes that were hashed, from any number on."""
    log = make_log(tmp_path)
    record(tmp_path, 5)
    log.flush()
    whole = log.path.read_bytes()
    assert b"".join(line + b"\n" for line in exporting.lines(log, ExportFormat.JSONL)) == whole
    assert list(exporting.lines(log, ExportFormat.JSONL, first=3)) == whole.splitlines()[3:]
    assert list(exporting.lines(log, ExportFormat.JSONL, first=99)) == []


def test_ocsf_lines(tmp_path: Path) -> None:
    """One event a line, in the order of the log."""
    log = make_log(tmp_path)
    record(tmp_path, 3, subject="ab" * 16)
    log.flush()
    views = [json.loads(line) for line in exporting.lines(log, ExportFormat.OCSF, first=1)]
    assert [view["metadata"]["uid"] for view in views] == [entry["id"] for entry in entries(tmp_path)[1:]]
    assert [view["metadata"]["sequence"] for view in views] == [1, 2]


@pytest.mark.parametrize("line", [b"[]", b"{}", b'{"type":"x","time":"yesterday"}', b"\xff", b"[" * 3000])
def test_a_line_that_is_no_entry(tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the view with its number."""
    log = make_log(tmp_path)
    monkeypatch.setattr(log, "lines", lambda: iter([line]))
    with pytest.raises(AuditLogError, match="line 1 "):
        list(exporting.lines(log, ExportFormat.OCSF))


def test_saving(tmp_path: Path) -> None:
    """A new file for its owner only; nothing is overwritten, and nothing half is left behind."""
    path = tmp_path / "out.jsonl"
    assert exporting.save(iter([b"a", b"b"]), path) == 2
    assert path.read_bytes() == b"a\nb\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="can't be written"):
        exporting.save(iter([b"c"]), path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == hashlib.sha256(b"a\nb\n").hexdigest()

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise AuditLogError("the log was altered")

    with pytest.raises(AuditLogError):
        exporting.save(broken(), tmp_path / "half")
    assert not (tmp_path / "half").exists()
    with pytest.raises(UsageError):
        exporting.save(iter([]), tmp_path / "nowhere" / "file")
