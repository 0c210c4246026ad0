"""Everything that reads what others wrote, by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz.of_doctor import TARGETS_OF_DOCTOR
from tests.fuzz.of_http import TARGETS_OF_HTTP
from tests.fuzz.of_monitor import TARGETS_OF_MONITOR
from tests.fuzz.of_queues import TARGETS_OF_QUEUES
from tests.fuzz.of_redis import TARGETS_OF_REDIS
from tests.fuzz.of_scaler import TARGETS_OF_SCALER
from tests.fuzz.of_settings import TARGETS_OF_SETTINGS
from tests.fuzz.search import Target

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        *TARGETS_OF_REDIS,
        *TARGETS_OF_QUEUES,
        *TARGETS_OF_SCALER,
        *TARGETS_OF_SETTINGS,
        *TARGETS_OF_HTTP,
        *TARGETS_OF_MONITOR,
        *TARGETS_OF_DOCTOR,
    )
}
