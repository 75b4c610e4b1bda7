"""A campaign's specification for tests: the embedded defaults in one folder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migrator.campaign import CampaignSpec
from migrator.core.clock import FixedClock
from migrator.core.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def campaign_spec(directory: Path, **sections: dict[str, Any]) -> CampaignSpec:
    """Settings by section, over a campaign `c` whose source is `store.db`."""
    given: dict[str, dict[str, Any]] = {
        "campaign": {"name": "c", "cutover_at": "2026-05-08T00:00:00Z"},
        "source": {"url": "sqlite:///store.db"},
    }
    merged = {name: given.get(name, {}) | sections.get(name, {}) for name in given.keys() | sections.keys()}
    settings = Settings.model_validate(merged)
    return CampaignSpec(settings=settings, directory=directory, clock=FixedClock(NOW), actor="tester")
