"""The settings of the API keys."""

from __future__ import annotations

from typing import Final

from pydantic import Field, SecretStr

from service.config.load import Loaded, M
from service.config.model import Model

MIN_KEY_LENGTH: Final = 12
_SAMPLES: Final = frozenset({"your-secure-api-key", "your-api-key", "changeme-changeme"})


class ApiSettings(Model):
    """Without a key the API refuses every request: there is no default key."""

    key: SecretStr | None = Field(None, description="API key that may read and change everything")
    read_key: SecretStr | None = Field(None, description="second API key, which may only read")


def key_problem(key: SecretStr) -> str | None:
    """Why it is not acceptable as a key; None if it is."""
    text = key.get_secret_value()
    if text in _SAMPLES:
        return "is the key of an example: create your own"
    if len(text) < MIN_KEY_LENGTH:
        return f"is shorter than {MIN_KEY_LENGTH} characters"
    if not text.isascii() or any(not "!" <= sign <= "~" for sign in text):
        return "should be printable ASCII without spaces: it travels in a header"
    return None


def check_keys(loaded: Loaded[M], api: ApiSettings) -> None:
    """Raises ConfigError for an unacceptable key; the error does not contain it."""
    for name, key in (("key", api.key), ("read_key", api.read_key)):
        why = key_problem(key) if key is not None else None
        if why:
            raise loaded.error(f"api.{name}", why)
    if api.key is not None and api.key == api.read_key:
        raise loaded.error("api.read_key", "is the same as the full key")
