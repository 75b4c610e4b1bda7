"""What every command has at hand: global options, output, progress, and the campaign that the options name.

Types of services are quoted, so that they need not be loaded for a completion (`migrator.cli.lazily`).
"""

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path

import click

from migrator import campaign as campaigns
from migrator import config
from migrator.cli import logging, progress
from migrator.cli.options import GlobalOptions
from migrator.cli.output import Output
from migrator.core.clock import Clock, FixedClock, SystemClock
from migrator.core.errors import ConfigError
from migrator.core.model import Environment

DEFAULT_WIDTH = 100
_LEVELS = ("debug", "info", "warning", "error")


class Session:
    """One call of the program."""

    def __init__(self) -> None:
        self.options = GlobalOptions()

    def begin(self) -> None:
        """The options are complete: set logging up."""
        at = max(0, _LEVELS.index(self.options.log_level) - self.options.verbosity)
        level = "error" if self.options.quiet else _LEVELS[at]
        logging.configure(form=self.options.log_format, level=level, color=self.color(sys.stderr.isatty()))

    @cached_property
    def output(self) -> Output:
        """Standard output in the form that was asked for."""
        terminal = sys.stdout.isatty()
        columns = shutil.get_terminal_size().columns if terminal else None
        return Output(self.options.output, color=self.color(terminal), columns=columns)

    def color(self, terminal: bool) -> bool:
        """Whether to colour what goes to a stream. See no-color.org."""
        if self.options.color == "auto":
            return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return self.options.color == "always"

    def load(self, overrides: Mapping[str, str] | None = None) -> "config.Loaded":
        """The campaign's settings, with where they come from."""
        return config.load(self.options.config, os.environ, overrides or {})

    def spec(self) -> "campaigns.CampaignSpec":
        """The campaign that the options name, not opened."""
        loaded = self.load()
        return campaigns.CampaignSpec(
            settings=loaded.settings, directory=loaded.directory, clock=self._clock(loaded), actor=operator()
        )

    @contextmanager
    def campaign(self, *, read_only: bool = False) -> Iterator["campaigns.Campaign"]:
        """The campaign, open."""
        with campaigns.open_campaign(self.spec(), read_only=read_only) as campaign:
            yield campaign

    @contextmanager
    def progress(self) -> Iterator["progress.Drawn"]:
        """What long work reports to."""
        shown: progress.Drawn
        if self.options.output == "jsonl":
            shown = progress.Events(self.output, self.options.stats_seconds)
        elif self.options.quiet:
            shown = progress.Silent()
        else:
            shown = progress.Bar() if sys.stderr.isatty() else progress.Lines(self.options.stats_seconds)
        try:
            yield shown
        finally:
            shown.close()

    def today(self) -> date:
        """The date of what is made for others; SOURCE_DATE_EPOCH where a build is to be repeated bit by bit."""
        given = os.environ.get("SOURCE_DATE_EPOCH", "")
        return datetime.fromtimestamp(int(given), UTC).date() if given.isdecimal() else SystemClock().now().date()

    def terminal_size(self) -> os.terminal_size | None:
        """Of the terminal that standard output is shown on; None where it is none that can be drawn on."""
        if self.options.output != "human" or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            return None
        return shutil.get_terminal_size()

    def width(self) -> int:
        """Columns that text for people may have."""
        size = self.terminal_size()
        return DEFAULT_WIDTH if size is None else min(size.columns, DEFAULT_WIDTH)

    def program(self) -> str:
        """How a person who reads this calls the program again: by name where that finds this very program."""
        called = Path(sys.argv[0]).absolute()
        found = shutil.which("migrator")
        return "migrator" if found is not None and Path(found).absolute() == called else shlex.quote(str(called))

    def may_ask(self) -> bool:
        """Whether a person is there to answer, and was not told to be left alone."""
        return not self.options.no_input and self.options.output == "human" and sys.stdin.isatty()

    def ask(self, question: str) -> str:
        """What a person types; the question goes to standard error."""
        answer: str = click.prompt(question, default="", show_default=False, err=True)
        return answer

    def ask_secret(self) -> str:
        """A passphrase that a person types unseen."""
        answer: str = click.prompt("Passphrase", hide_input=True, err=True)
        return answer

    def _clock(self, loaded: "config.Loaded") -> Clock:
        if self.options.now is None:
            return SystemClock()
        if loaded.settings.campaign.environment is not Environment.STAGING:
            raise ConfigError(
                "--now moves the clock in staging only",
                hint='rehearse with campaign.environment = "staging" and a database of its own',
            )
        return FixedClock(self.options.now)


def operator() -> str:
    """Who is at work, for the audit log: the login name, also behind sudo."""
    behind_sudo = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    if behind_sudo:
        return behind_sudo[:200]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"
