"""A prepared campaign that a test may run, kill, resume and put back."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fixtures.world import World
from migrator.campaign import Campaign, CampaignSpec, open_campaign
from migrator.core.errors import PlanError
from migrator.core.progress import NoProgress
from migrator.execution.coordinator import RunOptions, StopSignal, execute, resume
from migrator.execution.runs import RunSummary
from migrator.secrets import absolute_url
from tests.execution.inline import InlineEngine, NoStop
from tests.execution.state import final_state
from tests.support.postgres import server


@dataclass(frozen=True)
class Ready:
    """A campaign with a plan, and the folder that it is put back from; on PostgreSQL also its database's name."""

    spec: CampaignSpec
    world: World
    plan_id: str
    kept: Path
    database: str | None = None

    def restore(self) -> None:
        """As before any run."""
        shutil.rmtree(self.spec.directory)
        shutil.copytree(self.kept, self.spec.directory)
        if self.database is not None:
            server().restore(self.database)

    @contextmanager
    def source(self) -> Iterator[sa.Connection]:
        """The store, as its platform writes to it."""
        engine = sa.create_engine(absolute_url(self.spec.settings.source.url, self.spec.directory))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def run(self, plan: str | None = None, stop: StopSignal | None = None, **options: Any) -> RunSummary:
        """Execute a plan in this process."""
        with open_campaign(self.spec) as campaign:
            return self.run_in(campaign, plan, stop, **options)

    def run_in(
        self, campaign: Campaign, plan: str | None = None, stop: StopSignal | None = None, **options: Any
    ) -> RunSummary:
        """The same on a campaign that is open already."""
        given = RunOptions(engine=InlineEngine(campaign), **options)
        return execute(campaign, plan or self.plan_id, given, NoProgress(), stop or NoStop())

    def resume(self, stop: StopSignal | None = None, **options: Any) -> RunSummary:
        """Go on with the latest run."""
        with open_campaign(self.spec) as campaign:
            given = RunOptions(engine=InlineEngine(campaign), **options)
            return resume(campaign, None, given, NoProgress(), stop or NoStop())

    def state(self) -> dict[str, Any]:
        """What the campaign's database holds, but for what chance decides."""
        with open_campaign(self.spec) as campaign:
            return final_state(campaign)

    def run_killed(self, prepare: Callable[[Campaign], None]) -> bool:
        """Run or resume in a child process that `prepare` may have killed; whether it came to its end."""
        child = os.fork()
        if child == 0:
            self._in_child(prepare)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGALRM)
            return False
        assert os.WEXITSTATUS(status) == 0, "the child failed by itself"
        return True

    def _in_child(self, prepare: Callable[[Campaign], None]) -> None:
        code = 1
        try:
            with open_campaign(self.spec) as campaign:
                prepare(campaign)
                options = RunOptions(engine=InlineEngine(campaign))
                try:
                    execute(campaign, self.plan_id, options, NoProgress(), NoStop())
                except PlanError:  # consumed: a run has begun
                    resume(campaign, None, options, NoProgress(), NoStop())
            code = 0
        finally:
            os._exit(code)
