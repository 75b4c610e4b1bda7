"""What a worker process keeps open from shard to shard: the campaign, and what opens its exports."""

from functools import lru_cache

from migrator.campaign import Campaign, CampaignSpec
from migrator.execution.assignment import Assignment, ShardResult
from migrator.execution.worker import work_through
from migrator.exports.opening import ExportReader

_specs: dict[str, CampaignSpec] = {}
"""The spec of the one run that this process works for, by a key that a cache can hold."""


def run_shard(assignment: Assignment) -> ShardResult:
    """What an engine calls in a worker: `work_through`, with one unwrap a recipient key and process."""
    key = f"{assignment.run_id}:{assignment.generation}:{'dry' if assignment.dry_run else 'real'}"
    if key not in _specs:
        _specs.clear()
        _specs[key] = assignment.spec
    return work_through(_campaign(key), assignment, _exports(key, assignment.watermarks.export_no))


@lru_cache(maxsize=1)
def _campaign(key: str) -> Campaign:
    return Campaign(_specs[key], read_only=key.endswith(":dry"))


@lru_cache(maxsize=1)
def _exports(key: str, last_export_no: int) -> ExportReader:
    return ExportReader(_campaign(key), last_export_no=last_export_no)
