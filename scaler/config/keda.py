"""Settings of the external scaler of KEDA. Pure."""

from __future__ import annotations

from typing import Final, Self

from pydantic import Field, model_validator

from service.config.model import Model

MOST_KEDA_CONNECTIONS: Final = 256
"""gRPC connections at a time. KEDA's operator has one for each address and set of certificates."""
_SHARE: Final = 8  # they may take one of so many file descriptors of the process


class KedaTlsSettings(Model):
    """TLS of the server that KEDA asks. The files are read again when they change."""

    cert_file: str | None = Field(
        None, description="PEM file of the certificate; without one there is no TLS"
    )
    key_file: str | None = Field(None, description="PEM file of its key")
    client_ca_file: str | None = Field(
        None, description="CA bundle of KEDA's client certificate: only who has one is answered"
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file have to be set together")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file needs cert_file and key_file")
        return self


class KedaSettings(Model):
    """The external scaler of KEDA: a gRPC server that KEDA asks for the number of a target."""

    listen: str | None = Field(
        None, description="host:port on which KEDA is answered, such as 0.0.0.0:9879; it is not if absent"
    )
    tls: KedaTlsSettings = KedaTlsSettings()

    def most_connections(self, descriptors: int) -> int:
        """gRPC connections at a time, where the process may have so many file descriptors; 0 without
        `listen`."""
        if self.listen is None:
            return 0
        return max(1, min(MOST_KEDA_CONNECTIONS, descriptors // _SHARE))
