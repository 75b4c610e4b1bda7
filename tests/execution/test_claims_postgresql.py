"""Claims on PostgreSQL: binary columns, the index over what is staged, `COPY`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.execution.room_bench import RoomBench
from tests.execution.test_claims import test_across_runs, test_late_keys
from tests.support import postgres

__all__ = ["test_across_runs", "test_late_keys"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RoomBench]:
    """A room without events, its campaign on a server."""
    with postgres.database() as url:
        yield RoomBench(tmp_path, url=url)
