"""Secrets that others may get to know, by the settings of a process: it warns of them at its start."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from service.config.files import mode_for_others
from service.config.load import Loaded, secret_in_file, secret_names

ExposureEvent = Literal["secret readable by others", "secret without TLS", "secret sent without TLS"]

_TOLD: Final[Mapping[ExposureEvent, str]] = {
    "secret readable by others": "every user of this machine can read {file} (mode {mode}): chmod o-rwx",
    "secret without TLS": "is sent unencrypted over the network, as {listen} is reached from other machines "
    "and web_config_file sets no TLS",
    "secret sent without TLS": "{secret} is sent unencrypted over the network to {url}, as it has no https",
}


class Exposure(NamedTuple):
    """A secret, by the setting that has or names it, and how others get to know it; never the secret."""

    event: ExposureEvent
    setting: str
    facts: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.setting}: {_TOLD[self.event].format(**self.facts)}"


def named_secret_files(
    loaded: Loaded[Any], environ: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """The files of secrets that variables name (NAME_FILE), and the settings file if it holds one: path by
    setting."""
    names = [f"{name}_FILE" for name in secret_names(type(loaded.model), variables)]
    files = {name: environ[name].strip() for name in names if environ.get(name, "").strip()}
    inside = secret_in_file(loaded)
    return files | ({inside: loaded.file} if inside else {})


def readable_by_others(files: Mapping[str, str | None]) -> Iterator[Exposure]:
    """Of the files of secrets, by setting, those that every user of the machine can read; each once."""
    seen = set()
    for setting, path in files.items():
        if path and path not in seen and (mode := mode_for_others(path)):
            seen.add(path)
            yield Exposure("secret readable by others", setting, {"file": path, "mode": mode})


def sent_without_tls(loaded: Loaded[Any], host: str, *, users: bool) -> Iterator[Exposure]:
    """The API key, or the passwords of `users` of the web config, if they travel over a network in the clear:
    `host` is listened on without TLS. One warning, as one certificate mends all."""
    settings = loaded.model
    if is_own_machine(host):
        return
    names = [name for name in [key_name(loaded)] if name]
    if users:
        names.append(loaded.name("web_config_file"))
    for name in names[:1]:
        yield Exposure("secret without TLS", name, {"listen": settings.listen})


def sent_elsewhere(urls: Iterable[tuple[str, str | None, str | None]]) -> Iterator[Exposure]:
    """The secrets that this process sends in the clear to another machine: setting of a URL, the URL, and the
    setting of what is sent there; None: there is none. One warning for a URL."""
    for setting, url, secret in urls:
        if not url or not secret:
            continue
        parts = urlsplit(url)
        if parts.scheme == "http" and not is_own_machine(parts.hostname or ""):
            # Without its path and query, which may have a secret too.
            where = f"{parts.scheme}://{parts.netloc}"
            yield Exposure("secret sent without TLS", setting, {"url": where, "secret": secret})


def key_name(loaded: Loaded[Any]) -> str | None:
    """The setting of the API key that this process has; None without one."""
    api = loaded.model.api
    path = "api.key" if api.key is not None else "api.read_key" if api.read_key is not None else None
    return loaded.name(path) if path else None


def is_own_machine(host: str) -> bool:
    """Whether only this machine reaches what listens there; a name is not looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
