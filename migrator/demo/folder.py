"""The folder of a demo: only one that is empty, or that a demo was made in before."""

import json
import shutil
from pathlib import Path
from typing import Final

from fixtures.world import Shape
from migrator.core.errors import UsageError
from migrator.private_files import replace_private

MARKER: Final = "demo.json"
"""Written first: says that a folder is a demo, and may be made again."""
_MADE: Final = (
    "migrator.toml", "store.db", "migrator.db", "migrator.db-wal", "migrator.db-shm", "keys", "audit", "audit.key",
    "outbox", "hand-in", "plans", "report", MARKER,
)  # fmt: skip


def make_room(directory: Path, shape: Shape) -> None:
    """Clear away what an older demo made, and nothing else; `UsageError` for a folder that is none."""
    try:
        present = sorted(directory.iterdir()) if directory.exists() else []
        if present and not (directory / MARKER).is_file():
            raise UsageError(
                f"{directory} is not empty, and not an older demo", hint="name another folder: migrator demo DIR"
            )
        for path in present:
            if path.name in _MADE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        replace_private(directory / MARKER, json.dumps(shape.to_json(), indent=1).encode())
    except OSError as error:
        raise UsageError(f"{directory} can't be used: {error.strerror}", hint="name another folder") from None
