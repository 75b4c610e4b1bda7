"""G3 for attachments: killed anywhere and resumed, nothing is lost or there twice, and no blob is left over."""

import os
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest

from migrator.blobs.folder_store import FolderStore
from migrator.campaign import Campaign
from migrator.core.errors import RESUMABLE, BlobsUnavailableError
from migrator.core.lifecycle import RunState
from migrator.core.progress import NoProgress
from migrator.core.streams import Sink
from migrator.database import tables
from migrator.execution.coordinator import RunOptions, execute, resume
from migrator.rollback import rollback
from tests.execution.bench import Bench, entry
from tests.execution.inline import InlineEngine, NoStop
from tests.execution.media import attachment_row, bytes_of, shown
from tests.execution.test_attaching import SECTIONS, blobs, content_by_id

MOMENTS = (
    ("attachments", "before"), ("attachments", "after"), ("unit", "before"), ("unit", "after"), ("page", "after"),
    ("flip", "before"), ("stage", "after"), ("merge", "before"), ("strays-swept", "before"), ("strays-swept", "after"),
)  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str, dict[Any, Any]]:
    """A campaign with a small conversation, a long one, one with history; its plan, and its end."""
    bench = Bench(tmp_path_factory.mktemp("crash") / "c", **SECTIONS, execution={"page_size": 1000})
    bench.account("ann")
    names = {other: bench.thread("ann", other) for other in ("small", "long", "history")}
    bench.messages(names["small"], range(3))
    bench.messages(names["long"], range(1100))
    bench.messages(names["history"], range(2))
    bench.keys("ann", list(names.values()))
    bench.history("ann", [entry(names["history"], 7)])
    for other, message in (("small", 0), ("small", 1), ("long", 3), ("long", 1050), ("history", 1), ("history", 7)):
        attachment_row(bench, names[other], f"m{message:06}", f"{other}-{message}", bytes_of(message, 70_000))
    bench.source("UPDATE attachment SET size = size + 1 WHERE attachment_id = 'a-small-1'")
    plan = bench.plan().plan_id
    shutil.copytree(bench.folder, bench.folder.with_name("kept"))
    boundaries: list[tuple[str, str]] = []
    with bench.open() as campaign:
        campaign.database.boundary = lambda label, moment: boundaries.append((label, moment))
        begin(campaign, plan)
        end = shown(campaign)
    assert set(MOMENTS) <= set(boundaries)
    assert sorted(value for value in end.values() if isinstance(value, str)) == ["truncated"]
    return bench, plan, {"shown": end, "boundaries": boundaries}


def begin(campaign: Campaign, plan: str) -> None:
    """Execute the plan."""
    execute(campaign, plan, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())


def killed(bench: Bench, work: Callable[[Campaign], None]) -> bool:
    """Do some work in a child process; whether it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with bench.open() as campaign:
                work(campaign)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def die_at(number: int) -> Callable[[str, str], None]:
    """A boundary whose n-th passing, counted from 0, is the last thing that the process does."""
    passed = iter(range(1_000_000))
    return lambda _label, _moment: os.kill(os.getpid(), signal.SIGKILL) if next(passed) == number else None


def put_back(prepared: tuple[Bench, str, dict[Any, Any]]) -> tuple[Bench, str, dict[Any, Any]]:
    """As before any run."""
    bench = prepared[0]
    shutil.rmtree(bench.folder)
    shutil.copytree(bench.folder.with_name("kept"), bench.folder)
    return prepared


def ends_alike(bench: Bench, end: dict[Any, Any]) -> None:
    """Resumed until it is complete, it is as if nothing had happened."""
    if bench.all(tables.run)[0]["state"] != RunState.COMPLETED.value:
        with bench.open() as campaign:
            resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())
    with bench.open() as campaign:
        assert shown(campaign) == end
    rows = bench.all(tables.attachment)
    assert sorted(row["blob"] for row in rows if row["blob"]) == blobs(bench)
    assert not any(row["staged"] for row in rows)
    assert bench.all(tables.stray_blob) == []


def test_killed_around_every_commit_that_has_to_do_with_attachments(
    prepared: tuple[Bench, str, dict[Any, Any]],
) -> None:
    """Right before or right after the first of each kind, as it matters."""
    boundaries = prepared[2]["boundaries"]
    for number in map(boundaries.index, MOMENTS):
        bench, plan, found = put_back(prepared)

        def work(campaign: Campaign, number: int = number, plan: str = plan) -> None:
            campaign.database.boundary = die_at(number)
            begin(campaign, plan)

        assert killed(bench, work), number
        ends_alike(bench, found["shown"])


@pytest.mark.parametrize("write", [0, 2, 3])
def test_killed_in_the_middle_of_a_blob(
    prepared: tuple[Bench, str, dict[Any, Any]], write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half written, or written whole and not yet shown: it goes, and the attachment is sealed anew."""
    bench, plan, found = put_back(prepared)
    whole, passed = Sink.write, iter(range(1_000_000))

    def dying(self: Sink, data: Any) -> int:
        if next(passed) == write:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, data)

    def work(campaign: Campaign) -> None:
        monkeypatch.setattr(Sink, "write", dying)
        begin(campaign, plan)

    assert killed(bench, work)
    partial = bench.folder / "blobs" / "partial"
    left = list(partial.iterdir())
    assert len(left) == 1
    left[0].unlink()  # cleared away when nobody has written to it for a day
    ends_alike(bench, found["shown"])


def test_a_rollback_that_was_killed_goes_on(prepared: tuple[Bench, str, dict[Any, Any]]) -> None:
    """Rows first, then blobs: what is left between the two is known, and goes with the next call."""
    for wanted in (("rollback-batch", "after"), ("strays-swept", "before"), ("strays-swept", "after")):
        bench, plan, _ = put_back(prepared)
        with bench.open() as campaign:
            begin(campaign, plan)

        def work(campaign: Campaign, wanted: tuple[str, str] = wanted) -> None:
            def boundary(*at: str) -> None:
                if at == wanted:
                    os.kill(os.getpid(), signal.SIGKILL)

            campaign.database.boundary = boundary
            rollback(campaign, None, NoProgress())

        assert killed(bench, work), wanted
        with bench.open() as campaign:
            rollback(campaign, None, NoProgress())
        assert (bench.all(tables.attachment), bench.all(tables.stray_blob), blobs(bench)) == ([], [], [])


def test_a_rollback_whose_store_is_away_is_resumed(
    prepared: tuple[Bench, str, dict[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers see nothing any more, and the blobs go when it is back."""
    bench, plan, _ = put_back(prepared)
    with bench.open() as campaign:
        begin(campaign, plan)

    def away(_store: FolderStore, _names: Any) -> None:
        raise BlobsUnavailableError("away")

    with monkeypatch.context() as patched, bench.open() as campaign:
        patched.setattr(FolderStore, "delete", away)
        with pytest.raises(BlobsUnavailableError) as refused:
            rollback(campaign, None, NoProgress())
    assert refused.value.changed == RESUMABLE
    assert content_by_id(bench) == {}
    with bench.open() as campaign:
        rollback(campaign, None, NoProgress())
    assert blobs(bench) == []
