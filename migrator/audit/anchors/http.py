"""One request to somebody else's server: bounded in time and size, no redirects, failures as `AnchorError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from migrator.core.errors import ConfigError, ExitStatus, MigratorError

if TYPE_CHECKING:
    import httpx

TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 256 * 1024
"""A timestamp with its chain has about 6 KiB, a cosignature under 200 bytes."""


class AnchorError(MigratorError):
    """A witness or a timestamp authority can't be reached, or answers with something that does not verify."""

    code: ClassVar[str] = "anchor"
    exit_status: ClassVar[ExitStatus] = ExitStatus.SERVICE_DOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server said."""

    status: int
    content_type: str
    body: bytes


@contextmanager
def client() -> "Iterator[httpx.Client]":
    """Connections that are kept for several requests; `ConfigError` where the package is missing."""
    try:
        import httpx
    except ImportError:
        raise missing_package("httpx") from None
    with httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False) as connections:
        yield connections


def missing_package(name: str) -> ConfigError:
    """The anchors are an extra."""
    return ConfigError(f"anchors need the Python package {name}", hint="pip install 'migrator[anchors]'")


def post(connections: "httpx.Client", url: str, body: bytes, content_type: str) -> Answer:
    """Ask once."""
    import httpx

    try:
        with connections.stream("POST", url, content=body, headers={"Content-Type": content_type}) as response:
            received = bytearray()
            for piece in response.iter_bytes():
                received += piece
                if len(received) > MAX_ANSWER_BYTES:
                    raise AnchorError(f"{url} answers with more than {MAX_ANSWER_BYTES} bytes")
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Answer(status=response.status_code, content_type=kind, body=bytes(received))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise AnchorError(
            f"{url} can't be reached ({type(error).__name__})", hint="ask again: `migrator audit anchor`"
        ) from None
