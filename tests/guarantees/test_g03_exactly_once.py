"""G3: the program itself, killed at any instant in any of its processes, then resumed, ends as an undisturbed run.

Kills around every kind of commit and at instants inside one process: `tests/execution/test_crash.py`. Everything that
operators and users can do between the kills: `test_g03_state_machine.py`.
"""

import json
import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fixtures.world import FaultShares, Shape, UserShares
from migrator.campaign import CampaignSpec, open_campaign
from tests.execution.state import final_state, log_matches_outbox
from tests.guarantees.support import DEADLINE, Kept, Operator, ended_within, family, shell_campaign
from tests.verification.support import rows

_SEED = 20260508
_RUNS = 2
_RUNS_THOROUGH = 10
_KILLS_A_RUN = 3
_SHAPE = Shape(
    accounts=30,
    conversations=60,
    messages=1500,
    huge=2500,
    seed=11,
    users=UserShares(history_export=0.1, partial_export=0.1, late_export=0.1),
    faults=FaultShares(flipped=0.003),
)


@dataclass
class Session:
    """One campaign whose processes are killed again and again."""

    spec: CampaignSpec
    operator: Operator
    plan_id: str
    drawn: random.Random
    errors: Path
    killed: list[str] = field(default_factory=list)
    until: int = 0

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin or go on."""
        with self.errors.open("wb") as stderr:
            return self.operator.start(*arguments, "--workers", "2", stdout=subprocess.DEVNULL, stderr=stderr)

    def until_killed(self, process: subprocess.Popen[bytes]) -> bool:
        """Kill processes of the family one after the other; whether the run ended by itself all the same."""
        while len(self.killed) < self.until:
            size = self.drawn.randrange(1, 6)
            while process.poll() is None and len(family(process)) < size:
                ended_within(process, 0.1)
            if ended_within(process, self.drawn.uniform(0, 0.5)):
                return True
            members = family(process)
            if not members:
                continue
            victim = self.drawn.choice(members)
            self.kill(victim, process)
            if victim.pid == process.pid:
                process.wait(timeout=DEADLINE)
                self.expect_no_orphans(members)
                return False
        process.wait(timeout=DEADLINE)
        return True

    def kill(self, victim: psutil.Process, coordinator: subprocess.Popen[bytes]) -> None:
        """SIGKILL, if it still lives."""
        try:
            child, command = victim.ppid() == coordinator.pid, " ".join(victim.cmdline())
            victim.kill()
        except psutil.NoSuchProcess:
            return
        helper = "resource tracker" if "resource_tracker" in command else "fork server"
        kind = helper if child else "worker"
        self.killed.append("coordinator" if victim.pid == coordinator.pid else kind)

    @staticmethod
    def expect_no_orphans(members: list[psutil.Process]) -> None:
        """All that belonged to a killed coordinator ends by itself."""
        _, alive = psutil.wait_procs(members, timeout=DEADLINE)
        assert not alive

    def has_run(self) -> bool:
        """Whether the plan was consumed before the kill."""
        return bool(rows(self.spec, "SELECT 1 FROM migrator_run"))

    def to_the_end(self) -> None:
        """Execute, be killed, resume, be killed, … and be left alone at last, until the run is complete."""
        self.until = len(self.killed) + _KILLS_A_RUN
        process = self.start("execute", self.plan_id)
        while True:
            if self.until_killed(process) and process.returncode == 0:
                return
            assert process.returncode in (0, -9, 24), (process.returncode, self.killed, self.errors.read_text())
            process = self.start("resume") if self.has_run() else self.start("execute", self.plan_id)

    def state(self) -> dict[str, Any]:
        """What must be the same; the log, too, holds every event exactly once."""
        with open_campaign(self.spec) as campaign:
            campaign.audit.flush()
            assert log_matches_outbox(campaign, self.spec.directory / "audit" / "wal.jsonl")
            return final_state(campaign)


def test_any_process_killed_at_any_instant(tmp_path: Path, thorough: bool) -> None:
    """Exactly once: SIGKILL to coordinator, workers and fork server at seeded instants changes nothing in the end."""
    variables = {"AUTHORIZATION_QUORUM": "owner", "EXECUTION_PAGE_SIZE": "50", "EXECUTION_MAX_FAILURES": "100%"}
    spec, operator = shell_campaign(tmp_path / "campaign", _SHAPE, **variables)
    plan_id = json.loads(operator("plan", "-o", "json"))["plan_id"]
    kept = Kept.of(spec.directory)
    operator("execute", plan_id, "--workers", "2")
    session = Session(spec, operator, plan_id, random.Random(_SEED), tmp_path / "errors")
    undisturbed = session.state()
    for _ in range(_RUNS_THOROUGH if thorough else _RUNS):
        kept.restore()
        session.to_the_end()
        assert session.state() == undisturbed
    assert {"coordinator", "worker"} <= set(session.killed)
    assert "running" not in operator("status", "-o", "json")


def test_a_stopped_coordinator_leaves_no_process_behind(tmp_path: Path) -> None:
    """Exactly once: after an ordinary run, too, nothing of the program goes on."""
    spec, operator = shell_campaign(tmp_path / "campaign", _SHAPE, EXECUTION_PAGE_SIZE="50")
    plan_id = json.loads(operator("plan", "-o", "json"))["plan_id"]
    process = operator.start("execute", plan_id, "--workers", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: dict[int, psutil.Process] = {}
    while not ended_within(process, 0.05):
        seen.update((member.pid, member) for member in family(process))
    assert process.returncode == 0
    assert len(seen) >= 4, "coordinator, fork server, two workers"
    Session.expect_no_orphans(list(seen.values()))
    assert rows(spec, "SELECT state FROM migrator_run") == [("completed",)]
