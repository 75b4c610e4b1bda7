"""The page of a command, from the same tree as its --help."""

import inspect
from collections.abc import Iterable
from datetime import date
from typing import Final

import click

from migrator import __version__
from migrator.cli.command import MEANINGS, Command, Group
from migrator.cli.man.troff import ManPage

SOURCE: Final = f"migrator {__version__}"
FILES: Final = (
    (
        "migrator.toml",
        "The campaign's configuration; see `migrator.toml(5)`. Relative paths in it start from its folder.",
    ),
    ("migrator.db", "The migrator database, unless `database.url` names another."),
    ("audit/, audit.key", "The audit log, and the key that signs it."),
    ("keys/", "Local key services."),
    ("plans/", "Plans, unless `--save` names another place."),
)
ENVIRONMENT: Final = (
    ("MIGRATOR_<SECTION>_<KEY>", "Any setting of `migrator.toml(5)`; comes before the file and after a flag."),
    (
        "NO_COLOR",
        "If set to anything but nothing: no colours, unless `--color always` asks for them. See no-color.org.",
    ),
    ("COLUMNS", "The width that help and tables are laid out for, if the terminal is not to be asked."),
)


def command_page(ctx: click.Context, made_on: date) -> str:
    """The page of the command that a context is of."""
    command = ctx.command
    assert isinstance(command, Command | Group)  # noqa: S101 - the program has no others
    page = ManPage(_name(ctx), 1, source=SOURCE, made_on=made_on, does=_without_capital(command.first_sentence()))
    page.heading("Synopsis")
    page.synopsis(ctx.command_path, command.collect_usage_pieces(ctx))
    page.heading("Description")
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        page.paragraph(paragraph)
    if isinstance(command, Group):
        _commands(page, ctx, command)
    page.heading("Options")
    _options(page, ctx, command.own_options(ctx))
    page.subheading("Global options")
    _options(page, ctx, command.global_options)
    if command.examples:
        page.heading("Examples")
        for line, does in command.examples:
            page.example(line, f"{does[:1].upper()}{does[1:]}:")
    page.heading("Exit status")
    for status in sorted(set(command.statuses)):
        page.definition(str(int(status)), MEANINGS[status])
    for title, entries in (("Files", FILES), ("Environment", (*_variables(ctx), *ENVIRONMENT))):
        page.heading(title)
        for term, text in entries:
            page.definition(term, text)
    page.heading("See also")
    page.paragraph(", ".join(_related(ctx)))
    return page.text()


def _name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _without_capital(sentence: str) -> str:
    """The NAME section's custom."""
    return sentence[:1].lower() + sentence[1:]


def _commands(page: ManPage, ctx: click.Context, group: Group) -> None:
    page.heading("Commands")
    for title, names in group.listed().items():
        if group.sections:
            page.subheading(title)
        for name in names:
            command = group.commands[name]
            assert isinstance(command, Command | Group)  # noqa: S101 - the program has no others
            page.definition(f"{_name(ctx)}-{name}(1)", command.first_sentence() + ".")


def _options(page: ManPage, ctx: click.Context, options: Iterable[click.Option]) -> None:
    for option in options:
        record = option.get_help_record(ctx)
        if record is not None:
            page.definition(*record)


def _variables(ctx: click.Context) -> list[tuple[str, str]]:
    """What the program itself reads from the environment: the root's options."""
    root = ctx.find_root().command
    return [
        (str(option.envvar), f"As `{max(option.opts, key=len)}`.")
        for option in root.params
        if isinstance(option, click.Option) and option.envvar
    ]


def _related(ctx: click.Context) -> list[str]:
    """The group that it is in, its neighbours, the configuration."""
    found = []
    if ctx.parent is not None and isinstance(ctx.parent.command, Group):
        group = ctx.parent.command
        near = next(names for names in group.listed().values() if ctx.info_name in names)
        found = [_name(ctx.parent), *(f"{_name(ctx.parent)}-{name}" for name in near if name != ctx.info_name)]
    return [*(f"`{name}(1)`" for name in found), "`migrator.toml(5)`"]
