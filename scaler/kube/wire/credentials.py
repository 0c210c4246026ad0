"""Where the API server is and how this process logs in: from a kubeconfig, or from the pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from kubernetes import config
from kubernetes.config.config_exception import ConfigException

from scaler.config.settings import KubernetesSettings

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoClusterError(Exception):
    """No API server is configured; the text says what is missing. It never holds a credential."""


def configure_client(configuration: Any, settings: KubernetesSettings) -> str | None:
    """Fill it in from the kubeconfig if one is set, else from the pod; the namespace that belongs to it."""
    try:
        if settings.kubeconfig:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                settings.kubeconfig,
                context=settings.context,
                client_configuration=configuration,
                persist_config=False,
            )
            contexts, current = config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
                settings.kubeconfig
            )
            matching = [context for context in contexts if context["name"] == settings.context]
            context = matching[0] if matching else current
            return context["context"].get("namespace") if context else None
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip()
    except (ConfigException, OSError, KeyError, TypeError) as error:
        source = (
            f"kubeconfig {settings.kubeconfig}" if settings.kubeconfig else "no kubeconfig, and not in a pod"
        )
        raise NoClusterError(f"{source}: {error}") from None
