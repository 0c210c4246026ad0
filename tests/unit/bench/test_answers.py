"""Answers are timed from the first byte of a request to the last of its answer."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.answers import TimedAnswers

DELAY = 0.05
BODY = b"x" * 300_000  # more than one chunk


class Late(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(DELAY)
        self.send_response(200)
        self.send_header("Content-Length", str(2 * len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
        time.sleep(DELAY)
        self.wfile.write(BODY)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_each_answer_is_timed_to_its_end() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Late) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with TimedAnswers(server.server_port) as answers:
            assert answers.seconds == []
            client = http.client.HTTPConnection("127.0.0.1", answers.port, timeout=10)
            took: list[float] = []
            for _ in range(2):
                began = time.monotonic()
                client.request("GET", "/")
                assert client.getresponse().read() == 2 * BODY
                took.append(time.monotonic() - began)
                time.sleep(DELAY)  # what the client does between two requests is not of the answer
                assert len(answers.seconds) == len(took)
                assert 2 * DELAY <= answers.seconds[-1] <= took[-1]
            assert answers.seconds[0] <= took[0]
            client.close()
        server.shutdown()
