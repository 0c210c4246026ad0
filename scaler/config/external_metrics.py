"""Settings of the external metrics for the HPA. Pure."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from service.config.model import Model


class ExternalMetricsTlsSettings(Model):
    """TLS of the server that the API server asks. The files are read again when they change."""

    cert_file: str | None = Field(None, description="PEM file of the certificate, which `caBundle` verifies")
    key_file: str | None = Field(None, description="PEM file of its key")

    @property
    def client_ca_file(self) -> None:
        """Which clients are answered is asked of the cluster."""

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file have to be set together")
        return self


class ExternalMetricsSettings(Model):
    """External metrics for the HPA: an HTTPS server that the API server asks for the number of a target."""

    listen: str | None = Field(
        None,
        description="host:port on which the API server is answered, such as 0.0.0.0:9880; it is not if "
        "absent",
    )
    tls: ExternalMetricsTlsSettings = ExternalMetricsTlsSettings()
