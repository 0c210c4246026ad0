"""The lines that copy a misspelt variable, in a real shell: our variable then has a valid value."""

from __future__ import annotations

import subprocess

import pytest

from exporter.config.environment import _OTHER_NAMES
from exporter.config.notices import exporter_notices
from exporter.configuration import read_exporter_settings
from exporter.doctor.checks.configuration import check_variables
from exporter.doctor.examination import Examination

VALUES = {
    "REDIS_ADDR": "h:1",
    "REDIS_ADDRESS": "rediss://:p$w'd@h:1",
    "REDIS_NODES": "a:1,b:2",
    "REDIS_HOSTS": "a:1",
    "REDIS_CLUSTER_NODES": "a:1,b:2",
    "REDIS_CLUSTER_HOSTS": "a,b",
    "REDIS_CLUSTER_URLS": "redis://:pw@a:1,redis://b:2",
    "REDIS_CLUSTER_ENABLED": "true",
    "REDIS_SENTINEL_HOSTS": "a:1,b:2",
    "REDIS_SENTINEL_NODES": "a:1,b:2",
    "REDIS_SSL": "true",
    "REDIS_USE_TLS": "true",
    "REDIS_TLS_ENABLED": "true",
    "REDIS_TLS_CA": "/etc/hosts",
    "REDIS_TLS_CERT": "/etc/hosts",
    "REDIS_TLS_KEY": "/etc/hosts",
    "EXPORTER_PORT": "9999",
    "EXPORTER_HOST": "127.0.0.1",
    "MONITORING_INTERVAL_SECONDS": "30",
    "ENABLE_MONITORING": "true",
    "OTLP_URL": "https://h:4318/v1/metrics",
    "REDIS_ULR": "redis://h:1",
    "BULLMQ_PREFIX": "a b,c",
    "REDIS_PASSWRD": 'p$w\'d "x"',
}
NEEDS = {"REDIS_CLUSTER_ENABLED": {"REDIS_URL": "redis://h:1"}}
FILES = {"REDIS_TLS_CA", "REDIS_TLS_CERT", "REDIS_TLS_KEY"}  # their content is another test's


@pytest.mark.parametrize("name", sorted((set(_OTHER_NAMES) | set(VALUES)) - FILES))
def test_the_copy_is_valid(name: str) -> None:
    environ = {name: VALUES.get(name, "text"), **NEEDS.get(name, {})}
    loaded = read_exporter_settings(environ)
    examination = Examination(
        loaded, notices=tuple(exporter_notices(loaded, environ)), variables=frozenset(environ)
    )
    [diagnosis] = [item for item in check_variables(examination) if name in str(item.seen.parameters)]
    assert environ[name] not in str(diagnosis), "values are not looked at"
    script = "\n".join([*diagnosis.fixes[0].lines, "env -0"])
    done = subprocess.run(
        ["bash", "-e", "-c", script], env={"PATH": "/usr/bin:/bin"} | environ, check=True, capture_output=True
    )
    after = dict(line.split("=", 1) for line in done.stdout.decode().split("\0") if "=" in line)
    changed = read_exporter_settings(after)
    assert name not in after
    meant = str(diagnosis.seen.parameters["meant"])
    assert after[meant]
    if name in VALUES and name.endswith(("ULR", "PASSWRD", "PREFIX")):
        assert after[meant] == VALUES[name]
    assert not [notice for notice in exporter_notices(changed, after) if notice.variable == name]
