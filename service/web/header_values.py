"""What may stand in a header of a request."""

from __future__ import annotations


def is_header_value(value: str) -> bool:
    """Whether a text is valid in a header: latin-1 without control characters."""
    return all(" " <= char <= "\xff" and char != "\x7f" for char in value)
