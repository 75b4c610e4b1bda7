"""A headless browser, where Debian's package `chromium` is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")


def chromium(folder: Path, *arguments: str) -> str:
    """Run it on a page, without a word to any network; its standard output. `folder` holds its profile."""
    assert CHROMIUM is not None
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", *quiet, "--disable-component-update",
         f"--user-data-dir={folder / 'profile'}", *arguments],
        capture_output=True, check=True, timeout=60, text=True,
    )  # fmt: skip
    return done.stdout
