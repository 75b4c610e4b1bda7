"""Hooks of a real session: who is asked, who is told, what stops a run and what does not."""

from dataclasses import replace
from pathlib import Path

import pytest

from migrator import config
from migrator.config.keys import HOOK_PREFIX, HOOK_VARIABLES
from migrator.core.errors import ConfigError, ExitStatus, GateError, KeyServiceUnavailableError
from migrator.core.lifecycle import RunState, StopReason
from migrator.core.progress import NoProgress
from migrator.database import tables
from migrator.execution.assignment import OutcomeCount
from migrator.execution.coordinator import RunOptions, execute
from migrator.execution.hooks import calling
from migrator.execution.hooks.calling import THROTTLED_SECONDS, Caller
from migrator.execution.hooks.folder import Hook, found
from migrator.execution.runs import RunSummary
from tests.execution.bench import Bench
from tests.execution.hooks.scripts import script
from tests.execution.inline import InlineEngine, NoStop, StopAfter

TOLD = 'echo "$MIGRATOR_HOOK_NAME $MIGRATOR_HOOK_RUN_ID $MIGRATOR_HOOK_STATE $MIGRATOR_HOOK_REASON" >> told'


class Notes(NoProgress):
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Kept."""
        self.notes.append(text)


class StopBegun:
    """An operator who interrupts as soon as there is a run."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def requested(self) -> StopReason | None:
        """Interrupted, once there is one."""
        return StopReason.INTERRUPTED if self._bench.all(tables.run) else None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three conversations, and a folder of hooks in which each notes that it was called."""
    made = Bench(
        tmp_path / "campaign",
        hooks={"directory": "hooks", "timeout_seconds": 20},
        execution={"page_size": 3, "max_failures": "100%"},  # a shard for each
    )
    for owner in ("alice", "bob", "carol"):
        made.account(owner)
        name = made.thread(owner, "x")
        made.messages(name, range(3))
        made.keys(owner, [name])
    for hook in Hook:
        script(made.folder / "hooks", hook.value, TOLD)
    return made


def limited(bench: Bench, seconds: int) -> None:
    """Hooks have so long."""
    hooks = bench.spec.settings.hooks.model_copy(update={"timeout_seconds": seconds})
    bench.spec = replace(bench.spec, settings=bench.spec.settings.model_copy(update={"hooks": hooks}))


def told(bench: Bench) -> list[str]:
    """The hooks that were called, in order, with what they were told."""
    path = bench.folder / "told"
    return path.read_text().splitlines() if path.exists() else []


def names(bench: Bench) -> list[str]:
    """Their names alone."""
    return [line.split()[0] for line in told(bench)]


def results(bench: Bench) -> list[tuple[str, str]]:
    """What is on record."""
    return [(row["hook"], row["result"]) for row in bench.all(tables.hook_call)]


def test_hooks_may_call_migrator(bench: Bench) -> None:
    """All that a hook is told is known to be no misspelt setting; a setting that looks like it still is one."""
    script(bench.folder / "hooks", "on-failure", "env | grep ^MIGRATOR_ | cut -d= -f1 >> told")
    plan = bench.plan().plan_id
    bench.source("UPDATE thread SET kind = 'broadcast'")
    bench.run(plan, max_failures="0")
    assert {line for line in told(bench) if line.startswith("MIGRATOR_")} == HOOK_VARIABLES
    with pytest.raises(ConfigError, match="MIGRATOR_HOOKS_DIRECTORY"):
        config.load(_configuration(bench.folder), {"MIGRATOR_HOOK_DIRECTORY": "hooks"}, {})
    told_of = dict.fromkeys(HOOK_VARIABLES, "x")
    assert config.load(_configuration(bench.folder), told_of, {}).settings.hooks.directory is None


def _configuration(folder: Path) -> Path:
    config.write_example(folder / "migrator.toml")
    return folder / "migrator.toml"


def test_a_run_that_completes(bench: Bench) -> None:
    """Asked before there is a run, told when it starts and when it is complete; all on record."""
    run_id = bench.run().run_id
    assert told(bench) == ["before-cutover   ", f"on-start {run_id} running ", f"on-complete {run_id} completed "]
    assert results(bench) == [("before-cutover", "ok"), ("on-start", "ok"), ("on-complete", "ok")]
    assert [row["run_id"] for row in bench.all(tables.hook_call)] == [None, run_id, run_id]


@pytest.mark.parametrize(("body", "words"), [("exit 3", "status 3"), ("exec sleep 984", "after 1 s")])
def test_before_cutover_refuses(bench: Bench, body: str, words: str) -> None:
    """A failing or hanging one: exit 12, nothing was changed, the plan may still be executed; and on record."""
    limited(bench, 1)
    script(bench.folder / "hooks", "before-cutover", body)
    plan = bench.plan().plan_id
    with pytest.raises(GateError, match=words) as caught:
        bench.run(plan)
    assert (caught.value.exit_status, caught.value.changed) == (ExitStatus.GATE, "nothing was changed")
    assert bench.all(tables.run) == []
    assert results(bench) == [("before-cutover", "failed" if body == "exit 3" else "timed_out")]
    assert names(bench) == []
    script(bench.folder / "hooks", "before-cutover", "true")
    assert bench.run(plan).state is RunState.COMPLETED


def test_before_cutover_is_asked_again_when_a_run_is_resumed(bench: Bench) -> None:
    """A refusal leaves the run as it was: stopped, resumable."""
    stopped = bench.run(stop=StopBegun(bench))
    assert (stopped.state, names(bench)) == (RunState.STOPPED, ["before-cutover", "on-start"])
    before = bench.all(tables.run)
    script(bench.folder / "hooks", "before-cutover", "exit 1")
    with pytest.raises(GateError):
        bench.resume()
    assert bench.all(tables.run) == before
    script(bench.folder / "hooks", "before-cutover", TOLD)
    bench.resume()
    assert f"before-cutover {stopped.run_id}  " in told(bench)
    assert names(bench)[-1] == "on-complete"


def test_a_stop_that_somebody_asked_for_is_no_failure(bench: Bench) -> None:
    """Neither complete nor failed."""
    bench.run(stop=StopBegun(bench))
    assert names(bench) == ["before-cutover", "on-start"]


def test_a_run_that_fails_says_what_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason in its place, the error's words beside it."""
    script(bench.folder / "hooks", "on-failure", f'{TOLD}; echo "$MIGRATOR_HOOK_DETAIL" >> told')
    monkeypatch.setattr("tests.execution.inline.work_through", _down)
    with pytest.raises(KeyServiceUnavailableError):
        bench.run()
    assert names(bench)[:3] == ["before-cutover", "on-start", "on-failure"]
    assert told(bench)[2].endswith("stopped service_down")
    assert told(bench)[3] == "the key service is away password=[redacted]"


def _down(*_: object) -> None:
    raise KeyServiceUnavailableError("the key service is away password=hunter2")


def test_too_many_failures_are_a_failure(bench: Bench) -> None:
    """No error is raised then; the reason is in its place, the counts beside it."""
    script(bench.folder / "hooks", "on-failure", f'{TOLD}; echo "$MIGRATOR_HOOK_FAILED" >> told')
    plan = bench.plan().plan_id
    bench.source("UPDATE thread SET kind = 'broadcast'")
    assert bench.run(plan, max_failures="0").exit_status is ExitStatus.ERROR_BUDGET
    assert told(bench)[2].endswith("stopped error_budget")
    assert int(told(bench)[3]) > 0


def test_a_failing_hook_is_a_warning(bench: Bench) -> None:
    """The run goes on; a person reads it, and it is on record."""
    script(bench.folder / "hooks", "on-start", "echo no; exit 9")
    script(bench.folder / "hooks", "on-complete", "kill -9 $$")
    notes = Notes()
    plan = bench.plan().plan_id
    with bench.open() as campaign:
        summary = execute(campaign, plan, RunOptions(engine=InlineEngine(campaign)), notes, NoStop())
    assert summary.state is RunState.COMPLETED
    assert [note for note in notes.notes if "hook" in note] == [
        "the hook on-start ended with status 9", "the hook on-complete ended with status 137",
    ]  # fmt: skip
    assert results(bench)[1:] == [("on-start", "failed"), ("on-complete", "failed")]


def test_a_dry_run_calls_nothing_and_says_what_it_would(bench: Bench) -> None:
    """The hooks are looked at all the same."""
    notes = Notes()
    plan = bench.plan().plan_id
    with bench.open(read_only=True) as campaign:
        options = RunOptions(engine=InlineEngine(campaign), dry_run=True)
        execute(campaign, plan, options, notes, NoStop())
        assert notes.notes == [f"a run would call {bench.folder / 'hooks' / hook.value}" for hook in Hook]
        (bench.folder / "hooks" / "on-start").chmod(0o777)
        with pytest.raises(ConfigError):
            execute(campaign, plan, options, notes, NoStop())
    assert names(bench) == []


def test_hooks_in_others_reach_stop_a_run_before_it_begins(bench: Bench) -> None:
    """Nothing was changed, nothing was called."""
    (bench.folder / "hooks").chmod(0o777)
    with pytest.raises(ConfigError, match="others than its owner"):
        bench.run()
    assert bench.all(tables.run) == []
    assert names(bench) == []


def test_throttling_is_told_now_and_then(bench: Bench) -> None:
    """When the run begins to wait; not each time, where that is often."""
    now = 0.0
    with bench.open() as campaign:
        hooks = found(bench.folder / "hooks")
        caller = Caller(campaign, hooks, NoProgress(), "plan-1", monotonic=lambda: now)
        for now in (0.0, 10.0, THROTTLED_SECONDS - 1, THROTTLED_SECONDS, THROTTLED_SECONDS + 1):
            caller.throttled("run-1", f"since {now}")
        caller.close()
    assert told(bench) == ["on-throttled run-1  since 0.0", "on-throttled run-1  since 300.0"]


def test_an_operator_who_stops_is_not_held_up_by_a_gate(bench: Bench) -> None:
    """A hook that is asked is ended, and the command refused."""
    script(bench.folder / "hooks", "before-cutover", "exec sleep 983")
    with pytest.raises(GateError, match="wants to stop"):
        bench.run(stop=StopAfter(0))


def test_what_hooks_are_told_of_a_run() -> None:
    """Counts by kind of outcome, and never an id of a conversation."""
    counts = {
        "rewrapped": OutcomeCount(3, 30, 0), "rewrapped_with_gaps": OutcomeCount(1, 9, 1),
        "skipped:refused": OutcomeCount(2, 5, 0), "failed:source": OutcomeCount(1, 2, 0),
        "held:too_many_gaps": OutcomeCount(1, 1, 4), "already_server": OutcomeCount(6, 60, 0),
    }  # fmt: skip
    summary = RunSummary(
        run_id="r", plan_id="p", state=RunState.STOPPED, dry_run=False, counts=counts, messages_per_second=0.0,
        elapsed_seconds=0.0, stop_reason=StopReason.ERROR_BUDGET, pending=7,
    )  # fmt: skip
    assert {HOOK_PREFIX + name for name in calling.facts_of(summary)} < HOOK_VARIABLES
    assert calling.facts_of(summary) == {
        "STATE": "stopped", "CONVERSATIONS": "14", "PENDING": "7", "REWRAPPED": "4", "HELD": "1", "SKIPPED": "2",
        "FAILED": "1", "ALREADY_SERVER": "6", "MESSAGES": "107", "GAPS": "5",
    }  # fmt: skip
