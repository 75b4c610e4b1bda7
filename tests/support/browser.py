"""A headless browser, where Debian's package `chromium` is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium is not installed")


def width_on_a_phone(folder: Path, page: Path) -> int:
    """How wide a page gets, in pixels, in a window of 390: more than that has to be moved sideways."""
    frame = folder / "phone.html"
    frame.write_text(
        f'<iframe id="page" src="{page.as_uri()}" style="width: 390px; height: 800px; border: 0"></iframe>'
        '<p id="width"></p><script>page.onload = () => {'
        " width.textContent = page.contentDocument.documentElement.scrollWidth; };</script>",
        encoding="utf-8",
    )
    dom = chromium(folder, "--allow-file-access-from-files", "--virtual-time-budget=3000", "--dump-dom", frame.as_uri())
    return int(dom.partition('<p id="width">')[2].partition("<")[0])


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
