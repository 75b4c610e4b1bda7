"""Logs, to standard error: structlog's and the standard library's alike, on a console or as JSON.

Redaction comes last, over the finished line, so that nothing added before can slip by. Exceptions are logged as the
places they went through: neither locals nor messages, which may hold content.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from types import TracebackType
from typing import Any, Literal

import structlog
from tqdm import tqdm

from migrator.core.redaction import redact_text
from migrator.core.secret import Secret

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
EventDict = MutableMapping[str, Any]


class _Handler(logging.StreamHandler[Any]):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Clear the bar, write, draw it again."""
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Nobody reads the log: no reason to fail or to complain."""


def configure(*, form: Literal["console", "json"], level: str, color: bool) -> None:
    """Set logging up for this process; a second call replaces the first."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_messages,
        _without_bytes,
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer(default=_describe)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=color)
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, redact_line],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    logging.getLogger("alembic").setLevel(max(logging.WARNING, _LEVELS[level]))  # it tells its life at info
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def redact_line(_logger: Any, _method: str, line: Any) -> Any:
    """The last processor of all: takes what looks like a secret out of the finished line."""
    return redact_text(str(line))


def _without_messages(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """`exc_info` becomes the exception's type and the places it went through."""
    given = event.pop("exc_info", None)
    if not given:
        return event
    error = given if isinstance(given, BaseException) else None
    if error is None:
        info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
        info = given if isinstance(given, tuple) else sys.exc_info()
        error = info[1]
    if error is not None:
        event["error"] = type(error).__name__
        event["frames"] = [f"{f.filename}:{f.lineno} in {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return event


def _without_bytes(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if isinstance(value, bytes | bytearray | memoryview | Secret):
            event[key] = _describe(value)
    return event


def _describe(value: Any) -> str:
    """What stands for a value that JSON has no form for."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    return repr(value) if isinstance(value, Secret) else type(value).__name__
