"""A reason for which a job failed, without what differs from job to job or may be a secret. Pure.

What stays is what the text of a program has in common for all jobs: words, names of errors and hosts, HTTP
statuses. A name in plain words ("no user Bob") cannot be told from them.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_REASON: Final = 120
"""Letters of a masked reason at most."""
LONGEST_READ: Final = 1000
"""Bytes of a reason that are looked at: it may be a payload of megabytes."""
REASONS_READ_PER_SECOND: Final = 100_000
"""Bytes of new reasons a second, as `KnownTexts` counts them: about a twentieth of a core."""
NO_REASON: Final = "(no reason)"
OTHER_REASONS: Final = "other"
"""What all are called together that are not counted one by one: no reason is."""

_STAYS: Final = "\ue000"
"""Of the private use area: in front of digits that stay."""
_SECRET, _ID, _NUMBER, _MAIL, _IP, _PAYLOAD, _MORE = "<secret>", "<id>", "#", "<mail>", "<ip>", "{…}", "…"

_END: Final = r"\s'\")\]}>"
_URL: Final = re.compile(
    rf"([A-Za-z][A-Za-z0-9+.-]{{1,20}}://)(?:[^{_END}/?#]*@)?([^{_END}/?#@,;]*)([/?#][^{_END}]*)?"
)
_JSON: Final = re.compile(r"(?:\{|\[(?=\s*[\[{\"'\d-])).*[\]}]?", re.DOTALL)
_NAMES: Final = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|key|"
    r"authorization|auth|credentials?|cookie|session(?:[-_ ]?id)?|signature|sig|jwt|otp|pin|cvv|iban|ssn"
)
_NAME: Final = re.compile(r"(?i)pass|pwd|secret|token|key|auth|cred|cookie|sess|sig|jwt|otp|pin|cvv|iban|ssn")
_VALUE: Final = r"(?:\"[^\"]*\"?|'[^']*'?|[^\s,;)\]}]+)"
_NAMED: Final = re.compile(rf"(?i)(?<![A-Za-z])({_NAMES})(\s*[:=]\s*)(?:(?:bearer|basic)\s+)?{_VALUE}")
_BEARER: Final = re.compile(rf"(?i)\b(bearer|basic)\s+{_VALUE}")
_SPOKEN: Final = re.compile(
    rf"(?i)(?<![A-Za-z])({_NAMES})(\s+(?:is\s+|was\s+)?)(?=\S*\d)(?=\S*[A-Za-z]){_VALUE}"
)
_KNOWN: Final = re.compile(
    r"\b(?:eyJ[\w-]{8,}(?:\.[\w-]+)*"
    r"|(?:[spr]k|whsec|gh[opsu]|github_pat|glpat|xox[a-z]|AKIA|ASIA|AIza|ya29)[-_.]?[\w-]{8,})"
)
_MAIL_ADDRESS: Final = re.compile(r"(?<![\w.+%-])[\w.+%-]+@[\w-]+(?:\.[\w-]+)*")
_QUOTED: Final = re.compile(
    r"(?<!\w)'[^']*(?:'(?!\w)|$)|\"[^\"]*(?:\"|$)|`[^`]*(?:`|$)|“[^”]*(?:”|$)|«[^»]*(?:»|$)"
)
_QUOTES: Final = {"“": "”", "«": "»"}
_UUID: Final = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_IPV4: Final = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\w)")
_IPV6: Final = re.compile(r"(?<![\w:])(?=\S*[0-9a-fA-F])(?:[0-9a-fA-F]{0,4}:){2,8}[0-9a-fA-F]{0,4}(?![\w:])")
_DATE: Final = re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_+/=~-]{8,}")
_PARTS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_RANDOM: Final = ((8, 2.5), (12, 3.2), (20, 4.4))
"""Letters of a token, and their mean number in a run of one kind below which it is no name: in names it is 5
to 8, in random letters and digits 1 to 3."""
_NUMBERS: Final = ((16, 3), (20, 2))
"""Letters of a part of a token, and numbers in it, from which on it is no name."""
_SEPARATORS: Final = re.compile(r"[-_/+=~]")
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_STATUS: Final = re.compile(
    r"(?i)\b((?:status|code|http(?:/\d(?:\.\d)?)?)(?:\s+code)?\W{0,3})([1-5]\d\d)\b(?!\.?\d)"
)
_DIGITS: Final = re.compile(rf"(?:(?<!\w)[+-])?(?<!{_STAYS})\d+(?:[.,:]\d+)*")
_SPACES: Final = re.compile(r"\s+")


def masked_reason(reason: bytes) -> str:
    """The reason as it is counted: its first line, the same for all that differ only by numbers, ids,
    addresses, quoted parts, payloads and secrets."""
    text = reason[:LONGEST_READ].decode("utf-8", "replace").replace(_STAYS, " ")
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = _COLOURS.sub("", line)
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else " " for sign in line)
    line = _URL.sub(_of_url, line)
    line = _JSON.sub(_PAYLOAD, line)
    line = _KNOWN.sub(_SECRET, line)
    line = _BEARER.sub(rf"\1 {_SECRET}", line)
    if _NAME.search(line):  # it is rare, and the next two take half of all the time
        line = _NAMED.sub(rf"\1\2{_SECRET}", line)
        line = _SPOKEN.sub(rf"\1\2{_SECRET}", line)
    if "@" in line:
        line = _MAIL_ADDRESS.sub(_MAIL, line)
    line = _QUOTED.sub(lambda found: f"{found[0][0]}{_MORE}{_QUOTES.get(found[0][0], found[0][0])}", line)
    line = _UUID.sub(_ID, line)
    line = _IPV4.sub(_IP, line)
    if line.count(":") > 1:
        line = _IPV6.sub(_of_ipv6, line)
    line = _DATE.sub(_NUMBER, line)
    line = _STATUS.sub(lambda found: found[1] + _STAYS.join(("", *found[2])), line)
    line = _TOKEN.sub(_of_token, line)
    line = _DIGITS.sub(_NUMBER, line)
    line = _SPACES.sub(" ", line.replace(_STAYS, "")).strip()
    if not line:
        return NO_REASON
    if line == OTHER_REASONS:
        return f"({line})"
    return line if len(line) <= LONGEST_REASON else f"{line[: LONGEST_REASON - 1].rstrip()}{_MORE}"


def without_ids(line: str) -> str:
    """A line of printable signs without what is one job's: the rest of URLs, keys of known forms, ids,
    hashes, addresses and dates. Numbers stay."""
    line = _KNOWN.sub(_SECRET, _URL.sub(_of_url, line))
    if "@" in line:
        line = _MAIL_ADDRESS.sub(_MAIL, line)
    line = _DATE.sub(_NUMBER, _IPV4.sub(_IP, _UUID.sub(_ID, line)))
    return _TOKEN.sub(_of_token, line)


def _of_url(found: re.Match[str]) -> str:
    """Scheme and host: what is asked, and by whom, is in the rest."""
    return f"{found[1]}{found[2]}/{_MORE}" if found[3] else f"{found[1]}{found[2]}"


def _of_ipv6(found: re.Match[str]) -> str:
    """A time of day has two colons, too."""
    return _IP if "::" in found[0] or found[0].count(":") > 3 else found[0]


def _of_token(found: re.Match[str]) -> str:
    """An id, a hash or a key, where it does not look like words."""
    token = found[0]
    parts = {part: _PARTS.findall(part) for part in _SEPARATORS.split(token) if part}
    if _is_random(_PARTS.findall(token)) or any(map(_is_random, parts.values())):
        return _ID
    for part, runs in parts.items():
        numbers = sum(run.isdigit() for run in runs)
        if any(len(part) >= least and numbers >= most for least, most in _NUMBERS):
            return _ID
    return token


def _is_random(runs: list[str]) -> bool:
    letters = sum(map(len, runs))
    return any(letters >= least and letters < mean * len(runs) for least, mean in _RANDOM)
