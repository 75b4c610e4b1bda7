"""The parts of the README that are transcripts: the tour of a demo, and a recorded session."""

import re
from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).parent.parent.parent.parent / "README.md"


def _part(name: str) -> str:
    """The console block behind a comment that names it."""
    found = re.search(rf"<!-- {name} -->\n```console\n(.*?)```", PATH.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None, f"the README has no {name}"
    return found[1]


TOUR: Final = _part("tour")
SESSION: Final = _part("session")
