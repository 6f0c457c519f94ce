#!/usr/bin/env python3
"""The sandbox's clusters as an inventory: group `clusters`, read from what `make up` recorded."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
STATE = Path(os.environ.get("OAPIP_SANDBOX") or ROOT / ".sandbox")


def inventory(record: dict[str, Any]) -> dict[str, Any]:
    """The script inventory's answer to --list."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "oapip_ca_path": record["ca_file"],
        "oapip_keycloak_url": record["keycloak"]["url"],
        "oapip_keycloak_realm": record["keycloak"]["realm"],
        "oapip_keycloak_admin_user": record["keycloak"]["admin_user"],
        "oapip_keycloak_admin_password": record["keycloak"]["admin_password"],
        "oapip_s3_endpoint": record["s3"]["endpoint"],
        "oapip_s3_access_key": record["s3"]["access_key"],
        "oapip_s3_secret_key": record["s3"]["secret_key"],
        "sandbox_tls_certificate": record["tls"]["certificate"],
        "sandbox_tls_private_key": record["tls"]["private_key"],
    }
    hosts = {}
    for number, cluster in enumerate(record["clusters"]):
        hosts[cluster["name"]] = {
            "oapip_kubeconfig": cluster["kubeconfig"],
            "oapip_cluster_uid": cluster["uid"],
            "oapip_host": "localhost",
            "oapip_https_port": cluster["https_port"],
            "oapip_helm_binary": record["bin"]["helm"],
        }
        if number:  # one Keycloak for all: each cluster needs a client of its own
            hosts[cluster["name"]]["oapip_client_id"] = f"oapip-{cluster['name']}"
    return {
        "_meta": {"hostvars": hosts},
        "clusters": {"hosts": list(hosts), "vars": common},
    }


def main() -> int:
    """Print the inventory, or say that there is no sandbox."""
    try:
        record = json.loads((STATE / "run/sandbox.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"The sandbox in {STATE} is not up: run `make up` first.", file=sys.stderr)
        return 1
    answer = {} if "--host" in sys.argv[1:] else inventory(record)
    json.dump(answer, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
