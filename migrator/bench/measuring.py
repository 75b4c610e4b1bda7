"""Everything that is measured, in order, on a synthetic store."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from fixtures.world import FaultShares, Shape, UserShares
from migrator.bench import floors, scripts
from migrator.bench.ground import Ground, ground
from migrator.bench.pipeline import time_run
from migrator.bench.result import BenchResult, PipelineFigures, PlanForecast
from migrator.campaign import CampaignSpec, open_campaign
from migrator.core.errors import MigratorError
from migrator.core.progress import NoProgress, Progress
from migrator.database import tables
from migrator.planning import making

MESSAGES: Final = 100_000
"""How many unless told otherwise: about a minute."""
_PER_CONVERSATION: Final = 100
_CONVERSATIONS_AN_ACCOUNT: Final = 5
_SAMPLE: Final = 5000
"""Messages for what is measured on one core, page by page."""
_SLOW_SAMPLE: Final = 1500
"""Messages for the scripts that are slow."""


def measure(spec: CampaignSpec, *, messages: int, progress: Progress) -> BenchResult:
    """Measure the machine, the database and the key service of a campaign, whose data is not touched.

    Raises what a campaign raises that can't reach its database or key service; whatever happens, nothing is left.
    """
    conversations = max(4, messages // _PER_CONVERSATION)
    shape = Shape(
        accounts=max(2, conversations // _CONVERSATIONS_AN_ACCOUNT),
        conversations=conversations,
        messages=messages,
        seed=1,
        users=UserShares.none(),
        faults=FaultShares.none(),
    )
    forecast = _newest_plan(spec)
    progress.phase("writing a synthetic store", total=None)
    with ground(spec, shape) as place:
        return _Bench(place, progress).run(forecast)


class _Bench:
    def __init__(self, place: Ground, progress: Progress) -> None:
        self.place = place
        self.progress = progress
        self.insert_select = 0.0
        self.planned: list[float] = []

    def run(self, newest: tuple[str, int, int] | None) -> BenchResult:
        cores = len(os.sched_getaffinity(0))
        pipelines = [self.pipeline(workers) for workers in _counts(cores)]
        self.progress.phase("measuring the parts by themselves", total=None)
        spec = self.place.campaign("parts", workers=1)
        with open_campaign(spec) as campaign:
            units = floors.sample(campaign, _SAMPLE)
            sizes = [len(row[3] or b"") for _, _, rows in units for row in rows]
            wraps, unwraps = floors.key_service(campaign)
            slow = floors.sample(campaign, _SLOW_SAMPLE)
            source = sa.create_engine(self.place.source_url, hide_parameters=True)
            try:
                script = scripts.obvious_script(campaign, source, slow)
            finally:
                source.dispose()
            result = BenchResult(
                database=campaign.database.engine.dialect.name,
                key_service=campaign.key_services.default().name,
                cores=cores,
                messages=pipelines[0].messages,
                conversations=len(self.place.world.copies),
                mean_bytes=sum(sizes) / len(sizes),
                aes_gcm_per_second=floors.aes_gcm(sizes),
                opening_per_second=floors.opening(campaign, units),
                planning_per_second=max(self.planned),
                wraps_per_second=wraps,
                unwraps_per_second=unwraps,
                insert_select_seconds=self.insert_select,
                pipelines=tuple(pipelines),
                obvious_script_per_second=script,
                aws_encryption_sdk_per_second=scripts.aws_encryption_sdk(sizes[:_SLOW_SAMPLE]),
                forecast=None,
            )
        return _with_forecast(result, newest)

    def pipeline(self, workers: int) -> PipelineFigures:
        """A run with so many workers, in a campaign of its own; after the first, the database's own copy of it."""
        self.progress.phase(f"a campaign for {workers} workers", total=None)
        spec = self.place.campaign(f"workers_{workers}", workers=workers)
        with open_campaign(spec) as campaign:
            folder = Path(campaign.settings.audit.directory).parent
            began = time.perf_counter()
            plan = making.make_plan(campaign, save=folder / "plan.json", progress=NoProgress())
            self.planned.append(len(self.place.world.copies) / (time.perf_counter() - began))
            found = time_run(campaign, plan.plan_id, workers, folder / "notes", self.progress)
            if workers == 1:
                self.insert_select = floors.insert_select(campaign)
        return found


def _counts(cores: int) -> Sequence[int]:
    """1, 2, 4, … and all cores."""
    doubled = [1 << power for power in range(cores.bit_length()) if 1 << power <= cores]
    return sorted({*doubled, cores})


def _newest_plan(spec: CampaignSpec) -> tuple[str, int, int] | None:
    """Id, conversations and messages of what the campaign's newest plan re-wraps; None where there is no plan yet."""
    planned = tables.plan_item
    try:
        with open_campaign(spec, read_only=True) as campaign, campaign.database.read() as connection:
            newest = connection.scalar(
                sa.select(tables.plan.c.plan_id)
                .where(tables.plan.c.state != "making")
                .order_by(tables.plan.c.plan_no.desc())
                .limit(1)
            )
            if newest is None:
                return None
            conversations, messages = connection.execute(
                sa.select(sa.func.count(), sa.func.sum(planned.c.messages)).where(
                    planned.c.plan_id == newest, planned.c.decision.in_(("rewrap", "extend"))
                )
            ).one()
            return newest, int(conversations), int(messages or 0)
    except MigratorError:
        return None  # a campaign that is not set up yet


def _with_forecast(result: BenchResult, newest: tuple[str, int, int] | None) -> BenchResult:
    if newest is None:
        return result
    plan_id, conversations, messages = newest
    forecast = PlanForecast(
        plan_id=plan_id,
        conversations=conversations,
        messages=messages,
        seconds=messages / result.best.messages_per_second,
        key_service_calls=conversations,
    )
    return replace(result, forecast=forecast)
