"""An HTTP server on this machine that keeps what it is sent and answers as a test says."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """What arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Reply = tuple[int, dict[str, str]] | None
"""Status and headers; None: hang up without an answer."""


@dataclass(slots=True)
class Receiver:
    """What a server was sent, and how it answers the n-th request."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[int], Reply] = lambda _: (204, {})
    connections: int = 0


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """The server, running."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def setup(self) -> None:
            kept.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.requests.append(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            reply = kept.answer(len(kept.requests))
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply[0])
            for name, value in reply[1].items():
                self.send_header(name, value)
            if reply[0] != 204:
                self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that refuses the certificate is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kept.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
