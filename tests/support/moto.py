"""An emulator of AWS KMS for tests: moto's server in a process of its own, on loopback, gone with this one."""

import atexit
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import cache
from typing import Final

from tests.support.openbao import free_port

REGION: Final = "eu-central-1"
SECRET_KEY: Final = "secret-access-key-of-tests"
_STARTING_SECONDS: Final = 60


@cache
def server() -> str:
    """The address of this test process's server."""
    port = free_port()
    setpriv = shutil.which("setpriv")
    process = subprocess.Popen(
        [*([setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []),
         sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            process.kill()
            process.wait()

    atexit.register(remove)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + _STARTING_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5).close()  # noqa: S310 - loopback
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return url


def environment(url: str) -> dict[str, str]:
    """How boto3 is told about it, and about nothing else on this machine."""
    return {
        "AWS_ENDPOINT_URL_KMS": url,
        "AWS_ACCESS_KEY_ID": "access-key-of-tests",
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
