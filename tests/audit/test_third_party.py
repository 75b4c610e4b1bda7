"""The log verifies with somebody else's tools: `golang.org/x/mod/sumdb`, the reference library of transparency logs.

Debian: golang-go and golang-golang-x-mod-dev. Where they are not, these tests are skipped and say so.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from migrator.audit.bundle.writing import BundleWriter
from migrator.audit.published import PublishedLog
from tests.audit.support import ORIGIN, make_log, record

GO = shutil.which("go")
LIBRARY = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog")
SOURCE = Path(__file__).parent / "go" / "verifylog.go"
pytestmark = pytest.mark.skipif(
    GO is None or not LIBRARY.is_dir(),
    reason="needs Go and its library: apt-get install golang-go golang-golang-x-mod-dev",
)
FIRST, SIZE = 300, 1100
"""Entries at the first checkpoint and at the last: full tiles and partial ones on two levels."""

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built from the Debian packages alone: no network, no module proxy."""
    folder = tmp_path_factory.mktemp("go")
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
    }
    assert GO is not None
    subprocess.run([GO, "build", "-o", folder / "verifylog", SOURCE], check=True, env=environment)
    return folder / "verifylog"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some size, its checkpoints, and a bundle about a few of its entries."""
    folder = tmp_path_factory.mktemp("log")
    log = make_log(folder)
    for count, start in ((FIRST, 0), (SIZE - FIRST, FIRST)):
        record(folder, count, start=start)
        log.flush()
    published = PublishedLog(folder / "audit", origin=ORIGIN)
    writer = BundleWriter(folder / "bundle", published)
    for seq in (0, 255, 256, 700, SIZE - 1):
        writer.add(seq)
    writer.finish({"kind": "test"}, None)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def verify(program: Path, folder: Path) -> Done:
    """Check log, growth since the first checkpoint, and the bundle's proofs."""
    bundle = folder / "bundle"
    pairs = [
        path
        for proof in sorted((bundle / "proofs").iterdir())
        for path in (proof, bundle / "leaves" / f"{proof.stem}.json")
    ]
    assert len(pairs) == 10
    audit = folder / "audit"
    vkey = (audit / "log.vkey").read_text()
    arguments: list[str | Path] = [program, audit, vkey, audit / "checkpoints" / str(FIRST), *pairs]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_the_log_verifies_in_go(program: Path, made: Path) -> None:
    """Signature, tiles, all entries, growth, and our proofs."""
    done = verify(program, made)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"OK {SIZE} ")


@pytest.mark.parametrize(
    "name",
    [
        "audit/checkpoint",
        "audit/log.vkey",
        "audit/tile/0/000",
        "audit/tile/0/003",
        "audit/tile/1/000.p/4",
        "audit/tile/entries/001",
        f"audit/checkpoints/{FIRST}",
        "bundle/proofs/000000700.tlog-proof",
        "bundle/leaves/000000700.json",
    ],
)
def test_a_bit_that_is_flipped_is_found_in_go(program: Path, copy: Path, name: str) -> None:
    """In every kind of file."""
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(program, copy).returncode != 0
