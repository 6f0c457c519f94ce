"""The sandbox's servers are what they claim: refusals, logs, volumes, nodes, recovery."""

from __future__ import annotations

import json
import os
import secrets
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from sandbox.paths import ENV_FILE, LOGS, RECORD, RUN
from sandbox.supervise import Supervisor

Json = dict[str, Any]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(sandbox: Json) -> Kubectl:
    """Give kubectl as a user of the first cluster: kubectl("operator" or "admin", words...)."""
    cluster = sandbox["clusters"][0]
    files = {"operator": cluster["kubeconfig"], "admin": cluster["admin_kubeconfig"]}

    def run(user: str, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sandbox["bin"]["kubectl"], f"--kubeconfig={files[user]}", *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """Give a namespace that is removed afterwards."""
    name = f"sandbox-test-{secrets.token_hex(4)}"
    assert kubectl("operator", "create", "namespace", name).returncode == 0
    _eventually(lambda: kubectl("admin", "get", "sa", "default", "-n", name).returncode == 0)
    yield name
    kubectl("operator", "delete", "namespace", name, "--wait=false")


def _eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _claim(name: str, storage_class: str, mode: str) -> Json:
    spec = {
        "storageClassName": storage_class,
        "accessModes": [mode],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": spec,
    }


def _pod(name: str, spec: Json, **metadata: Any) -> Json:
    containers = [{"name": "main", "image": "registry.invalid/nothing"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": containers, **spec},
    }


# --- S3 -------------------------------------------------------------------------------------------


def _s3(sandbox: Json, **changed: str) -> Any:
    given = {**sandbox["s3"], **changed}
    return boto3.client(
        "s3",
        endpoint_url=given["endpoint"],
        region_name=given["region"],
        aws_access_key_id=given["access_key"],
        aws_secret_access_key=given["secret_key"],
        verify=sandbox["ca_file"],
    )


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_a_wrong_s3_key_is_refused(sandbox: Json, wrong: str) -> None:
    with pytest.raises(ClientError) as caught:
        _s3(sandbox, **{wrong: "wrong" * 5}).list_buckets()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_s3_counts_a_write_in_its_own_words(sandbox: Json) -> None:
    client, bucket = _s3(sandbox), f"sandbox-test-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="a", Body=b"1")
    client.delete_object(Bucket=bucket, Key="a")
    metrics = requests.get(sandbox["s3"]["metrics_url"], timeout=10).text
    client.delete_bucket(Bucket=bucket)  # with it goes its counter
    counted = [line for line in metrics.splitlines() if f'bucket="{bucket}"' in line]
    requested = [line for line in counted if line.startswith("SeaweedFS_s3_request_total")]
    assert any('type="PUT"' in line for line in requested)
    assert any('type="DELETE"' in line for line in requested)


def test_a_missing_bucket_is_not_made_by_an_upload(sandbox: Json) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        _s3(sandbox).put_object(Bucket="sandbox-test-missing", Key="a", Body=b"1")


# --- the operator's rights and the audit log ------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("create", "clusterroles.rbac.authorization.k8s.io"),
        ("delete", "nodes"),
        ("create", "pods", "--subresource=exec"),
        ("impersonate", "users"),
        ("bind", "clusterroles/admin"),
        ("update", "customresourcedefinitions.apiextensions.k8s.io"),
    ],
)
def test_the_operator_may_not(kubectl: Kubectl, words: tuple[str, ...]) -> None:
    assert kubectl("operator", "auth", "can-i", *words).stdout.strip() == "no"
    assert kubectl("admin", "auth", "can-i", *words).stdout.strip() == "yes"


def test_the_operator_is_refused_in_deed(kubectl: Kubectl) -> None:
    refused = kubectl("operator", "delete", "node", "node-3")
    assert "Forbidden" in refused.stderr
    assert 'User "oapip-operator"' in refused.stderr


def test_the_audit_log_tells_a_write_and_its_user_but_no_read(
    sandbox: Json, kubectl: Kubectl, namespace: str
) -> None:
    secret = secrets.token_hex(8)
    word = f"--from-literal=key={secret}"
    kubectl("operator", "create", "secret", "generic", "probe", "-n", namespace, word)
    kubectl("operator", "get", "secret", "probe", "-n", namespace)
    log = Path(sandbox["clusters"][0]["audit_log"]).read_text()
    assert secret not in log
    events = [json.loads(line) for line in log.splitlines() if namespace in line]
    writes = {
        (event["verb"], event["objectRef"]["resource"])
        for event in events
        if event["user"]["username"] == "oapip-operator"
    }
    assert ("create", "secrets") in writes
    assert not {"get", "list", "watch"} & {event["verb"] for event in events}


# --- volumes, nodes, pods -------------------------------------------------------------------------


def test_claims_of_both_classes_bind_again_and_again(kubectl: Kubectl, namespace: str) -> None:
    claims = [_claim("own", "standard", "ReadWriteOnce"), _claim("all", "shared", "ReadWriteMany")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": claims})
    for _ in range(2):
        assert kubectl("operator", "apply", "-n", namespace, "-f", "-", text=text).returncode == 0
        options = ["wait", "pvc/own", "pvc/all", "-n", namespace, "--timeout=30s"]
        bound = kubectl("operator", *options, "--for=jsonpath={.status.phase}=Bound")
        assert bound.returncode == 0, bound.stderr
        path = "jsonpath={.items[*].spec.volumeName}"
        volumes = kubectl("admin", "get", "pvc", "-n", namespace, "-o", path).stdout.split()
        assert len(volumes) == 2
        kubectl("operator", "delete", "pvc", "own", "all", "-n", namespace)
        get = ["get", "pv", *volumes, "--ignore-not-found", "-o", "name"]
        _eventually(lambda get=get: not kubectl("admin", *get).stdout.strip())  # type: ignore[misc]


def test_the_block_class_gives_no_shared_volume(kubectl: Kubectl, namespace: str) -> None:
    text = json.dumps(_claim("wrong", "standard", "ReadWriteMany"))
    kubectl("operator", "apply", "-n", namespace, "-f", "-", text=text)
    options = ["wait", "pvc/wrong", "-n", namespace, "--timeout=5s"]
    bound = kubectl("operator", *options, "--for=jsonpath={.status.phase}=Bound")
    assert bound.returncode != 0


def test_a_node_selector_decides_the_node(kubectl: Kubectl, namespace: str) -> None:
    pods = [
        _pod("chosen", {"nodeSelector": {"eoepca.org/processing": "true"}}),
        _pod("nowhere", {"nodeSelector": {"eoepca.org/processing": "no"}}),
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
    kubectl("admin", "apply", "-n", namespace, "-f", "-", text=text)
    ready = kubectl(
        "operator", "wait", "pod/chosen", "-n", namespace, "--for=condition=Ready", "--timeout=30s"
    )
    assert ready.returncode == 0, ready.stderr
    path = "jsonpath={.items[*].spec.nodeName}"
    assert kubectl("operator", "get", "pods", "-n", namespace, "-o", path).stdout == "node-2"


@pytest.mark.parametrize(
    ("mark", "reason"),
    [("image-pull-backoff", "ImagePullBackOff"), ("crash-loop", "CrashLoopBackOff")],
)
def test_failure_marks(kubectl: Kubectl, namespace: str, mark: str, reason: str) -> None:
    annotations = {"sandbox.eoepca.org/fail": mark}
    text = json.dumps(_pod("failing", {}, annotations=annotations))
    kubectl("admin", "apply", "-n", namespace, "-f", "-", text=text)
    path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
    get = ["get", "pod", "failing", "-n", namespace, "-o", path]
    _eventually(lambda: kubectl("operator", *get).stdout == reason)


# --- Keycloak -------------------------------------------------------------------------------------


def test_a_user_gets_a_token_with_the_recorded_password(sandbox: Json) -> None:
    def grant(user: str, password: str) -> requests.Response:
        form = {"grant_type": "password", "client_id": sandbox["token_client"]}
        with requests.Session() as session:
            session.trust_env = False
            return session.post(
                f"{sandbox['keycloak']['issuer']}/protocol/openid-connect/token",
                data={**form, "username": user, "password": password},
                verify=sandbox["ca_file"],
                timeout=30,
            )

    passwords = {user: about["password"] for user, about in sandbox["users"].items()}
    assert grant("alice", passwords["alice"]).status_code == 200
    assert grant("alice", passwords["bob"]).json()["error"] == "invalid_grant"


# --- the whole ------------------------------------------------------------------------------------


def test_what_holds_secrets_is_for_the_owner_alone(sandbox: Json) -> None:
    cluster = sandbox["clusters"][0]
    kubeconfigs = [Path(cluster[name]) for name in ("kubeconfig", "admin_kubeconfig")]
    for path in (ENV_FILE, RECORD, RUN / "settings.json", RUN / "supervisord.conf", *kubeconfigs):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(RUN.stat().st_mode) == 0o700


def test_no_server_is_told_a_secret_in_its_arguments(sandbox: Json) -> None:
    known = [sandbox["keycloak"]["admin_password"], sandbox["s3"]["secret_key"]]
    supervisor = Supervisor(RUN, LOGS)
    for name in supervisor.states():
        process = Path(f"/proc/{supervisor.pid(name)}")
        told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert not [secret for secret in known if secret.encode() in told], name


def test_every_server_listens_on_loopback_alone() -> None:
    supervisor = Supervisor(RUN, LOGS)
    pids = {supervisor.pid(name) for name in supervisor.states()}
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    ours = [line for line in listening.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert ours
    loopback = ("127.0.0.1:", "[::1]:", "[::ffff:127.0.0.1]:")
    assert not [line for line in ours if not line.split()[3].startswith(loopback)]


def test_a_killed_server_comes_back(sandbox: Json, kubectl: Kubectl, namespace: str) -> None:
    supervisor = Supervisor(RUN, LOGS)
    name = f"{sandbox['clusters'][0]['name']}-kwok"
    killed = supervisor.pid(name)
    os.kill(killed, signal.SIGKILL)
    _eventually(lambda: supervisor.pid(name) not in (0, killed))
    kubectl("admin", "apply", "-n", namespace, "-f", "-", text=json.dumps(_pod("after", {})))
    ready = kubectl(
        "operator", "wait", "pod/after", "-n", namespace, "--for=condition=Ready", "--timeout=60s"
    )
    assert ready.returncode == 0, ready.stderr
