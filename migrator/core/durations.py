"""Lengths of time as operators write them: `90`, `90s`, `15m`, `8h`, `2d`."""

import re
from typing import Final

_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|m|h|d)?\Z")
_UNIT_SECONDS: Final = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """Seconds; `ValueError` for anything that is no length of time."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError("a length of time reads like 90s, 15m, 8h or 2d")
    return float(match[1]) * _UNIT_SECONDS[match[2]]
