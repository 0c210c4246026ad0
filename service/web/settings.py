"""The settings of the HTTP server."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from service.config.model import Model

DESCRIPTOR_SHARE: Final = 2
"""Connections may take one of so many file descriptors of the process."""


class WebSettings(Model):
    """What an operator has a reason to change; the time-outs are constants."""

    max_connections: int = Field(
        1000,
        ge=32,
        le=10_000,
        description="HTTP connections at a time, at most half of the limit of file descriptors: "
        "a further one takes the place of the one that waits longest where most are",
    )

    def most(self, descriptors: int, share: int = DESCRIPTOR_SHARE) -> int:
        """Connections at a time, where the process may have so many file descriptors, and these one of so
        many `share`s of them."""
        return max(1, min(self.max_connections, descriptors // share))
