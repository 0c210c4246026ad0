"""The user of the shipped ACL file."""

from __future__ import annotations

import hashlib
from pathlib import Path

ACL = Path(__file__).parents[2] / "deploy" / "redis" / "exporter.acl"

READER: dict[str, object] = {"username": "exporter", "password": "s3cret"}


def rules(*, version: str) -> list[str]:
    """The file's user line, enabled, and for servers without %R~ adapted as its comments say."""
    line = next(line for line in ACL.read_text().splitlines() if line.startswith("user "))
    digest = hashlib.sha256(b"s3cret").hexdigest()
    arguments = line.replace("off resetpass", f"on #{digest}").split()[1:]
    return [word.replace("%R~", "~") if version.startswith("6.") else word for word in arguments]
