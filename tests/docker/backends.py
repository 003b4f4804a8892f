"""Small HTTP servers that tell which of them was asked, to see where nginx sends what."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Backend(ThreadingHTTPServer):
    """Answers every request with its own name.

    Attributes:
        asked: the requests it got, as method and path.
        headers: those of the last request.
        status: that it answers with; 0: it hangs up without an answer.
    """

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.asked: list[str] = []
        self.headers = Message()
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: nobody waits for the acknowledgement of the first.
    wbufsize = -1
    server: Backend

    def handle_one_request(self) -> None:
        """Serve a request of any method."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.asked.append(f"{self.command} {self.path}")
        self.server.headers = self.headers
        if not self.server.status:
            self.close_connection = True
            return
        body = self.server.name.encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the standard library
        """Say nothing."""


@contextmanager
def backend(name: str) -> Iterator[Backend]:
    """A backend that answers until the end of the context."""
    with Backend(name) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
