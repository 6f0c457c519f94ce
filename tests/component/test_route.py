"""oapip_route on a real API server, with the gateway and Keycloak of the sandbox."""

from __future__ import annotations

import datetime
import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.eoepca.oapip.plugins.module_utils import _doors, _keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_route
from tests.keycloak_realm import options_for
from tests.unit_params import params_of
from tests.writes import Servers

Json = dict[str, Any]


def pair(host: str) -> tuple[str, str]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture(scope="module")
def admin(sandbox: Json) -> Kube:
    return Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])


@pytest.fixture(scope="module")
def keycloak(sandbox: Json) -> Json:
    return options_for(sandbox, sandbox["keycloak"]["realm"])


@pytest.fixture(scope="module")
def client(keycloak: Json) -> Iterator[str]:
    """A confidential client, removed afterwards."""
    server = _keycloak.connect({**keycloak, "auth_realm": "master", "auth_client_id": "admin-cli"})
    name = f"route-test-{secrets.token_hex(3)}"
    made = server.create(
        "clients",
        body={"clientId": name, "publicClient": False, "serviceAccountsEnabled": True},
    )
    yield name
    server.request("DELETE", "clients", made)


@pytest.fixture
def namespace(admin: Kube) -> Iterator[str]:
    name = f"route-test-{secrets.token_hex(3)}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    admin.delete(url_of("Namespace", name=name))


@pytest.fixture
def host() -> str:
    """One of its own for each test: what a test leaves is not seen by the next."""
    return f"route-{secrets.token_hex(3)}.example.org"


@pytest.fixture
def given(
    sandbox: Json, keycloak: Json, client: str, namespace: str, host: str, tmp_path: Path
) -> Json:
    certificate, key = pair(host)
    authority = tmp_path / "ca.pem"
    authority.write_text(certificate)
    cluster = sandbox["clusters"][0]
    return {
        "kubeconfig": cluster["kubeconfig"],
        "namespace": namespace,
        "name": "zoo",
        "host": host,
        "tls": {"mode": "supplied", "certificate": certificate, "private_key": key},
        "oidc": {**keycloak, "client_id": client},
        "contexts": [{"name": "alice"}, {"name": "team", "mode": "shared"}],
        "probe_url": f"https://{host}:{cluster['https_port']}",
        "probe_address": f"127.0.0.1:{cluster['https_port']}",
        "ca_path": str(authority),
        "wait_timeout": 30,
    }


def run(given: Json, check: bool = False, **more: Any) -> Json:
    params = params_of(oapip_route, {**given, **more})
    return oapip_route.run(params, Context(check_mode=check))


def kinds(result: Json) -> list[tuple[str, str, str]]:
    return [(change["action"], change["kind"], change["name"]) for change in result["changes"]]


def rogue(given: Json) -> Json:
    """A route of somebody else that lets strangers in."""
    function = 'return function(conf, ctx) return 200, "hello" end'
    plugin = {
        "name": "serverless-pre-function",
        "enable": True,
        "config": {"phase": "rewrite", "functions": [function]},
    }
    rule = {
        "name": "open",
        "match": {"hosts": [given["host"]], "paths": ["/ogc-api/processes"]},
        "backends": [{"serviceName": "x", "servicePort": 80}],
        "plugins": [plugin],
    }
    return {
        "apiVersion": "apisix.apache.org/v2",
        "kind": "ApisixRoute",
        "metadata": {"name": "rogue", "namespace": given["namespace"]},
        "spec": {"ingressClassName": "apisix", "http": [rule]},
    }


CREATED = [
    ("create", "Secret", "zoo-oidc"),
    ("create", "Secret", "zoo-authz"),
    ("create", "Secret", "zoo-tls"),
    ("create", "ApisixTls", "zoo"),
    ("create", "ApisixRoute", "zoo"),
]


def test_whole_life(given: Json, sandbox: Json, admin: Kube) -> None:
    servers = Servers(sandbox)
    namespace = given["namespace"]

    mark = servers.mark()
    dry = run(given, check=True)
    assert kinds(dry) == CREATED
    assert mine(servers, mark, namespace) == []

    real = run(given)
    assert real["probed"]
    assert (real["changes"], real["diff"]) == (dry["changes"], dry["diff"])
    assert real["doors"] == dry["doors"]
    first = admin.get(url_of("Secret", namespace, "zoo-oidc"))
    assert first

    mark = servers.mark()
    again = run(given)
    assert again["changes"] == []
    assert run(given, check=True)["changes"] == []
    assert mine(servers, mark, namespace) == []

    opened: Json = {"open_paths": ["/ogc-api/"]}
    expected = run(given, check=True, **opened)
    changed = run(given, **opened)
    assert expected["changes"] == changed["changes"]
    assert kinds(changed) == [("update", "ApisixRoute", "zoo")]
    kept = admin.get(url_of("Secret", namespace, "zoo-oidc"))
    assert kept is not None
    assert kept["data"] == first["data"]  # the session's secret is made once

    expected = run(given, check=True, state="absent")
    gone = run(given, state="absent")
    assert expected["changes"] == gone["changes"]
    assert kinds(gone) == [("delete", *change[1:]) for change in sorted_for_removal()]
    mark = servers.mark()
    assert run(given, state="absent")["changes"] == []
    assert mine(servers, mark, namespace) == []


def test_a_stranger_never_gets_in_beside_a_first_deployment(given: Json) -> None:
    stranger = _doors.Stranger(
        given["probe_url"], ca_path=given["ca_path"], address=given["probe_address"]
    )
    issuer = f"{given['oidc']['server_url']}/realms/{given['oidc']['realm']}"
    closed = [door for door in _doors.doors(["alice", "team"], []) if not door.guarded]
    seen: list[tuple[str, int]] = []
    over = threading.Event()

    def knock() -> None:
        while not over.is_set():
            for door in closed:
                answer = stranger.knock(door)
                seen.append((_doors.verdict(door, answer, issuer), answer.status))

    with ThreadPoolExecutor(2) as pool:
        knocking = [pool.submit(knock) for _ in range(2)]
        try:
            run(given)
        finally:
            over.set()
        for one in knocking:
            one.result()
    assert {status for _verdict, status in seen} >= {401}  # the route was there to be seen
    assert [item for item in seen if item[0] == _doors.BREACH] == []


def sorted_for_removal() -> list[tuple[str, str, str]]:
    order = ["ApisixRoute", "ApisixTls", "Secret"]
    return sorted(CREATED, key=lambda change: (order.index(change[1]), change[2]))


def mine(servers: Servers, mark: Json, namespace: str) -> list[str]:
    """The writes to our namespace; other tests may be at work beside this one."""
    return [w.line() for w in servers.since(mark) if namespace in w.line()]


def test_a_route_this_run_made_does_not_outlive_a_breach(given: Json, admin: Kube) -> None:
    admin.create(rogue(given))
    with pytest.raises(OapipError, match="doors are open") as caught:
        run(given)
    assert "GET /ogc-api/processes: HTTP 200" in caught.value.reason
    assert "deleted again" in caught.value.reason
    assert "STILL OPEN" in caught.value.reason  # the other's route stands
    assert admin.get(url_of("ApisixRoute", given["namespace"], "zoo")) is None


def test_a_route_this_run_changed_is_put_back(given: Json, admin: Kube) -> None:
    namespace = given["namespace"]
    run(given)
    before = admin.get(url_of("ApisixRoute", namespace, "zoo"))
    admin.create(rogue(given))
    with pytest.raises(OapipError, match="put back"):
        run(given, open_paths=["/ogc-api/"])
    after = admin.get(url_of("ApisixRoute", namespace, "zoo"))
    assert before is not None
    assert after is not None
    assert after["spec"] == before["spec"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]

    with pytest.raises(OapipError, match="did not change the route"):
        run(given)
    assert admin.get(url_of("ApisixRoute", namespace, "zoo")) is not None


def test_silence_of_the_controller_is_a_failure(given: Json, admin: Kube) -> None:
    with pytest.raises(OapipError, match="no word from the controller") as caught:
        run(given, ingress_class="nobody", wait_timeout=2)
    assert "GatewayProxy" in caught.value.hint
    assert admin.get(url_of("ApisixRoute", given["namespace"], "zoo")) is not None


def test_what_somebody_added_to_the_route_is_removed(given: Json, admin: Kube) -> None:
    namespace = given["namespace"]
    run(given)
    live = admin.get(url_of("ApisixRoute", namespace, "zoo"))
    assert live is not None
    live["spec"]["http"].append({**rogue(given)["spec"]["http"][0], "name": "more"})
    admin.replace(live)
    mended = run(given)
    assert [change["fields"] for change in mended["changes"]] == [["spec.http"]]
    now = admin.get(url_of("ApisixRoute", namespace, "zoo"))
    assert now is not None
    assert "more" not in [rule["name"] for rule in now["spec"]["http"]]


def test_objects_of_others_are_not_taken(given: Json, admin: Kube) -> None:
    namespace = given["namespace"]
    other = rogue(given)
    other["metadata"]["name"] = "zoo"
    admin.create(other)
    for check in (True, False):
        with pytest.raises(OapipError, match="not of this module"):
            run(given, check=check)
    assert kinds(run(given, state="absent")) == []
    assert admin.list(url_of("Secret", namespace)) == []


def test_missing_parents(given: Json) -> None:
    dry = run(given, check=True, namespace="no-such-namespace-yet")
    assert "Namespace no-such-namespace-yet" in dry["assumed"]
    assert kinds(dry) == CREATED
    with pytest.raises(OapipError, match="does not exist"):
        run(given, namespace="no-such-namespace-yet")

    unknown = {**given["oidc"], "client_id": "no-such-client"}
    dry = run(given, check=True, oidc=unknown)
    assert dry["assumed"] == ["Client no-such-client"]
    assert kinds(dry) == CREATED
    with pytest.raises(OapipError, match="no such client"):
        run(given, oidc=unknown)


def test_open_access_has_to_be_said(given: Json) -> None:
    with pytest.raises(OapipError, match="neither oidc nor open_access"):
        run({key: value for key, value in given.items() if key != "oidc"})


def test_open_access_keeps_the_guard(given: Json, sandbox: Json) -> None:
    free = {key: value for key, value in given.items() if key != "oidc"}
    made = run(free, open_access=True)
    assert made["probed"]
    assert "Services-Namespace" in json.dumps(made["doors"])
    assert run(free, open_access=True)["changes"] == []
    # closed again: the Secrets come first
    closed = run(given)
    assert kinds(closed) == [
        ("create", "Secret", "zoo-oidc"),
        ("create", "Secret", "zoo-authz"),
        ("update", "ApisixRoute", "zoo"),
    ]


def test_ingress(given: Json, admin: Kube) -> None:
    free = {key: value for key, value in given.items() if key not in ("oidc", "tls")}
    made = run(free, gateway="ingress", open_access=True)
    assert kinds(made) == [("create", "Ingress", "zoo")]
    assert run(free, gateway="ingress", open_access=True)["changes"] == []
    # another gateway: the old route goes
    moved = run(given)
    assert kinds(moved) == [*CREATED, ("delete", "Ingress", "zoo")]
