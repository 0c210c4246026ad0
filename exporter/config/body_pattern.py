"""A user's regular expression on the body of somebody's answer, by RE2.

RE2 has no backtracking: its time grows with the body and the pattern, and no body makes it explode. It lets
other threads run meanwhile.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

MAX_PATTERN_STEPS: Final = 2000
"""Instructions of a compiled pattern: about 200 for `.{0,20}`. The worst one takes some 10 s for a MiB."""


class PatternError(ValueError):
    """The pattern cannot be used; the text says why."""


class BodyPattern:
    """A compiled pattern. Raises PatternError."""

    def __init__(self, text: str) -> None:
        import re2  # only where there is a pattern: it is a part of the time of a start

        options = re2.Options()
        options.log_errors = False  # on standard error, in no format of ours
        try:
            self._pattern: Any = re2.compile(text, options)
        except UnicodeError:
            raise PatternError("it is not text") from None
        except re2.error as error:
            raise PatternError(_reason(error)) from None
        if self._pattern.programsize > MAX_PATTERN_STEPS:
            steps = f"it has {self._pattern.programsize} steps when compiled"
            raise PatternError(f"{steps}, at most {MAX_PATTERN_STEPS} can be searched in time")

    def matches(self, body: bytes) -> bool:
        """Whether it matches somewhere. `$` also matches before a line end that ends the body."""
        text = body.decode("utf-8", "replace").encode()
        if self._pattern.search(text) is not None:
            return True
        return text.endswith(b"\n") and self._pattern.search(text[:-1]) is not None


@lru_cache(maxsize=256)
def body_pattern(text: str) -> BodyPattern:
    """The pattern of a probe, compiled once. Raises PatternError."""
    return BodyPattern(text)


def _reason(error: Exception) -> str:
    why = error.args[0] if error.args else ""
    return why.decode("utf-8", "backslashreplace") if isinstance(why, bytes) else str(why)
