"""Makes a homeserver: a real Synapse with real clients, stopped when they are done, for a migration to begin from.

    python -m tests.matrix.homeserver FOLDER

Needs PyPI and two to four minutes, most of them for installing Synapse and matrix-nio into a virtual environment of
their own (`FOLDER/venv`), as their dependencies are not migrator's. That is too long for the test suite; what a run
printed stands in `recorded_run.txt`. In `FOLDER/lab` it leaves what `fixtures/synapse_lab` has as well:

    homeserver.db, media_store/     the stopped homeserver (SQLite, loopback, a free port)
    exports/, secrets.json          each client's key export, passphrases, a key backup's recovery key
    truth.jsonl                     every encrypted event with the exact payload that its client encrypted

Then the homeserver starts again as `runbooks/keeping-e2ee-off.md` has it, and what that page claims is tried on it. At
last the lab is migrated and compared with the truth (`test_fresh.py`).
"""

import argparse
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

ROOT: Final = Path(__file__).parent.parent.parent
RUNBOOK: Final = ROOT / "runbooks" / "keeping-e2ee-off.md"
REQUIREMENTS: Final = ("matrix-synapse==1.163.2", "matrix-nio[e2e]==0.26.0", "vodozemac==0.10.0", "httpx==0.28.1")
DOMAIN: Final = "fresh.example"
FRESH: Final = "MIGRATOR_FRESH_HOMESERVER"
"""Names the lab in the environment of `test_fresh.py`."""
_NO_LIMIT: Final = {"per_second": 1000, "burst_count": 1000}
_PATIENCE_SECONDS: Final = 60


def main() -> None:
    """All of it, with a line for each step."""
    parser = argparse.ArgumentParser(description="make a homeserver with encrypted rooms")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    python = installed(folder)
    port = free_port()
    configure(folder, port)
    with running(folder, python, port, off=False):
        run(python, "clients.py", folder, f"http://127.0.0.1:{port}")
    keep(folder)
    say(f"stopped; {counts(folder / 'lab' / 'homeserver.db')}")
    keep_off(folder)
    with running(folder, python, port, off=True):
        run(python, "keeping_off.py", folder, f"http://127.0.0.1:{port}")
    migrate(folder / "lab")


def say(text: str) -> None:
    """One line of the recorded run."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def installed(folder: Path) -> Path:
    """A virtual environment with Synapse and a client; made once."""
    python = folder / "venv" / "bin" / "python"
    began = time.monotonic()
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", *REQUIREMENTS], check=True)
        say(f"installed in {time.monotonic() - began:.0f} s")
    listed = subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
    wanted = re.findall(r"(?mi)^(?:matrix-synapse|matrix-nio|vodozemac|aiohttp|twisted|cryptography)==.*$", listed)
    say(f"Python {sys.version.split()[0]}, {', '.join(wanted)}")
    return python


def free_port() -> int:
    """One that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def configure(folder: Path, port: int) -> None:
    """A homeserver without federation and without limits on the rate of anything."""
    settings = {
        "server_name": DOMAIN,
        "report_stats": False,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(folder / "homeserver.pid"),
        "signing_key_path": str(folder / "signing.key"),
        "media_store_path": str(folder / "media_store"),
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "listeners": [
            {"port": port, "type": "http", "bind_addresses": ["127.0.0.1"], "resources": [{"names": ["client"]}]}
        ],
        "trusted_key_servers": [],
        "registration_shared_secret": secrets.token_hex(32),
        "macaroon_secret_key": secrets.token_hex(32),
        "form_secret": secrets.token_hex(32),
        **dict.fromkeys(("rc_message", "rc_registration", "rc_joins_per_room"), _NO_LIMIT),
        "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), _NO_LIMIT),
        "rc_joins": dict.fromkeys(("local", "remote"), _NO_LIMIT),
        "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), _NO_LIMIT),
    }
    (folder / "homeserver.yaml").write_text(json.dumps(settings, indent=1), encoding="utf-8")  # YAML takes JSON


def keep(folder: Path) -> None:
    """What a migration begins with, as it was when the homeserver stopped."""
    lab = folder / "lab"
    shutil.copytree(folder / "media_store", lab / "media_store")
    shutil.copy(folder / "homeserver.db", lab / "homeserver.db")
    for name in ("exports", "secrets.json", "truth.jsonl"):
        (folder / name).rename(lab / name)


def keep_off(folder: Path) -> None:
    """The same homeserver with the settings and the module of the runbook, word for word."""
    text = RUNBOOK.read_text(encoding="utf-8")
    (module,) = map(textwrap.dedent, re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (settings,) = map(textwrap.dedent, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    (folder / "no_encryption.py").write_text(module, encoding="utf-8")
    (folder / "keep-off.yaml").write_text(settings, encoding="utf-8")
    say(f"starts again as {RUNBOOK.name} has it")


@contextmanager
def running(folder: Path, python: Path, port: int, *, off: bool) -> Iterator[None]:
    """Synapse, from its first answer to its last breath; its log is `FOLDER/synapse.log`."""
    program: list[str | Path] = [python, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"]
    if off:
        program += ["-c", "keep-off.yaml"]
    else:
        subprocess.run([*program, "--generate-keys"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    began = time.monotonic()
    with (folder / "synapse.log").open("ab") as log:
        server = subprocess.Popen(
            program, cwd=folder, stdout=log, stderr=log, env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
        )
    try:
        await_answer(server, f"http://127.0.0.1:{port}/health")
        say(f"Synapse answers after {time.monotonic() - began:.1f} s")
        yield
    finally:
        server.terminate()
        server.wait(_PATIENCE_SECONDS)


def await_answer(server: subprocess.Popen[bytes], address: str) -> None:
    """Until it is up; an error where it ends before that."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        try:
            if httpx.get(address).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("Synapse does not start: see synapse.log")


def run(python: Path, name: str, folder: Path, address: str) -> None:
    """One of the programs beside this one, in the homeserver's own environment."""
    began = time.monotonic()
    subprocess.run([python, Path(__file__).with_name(name), folder, address], check=True)
    say(f"{name}: {time.monotonic() - began:.1f} s")


def migrate(lab: Path) -> None:
    """The campaign over what was kept, as a test."""
    began = time.monotonic()
    test = [sys.executable, "-m", "pytest", "-q", "tests/matrix/test_fresh.py"]
    done = subprocess.run(
        test, cwd=ROOT, env={**os.environ, FRESH: str(lab)}, check=False, capture_output=True, text=True
    )
    say(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stdout)
    say(f"migrated and compared in {time.monotonic() - began:.1f} s")
    sys.exit(done.returncode)


def counts(database: Path) -> str:
    """What a migration will find."""
    connection = sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    try:
        (version,) = connection.execute("SELECT version FROM schema_version").fetchone()
        query = "SELECT COUNT(*), COUNT(DISTINCT room_id) FROM events WHERE type = 'm.room.encrypted'"
        events, rooms = connection.execute(query).fetchone()
    finally:
        connection.close()
    return f"schema {version}, {events} encrypted events in {rooms} rooms"


if __name__ == "__main__":
    main()
