"""kubeconfig files with embedded certificates (so a copy works anywhere on this machine)."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from sandbox.paths import write_private
from sandbox.pki import Pair


def write(path: Path, cluster: str, server: str, ca: Path, user: str, pair: Pair) -> Path:
    """Write the kubeconfig of one user of one cluster (0600)."""
    certificate_authority = base64.b64encode(ca.read_bytes()).decode()
    credentials = {
        "client-certificate-data": pair.certificate_base64(),
        "client-key-data": pair.key_base64(),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": cluster,
                "cluster": {"server": server, "certificate-authority-data": certificate_authority},
            }
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False))
    return path
