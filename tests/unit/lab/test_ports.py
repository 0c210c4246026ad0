from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.ports import free_port, free_ports, reserve

ROOT = Path(__file__).parents[3]


def elsewhere(port: int) -> str:
    program = f"from lab.ports import reserve; print(reserve({port}))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_returned_port_is_reserved_from_other_processes() -> None:
    port = free_port()
    assert elsewhere(port) == "False"


def test_a_reservation_ends_with_its_process() -> None:
    assert elsewhere(11_999) == "True"
    assert elsewhere(11_999) == "True"


def test_no_port_is_returned_twice() -> None:
    ports = [*free_ports(6), *free_ports(3), free_port()]
    assert len(set(ports)) == 10
    assert reserve(ports[0])
