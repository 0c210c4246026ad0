"""The keys of the API, as settings."""

from __future__ import annotations

from typing import Final

from pydantic import Field, SecretStr

from service.config.load import Loaded, M
from service.config.model import Model

SHORTEST: Final = 12
_SAMPLES: Final = frozenset({"your-secure-api-key", "your-api-key", "changeme-changeme"})


class ApiSettings(Model):
    """Without a key the API answers nothing: there is no default."""

    key: SecretStr | None = Field(None, description="whoever has it may read and change all")
    read_key: SecretStr | None = Field(None, description="a second key, which may read only")


def unfit(key: SecretStr) -> str | None:
    """Why it should not be a key; None where it may be."""
    text = key.get_secret_value()
    if text in _SAMPLES:
        return "is an example's: make one of your own"
    if len(text) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if not text.isascii() or any(not "!" <= sign <= "~" for sign in text):
        return "should be printable ASCII without spaces: it travels in a header"
    return None


def check_keys(loaded: Loaded[M], api: ApiSettings) -> None:
    """Raises ConfigError for a key that should not be one; the key itself is never told."""
    for name, key in (("key", api.key), ("read_key", api.read_key)):
        why = unfit(key) if key is not None else None
        if why:
            raise loaded.error(f"api.{name}", why)
    if api.key is not None and api.key == api.read_key:
        raise loaded.error("api.read_key", "is the same as the full key")
