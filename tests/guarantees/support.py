"""What the tests of the guarantees share: campaigns around any cutover, and the program as a process of its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

import psutil

from fixtures.store import write_store
from fixtures.world import Shape, World
from migrator import config, setup
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.clock import FixedClock, format_time
from migrator.core.model import Environment
from migrator.core.progress import NoProgress
from migrator.execution.coordinator import RunOptions, execute, resume
from migrator.execution.runs import RunSummary
from migrator.planning.making import make_plan
from tests.execution.inline import InlineEngine, NoStop
from tests.support.campaigns import (
    CUTOVER,
    NAME,
    at,
    import_authorizations,
    import_exports,
    new_campaign,
    notify,
    write_hand_in,
)
from tests.support.operators import both_approve

DAY = timedelta(days=1)
DEADLINE = 60
"""Seconds after which a process that should have ended has not."""


def campaign_around(cutover: datetime, folder: Path, shape: Shape, **settings: dict[str, Any]) -> CampaignSpec:
    """A campaign of any time: notified 70 days before its cutover, handed in 30 days before, its clock a day after."""
    world = World(replace(shape, base=cutover - 127 * DAY))
    spec = new_campaign(folder, world, **settings)
    notify(at(spec, cutover - 70 * DAY))
    collect(at(spec, cutover - 30 * DAY), world)
    return at(spec, cutover + DAY)


def collect(spec: CampaignSpec, world: World) -> None:
    """Everybody hands in, and all of it is imported."""
    write_hand_in(spec, world)
    refused = [*import_authorizations(spec).refused, *import_exports(spec).refused]
    assert not refused, refused[:3]


def plan(spec: CampaignSpec) -> str:
    """A new plan's id; in production two operators have approved it."""
    with open_campaign(spec) as campaign:
        plan_id = make_plan(campaign, save=None, progress=NoProgress()).plan_id
    if spec.settings.campaign.environment is Environment.PRODUCTION:
        both_approve(spec, plan_id)
    return plan_id


def run(spec: CampaignSpec, plan_id: str | None = None, **options: Any) -> RunSummary:
    """Execute a plan, a new one unless it is named, in this process."""
    plan_id = plan_id or plan(spec)
    with open_campaign(spec) as campaign:
        given = RunOptions(engine=InlineEngine(campaign), **options)
        return execute(campaign, plan_id, given, NoProgress(), NoStop())


def go_on(spec: CampaignSpec) -> RunSummary:
    """Resume the latest run in this process."""
    with open_campaign(spec) as campaign:
        return resume(campaign, None, RunOptions(engine=InlineEngine(campaign)), NoProgress(), NoStop())


@dataclass(frozen=True)
class Operator:
    """Somebody at a shell in a campaign's folder, whose clock stands where it is put."""

    folder: Path
    now: datetime | None
    variables: tuple[tuple[str, str], ...] = ()

    def start(self, *arguments: str, stdout: IO[bytes] | int, stderr: IO[bytes] | int) -> subprocess.Popen[bytes]:
        """Start the program."""
        program = str(Path(sys.executable).with_name("migrator"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MIGRATOR_")}
        environment = {**kept, **dict(self.variables)}
        if self.now is not None:
            environment["MIGRATOR_NOW"] = format_time(self.now)
        return subprocess.Popen(
            [program, *arguments], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr,
        )  # fmt: skip

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run the program to its end, which must have that exit status; its standard output."""
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == status, f"{arguments}: {process.returncode}\n{err.decode()}"
        text: str = out.decode()
        return text

    def later(self, moment: datetime) -> "Operator":
        """The same at another time."""
        return replace(self, now=moment)


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process, for so long."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def shell_campaign(folder: Path, shape: Shape, **variables: str) -> tuple[CampaignSpec, Operator]:
    """A campaign with a configuration file, everything handed in, and an operator the day after its cutover.

    `variables`: settings by the names of their environment variables without `MIGRATOR_`.
    """
    folder.mkdir(parents=True)
    world = World(shape)
    write_store(world, f"sqlite:///{folder / 'store.db'}")
    path = folder / "migrator.toml"
    config.write_example(path, {"campaign.name": NAME})
    path.write_text(path.read_text().replace('"50/s"', '"1000000/s"'))
    given = {f"MIGRATOR_{name}": value for name, value in variables.items()}
    settings = config.load(path, given, {}).settings
    spec = CampaignSpec(settings=settings, directory=folder, clock=FixedClock(CUTOVER), actor="operator@test")
    setup.initialise(at(spec, CUTOVER - 70 * DAY))
    notify(at(spec, CUTOVER - 70 * DAY))
    collect(at(spec, CUTOVER - 30 * DAY), world)
    return at(spec, CUTOVER + DAY), Operator(folder, CUTOVER + DAY, tuple(given.items()))


@dataclass(frozen=True)
class Kept:
    """A folder as it was, to put it back: a plan belongs to the place that it was made in."""

    folder: Path
    copy: Path

    @classmethod
    def of(cls, folder: Path) -> "Kept":
        """Keep a folder as it is now."""
        copy = folder.with_name(f"{folder.name}.kept")
        shutil.copytree(folder, copy)
        return cls(folder, copy)

    def restore(self) -> None:
        """Put it back."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.copy, self.folder)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all that descend from it, while they live."""
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
