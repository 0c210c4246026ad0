"""The name of a job as it is counted: the same for all names that differ by an id or a number. Pure.

A name is the text of a program, and one that carries an id (`report-8842`) would be a series for each job.
"""

from __future__ import annotations

import re
from typing import Final

from exporter.bullmq.reasons.masking import without_ids

LONGEST_JOB_NAME: Final = 80
"""Letters of a folded name at most."""
NAMES_READ_PER_SECOND: Final = 400_000
"""Bytes of new names a second, as `KnownTexts` counts them: about a tenth of a core."""
NO_NAME: Final = "(no name)"
OTHER_NAMES: Final = "other"
"""What all jobs are called together whose name has no series of its own: no name is."""
UNKNOWN_NAME: Final = "unknown"
"""What all jobs are called together that were added before it was read who adds: no name is."""

LONGEST_NAME_READ: Final = 500
"""Bytes of a name that are looked at: it may be a payload."""
_NUMBERS: Final = re.compile(r"\d{2,}|(?<![A-Za-z\d])\d")  # the 2 of `v2` and `oauth2` stays
_REPEATED: Final = re.compile(r"#(?:[-_.:/,#]*#)+")
_SPACES: Final = re.compile(r"\s+")


def folded_name(name: bytes) -> str:
    """The name with `#` for numbers, and `<id>` and the like for what is one job's."""
    text = name[:LONGEST_NAME_READ].decode("utf-8", "replace")
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " for sign in text)
    text = _REPEATED.sub("#", _NUMBERS.sub("#", without_ids(text)))
    text = _SPACES.sub(" ", text).strip()
    if not text:
        return NO_NAME
    if text in (OTHER_NAMES, UNKNOWN_NAME):
        return f"({text})"
    return text if len(text) <= LONGEST_JOB_NAME else f"{text[: LONGEST_JOB_NAME - 1].rstrip()}…"
