"""What values of options and arguments are offered while somebody types: runs, plans, outcomes, kinds of audit events.

Values that name people or conversations are never offered, nor what somebody has to type to confirm an act.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click
from click.shell_completion import CompletionItem

from migrator import recent
from migrator.core.errors import MigratorError
from migrator.core.outcomes import OUTCOMES

PATIENCE_SECONDS: Final = 2.0
"""How long a key press may take: a database that does not answer by then has nothing to offer."""

Offers = Sequence[tuple[str, str]]
"""Values, each with a word about it, or none."""


class Offered(click.ParamType[str]):
    """A text, for which something offers values."""

    def __init__(self, name: str, offers: Callable[[click.Context], Offers]) -> None:
        self.name = name
        self._offers = offers

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem[str]]:
        """What begins like the word that is typed."""
        offers = _in_time(lambda: self._offers(ctx))
        return [CompletionItem(text, help=what or None) for text, what in offers if text.startswith(incomplete)]


class _Plan(Offered):
    """A plan's id or its file, which may lie anywhere."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Any file, where nothing of ours begins so."""
        return super().shell_complete(ctx, param, incomplete) or [CompletionItem(incomplete, type="file")]


def _in_time(look: Callable[[], Offers]) -> Offers:
    """What a look brings soon; nothing where it fails or is late. Its thread ends with the process."""
    found: list[tuple[str, str]] = []

    def run() -> None:
        try:
            found.extend(look())
        except Exception:  # noqa: BLE001 - whatever it is: somebody presses Tab, and nothing is offered
            found.clear()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return [] if thread.is_alive() else found


def _runs(ctx: click.Context) -> Offers:
    loaded = ctx.find_root().obj.load()
    return recent.runs(loaded.settings, loaded.directory)


def _plans(ctx: click.Context) -> Offers:
    loaded = ctx.find_root().obj.load()
    files = sorted((loaded.directory / "plans").glob("*.json"), reverse=True)[: recent.MOST]
    return [*_ids_of_plans(ctx), *((os.path.relpath(file), "") for file in files)]


def _ids_of_plans(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """None where the database can't be read: there are files too."""
    loaded = ctx.find_root().obj.load()
    try:
        yield from recent.plans(loaded.settings, loaded.directory)
    except MigratorError:
        return


def _outcomes(_ctx: click.Context) -> Offers:
    return [(outcome, "") for outcome in sorted(OUTCOMES)]


RUN: Final = Offered("run", _runs)
PLAN: Final = _Plan("plan", _plans)
OUTCOME: Final = Offered("outcome", _outcomes)
