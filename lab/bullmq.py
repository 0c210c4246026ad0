"""npm's BullMQ, versions 1 to 6 side by side, driven from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from lab.driver import Driver, connection_of

Version: TypeAlias = Literal[1, 2, 3, 4, 5, 6]
Nameless: TypeAlias = Literal["5.0", "5.53"]
"""Releases of version 5 whose workers' connections lose their names in a cluster."""
VERSIONS: Final[tuple[Version, ...]] = (3, 4, 5, 6)
OLD_VERSIONS: Final[tuple[Version, ...]] = (1, 2)
"""Versions that only the table of libraries tries."""

_SCRIPT: Final = Path(__file__).parent / "node" / "driver.mjs"


class BullMQ(Driver):
    """One node process with one version of BullMQ, connected to a server (`url`) or a cluster (addresses).

    In a cluster, the prefix or the name of each queue needs a {hash tag}.
    """

    def __init__(
        self,
        version: Version | Nameless = 6,
        *,
        url: str | None = None,
        cluster: Sequence[str] = (),
        prefix: str = "bull",
    ) -> None:
        if not (_SCRIPT.parent / "node_modules" / f"bullmq{version}").is_dir():
            raise RuntimeError(f"npm's bullmq {version} is not in {_SCRIPT.parent}: run make setup")
        self.version = int(str(version).partition(".")[0])
        self.prefix = prefix
        settings = {"version": version, "prefix": prefix, "connection": connection_of(url, cluster)}
        super().__init__(["node", str(_SCRIPT)], name=f"bullmq {version}", settings=settings)
