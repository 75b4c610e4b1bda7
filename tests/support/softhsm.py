"""A PKCS #11 token for tests: SoftHSM 2 (Debian package `softhsm2`), one for each test process, gone with it."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

MODULE: Final = next(
    (path for path in map(Path, ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"))
     if path.exists()), None,
)  # fmt: skip
PIN: Final = "pin-4711-of-tests"
TOKEN: Final = "migrator-tests"

_MAKE_KEYS: Final = """
import sys, pkcs11
from pkcs11 import Attribute as A, KeyType
token = pkcs11.lib(sys.argv[1]).get_token(token_label=sys.argv[2])
safe = {A.SENSITIVE: True, A.EXTRACTABLE: False}
with token.open(user_pin=sys.stdin.read(), rw=True) as session:
    session.generate_key(KeyType.AES, 256, label="k", id=b"\\x01", store=True, template=safe)
    session.generate_key(KeyType.AES, 256, label="other", id=b"\\x02", store=True, template=safe)
    session.generate_key(KeyType.AES, 256, label="idle", store=True, template=safe | {A.ENCRYPT: False})
    session.generate_key(KeyType.AES, 256, label="loose", store=True, template={A.EXTRACTABLE: True})
    for _ in range(2):
        session.generate_key(KeyType.AES, 256, label="twins", store=True, template=safe)
"""


@cache
def token() -> Path:
    """Make the token with its keys `k`, `other`, `idle` (may not encrypt), `loose` (extractable), two `twins`."""
    folder = Path(tempfile.mkdtemp(prefix="migrator-hsm-"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")  # the module reads it when it is loaded, once
    arguments = ["--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", "so-pin-of-tests"]
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", _MAKE_KEYS, str(MODULE), TOKEN], input=PIN, text=True, check=True)
    return folder
