"""SeaweedFS's S3 over TLS, with one identity; its own request counters tell who wrote what.

`<metrics_url>` (Prometheus text) counts every S3 call by its action in
`SeaweedFS_s3_request_total{bucket="b",code="200",type="PUT"}`, until that bucket is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sandbox import local_http
from sandbox.paths import write_private
from sandbox.pki import Pair
from sandbox.supervise import Program

REGION = "us-east-1"
ACTIONS = ("Admin", "Read", "Write", "List", "Tagging")


def configure(home: Path, access_key: str, secret_key: str) -> None:
    """Write the identities: the only key there is may do everything, any other is refused."""
    (home / "data").mkdir(parents=True, exist_ok=True)
    credential = {"accessKey": access_key, "secretKey": secret_key}
    identity = {"name": "admin", "credentials": [credential], "actions": list(ACTIONS)}
    write_private(home / "s3.json", json.dumps({"identities": [identity]}))


def program(weed: Path, home: Path, port: Callable[[str], int], tls: Pair) -> Program:
    """One process: master, volume server, filer and S3, each on its own loopback port."""
    options = {
        "dir": home / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": port("s3-master"),
        "master.port.grpc": port("s3-master-grpc"),
        "master.telemetry": "false",
        "master.volumePreallocate": "false",
        "master.volumeSizeLimitMB": 256,
        "volume.port": port("s3-volume"),
        "volume.port.grpc": port("s3-volume-grpc"),
        "volume.max": 200,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.port": port("s3-filer"),
        "filer.port.grpc": port("s3-filer-grpc"),
        "filer.localSocket": home / "filer.sock",
        "s3": "true",
        "s3.config": home / "s3.json",
        "s3.port": port("s3"),
        "s3.port.grpc": port("s3-grpc"),
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": home / "s3.sock",
        "s3.cert.file": tls.certificate,
        "s3.key.file": tls.key,
        "s3.autoCreateBucket": "false",
        "metricsPort": port("s3-metrics"),
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    # Told to stop, it lingers for 15 s; its journals survive the SIGKILL that comes earlier.
    return Program("storage", [weed, "server", *arguments], storage=True, stop_seconds=2)


def leftovers(port: Callable[[str], int]) -> list[Path]:
    """Sockets it puts into /tmp whatever it is told, and a kill leaves there."""
    parts = {"master": "s3-master", "volume": "s3-volume", "filer": "s3-filer", "s3": "s3"}
    ports = {part: (port(name), port(f"{name}-grpc")) for part, name in parts.items()}
    return [
        Path(f"/tmp/seaweedfs-{part}-grpc-{p}.sock") for part, both in ports.items() for p in both
    ]


def is_ready(endpoint: str, ca_file: Path) -> bool:
    """Whether S3 answers; 403 without credentials is the right answer."""
    return local_http.status(endpoint, ca_file) == 403
