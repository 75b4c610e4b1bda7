"""Shows how a command failed: `migrator: error: …`, `hint: …`, what was or was not changed; and its exit status.

What is not one of ours is a bug in migrator: its place is shown, its message is not, as that may hold anything.
"""

import traceback
from collections.abc import Callable

import click
import structlog

from migrator.cli.output import Output, printable
from migrator.cli.usage import explain
from migrator.core.errors import NOTHING_CHANGED, ExitStatus, MigratorError

BUG_HINT = "run it again with --log-level debug and report what the log then shows; it holds no content and no keys"


def tell(message: str, hint: str, changed: str) -> None:
    """The error for people, on standard error."""
    click.echo(f"migrator: error: {_lines(message)}", err=True)
    if hint:
        click.echo(f"hint: {_lines(hint)}", err=True)
    if changed:
        click.echo(_lines(changed), err=True)


def report(output: Output, *, code: str, status: ExitStatus, message: str, hint: str, changed: str) -> int:
    """Show an error to people, and to programs that read JSON Lines."""
    tell(message, hint, changed)
    output.event(
        "exit_error",
        {"code": code, "exit_status": int(status), "message": message, "hint": hint, "changed": changed},
    )
    return int(status)


def guarded(output: Callable[[], Output], call: Callable[[], object]) -> int:
    """Run a command and turn whatever comes of it into an exit status."""
    try:
        returned = call()
    except MigratorError as error:
        return report(output(), code=error.code, status=error.exit_status, message=error.message, hint=error.hint,
                      changed=error.changed)  # fmt: skip
    except click.ClickException as error:
        message, hint = explain(error)
        return report(output(), code="usage", status=ExitStatus.USAGE, message=message, hint=hint,
                      changed=NOTHING_CHANGED)  # fmt: skip
    except (click.Abort, KeyboardInterrupt):
        return report(output(), code="interrupted", status=ExitStatus.INTERRUPTED, message="interrupted",
                      hint="the same command does what is left", changed="what was committed is kept")  # fmt: skip
    except Terminated:
        return report(output(), code="terminated", status=ExitStatus.TERMINATED, message="terminated",
                      hint="the same command does what is left", changed="what was committed is kept")  # fmt: skip
    except BaseException as error:  # noqa: BLE001 - the outermost frame: what arrives here is a bug, and is told as one
        return _bug(output(), error)
    return int(returned) if isinstance(returned, int) else 0


class Terminated(BaseException):
    """SIGTERM arrived while no run was to be brought to a checkpoint."""


def _bug(output: Output, error: BaseException) -> int:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"
    structlog.get_logger("migrator.cli").debug(
        "bug",
        error=type(error).__name__,
        frames=[f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames],
    )
    return report(
        output,
        code="bug",
        status=ExitStatus.BUG,
        message=f"this is a bug in migrator: {type(error).__name__} at {place}",
        hint=BUG_HINT,
        changed="what was committed before is kept",
    )


def _lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))
