"""Something that is scraped, and exposes what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread


@contextmanager
def exposing(text: str | Callable[[], str | None]) -> Iterator[str]:
    """The address (host:port) of what exposes the text, or at each scrape what the function returns; None: it
    answers 503."""
    current = text if callable(text) else lambda: text

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            exposed = current()
            self.send_response(503 if exposed is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((exposed or "").encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
