"""Bodies of responses, read within bounds: a whole one, the beginning of a refusal, lines without an end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import urllib3

from scaler.kube.errors import KubeError
from scaler.kube.objects import Json
from service.clock import Deadline
from service.json_text import TooLargeJsonError, read_json

_MAX_REFUSAL_BYTES: Final = 64 << 10  # of a response that is no success; the rest is not read
_REFUSAL_SECONDS: Final = 5.0
_MAX_LINE_BYTES: Final = 4 << 20  # etcd takes objects of 1.5 MiB


class BoundedRefusals:
    """The client's connections, of which it uses only these methods."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def request(self, method: str, url: str, **options: Any) -> Any:
        response = self._manager.request(method, url, **options)
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return response
        timeout = options.get("timeout")
        seconds = (timeout.total or _REFUSAL_SECONDS) if timeout else 0.0
        body, _ = _read(response, Deadline.after(seconds), _MAX_REFUSAL_BYTES)
        return urllib3.HTTPResponse(
            body[:_MAX_REFUSAL_BYTES],
            headers={"Retry-After": after} if (after := response.headers.get("Retry-After")) else None,
            status=response.status,
            reason=response.reason,
        )

    def clear(self) -> None:
        self._manager.clear()


def whole_body(request: str, response: Any, deadline: Deadline, most: int) -> bytes:
    """The whole body: each read has its own time-out, all of them together the deadline."""
    body, complete = _read(response, deadline, most)
    if len(body) > most:
        raise KubeError("invalid", f"{request}: the response is larger than {most >> 20} MiB")
    if not complete:
        raise KubeError("timeout", f"{request}: the response did not end in time")
    return body


def _read(response: Any, deadline: Deadline, most: int) -> tuple[bytes, bool]:
    """The body until its end, the deadline, or more than `most` bytes; and whether it is complete."""
    chunks, size, complete = [], 0, False
    try:
        while size <= most and not deadline.passed():
            chunk = response.read1(1 << 16)
            if complete := not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
    finally:
        if complete:
            response.release_conn()
        else:
            response.close()
    return b"".join(chunks), complete


class EventLines:
    """The lines of a response that goes on: each a JSON object. `close` ends it from another thread."""

    def __init__(self, request: str, response: Any) -> None:
        self._request = request
        self._response = response

    def __iter__(self) -> Iterator[Json]:
        """Ends with the response. Raises KubeError: silence for longer than the time-out, or a line that is
        too long or no object."""
        rest = b""
        while chunk := self._chunk():
            *lines, rest = (rest + chunk).split(b"\n")
            if max(map(len, (*lines, rest))) > _MAX_LINE_BYTES:
                raise KubeError(
                    "invalid", f"{self._request}: an event larger than {_MAX_LINE_BYTES >> 20} MiB"
                )
            for line in filter(bytes.strip, lines):
                yield self._event(line)

    def _chunk(self) -> bytes:
        try:
            chunk: bytes = self._response.read1(1 << 16)
        except urllib3.exceptions.ReadTimeoutError:
            raise KubeError("timeout", f"{self._request}: silent for too long") from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
            return b""  # ended: by the server, by the network, or by `close`
        return chunk

    def _event(self, line: bytes) -> Json:
        try:
            event = read_json(line)
        except (ValueError, TooLargeJsonError) as error:
            raise KubeError("invalid", f"{self._request}: an event that is not JSON: {error}") from None
        if not isinstance(event, dict):
            raise KubeError("invalid", f"{self._request}: an event that is not an object")
        return event

    def close(self) -> None:
        """From any thread, at any time: who reads the lines is at their end."""
        with suppress(ValueError, RuntimeError, OSError):  # it has ended
            self._response.shutdown()

    def release(self) -> None:
        """Close the connection. Of the thread that reads."""
        self._response.close()


def unreachable(request: str, error: Exception, seconds: float) -> KubeError:
    """The error of a request without a response; its text holds no credential."""
    cause: BaseException = error
    while isinstance(nested := getattr(cause, "reason", None) or cause.__cause__, BaseException):
        cause = nested
    if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
        return KubeError("timeout", f"{request}: no response within {seconds:.1f} s")
    if isinstance(cause, urllib3.exceptions.NameResolutionError | socket.gaierror):
        return KubeError("unreachable", f"{request}: cannot resolve the API server's name")
    message = str(getattr(cause, "strerror", None) or getattr(cause, "verify_message", None) or cause)
    message = "certificate: " + message if "ertificate" in type(cause).__name__ else message
    return KubeError("unreachable", f"{request}: {message or type(cause).__name__}"[:300])
