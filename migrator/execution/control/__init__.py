"""Control of a run from any shell: what is asked stands in its row, and whoever works on the run sees it there."""

from migrator.execution.control.limiting import Limiting, limits, throttle
from migrator.execution.control.stopping import Stopping, abort, pause
from migrator.execution.control.unlocking import Unlocking, unlock

__all__ = ["Limiting", "Stopping", "Unlocking", "abort", "limits", "pause", "throttle", "unlock"]
