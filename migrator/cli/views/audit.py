"""Views of the audit log."""

import json
from typing import Any

from migrator.audit.log import TYPE_PREFIX


def line(entry: dict[str, Any]) -> str:
    """One entry on one line."""
    about = entry.get("subject") or ""
    data = json.dumps(entry.get("data", {}), separators=(",", ":"), sort_keys=True)
    kind = str(entry.get("type", "")).removeprefix(TYPE_PREFIX)
    return f"{entry.get('seq', ''):>6} {entry.get('time', '')} {kind:<24} {entry.get('actor', '')} {about} {data}"
