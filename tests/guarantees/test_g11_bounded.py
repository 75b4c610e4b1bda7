"""G11: memory does not grow with the store, with one huge conversation, or with the number of failures."""

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fixtures.world import FaultShares, Shape, UserShares
from tests.guarantees.support import DEADLINE, plan
from tests.support.campaigns import small_campaign
from tests.verification.support import tamper

_TOLERANCE: Final = 60
_LIMIT: Final = 300
"""Mebibytes."""
_WORKER: Final = """
import pickle, re, sys
from pathlib import Path
import sqlalchemy as sa
from tests.guarantees.support import run
# SQLite's page caches are bounded by themselves, 64 MiB a connection. Held small, they don't hide what grows.
sa.event.listen(sa.pool.Pool, "checkout", lambda connection, *_: connection.execute("PRAGMA cache_size=-4000"))
spec, plan = pickle.loads(sys.stdin.buffer.read())
summary = run(spec, plan)
assert summary.pending == 0, summary
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(sum(c.messages for c in summary.counts.values()), sum(c.gaps for c in summary.counts.values()),
      sum(c.conversations for o, c in summary.counts.items() if o.startswith("failed")), int(peak) // 1024)
"""
_SOUND: Final = Shape(accounts=20, users=UserShares.none(), faults=FaultShares.none())


def measured(shape: Shape, *statements: str) -> tuple[int, int, int, int]:
    """Messages, gaps, failures and peak memory in MiB of a process that carries a whole run out by itself."""
    execution = {"max_gap_fraction": 1.0, "max_failures": "100%"}
    with TemporaryDirectory(prefix="migrator-test-") as folder:
        spec = small_campaign(Path(folder) / "campaign", shape, execution=execution)
        plan_id = plan(spec)
        if statements:
            tamper(spec, *statements, name="store.db")
        done = subprocess.run(
            [sys.executable, "-c", _WORKER],
            input=pickle.dumps((spec, plan_id)), capture_output=True, timeout=2 * DEADLINE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    messages, gaps, failures, peak = map(int, done.stdout.split())
    return messages, gaps, failures, peak


@cache
def small_store() -> int:
    """Peak memory over 20,000 messages."""
    messages, _, _, peak = measured(replace(_SOUND, conversations=200, messages=20_000))
    assert messages == 20_000
    return peak


def test_ten_times_the_store() -> None:
    """Bounded: 200,000 messages take no more memory than 20,000."""
    messages, _, _, peak = measured(replace(_SOUND, conversations=2000, messages=200_000))
    assert messages == 200_000
    assert peak < min(small_store() + _TOLERANCE, _LIMIT)


def test_one_huge_conversation() -> None:
    """Bounded: 200,000 messages in one conversation take no more memory than 20,000 in 200."""
    messages, _, _, peak = measured(replace(_SOUND, conversations=20, messages=200, huge=200_000))
    assert messages == 200_200
    assert peak < min(small_store() + _TOLERANCE, _LIMIT)


def test_many_gaps() -> None:
    """Bounded: 20,000 messages that do not open take no more memory than as many that do."""
    shape = replace(_SOUND, conversations=20, messages=200, huge=40_000, faults=FaultShares.none(flipped=0.5))
    _, gaps, _, peak = measured(shape)
    assert gaps > 19_000
    assert peak < min(small_store() + _TOLERANCE, _LIMIT)


def test_many_failures() -> None:
    """Bounded: 6,000 conversations that fail take no more memory than 200 that do not."""
    shape = replace(_SOUND, accounts=200, conversations=6000, messages=6000, groups=0.9)
    _, _, failures, peak = measured(shape, "UPDATE message SET message_id = CAST(message_id AS BLOB)")
    assert failures > 2_400
    assert peak < min(small_store() + _TOLERANCE, _LIMIT)
