"""The main job on the sandbox, as an operator runs it: again, dry, refused, removed, from nothing.

The tests run in this order and leave the sandbox as `make demo` does: deployed and proved.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests import changes, writes
from tests.faults.stranger import Stranger
from tests.harness import ROOT, PlaybookRun, run_playbook

SITE = ROOT / "site.yml"
REMOVE = ROOT / "playbooks" / "remove.yml"
HOST = "sandbox-1"


@pytest.fixture(scope="module")
def servers(sandbox: dict[str, Any]) -> writes.Servers:
    return writes.Servers(sandbox)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> PlaybookRun:
    """The engine is there and proved, whatever an earlier test left."""
    return site(tmp_path_factory.mktemp("deploy"))


def site(folder: Path, *options: str, playbook: Path = SITE, code: int = 0) -> PlaybookRun:
    """Run a playbook on the first cluster of the sandbox and expect its exit code."""
    report = f"oapip_report_dir={folder}/reports"
    done = run_playbook(playbook, folder, "-l", HOST, "-e", report, *options)
    assert done.code == code, done.output[-6000:]
    return done


def report(folder: Path, *, dry: bool = False) -> dict[str, Any]:
    name = f"{HOST}.check.json" if dry else f"{HOST}.json"
    loaded: dict[str, Any] = json.loads((folder / "reports" / name).read_text())
    return loaded


def secrets_of(sandbox: dict[str, Any]) -> set[str]:
    passwords = {user["password"] for user in sandbox["users"].values()}
    key = Path(sandbox["tls"]["private_key"]).read_text().splitlines()[1]
    return {
        *passwords,
        sandbox["keycloak"]["admin_password"],
        sandbox["s3"]["secret_key"],
        key,
    }


@pytest.mark.usefixtures("deployed")
def test_a_second_run_changes_nothing_and_writes_nothing(
    tmp_path: Path, servers: writes.Servers
) -> None:
    mark = servers.mark()
    done = site(tmp_path)
    assert "changed=0" in done.output
    assert [write.line() for write in servers.since(mark)] == []
    assert report(tmp_path)["changes"] == []
    tasks = {result.task for result in done.results if result.status != "skipped"}
    assert len(tasks) <= 20


@pytest.mark.usefixtures("deployed")
def test_check_mode_on_what_is_there_finds_nothing(tmp_path: Path, servers: writes.Servers) -> None:
    mark = servers.mark()
    site(tmp_path, "--check", "--diff")
    assert [write.line() for write in servers.since(mark)] == []
    assert report(tmp_path, dry=True)["changes"] == []


@pytest.mark.usefixtures("deployed")
def test_a_proof_on_request_touches_only_its_own(tmp_path: Path, servers: writes.Servers) -> None:
    mark = servers.mark()
    done = site(tmp_path, "-e", "oapip_prove=always")
    made = report(tmp_path)
    assert made["changes"] == []
    assert made["proof"]["due"]
    assert made["proof"]["wire"]["failed"] == 0
    assert len(made["proof"]["wire"]["checks"]) >= 40
    assert made["proof"]["job"]["status"] == "successful"
    assert (made["proof"]["picture"]["width"], made["proof"]["picture"]["height"]) == (32, 24)
    found = servers.since(mark)
    assert found
    assert not [write.line() for write in found if write.server.startswith("kubernetes")]
    # Keycloak's paths bear identifiers: what was created was also deleted
    created = [w.target for w in found if w.server == "keycloak" and w.action.startswith("create")]
    assert created
    assert "proof" in done.output


@pytest.mark.usefixtures("deployed")
def test_no_secret_shows_at_full_verbosity(tmp_path: Path, sandbox: dict[str, Any]) -> None:
    done = site(tmp_path, "-vvvv", "--diff", "-e", "oapip_prove=always")
    reports = (tmp_path / "reports" / f"{HOST}.json").read_text()
    for secret in secrets_of(sandbox):
        assert secret not in done.output
        assert secret not in reports


REFUSALS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "Keycloak is down": (
        {"oapip_keycloak_url": "https://localhost:1"},
        ["oapip_keycloak_url", "localhost:1"],
    ),
    "the administrator's password is wrong": (
        {"oapip_keycloak_admin_password": "not-the-password"},
        ["oapip_keycloak_admin_password"],
    ),
    "the S3 key is wrong": (
        {"oapip_s3_secret_key": "not-the-key"},
        ["oapip_s3_secret_key"],
    ),
    "a storage class is missing": (
        {"oapip_shared_storage_class": "nowhere"},
        ["oapip_shared_storage_class", "nowhere"],
    ),
    "no node matches": (
        {"oapip_node_selector": {"eoepca.org/processing": "nowhere"}},
        ["oapip_node_selector"],
    ),
    "it is another cluster": (
        {"oapip_cluster_uid": "00000000-0000-0000-0000-000000000000"},
        ["oapip_cluster_uid", "00000000-0000-0000-0000-000000000000"],
    ),
    "the chart is not there": (
        {"oapip_chart_ref": "/nowhere/zoo-project-dru"},
        ["oapip_chart_ref"],
    ),
    "a context's user does not exist": (
        {"oapip_contexts": [{"name": "alice"}, {"name": "nobody"}]},
        ["oapip_contexts", "nobody"],
    ),
    "a variable is unknown": (
        {"oapip_storage_clas": "x", "oapip_contxts": []},
        ["oapip_contxts", "did you mean oapip_contexts?", "oapip_storage_clas"],
    ),
    "a type is wrong": ({"oapip_contexts": "alice"}, ["oapip_contexts"]),
    "several at once": (
        {
            "oapip_s3_secret_key": "not-the-key",
            "oapip_shared_storage_class": "nowhere",
            "oapip_keycloak_admin_password": "not-the-password",
        },
        ["oapip_s3_secret_key", "oapip_shared_storage_class", "oapip_keycloak_admin_password"],
    ),
}


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_a_bad_ground_stops_the_run_before_any_write(
    name: str, tmp_path: Path, servers: writes.Servers
) -> None:
    given, words = REFUSALS[name]
    extra = tmp_path / "extra.json"
    extra.touch(mode=0o600)
    extra.write_text(json.dumps(given))
    mark = servers.mark()
    done = site(tmp_path, "-e", f"@{extra}", code=2)
    assert [write.line() for write in servers.since(mark)] == []
    written = report(tmp_path)
    assert not written["ok"]
    for word in words:
        assert word in done.output
        assert word in written["reason"]
    assert "Traceback" not in done.output


def kubectl(sandbox: dict[str, Any], *words: str, stdin: str | None = None) -> str:
    command = [
        sandbox["bin"]["kubectl"],
        "--kubeconfig",
        sandbox["clusters"][0]["admin_kubeconfig"],
    ]
    done = subprocess.run(
        [*command, *words], input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def another_route(sandbox: dict[str, Any]) -> Iterator[None]:
    route = {
        "apiVersion": "apisix.apache.org/v2",
        "kind": "ApisixRoute",
        "metadata": {"name": "somebody-elses", "namespace": "default"},
        "spec": {
            "ingressClassName": "apisix",
            "http": [
                {
                    "name": "all",
                    "match": {"hosts": ["localhost"], "paths": ["/other/*"]},
                    "backends": [{"serviceName": "kubernetes", "servicePort": 443}],
                }
            ],
        },
    }
    kubectl(sandbox, "apply", "-f", "-", stdin=json.dumps(route))
    yield
    kubectl(sandbox, "-n", "default", "delete", "apisixroute", "somebody-elses")


@pytest.mark.usefixtures("deployed", "another_route")
def test_another_route_for_our_host_stops_the_run(tmp_path: Path, servers: writes.Servers) -> None:
    mark = servers.mark()
    done = site(tmp_path, code=2)
    assert "somebody-elses" in done.output
    assert "oapip_host" in done.output
    assert [write.line() for write in servers.since(mark)] == []


@pytest.mark.usefixtures("deployed")
def test_removal_leaves_nothing_of_ours(
    tmp_path: Path, sandbox: dict[str, Any], admin: requests.Session
) -> None:
    done = site(tmp_path, playbook=REMOVE)
    assert "eoepca" in str(report(tmp_path)["stages"]["removal_storage"]["kept"])
    namespaces = kubectl(sandbox, "get", "namespaces", "-o", "name")
    assert "namespace/processing" not in namespaces
    assert "zoo-project-dru" not in kubectl(sandbox, "get", "clusterrolebindings", "-o", "name")
    realm = f"{sandbox['keycloak']['url']}/admin/realms/eoepca"
    clients = {client["clientId"] for client in admin.get(f"{realm}/clients").json()}
    assert not {name for name in clients if name.startswith("oapip-") and name != "oapip-cli"}
    assert admin.get(f"{realm}/groups").json() == []
    scopes = {scope["name"] for scope in admin.get(f"{realm}/client-scopes").json()}
    assert not {name for name in scopes if name.startswith("oapip-")}
    users = {user["username"] for user in admin.get(f"{realm}/users").json()}
    assert users == {"alice", "bob"}
    assert "failed=0" in done.output


def test_removal_again_changes_nothing(tmp_path: Path, servers: writes.Servers) -> None:
    mark = servers.mark()
    done = site(tmp_path, playbook=REMOVE)
    assert "changed=0" in done.output
    assert [write.line() for write in servers.since(mark)] == []


@pytest.fixture
def poor_operator(sandbox: dict[str, Any]) -> Iterator[None]:
    """The operator's role without the right to make claims and to bind cluster-admin."""
    role = json.loads(kubectl(sandbox, "get", "clusterrole", "oapip-operator", "-o", "json"))
    whole = json.dumps(role)
    for rule in role["rules"]:
        for taken in ("persistentvolumeclaims", "clusterroles"):
            if taken in rule.get("resources", []) and set(rule["verbs"]) & {"create", "bind"}:
                rule["verbs"] = [v for v in rule["verbs"] if v not in ("create", "bind")] or ["get"]
    kubectl(sandbox, "replace", "-f", "-", stdin=json.dumps(role))
    yield
    latest = json.loads(kubectl(sandbox, "get", "clusterrole", "oapip-operator", "-o", "json"))
    restored = json.loads(whole)
    restored["metadata"]["resourceVersion"] = latest["metadata"]["resourceVersion"]
    kubectl(sandbox, "replace", "-f", "-", stdin=json.dumps(restored))


@pytest.mark.usefixtures("poor_operator")
def test_missing_rights_are_told_as_verbs_on_resources(
    tmp_path: Path, servers: writes.Servers
) -> None:
    mark = servers.mark()
    done = site(tmp_path, code=2)
    assert "persistentvolumeclaims" in done.output
    assert "bind" in done.output
    assert [write.line() for write in servers.since(mark)] == []


def test_from_nothing_dry_and_real_agree_and_no_stranger_gets_in(
    tmp_path: Path, sandbox: dict[str, Any], servers: writes.Servers
) -> None:
    mark = servers.mark()
    site(tmp_path, "--check", "--diff")
    assert [write.line() for write in servers.since(mark)] == []
    with Stranger(sandbox) as stranger:
        site(tmp_path)
    assert stranger.asked > 20
    assert stranger.breaches == []
    folder = tmp_path / "reports"
    assert changes.union(folder, dry=True) == changes.union(folder, dry=False)
    assert report(tmp_path)["proof"]["due"]
