"""Commands and groups of ours: global options everywhere; help with examples, which ends with the exit statuses.

`examples` are command lines as an operator types them, with what each does; tests parse them, and man pages have them.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from migrator.cli.formatting import Example, Page, PageContext
from migrator.cli.options import global_options
from migrator.cli.streams import forget
from migrator.core.errors import ExitStatus

MEANINGS: Final[dict[ExitStatus, str]] = {
    ExitStatus.OK: "done, or already so",
    ExitStatus.BUG: "a bug in migrator",
    ExitStatus.USAGE: "usage or configuration",
    ExitStatus.WORK_TO_DO: "`plan --detailed-exitcode`: there is work to do",
    ExitStatus.PLAN_STALE: "refused: plan stale, consumed or altered",
    ExitStatus.LEASE_HELD: "refused: another process holds the lease",
    ExitStatus.GATE: "refused: a gate (date, approval, confirmation, verification, finalised)",
    ExitStatus.PREFLIGHT: "refused: preflight failed",
    ExitStatus.LIMIT_REACHED: "stopped, resumable: a limit of time or items",
    ExitStatus.ERROR_BUDGET: "stopped, resumable: error budget",
    ExitStatus.STOPPED_BY_OPERATOR: "stopped, resumable: paused or aborted by an operator",
    ExitStatus.SERVICE_DOWN: "stopped, resumable: a backing service is down",
    ExitStatus.SOME_FAILED: "finished; some items failed",
    ExitStatus.MISMATCH: "verification found a mismatch",
    ExitStatus.AUDIT_LOG: "the audit log can't be written, or does not verify",
    ExitStatus.INTERRUPTED: "interrupted, after a checkpoint",
    ExitStatus.TERMINATED: "interrupted, after a checkpoint",
}
ALWAYS: Final = (ExitStatus.OK, ExitStatus.BUG, ExitStatus.USAGE, ExitStatus.INTERRUPTED, ExitStatus.TERMINATED)
CAMPAIGN: Final = (*ALWAYS, ExitStatus.SERVICE_DOWN)
"""What may come of any command that opens the campaign's databases."""
AUDITED: Final = (*CAMPAIGN, ExitStatus.MISMATCH, ExitStatus.AUDIT_LOG)
"""And of one that records events."""


class _WithGlobals(click.Command):
    """Adds the global options to a command's own, under a heading of theirs."""

    context_class = PageContext
    statuses: tuple[ExitStatus, ...] = ALWAYS
    examples: tuple[Example, ...] = ()

    def add_globals(self, *, root: bool) -> None:
        """Called once, when the command is made."""
        self.global_options = global_options(root=root)
        self.params = [*self.params, *self.global_options]

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Where a help page is written, too: a reader that goes away, as in `--help | head -1`, ends it."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except BrokenPipeError:
            forget(sys.stdout)
            raise click.exceptions.Exit(0) from None

    def get_short_help_str(self, limit: int = 1000) -> str:
        """What the command does, whole: shells, too, show it beside the name."""
        return super().get_short_help_str(limit)

    def first_sentence(self) -> str:
        """The same as a line of a list, and as the NAME of a man page."""
        return self.get_short_help_str().rstrip(".")

    def own_options(self, ctx: click.Context) -> list[click.Option]:
        """Its options without the global ones."""
        return [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in self.global_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then examples, then what every command takes."""
        self._write_options("Options", self.own_options(ctx), ctx, formatter)
        if self.examples and isinstance(formatter, Page):
            with formatter.section("Examples"):
                formatter.write_examples(self.examples)
        self._write_options("Global options", self.global_options, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Exit statuses come last in every help page."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), MEANINGS[status]) for status in sorted(set(self.statuses))])

    def _write_options(
        self, title: str, options: Iterable[click.Option], ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


class Command(_WithGlobals):
    """A command. `statuses`: all that it may end with; `ALWAYS` is added."""

    def __init__(
        self, *args: Any, statuses: Sequence[ExitStatus] = (), examples: Sequence[Example] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.statuses = (*ALWAYS, *statuses)
        self.examples = tuple(examples)
        self.add_globals(root=False)

    def invoke(self, ctx: click.Context) -> Any:
        """The global options are complete now: let the session take them up."""
        ctx.obj.begin()
        return super().invoke(ctx)


class Group(_WithGlobals, click.Group):
    """A group of commands; its help lists them, by `add_section` under headings."""

    command_class = Command
    group_class = type

    def __init__(
        self,
        *args: Any,
        root: bool = False,
        statuses: Sequence[ExitStatus] = (),
        examples: Sequence[Example] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.statuses = (*ALWAYS, *statuses)
        self.examples = tuple(examples)
        self.sections: dict[str, list[str]] = {}
        self.add_globals(root=root)

    def add_section(self, title: str, commands: Iterable[click.Command]) -> None:
        """Add commands that belong together; the help lists them in this order."""
        for command in commands:
            self.add_command(command)
            self.sections.setdefault(title, []).append(command.name or "")

    def listed(self) -> dict[str, list[str]]:
        """The names of all commands by heading."""
        return self.sections or {"Commands": sorted(self.commands)}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands, then options."""
        self.format_commands(ctx, formatter)
        _WithGlobals.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with what it does, whole: an end that is cut off says nothing."""
        width = max(map(len, self.commands))
        for title, names in self.listed().items():
            commands = [command for name in names if (command := self.get_command(ctx, name)) is not None]
            with formatter.section(title):
                formatter.write_dl([(f"{c.name:{width}}", _short(c)) for c in commands])


def _short(command: click.Command) -> str:
    return command.first_sentence() if isinstance(command, _WithGlobals) else command.get_short_help_str()
