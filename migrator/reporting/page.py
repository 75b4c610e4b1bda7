"""The report as one HTML page for people: no script, nothing from a network, everything escaped.

Pictures are SVG in the page, and each has its numbers in a table beneath it: for screen readers, for print, and for
those who want to know exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from migrator.core.clock import parse_time
from migrator.core.outcomes import Outcome
from migrator.reporting.timeline import Point

_MIGRATED: Final = frozenset(outcome.value for outcome in Outcome if outcome.visible)
_WIDTH: Final = 1000.0
_HEIGHT: Final = 240.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart: what it is, how much, its share of the longest (0 to 100), and its colour's class."""

    name: str
    value: int
    share: float
    kind: str


def render(
    summary: Mapping[str, Any], points: Sequence[Point], coverage: Mapping[str, Any] | None, files: Sequence[Any]
) -> bytes:
    """The page, UTF-8. `coverage`: None where the source could not be asked; `files`: those beside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda number: f"{number:,}"
    environment.filters["moment"] = _moment
    environment.filters["counts"] = _counts
    template = environment.get_template("page.html.j2")
    outcomes = {name: count["conversations"] for name, count in summary["outcomes"].items()}
    return template.render(
        report=summary,
        outcomes=_bars(outcomes, _kind),
        gaps=_bars(summary["gaps"], lambda _: "gap"),
        points=points,
        line=_line(points),
        coverage=coverage,
        files=files,
    ).encode()


def _moment(time: str) -> str:
    """A time for people, to the second: all of migrator's are UTC."""
    return f"{parse_time(time):%Y-%m-%d %H:%M:%S} UTC"


def _counts(found: Mapping[str, int]) -> str:
    """Counts by name in one cell of a table."""
    return ", ".join(f"{name} {number:,}" for name, number in sorted(found.items())) or "none"


def _bars(counts: Mapping[str, int], kind: Any) -> list[Bar]:
    longest = max(counts.values(), default=0) or 1
    return [Bar(name, value, round(100 * value / longest, 2), kind(name)) for name, value in counts.items()]


def _kind(outcome: str) -> str:
    if outcome in _MIGRATED:
        return "migrated"
    return outcome.partition(":")[0]


def _line(points: Sequence[Point]) -> str:
    """The points of a polyline over stretches of equal width: how many conversations were done by then."""
    if not points:
        return ""
    most = points[-1].conversations or 1
    step = _WIDTH / len(points)
    places = [(0.0, _HEIGHT)]
    places += [(step * n, _HEIGHT - _HEIGHT * p.conversations / most) for n, p in enumerate(points, start=1)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
