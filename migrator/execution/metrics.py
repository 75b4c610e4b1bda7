"""A run's figures in a file for Prometheus: the text format, as node-exporter's textfile collector reads it.

1. Every sample has the label `campaign`, so that the files of several campaigns lie side by side. Help texts are
   always the same: node-exporter refuses a metric that two files explain differently.
2. No label names an account, a conversation or anything from outside; outcomes, states and phases are closed sets.
3. The file takes its name when it is whole, and may be read by anybody: it holds counts and times. Its temporary name
   does not end in `.prom`, so that nobody takes it for one.
4. What is not known is left out. Times are Unix seconds; samples bear none, which the collector would refuse.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from migrator.core.errors import ConfigError
from migrator.core.lifecycle import RunState
from migrator.execution.runs import RunSummary
from migrator.execution.watching.snapshot import PHASES, Watched

SUFFIX: Final = ".prom"
_MODE: Final = 0o644

_Metric = tuple[str, str, list[tuple[Mapping[str, str], float | None]]]
"""Name, help, samples: each with its labels, and None where the value is not known."""
_NONE: Final[Mapping[str, str]] = {}


def require_writable(path: Path) -> None:
    """Raise `ConfigError` where a metrics file could not be written, or nobody would read it."""
    if path.suffix != SUFFIX or path.stem.startswith("."):
        raise ConfigError(
            f"the metrics file {path} does not end in {SUFFIX}: node-exporter reads no other",
            hint=f"for example {path.with_name(f'migrator{SUFFIX}')}",
        )
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(
            f"the metrics file {path} can't be written",
            hint="its folder has to be there and writable for the user that runs migrator",
        )


def write(path: Path, text: str) -> None:
    """Replace the file in one step; raises `OSError`. It need not survive a power cut: the next one comes soon."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), _MODE)  # whatever the umask is
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def render(campaign: str, summary: RunSummary, watched: Watched) -> str:
    """The whole file."""
    lines = []
    for name, explained, samples in _metrics(summary, watched):
        found = [(labels, value) for labels, value in samples if value is not None]
        if found:
            lines += [f"# HELP migrator_{name} {explained}", f"# TYPE migrator_{name} gauge"]
            lines += [_sample(name, {"campaign": campaign, **labels}, value) for labels, value in found]
    return "".join(f"{line}\n" for line in lines)


def _metrics(summary: RunSummary, watched: Watched) -> Iterator[_Metric]:
    """Gauges all: a new run begins at 0 again."""
    yield from _standing(summary, watched)
    yield from _outcomes(summary)
    yield from _advance(summary, watched)
    yield from _safety(watched)


def _standing(summary: RunSummary, watched: Watched) -> Iterator[_Metric]:
    yield (
        "run_info",
        "The run that the other figures are of.",
        [({"run_id": summary.run_id, "plan_id": summary.plan_id}, 1.0)],
    )
    yield (
        "run_state",
        "1 for the state that the run is in.",
        [({"state": state.value}, float(summary.state is state)) for state in RunState],
    )
    yield (
        "run_phase",
        "1 for what the run is busy with.",
        [({"phase": phase}, float(watched.phase == phase)) for phase in PHASES],
    )


def _outcomes(summary: RunSummary) -> Iterator[_Metric]:
    counts = sorted(summary.counts.items())
    yield (
        "run_conversations",
        "Conversations that have an outcome.",
        [({"outcome": outcome}, float(c.conversations)) for outcome, c in counts],
    )
    yield (
        "run_messages",
        "Messages of conversations that have an outcome.",
        [({"outcome": outcome}, float(c.messages)) for outcome, c in counts],
    )
    yield (
        "run_gaps",
        "Messages that could not be opened.",
        [({"outcome": outcome}, float(c.gaps)) for outcome, c in counts],
    )


def _advance(summary: RunSummary, watched: Watched) -> Iterator[_Metric]:
    advance, rate = watched.advance, watched.rate
    yield "run_pending_conversations", "Conversations without an outcome.", [(_NONE, float(summary.pending))]
    yield "run_expected_messages", "Messages that the plan has the run move.", [(_NONE, _float(advance.total))]
    yield "run_done_messages", "Messages that are dealt with.", [(_NONE, float(advance.done))]
    yield "run_progress_ratio", "How far the run is, from 0 to 1.", [(_NONE, advance.fraction)]
    yield (
        "run_messages_per_second",
        "Messages a second, over the last minutes.",
        [(_NONE, rate.per_second if rate else None)],
    )
    yield (
        "run_remaining_seconds",
        "Estimated time that is left; absent where it is not known.",
        [(_NONE, watched.eta.seconds)],
    )
    yield "run_waiting", "1 while the run waits for something.", [(_NONE, float(watched.waiting is not None))]
    yield "run_worked_seconds", "How long the run was worked on.", [(_NONE, summary.elapsed_seconds)]


def _safety(watched: Watched) -> Iterator[_Metric]:
    checkpoint, lease = watched.checkpoint, watched.lease
    yield (
        "run_last_commit_timestamp_seconds",
        "When a worker committed last.",
        [(_NONE, _unix(checkpoint.committed_at))],
    )
    yield (
        "lease_heartbeat_timestamp_seconds",
        "When the holder of the campaign's lease gave its last sign of life.",
        [(_NONE, _unix(lease.heartbeat_at) if lease else None)],
    )
    yield "audit_log_entries", "Entries of the audit log.", [(_NONE, float(checkpoint.log_size))]
    yield (
        "audit_log_signed_entries",
        "Entries that the last checkpoint covers.",
        [(_NONE, float(checkpoint.signed_size))],
    )
    yield (
        "audit_log_checkpoint_timestamp_seconds",
        "When the last checkpoint was signed.",
        [(_NONE, _unix(checkpoint.signed_at))],
    )
    yield "metrics_timestamp_seconds", "When these figures were written.", [(_NONE, _unix(watched.now))]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"migrator_{name}{{{shown}}} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _float(number: int | None) -> float | None:
    return None if number is None else float(number)


def _unix(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
