"""The figures of a measurement, and what they are held against."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFigures:
    """One run with so many workers. CPU: of the workers, and of the whole machine (None where it does not tell)."""

    workers: int
    messages: int
    seconds: float
    """From the first shard's begin to the last one's end."""
    cpu_us_per_message: float
    machine_cpu_us_per_message: float | None
    busy_share: float | None
    """Of all cores, by whatever was at work on the machine."""
    peak_memory_mib: float
    """Of the worker that took most."""

    @property
    def messages_per_second(self) -> float:
        """The rate."""
        return self.messages / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A figure of the design, as measured here, and what it should reach."""

    name: str
    measured: float
    reach: float
    at_most: bool

    @property
    def reached(self) -> bool:
        """Whether it is as good as it should be."""
        return self.measured <= self.reach if self.at_most else self.measured >= self.reach


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanForecast:
    """What the newest plan of the campaign would take at the best rate that was measured."""

    plan_id: str
    conversations: int
    messages: int
    seconds: float
    key_service_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """All that was measured. Rates are items a second on one core, unless a pipeline's."""

    database: str
    key_service: str
    cores: int
    messages: int
    conversations: int
    mean_bytes: float
    aes_gcm_per_second: float
    """AES-256-GCM over the messages' own sizes: each opened and sealed once, nothing else."""
    opening_per_second: float
    planning_per_second: float
    wraps_per_second: float
    unwraps_per_second: float
    insert_select_seconds: float
    pipelines: tuple[PipelineFigures, ...]
    obvious_script_per_second: float
    aws_encryption_sdk_per_second: float | None
    forecast: PlanForecast | None

    @property
    def best(self) -> PipelineFigures:
        """The fastest pipeline."""
        return max(self.pipelines, key=lambda figures: figures.messages_per_second)

    def ratios(self) -> list[Ratio]:
        """The design's figures that can be told from one run on one machine."""
        insert_reach = _INSERT_SELECT_REACH[self.database]
        found = [
            _at_most("pipeline against INSERT … SELECT", self.best.seconds / self.insert_select_seconds, insert_reach),
            _at_least(
                "times as fast as the obvious script",
                self.best.messages_per_second / self.obvious_script_per_second,
                _SCRIPT_REACH,
            ),
            _at_most("peak memory of a worker, MiB", max(p.peak_memory_mib for p in self.pipelines), _MEMORY_REACH_MIB),
        ]
        if self.database == "sqlite" and self.conversations >= _ENOUGH_TO_PLAN:
            found.append(_at_least("conversations planned a second", self.planning_per_second, _PLANNING_REACH))
        alone = next((p for p in self.pipelines if p.workers == 1), None)
        pair = next((p for p in self.pipelines if p.workers == 2), None)
        if alone is not None and pair is not None:
            found.append(
                _at_most(
                    "CPU per message of two workers against one", pair.cpu_us_per_message / alone.cpu_us_per_message,
                    _CPU_REACH,
                )
            )  # fmt: skip
            if pair.busy_share is not None and self.cores == 2:
                found.append(_at_least("busy share of two cores with two workers", pair.busy_share, _BUSY_REACH))
        return found


_INSERT_SELECT_REACH: Final = {"postgresql": 2.5, "sqlite": 3.5}
_SCRIPT_REACH: Final = 40.0
_MEMORY_REACH_MIB: Final = 300.0
_PLANNING_REACH: Final = 100_000.0
_ENOUGH_TO_PLAN: Final = 10_000
"""Of fewer conversations the beginning and the end of a plan are most of it."""
_CPU_REACH: Final = 1.15
_BUSY_REACH: Final = 0.9


def _at_most(name: str, measured: float, reach: float) -> Ratio:
    return Ratio(name=name, measured=measured, reach=reach, at_most=True)


def _at_least(name: str, measured: float, reach: float) -> Ratio:
    return Ratio(name=name, measured=measured, reach=reach, at_most=False)
