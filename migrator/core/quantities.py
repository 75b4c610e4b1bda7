"""Rates, and shares of a whole, as operators write them."""

import re

_SHARE = re.compile(r"(\d{1,9})\Z|(\d{1,3}(?:\.\d{1,4})?)%\Z")
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)/(s|min|h)\Z")
_PER_SECOND = {"s": 1.0, "min": 60.0, "h": 3600.0}


def per_second(rate: str) -> float:
    """`50/s`, `30/min`, `1000/h` as events a second; `ValueError` for anything else or nothing at all."""
    match = _RATE.match(rate)
    if match is None or float(match[1]) == 0:
        raise ValueError("a rate reads like 50/s, 30/min or 1000/h")
    return float(match[1]) / _PER_SECOND[match[2]]


def rate_text(events: float) -> str:
    """So many events a second as `per_second` reads them, to a thousandth of one; slow ones to that of one an hour."""
    return f"{events:.3f}/s" if events >= 1 else f"{max(events * 3600, 0.001):.3f}/h"


class Share:
    """A number of items, or a percentage of them."""

    __slots__ = ("count", "fraction")

    def __init__(self, count: int | None, fraction: float | None) -> None:
        self.count = count
        self.fraction = fraction

    @classmethod
    def parse(cls, text: str) -> "Share":
        """`25` or `1%`; `ValueError` for anything else."""
        match = _SHARE.match(text)
        if match is None or (match[2] and float(match[2]) > 100):
            raise ValueError("a number like 25 or a percentage like 1%")
        return cls(int(match[1]), None) if match[1] else cls(None, float(match[2]) / 100)

    def of(self, total: int) -> int:
        """How many that is of `total`."""
        if self.count is not None:
            return self.count
        return int(total * (self.fraction or 0.0))
