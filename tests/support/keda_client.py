"""KEDA's side of its external scaler: messages and a client that protoc generates of our .proto."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import grpc
from grpc_tools import protoc

from scaler import keda

PROTO: Final = Path(keda.__file__).parent / "externalscaler.proto"


@cache
def generated() -> Any:
    """`messages` and `ExternalScalerStub`, as protoc generates them."""
    with TemporaryDirectory() as folder:
        arguments = [f"-I{PROTO.parent}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        assert protoc.main(["protoc", *arguments, PROTO.name]) == 0
        messages = _imported(Path(folder) / "externalscaler_pb2.py")
        client = _imported(Path(folder) / "externalscaler_pb2_grpc.py")
    return SimpleNamespace(messages=messages, ExternalScalerStub=client.ExternalScalerStub)


def _imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # the second imports the first by its name
    spec.loader.exec_module(module)
    return module


def ref(**metadata: str) -> Any:
    """A ScaledObjectRef with the metadata of a trigger."""
    return generated().messages.ScaledObjectRef(
        name="mail-worker", namespace="shop", scalerMetadata={"scalerAddress": "scaler:9879", **metadata}
    )


def metrics_request(metric: str, **metadata: str) -> Any:
    """A GetMetricsRequest for a metric of GetMetricSpec."""
    return generated().messages.GetMetricsRequest(scaledObjectRef=ref(**metadata), metricName=metric)


def stub(channel: grpc.Channel) -> Any:
    """The client of the external scaler."""
    return generated().ExternalScalerStub(channel)
