"""Reading the log with filters."""

from datetime import timedelta
from pathlib import Path

import pytest

from migrator.audit import query
from migrator.audit.events import EventType
from migrator.audit.query import Filters
from migrator.core.errors import AuditLogError
from tests.audit.support import NOW, make_log, record


def _shown(folder: Path, filters: Filters) -> list[int]:
    log = make_log(folder)
    record(folder, 2, type=EventType.RUN_STARTED, run_id="run-1", subject="run-1")
    record(folder, 3, type=EventType.CONVERSATION_REWRAPPED, run_id="run-1", subject="aa", start=2)
    record(folder, 1, type=EventType.CONVERSATION_SKIPPED, run_id="run-2", subject="bb", start=5)
    log.flush()
    return [entry["data"]["n"] for entry in query.show(log, filters)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [0, 1, 2, 3, 4, 5]),
        (Filters(type="run.started"), [0, 1]),
        (Filters(type="dev.migrator.run.started"), [0, 1]),
        (Filters(type="conversation"), [2, 3, 4, 5]),
        (Filters(type="conv"), []),
        (Filters(run_id="run-2"), [5]),
        (Filters(subjects={"aa"}), [2, 3, 4]),
        (Filters(actor="tester"), [0, 1, 2, 3, 4, 5]),
        (Filters(actor="somebody else"), []),
        (Filters(since=NOW), [0, 1, 2, 3, 4, 5]),
        (Filters(until=NOW), []),
        (Filters(since=NOW - timedelta(seconds=1), until=NOW + timedelta(seconds=1), subjects={"bb"}), [5]),
        (Filters(limit=2), [4, 5]),
        (Filters(type="conversation", limit=2, subjects={"aa"}), [3, 4]),
        (Filters(limit=0), []),
    ],
)
def test_filters(tmp_path: Path, filters: Filters, expected: list[int]) -> None:
    """Each filter narrows; together all must hold; the limit takes the newest, oldest first."""
    assert _shown(tmp_path, filters) == expected


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[1]", b"{}", b'{"type":1,"time":2}', b"[" * 5000])
def test_an_altered_line_is_named(tmp_path: Path, line: bytes) -> None:
    """A line that is no entry any more ends the reading with its number, not with a traceback."""
    log = make_log(tmp_path)
    record(tmp_path, 60)
    log.flush()
    first, *_, last = log.path.read_bytes().splitlines()
    padding = len(log.path.read_bytes()) - len(first) - len(last) - 3
    log.path.write_bytes(b"\n".join([first, line.ljust(padding), last, b""]))
    with pytest.raises(AuditLogError, match="line 2 "):
        list(query.show(log, Filters(type="key.created", since=NOW)))
