"""npm's Bull, BullMQ's predecessor, versions 3 and 4 side by side, driven from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from lab.driver import Driver, connection_of

BullVersion: TypeAlias = Literal[3, 4]
BULL_VERSIONS: Final[tuple[BullVersion, ...]] = (3, 4)

_SCRIPT: Final = Path(__file__).parent / "node" / "bull.mjs"


class Bull(Driver):
    """One node process with one version of Bull, connected to a server (`url`) or a cluster (addresses).

    It has the verbs of the BullMQ drivers, except for schedulers, flows, the global concurrency and names of
    workers. Each worker is a queue object with connections of its own. Further options of a worker are
    `limiter`, `metrics` and those of Bull's `settings`; `bytes` in its behaviour is the length of what its
    handler returns.
    """

    def __init__(
        self,
        version: BullVersion = 4,
        *,
        url: str | None = None,
        cluster: Sequence[str] = (),
        prefix: str = "bull",
    ) -> None:
        if not (_SCRIPT.parent / "node_modules" / f"bull{version}").is_dir():
            raise RuntimeError(f"npm's bull {version} is not in {_SCRIPT.parent}: run make setup")
        self.version = version
        self.prefix = prefix
        settings = {"version": version, "prefix": prefix, "connection": connection_of(url, cluster)}
        super().__init__(["node", str(_SCRIPT)], name=f"bull {version}", settings=settings)

    def job(self, queue: str, job: str, method: str, *arguments: Any) -> Any:
        """Call a method of a job: remove, retry, promote, progress ..."""
        return self.call("job", queue=queue, job=job, method=method, arguments=arguments)

    def drain(self, queue: str) -> None:
        """Remove all waiting and delayed jobs, which Bull calls to empty."""
        self.queue(queue, "empty")
