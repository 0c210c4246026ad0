"""Whose series are pushed: the attributes of the resource."""

from __future__ import annotations

import socket

from exporter.config.otlp import OtlpSettings
from exporter.otlp.requests import Resource


def own_resource(settings: OtlpSettings, address: str, version: str) -> Resource:
    """Of the exporter that listens at host:port `address`. Prometheus makes `job` and `instance` of it."""
    named = {
        "service.name": settings.service_name,
        "service.namespace": settings.service_namespace or "",
        "service.instance.id": settings.instance_id or f"{socket.gethostname()}:{address.rpartition(':')[2]}",
        "service.version": version,
    }
    return Resource({name: value for name, value in (named | settings.attributes).items() if value}, version)
