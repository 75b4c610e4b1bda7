"""A rehearsal in staging, as the summary of its saved report tells of it.

It must be of a completed run in staging, made under the same rules: `rules_sha256` leaves out what differs between the
two places by nature, such as URLs and keys. What staging says is its operators' word; the two who approve are shown it
and answer for it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from migrator import config
from migrator.campaign import Campaign
from migrator.core.errors import GateError, UsageError
from migrator.core.lifecycle import RunState
from migrator.core.model import Environment

_MAX_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalReport:
    """What a report's summary says of the run: its id; SHA-256 over the file in hex."""

    run_id: str
    summary_sha256: str


def read(campaign: Campaign, path: Path) -> RehearsalReport:
    """A rehearsal's `summary.json`; `UsageError` where it is none, `GateError` where it proves nothing here."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the rehearsal's summary {path} can't be read: {error.strerror}",
            hint="`migrator report RUN --save DIR` in staging writes DIR/summary.json",
        ) from None
    try:
        if len(data) > _MAX_BYTES:
            raise ValueError("too large")
        summary = json.loads(data)
        found = summary["environment"], summary["run"]["state"], summary["rules_sha256"]
        run_id = summary["run"]["run_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(
            f"{path} is not the summary of a run's report",
            hint="`migrator report RUN --save DIR` in staging writes DIR/summary.json",
        ) from None
    if found[0] != Environment.STAGING.value:
        raise GateError(
            f"{path} is not of a rehearsal in staging",
            hint="give summary.json of a report that the staging campaign saved",
        )
    if found[1] != RunState.COMPLETED.value:
        raise GateError(
            f"{path}: the rehearsal's run was not completed",
            hint="complete it there with `migrator resume`, then report",
        )
    if found[2] != config.rules_digest(campaign.settings):
        raise GateError(
            f"{path}: the rehearsal ran under other rules than this campaign's",
            hint="compare [campaign], [authorization], [execution] and [cohorts] of both, then rehearse again",
        )
    return RehearsalReport(run_id=str(run_id)[:64], summary_sha256=hashlib.sha256(data).hexdigest())
