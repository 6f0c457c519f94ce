"""oapip_cluster_info on the sandbox: one thing wrong, several, and rights that are wanting."""

from __future__ import annotations

import base64
import copy
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_cluster_info
from tests.harness import both_ways
from tests.keycloak_realm import options_for
from tests.unit_params import params_of
from tests.writes import Servers

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]


@pytest.fixture
def admin(sandbox: Json) -> Kube:
    return Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])


@pytest.fixture
def given(sandbox: Json) -> Json:
    cluster, s3, realm = sandbox["clusters"][0], sandbox["s3"], sandbox["keycloak"]["realm"]
    store = {
        "endpoint": s3["endpoint"],
        "access_key": s3["access_key"],
        "secret_key": s3["secret_key"],
        "ca_path": sandbox["ca_file"],
    }
    return {
        "kubeconfig": cluster["kubeconfig"],
        "cluster_uid": cluster["uid"],
        "namespace": "info-test",
        "release_name": "info-test",
        "chart_ref": str(ROOT / "sandbox" / "chart" / "zoo-project-dru-0.10.3"),
        "chart_version": "0.10.3",
        "helm_binary": sandbox["bin"]["helm"],
        "shared_storage_class": "shared",
        "block_storage_class": "standard",
        "node_selector": {"eoepca.org/processing": "true"},
        "host": "info-test.example.org",
        "keycloak": options_for(sandbox, realm),
        "contexts": [{"name": "alice"}, {"name": "bob"}],
        "token_clients": [sandbox["token_client"]],
        "storage": [
            {**store, "role": "stage_out", "bucket": "eoepca"},
            {**store, "role": "stage_in"},
        ],
    }


def run(given: Json) -> Json:
    return oapip_cluster_info.run(params_of(oapip_cluster_info, given), Context())


def failed(given: Json) -> tuple[str, list[str]]:
    """The message, and the variables that it names."""
    with pytest.raises(OapipError) as caught:
        run(given)
    findings = caught.value.extra["findings"]
    return str(caught.value), [f["variable"] for f in findings if f["level"] == "fail"]


def test_good_ground(given: Json, sandbox: Json) -> None:
    servers = Servers(sandbox)
    mark = servers.mark()
    told = run(given)
    assert [f for f in told["findings"] if f["level"] == "fail"] == []
    assert told["facts"]["uid"] == given["cluster_uid"]
    assert told["facts"]["namespace_exists"] is False
    assert told["facts"]["release"] == {"status": "absent"}
    assert told["record"] == {}
    assert [w for w in servers.since(mark) if "info-test" in w.line()] == []


def put(path: str, value: Any) -> Any:
    def change(given: Json) -> None:
        *parents, last = path.split(".")
        target: Any = given
        for part in parents:
            target = target[int(part) if part.isdigit() else part]
        target[last] = value

    return change


WRONG = {
    "wrong admin password": (put("keycloak.auth_password", "x"), "oapip_keycloak_admin_password"),
    "realm": (put("keycloak.realm", "nix"), "oapip_keycloak_realm"),
    "Keycloak's authority": (put("keycloak.ca_path", ""), "oapip_keycloak_url"),
    "wrong S3 key": (put("storage.0.secret_key", "x"), "oapip_s3_secret_key"),
    "stage-in key": (put("storage.1.access_key", "x"), "oapip_stagein_s3_access_key"),
    "storage class": (put("shared_storage_class", "nix"), "oapip_shared_storage_class"),
    "block class": (put("block_storage_class", "nix"), "oapip_block_storage_class"),
    "selector": (put("node_selector", {"no": "node"}), "oapip_node_selector"),
    "another cluster": (put("cluster_uid", "other"), "oapip_cluster_uid"),
    "chart": (put("chart_ref", "/no/such/chart"), "oapip_chart_ref"),
    "chart version": (put("chart_version", "0.0.1"), "oapip_chart_version"),
    "helm": (put("helm_binary", "no-such-helm"), "oapip_helm_binary"),
    "user": (put("contexts", [{"name": "nobody"}]), "oapip_contexts"),
    "name of a context": (put("contexts", [{"name": "o'brien"}]), "oapip_contexts"),
    "client": (put("token_clients", ["nix"]), "oapip_token_clients"),
    "class of the gateway": (put("ingress_class", "nix"), "oapip_ingress_class"),
    "TLS": (put("tls", {"mode": "existing", "secret_name": "nix"}), "oapip_tls_secret"),
    "kubeconfig": (put("kubeconfig", "/no/such/file"), "oapip_kubeconfig"),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_thing_wrong(case: str, given: Json) -> None:
    change, variable = WRONG[case]
    change(given)
    message, variables = failed(given)
    assert variables == [variable]
    assert f"[{variable}]" in message


def test_all_at_once(given: Json) -> None:
    # these two speak against other things as well: the rest of the cluster cannot be seen
    apart = {"kubeconfig", "realm", "Keycloak's authority", "user", "client", "chart version"}
    wanted = set()
    for case, (change, variable) in WRONG.items():
        if case not in apart:
            change(given)
            wanted.add(variable)
    message, variables = failed(given)
    assert set(variables) == wanted
    assert message.startswith(f"{len(variables)} things have to be mended")


def test_without_failing(given: Json) -> None:
    put("node_selector", {"no": "node"})(given)
    told = run({**given, "fail_on_findings": False, "variables": {"node_selector": "my_nodes"}})
    (finding,) = [f for f in told["findings"] if f["level"] == "fail"]
    assert finding["variable"] == "my_nodes"


def test_another_route_for_our_host(given: Json, admin: Kube) -> None:
    name = f"info-{secrets.token_hex(3)}"
    rule = {
        "name": "x",
        "match": {"hosts": [given["host"]], "paths": ["/x"]},
        "backends": [{"serviceName": "x", "servicePort": 80}],
    }
    route = {
        "apiVersion": "apisix.apache.org/v2",
        "kind": "ApisixRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ingressClassName": "apisix", "http": [rule]},
    }
    admin.create(route)
    try:
        message, variables = failed(given)
    finally:
        admin.delete(url_of("ApisixRoute", "default", name))
    assert variables == ["oapip_host"]
    assert f"ApisixRoute default/{name}" in message


@pytest.fixture
def weak(sandbox: Json, admin: Kube, tmp_path: Path) -> Iterator[str]:
    """A kubeconfig of somebody who may read the cluster, and little else."""
    name = f"info-{secrets.token_hex(3)}"
    rbac = "rbac.authorization.k8s.io"
    read = {"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}
    role = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [read],
    }
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": "default"},
    }
    for obj in (account, role, binding):
        admin.create(obj)
    token = admin.request(
        "POST",
        f"{url_of('ServiceAccount', 'default', name)}/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )["status"]["token"]
    source = Path(sandbox["clusters"][0]["admin_kubeconfig"])
    config = copy.deepcopy(yaml.safe_load(source.read_text()))
    for cluster in config["clusters"]:
        authority = cluster["cluster"].pop("certificate-authority", None)
        if authority:
            pem = (source.parent / authority).read_bytes()
            cluster["cluster"]["certificate-authority-data"] = base64.b64encode(pem).decode()
    for user in config["users"]:
        user["user"] = {"token": token}
    path = tmp_path / "weak.kubeconfig"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(config))
    yield str(path)
    admin.delete(url_of("ClusterRoleBinding", name=name))
    admin.delete(url_of("ClusterRole", name=name))
    admin.delete(url_of("ServiceAccount", "default", name))


def test_missing_rights(given: Json, weak: str) -> None:
    message, variables = failed({**given, "kubeconfig": weak})
    assert variables == ["oapip_kubeconfig"]
    assert "create, patch, delete, update on secrets" in message
    assert "bind on clusterroles.rbac.authorization.k8s.io/cluster-admin" in message
    assert "docs/operator-clusterrole.yaml" in message


def test_no_rights_at_all(given: Json, weak: str, admin: Kube) -> None:
    """Refused reads are told once, with the rights."""
    name = yaml.safe_load(Path(weak).read_text())["users"][0]["user"]["token"]
    claims = name.split(".")[1]
    account = base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)).decode()
    subject = account.split('"sub":"')[1].split('"')[0].rsplit(":", 1)[1]
    path = url_of("ClusterRole", name=subject)
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"]}
    admin.patch(path, {"rules": [rule]})
    message, variables = failed({**given, "kubeconfig": weak})
    assert variables == ["oapip_kubeconfig"]
    assert "list on" in message
    assert "nodes" in message
    assert message.count("storageclasses") == 1


def test_same_both_ways(given: Json, tmp_path: Path) -> None:
    here, sent = both_ways(tmp_path, "oapip_cluster_info", given)
    assert here.status == "ok"
    assert here.contract() == sent.contract()
