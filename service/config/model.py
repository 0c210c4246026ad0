"""What the settings of every program share: the manner of a model, and how a program logs."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

DAY_SECONDS: Final = 86_400
YEAR_SECONDS: Final = 366 * 86_400
"""The longest time that a setting may have. No number of a setting is without a bound: 1e300 is a slip."""
MOST_JOBS_COUNTED: Final = 10**9
"""Jobs of a setting that counts them, at most."""
MOST_JOBS_AT_ONCE: Final = 100_000
"""Jobs that one worker runs at once, at most."""
MOST_TIMES: Final = 1e6
"""How many times another figure a setting may be, at most."""


class Model(BaseModel):
    """Frozen, without unknown keys, and its errors never repeat what was given."""

    # Deferred: what is a part of another model is only built as that part.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True, defer_build=True
    )


class LogSettings(Model):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="minimum level of log lines"
    )
    format: Literal["logfmt", "json"] = Field("logfmt", description="key=value, or a JSON object per line")
    file: str | None = Field(None, description="file that gets every line too; its folder is made")
    file_megabytes: float = Field(10.0, gt=0, le=10_000, description="size at which the file is rotated")
    file_backups: int = Field(5, ge=0, le=1000, description="number of rotated files to keep")
