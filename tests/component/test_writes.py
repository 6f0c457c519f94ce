"""The servers' own logs tell the writes that were made, and do not tell reads or dry runs."""

from __future__ import annotations

import subprocess
import time
import uuid
from typing import Any

import boto3
import requests

from tests.writes import Servers

Sandbox = dict[str, Any]


def _lines(servers: Servers, mark: dict[str, Any], name: str) -> list[str]:
    """Return the writes to what bears `name`; other tests may write beside this one."""
    deadline = time.monotonic() + 15  # metrics and audit log are flushed now and then
    found: list[str] = []
    while len(found) < 2 and time.monotonic() < deadline:
        found = [f"{w.action} {w.target}" for w in servers.since(mark) if name in w.target]
        time.sleep(0.5)
    return found


def test_kubernetes_writes_are_told(sandbox: Sandbox) -> None:
    servers, name = Servers(sandbox), f"writes-{uuid.uuid4().hex[:8]}"
    cluster = sandbox["clusters"][0]
    kubectl = [sandbox["bin"]["kubectl"], "--kubeconfig", cluster["kubeconfig"]]
    mark = servers.mark()
    for arguments in (
        ["create", "namespace", name, "--dry-run=server"],
        ["create", "namespace", name],
        ["get", "namespace", name],
        ["delete", "namespace", name, "--wait=false"],
    ):
        subprocess.run([*kubectl, *arguments], check=True, capture_output=True)
    assert _lines(servers, mark, name) == [f"create namespaces {name}", f"delete namespaces {name}"]


def test_keycloak_writes_are_told(sandbox: Sandbox, admin: requests.Session) -> None:
    servers, name = Servers(sandbox), f"writes-{uuid.uuid4().hex[:8]}"
    base = f"{sandbox['keycloak']['url']}/admin/realms/{sandbox['keycloak']['realm']}"
    mark = servers.mark()
    created = admin.post(f"{base}/groups", json={"name": name}, timeout=30)
    created.raise_for_status()
    group = created.headers["Location"].rsplit("/", 1)[1]
    admin.get(f"{base}/groups/{group}", timeout=30).raise_for_status()
    admin.delete(f"{base}/groups/{group}", timeout=30).raise_for_status()
    told = _lines(servers, mark, group)
    assert told == [f"create GROUP groups/{group}", f"delete GROUP groups/{group}"]


def test_s3_writes_are_told(sandbox: Sandbox) -> None:
    servers, name = Servers(sandbox), f"writes-{uuid.uuid4().hex[:8]}"
    s3 = sandbox["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        region_name=s3["region"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        verify=sandbox["ca_file"],
    )
    mark = servers.mark()
    client.create_bucket(Bucket=name)
    client.head_bucket(Bucket=name)
    client.list_objects_v2(Bucket=name)
    client.put_object(Bucket=name, Key="a", Body=b"x")
    assert _lines(servers, mark, name) == [f"PUT {name}"] * 2
    mark = servers.mark()
    client.delete_object(Bucket=name, Key="a")
    client.delete_bucket(Bucket=name)
    # The object's own deletion is forgotten with the bucket's counters: the bucket's is told.
    assert f"DELETE {name}" in _lines(servers, mark, name)
