"""Control of a run from any shell: what is asked stands in its row, and whoever works on the run sees it there."""

from migrator.execution.control.stopping import Stopping, abort, pause

__all__ = ["Stopping", "abort", "pause"]
