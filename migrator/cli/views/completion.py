"""View of man pages that were written."""

from collections.abc import Sequence
from pathlib import Path

from migrator.cli.output import View
from migrator.cli.views.text import counted


def written(pages: Sequence[Path], directory: Path) -> View:
    """Where they are."""
    return View(
        document={"schema": "migrator.man/1", "directory": str(directory), "pages": [str(page) for page in pages]},
        lines=[f"{counted(len(pages), 'page')} in {directory}", f"read them with: man -M {directory} migrator"],
    )
