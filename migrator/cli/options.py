"""The global options, accepted before and after the command, and the kinds of value that options take."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import click

from migrator import __version__
from migrator.core.clock import parse_time
from migrator.core.quantities import Share, per_second
from migrator.core.run_limits import check

OutputFormat = Literal["human", "json", "jsonl"]
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)?\Z")
_UNIT_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?)%\Z")


class Duration(click.ParamType[float]):
    """A length of time in seconds, written `90`, `90s`, `15m`, `8h` or `2d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; fails for zero."""
        match = _DURATION.match(value) if isinstance(value, str) else None
        seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else value
        if not isinstance(seconds, int | float) or seconds <= 0:
            self.fail(f"{value!r} is not a length of time such as 90s, 15m, 8h or 2d", param, ctx)
        return float(seconds)


class Moment(click.ParamType[datetime]):
    """A time in RFC 3339 with its offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """In UTC."""
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-05-08T00:00:00Z", param, ctx)


class NumberOrPercent(click.ParamType[str]):
    """A number of items, or a percentage of them; stays text."""

    name = "n|n%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, checked."""
        try:
            Share.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r} is not {error}", param, ctx)
        return str(value)


class Rate(click.ParamType[str]):
    """So many a second, a minute or an hour; stays text."""

    name = "n/s"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, checked."""
        try:
            per_second(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a rate such as 5000/s, 30/min or 1000/h", param, ctx)
        return str(value)


class Limit(click.ParamType[str]):
    """A limit of a run, or `off`; stays text."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text, checked."""
        try:
            check(self.name, str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return str(value)


class Percent(click.ParamType[float]):
    """A percentage over 0."""

    name = "p%"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number before the sign."""
        if isinstance(value, float):
            return value
        match = _PERCENT.match(str(value))
        if match is None or not 0 < float(match[1]) <= 100:
            self.fail(f"{value!r} is not a percentage such as 5%", param, ctx)
        return float(match[1])


DURATION: Final = Duration()
MOMENT: Final = Moment()
NUMBER_OR_PERCENT: Final = NumberOrPercent()
PERCENT: Final = Percent()
RATE: Final = Rate()


@dataclass(slots=True, kw_only=True)
class GlobalOptions:
    """What the global options say; filled in as they are parsed, the innermost last."""

    config: Path = Path("migrator.toml")
    output: OutputFormat = "human"
    log_format: Literal["console", "json"] = "console"
    log_level: str = "warning"
    quiet: bool = False
    verbosity: int = 0
    color: Literal["auto", "always", "never"] = "auto"
    no_input: bool = False
    now: datetime | None = None
    stats_seconds: float = 60.0


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        options = ctx.find_root().obj.options
        if name == "verbosity":
            options.verbosity += value
        elif value is not None and value is not False:
            setattr(options, name, value)

    return callback


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"migrator {__version__}")
        ctx.exit()


def global_options(*, root: bool) -> list[click.Option]:
    """Fresh option objects for one command; the root's also read the environment, so that any flag comes first."""

    def option(*names: str, store: str, variable: str = "", **settings: Any) -> click.Option:
        environment = f"MIGRATOR_{variable}" if variable and root else None
        return click.Option(
            [*names], expose_value=False, callback=_store(store), envvar=environment, default=None, **settings
        )

    return [
        option("--config", store="config", variable="CONFIG", type=click.Path(path_type=Path), metavar="FILE",
               help="The campaign's configuration; migrator.toml unless given."),
        option("-o", "--output", store="output", variable="OUTPUT", type=click.Choice(["human", "json", "jsonl"]),
               metavar="FORM", help="Results as human (unless given), json or jsonl."),
        option("--log-format", store="log_format", variable="LOG_FORMAT", type=click.Choice(["console", "json"]),
               metavar="FORM", help="Logs as console (unless given) or json."),
        option("--log-level", store="log_level", variable="LOG_LEVEL",
               type=click.Choice(["debug", "info", "warning", "error"]), metavar="LEVEL",
               help="debug, info, warning (unless given) or error."),
        option("--stats", store="stats_seconds", variable="STATS", type=DURATION, metavar="T",
               help="Interval of progress lines without a terminal; 60s unless given."),
        option("--color", store="color", variable="COLOR", type=click.Choice(["auto", "always", "never"]),
               metavar="WHEN", help="auto (unless given), always or never; NO_COLOR counts as never."),
        option("--no-input", store="no_input", variable="NO_INPUT", is_flag=True, help="Never ask anything."),
        option("--now", store="now", variable="NOW", type=MOMENT, metavar="TIME",
               help="The time of policy and of recorded times; staging only."),
        option("-q", "--quiet", store="quiet", is_flag=True, help="No progress, only errors."),
        click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_store("verbosity"),
                     help="More logs; twice for all."),
        click.Option(["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version,
                     help="Show the version and exit."),
    ]  # fmt: skip
