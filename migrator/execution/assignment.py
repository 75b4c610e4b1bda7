"""What a coordinator hands to a worker, and what comes back: plain values that cross process boundaries."""

from dataclasses import dataclass, field

from migrator.campaign import CampaignSpec
from migrator.core.cohorts import Rule
from migrator.facts import Watermarks
from migrator.lease import boot_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What a run opens out of its plan: the conversations that ended in one of some outcomes in another run."""

    run_id: str
    outcomes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A shard of a run: the items of a plan whose conversation numbers lie between two, both included.

    `token` is the fencing token under which its commits count. `dry_run`: decide and open, write nothing.
    `opens`: whether a dry run may open anything at all (not before the cutover in production); `rate`: messages a
    second that one worker of a dry run may go through. `machine`: the coordinator's (`lease.boot_id`). `cohort`: the
    plan's; `retry`: which of its conversations the run is for; None: all.
    """

    spec: CampaignSpec
    run_id: str
    plan_id: str
    generation: int
    shard_no: int
    token: int
    first_no: int
    last_no: int
    watermarks: Watermarks
    cohort: Rule | None = None
    retry: Retry | None = None
    machine: str = field(default_factory=boot_id)
    dry_run: bool = False
    opens: bool = True
    rate: float | None = None


@dataclass(slots=True)
class OutcomeCount:
    """Conversations that ended in one outcome, with their messages and gaps."""

    conversations: int = 0
    messages: int = 0
    gaps: int = 0

    def add(self, messages: int, gaps: int) -> None:
        """One more conversation."""
        self.conversations += 1
        self.messages += messages
        self.gaps += gaps

    def merge(self, other: "OutcomeCount") -> None:
        """Take in another count."""
        self.conversations += other.conversations
        self.messages += other.messages
        self.gaps += other.gaps

    def to_json(self) -> dict[str, int]:
        """As results have it."""
        return {"conversations": self.conversations, "messages": self.messages, "gaps": self.gaps}


@dataclass(slots=True)
class ShardResult:
    """How a shard ended: finished, or left at a commit because the run is to stop or the shard has a new holder."""

    shard_no: int
    finished: bool
    counts: dict[str, OutcomeCount] = field(default_factory=dict)

    def add(self, outcome: str, messages: int, gaps: int) -> None:
        """Count one conversation."""
        self.counts.setdefault(outcome, OutcomeCount()).add(messages, gaps)
