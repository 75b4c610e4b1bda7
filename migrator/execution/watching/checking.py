"""What `preflight` looks at of those who watch: the folder of hooks, and the place of the metrics file."""

from migrator.campaign import CampaignSpec
from migrator.execution import metrics
from migrator.execution.hooks import folder


def configured(spec: CampaignSpec) -> bool:
    """Whether there is anything to look at."""
    return (spec.settings.hooks.directory, spec.settings.execution.metrics_file) != (None, None)


def look(spec: CampaignSpec) -> str:
    """What there is, for people; `ConfigError` for what a run would refuse."""
    directory, metrics_file = spec.settings.hooks.directory, spec.settings.execution.metrics_file
    found = folder.found(spec.directory / directory if directory is not None else None)
    if metrics_file is not None:
        metrics.require_writable(spec.directory / metrics_file)
    hooks = ", ".join(hook.value for hook in folder.Hook if hook in found.paths) or "none"
    return f"hooks: {hooks}; metrics file: {metrics_file or 'none'}"
