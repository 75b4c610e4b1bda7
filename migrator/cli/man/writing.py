"""Which pages there are, and where they go: `man1/migrator-plan.1` and so on, as man(1) looks for them."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click

from migrator.cli.man import configuration
from migrator.cli.man.commands import command_page
from migrator.core.errors import UsageError


def pages(root: click.Context, made_on: date) -> Iterator[tuple[str, str]]:
    """Path below a folder of man pages, and text, of each page."""
    for context in walk(root):
        name = context.command_path.replace(" ", "-")
        yield f"man1/{name}.1", command_page(context, made_on)
    yield "man5/migrator.toml.5", configuration.page(made_on)


def walk(context: click.Context) -> Iterator[click.Context]:
    """A context for each command below one, and that one."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from walk(type(context)(child, info_name=name, parent=context))


def write(root: click.Context, directory: Path, made_on: date) -> list[Path]:
    """Write all pages, readable by everybody: programs of others show them. `UsageError` where that can't be."""
    written: list[Path] = []
    for place, text in pages(root, made_on):
        path = directory / place
        try:
            _make_folders(path.parent)
            path.write_text(text, encoding="ascii")
            path.chmod(0o644)
        except OSError as error:
            raise UsageError(
                f"{path} can't be written: {error.strerror}",
                hint="name a folder that is yours to write, such as ~/.local/share/man",
                changed=f"{len(written)} pages were written before",
            ) from None
        written.append(path)
    return written


def _make_folders(folder: Path) -> None:
    """The umask of this program is for secrets; folders of man pages are for everybody."""
    mask = os.umask(0o022)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(mask)
