"""Images under the names that compose.yaml uses, where none can be pulled.

The base images are stand-ins made of Debian's packages: Python 3.11 and Prometheus 2.42 as
bookworm has them, RabbitMQ 4.0 as trixie has it. The bridge's own image is the real one,
built by deploy/Dockerfile on its stand-in. Grafana has none, so it is not started here.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.compose.engine import ROOT, Engine

BASE = "python:3.11-slim-bookworm"
PACKAGES = "python3,python-is-python3,python3-venv,python3-pip,ca-certificates,prometheus"
RABBITMQ_BASE = "debian-rabbitmq:trixie"

RABBITMQ = f"""
FROM {RABBITMQ_BASE}
RUN ["rabbitmq-plugins", "--offline", "enable", "rabbitmq_management"]
RUN ["chmod", "1777", "/var/log/rabbitmq"]
ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=-
VOLUME /var/lib/rabbitmq
WORKDIR /usr/local/bin
RUN for each in server queues streams diagnostics; do printf '%s\\n' '#!/bin/sh' \\
    "exec /usr/lib/rabbitmq/bin/rabbitmq-$each \\"\\$@\\"" > rabbitmq-$each; done; \\
    printf '%s\\n' '#!/bin/sh' 'exec "$@"' > docker-entrypoint.sh; chmod 755 *
"""

PROMETHEUS = f"""
FROM {BASE}
RUN ["install", "--directory", "--owner=65534", "/prometheus"]
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""


def services() -> dict[str, dict[str, Any]]:
    """Return the services of compose.yaml, by name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())[
        "services"
    ]
    return found


def build(engine: Engine, folder: Path) -> None:
    """Make all images, in about three minutes."""
    _make_base(engine, folder, BASE, "bookworm", PACKAGES)
    _make_base(engine, folder, RABBITMQ_BASE, "trixie", "ca-certificates,rabbitmq-server")
    engine.docker("build", "--tag", services()["rabbitmq"]["image"], "-", given=RABBITMQ)
    engine.docker("build", "--tag", services()["prometheus"]["image"], "-", given=PROMETHEUS)
    bridge = ("build", "--file", "deploy/Dockerfile", "--tag", services()["bridge"]["image"])
    engine.docker(
        *bridge, "--network", "host", "."
    )  # a package index may be reached from here alone


def _make_base(engine: Engine, folder: Path, name: str, suite: str, packages: str) -> None:
    """Make an image of a Debian, which reaches its package index as this machine does."""
    base, archive = folder / "base", folder / "base.tar"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(base)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    for file in ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf"):
        if (Path("/") / file).is_file():
            shutil.copy(Path("/") / file, base / file)
    subprocess.run(["tar", "-C", base, "-cf", archive, "."], check=True)  # noqa: S603, S607
    engine.docker("import", str(archive), name)
    shutil.rmtree(base)
    archive.unlink()
