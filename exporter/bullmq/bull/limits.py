"""How large messages may be, so that Redis never keeps much for us. Pure.

Redis keeps in its own memory what a subscriber has not read yet, and the messages of jobs that end contain
all that a job returned. The jobs that are active may all end at once.
"""

from __future__ import annotations

from typing import Final

from exporter.bullmq.bull.channels import MAX_MESSAGE_BYTES

MAX_BURST_BYTES: Final = 1024 * 1024
"""Bytes of the messages of one queue if all its active jobs end at once."""
MAX_BYTES_PER_SECOND: Final = 128 * 1024
"""Bytes of all messages together, for long: Redis keeps less than 8 MB while this process stands still for a
minute (a frozen container, a paused machine), and then its own limit for subscribers ends the connection."""
MAX_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of all messages together above that rate, in a burst that is read as it comes."""


class Outflow:
    """A leaky bucket: whether the messages are too many, for long or at once."""

    def __init__(self) -> None:
        self._level = 0.0

    def is_too_much(self, octets: int, seconds: float) -> bool:
        """Whether so many bytes, within so many seconds, exceed the limits; then it starts from zero."""
        self._level = max(0.0, self._level + octets - MAX_BYTES_PER_SECOND * seconds)
        if self._level <= MAX_AT_ONCE_BYTES:
            return False
        self._level = 0.0
        return True


def why_too_large(octets: float, active: int) -> str:
    """Why a queue is not followed whose messages have so many bytes, in one sentence; "" if it is."""
    if octets > MAX_MESSAGE_BYTES:
        return f"a job returned {_size(octets)}, and the message of its end has all of it"
    if octets * active > MAX_BURST_BYTES:
        return f"{active} active jobs that return {_size(octets)} each may end at once"
    return ""


def why_too_many(octets: float) -> str:
    """The same for a queue with so many bytes of messages in a second."""
    return f"the messages of jobs that end have {_size(octets)} a second"


def _size(octets: float) -> str:
    return f"{octets / 1024:.0f} KiB" if octets >= 1024 else f"{octets:.0f} bytes"
