"""Commands and groups of ours: global options everywhere, and a help page that ends with the exit statuses."""

from collections.abc import Sequence
from typing import Any, Final

import click

from migrator.cli.options import global_options
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

    statuses: tuple[ExitStatus, ...] = ALWAYS

    def add_globals(self, *, root: bool) -> None:
        """Called once, when the command is made."""
        self.global_options = global_options(root=root)
        self.params = [*self.params, *self.global_options]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first."""
        shared = {id(option) for option in self.global_options}
        for title, wanted in (("Options", False), ("Global options", True)):
            options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
            parameters = [p for p in options if (id(p) in shared) is wanted]
            records = [r for p in parameters if (r := p.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Exit statuses come last in every help page."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), MEANINGS[status]) for status in sorted(set(self.statuses))])


class Command(_WithGlobals):
    """A command. `statuses`: all that it may end with; `ALWAYS` is added."""

    def __init__(self, *args: Any, statuses: Sequence[ExitStatus] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statuses = (*ALWAYS, *statuses)
        self.add_globals(root=False)

    def invoke(self, ctx: click.Context) -> Any:
        """The global options are complete now: let the session take them up."""
        ctx.obj.begin()
        return super().invoke(ctx)


class Group(_WithGlobals, click.Group):
    """A group of commands; its help lists them."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, root: bool = False, statuses: Sequence[ExitStatus] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statuses = (*ALWAYS, *statuses)
        self.add_globals(root=root)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Commands, then options."""
        self.format_commands(ctx, formatter)
        _WithGlobals.format_options(self, ctx, formatter)
