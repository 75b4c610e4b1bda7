"""Real programs for a campaign's folder of hooks."""

from pathlib import Path


def script(folder: Path, name: str, body: str, *, mode: int = 0o700) -> Path:
    """A shell script."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(mode)
    return path
