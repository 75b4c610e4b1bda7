"""The options that limit a run: of execute, resume and throttle."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from migrator.cli.options import Limit

_F = TypeVar("_F", bound=Callable[..., Any])


def limit_options(function: _F) -> _F:
    """Each as configured, or as the run has it, unless given."""
    for name, metavar, text in (
        ("critical_load", "MEASURE=MOST,…|off", "Load over which the run stops, resumable, when it lasts."),
        ("max_load", "MEASURE=MOST,…|off",
         "Load over which the run waits: database.latency=250ms, keys.latency=2s, database.errors=1%, keys.errors=5%."),
        ("window", "HH:MM-HH:MM ZONE|off", "Hours outside of which the run waits, such as '22:00-06:00 Europe/Paris'."),
        ("max_duration", "T|off", "Stop, resumable, after a session of 90s, 15m, 8h, …"),
        ("max_failures", "N|N%", "Stop, resumable, when more conversations failed; of N% at least 10 may."),
        ("max_rate", "N/s|off", "Messages that all workers together move at most."),
    ):  # fmt: skip
        flag = f"--{name.replace('_', '-')}"
        function = click.option(flag, name, type=Limit(name), metavar=metavar, help=text)(function)
    return function
