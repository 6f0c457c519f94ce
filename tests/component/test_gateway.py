"""The stand-in gateway on a real API server against the real Keycloak, with an upstream that
answers with what it received: apisix.md section 5, TLS from a Secret, status, and a login.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubernetes import client as kube
from kubernetes import config as kube_config

from tests.raw_http import Answer, Line
from tests.unit.sandbox.gateway_bench import GUARD, REMOVAL, rule, serverless

ROOT = Path(__file__).resolve().parents[2]
GROUP = ("apisix.apache.org", "v2")


@dataclass
class Place:
    """One gateway of our own, with a host name, namespace and Keycloak client of its own."""

    recorded: dict[str, Any]
    name: str
    port: int
    certificate: bytes
    key: bytes
    client_secret: str
    api: kube.ApiClient

    @property
    def host(self) -> str:
        """The only host of our routes, so that nobody else's requests meet them."""
        return f"{self.name}.test"

    @property
    def issuer(self) -> str:
        """The realm's address."""
        return str(self.recorded["keycloak"]["issuer"])

    def token(self, user: str) -> str:
        """A user's access token by the direct grant."""
        form = {"grant_type": "password", "client_id": self.recorded["token_client"],
                "username": user, "password": self.recorded["users"][user]["password"]}  # fmt: skip
        url = f"{self.issuer}/protocol/openid-connect/token"
        answer = requests.post(url, data=form, verify=self.recorded["ca_file"], timeout=10)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def bearer(self, user: str = "alice") -> str:
        """An Authorization header line."""
        return f"Authorization: Bearer {self.token(user)}"

    def ask(self, target: str, *headers: str, method: str = "GET") -> Answer:
        """One raw request over TLS; the certificate must be the Secret's."""
        context = ssl.create_default_context(cadata=self.certificate.decode())
        return Line(self.host, self.port, context).ask(target, *headers, method=method)

    def openid(self, **more: Any) -> dict[str, Any]:
        """The openid-connect plugin, credentials from the Secret."""
        discovery = f"{self.issuer}/.well-known/openid-configuration"
        config = {"discovery": discovery, "bearer_only": True, "use_jwks": True, **more}
        return {"name": "openid-connect", "enable": True, "secretRef": "client", "config": config}

    def authz(self, **more: Any) -> dict[str, Any]:
        """The authz-keycloak plugin, credentials from the Secret."""
        discovery = f"{self.issuer}/.well-known/uma2-configuration"
        config = {"discovery": discovery, "lazy_load_paths": True, **more}
        return {"name": "authz-keycloak", "enable": True, "secretRef": "client", "config": config}

    @contextlib.contextmanager
    def route(self, name: str, *rules: dict[str, Any], status: str = "True") -> Iterator[None]:
        """An ApisixRoute while it lasts; entered when the controller has given its word."""
        custom: Any = kube.CustomObjectsApi(self.api)
        for each in rules:
            each["match"]["hosts"] = [self.host]
        body = {"apiVersion": "/".join(GROUP), "kind": "ApisixRoute", "metadata": {"name": name},
                "spec": {"ingressClassName": "apisix", "http": list(rules)}}  # fmt: skip
        custom.create_namespaced_custom_object(*GROUP, self.name, "apisixroutes", body)
        try:
            wait(lambda: self.condition("apisixroutes", name).get("status") == status)
            yield
        finally:
            custom.delete_namespaced_custom_object(*GROUP, self.name, "apisixroutes", name)
            wait(lambda: self.ask("/").status == 404)

    def condition(self, plural: str, name: str) -> dict[str, Any]:
        """The first condition of an object; empty without one."""
        custom: Any = kube.CustomObjectsApi(self.api)
        found = custom.get_namespaced_custom_object(*GROUP, self.name, plural, name)
        conditions: list[dict[str, Any]] = found.get("status", {}).get("conditions", [{}])
        return conditions[0]


def wait(done: Callable[[], bool], seconds: float = 15) -> float:
    """Poll until true; the seconds it took."""
    start = time.monotonic()
    while not done():
        assert time.monotonic() - start < seconds, "deadline passed"
        time.sleep(0.05)
    return time.monotonic() - start


class _Echo(BaseHTTPRequestHandler):
    """Answers every request with its raw target and headers."""

    def do_GET(self) -> None:
        target = self.requestline.split()[1]  # self.path has lost a double slash
        body = json.dumps({"target": target, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _EchoServer(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def place(sandbox: dict[str, Any]) -> Iterator[Place]:
    """Namespace, Service, endpoints, certificate, Keycloak client, upstream and gateway."""
    name = f"gw-{secrets.token_hex(4)}"
    cluster = sandbox["clusters"][0]
    with contextlib.ExitStack() as stack:
        api = kube_config.new_client_from_config(cluster["admin_kubeconfig"])
        certificate, key = _self_signed(f"{name}.test")
        secret = stack.enter_context(_keycloak_client(sandbox, name))
        stack.enter_context(_namespace(api, name, certificate, key, secret))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(_EchoServer(str(folder / "engine.sock"), _Echo))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        port = _free_port()
        command = [sys.executable, "-m", "sandbox.gateway", "--kubeconfig",
                   cluster["admin_kubeconfig"], "--port", str(port), "--ca-file",
                   sandbox["ca_file"], "--engine-socket", str(folder / "engine.sock")]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        made = Place(sandbox, name, port, certificate, key, secret, api)
        wait(lambda: _serves(made))
        yield made


def test_status_and_certificate_come_from_the_api_server(place: Place) -> None:
    condition = place.condition("apisixtlses", "tls")
    assert (condition["type"], condition["reason"]) == ("Accepted", "Accepted")
    assert condition["observedGeneration"] == 1
    assert place.ask("/").status == 404


def test_a_handshake_without_a_known_name_fails(place: Place) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("localhost", place.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="stranger.test")


_PATHS = [
    ("/alice/x", 200),
    ("/alice", 200),
    ("/alice/", 200),
    ("/ALICE/x", 403),
    ("//alice/x", 200),
    ("/alice/../bob/x", 403),
    ("/alice/%2e%2e/bob/x", 403),
    ("/alice%2fx", 200),
    ("/alice/..%2fbob", 403),
    ("/alice;x=1/y", 200),
    ("/bob/x", 403),
    ("/bob/..%2falice/x", 200),
    ("/bob/../alice/x", 200),
    ("/bob/..;/alice/x", 200),
    ("/bob/%252e%252e/alice/x", 200),
    ("/alice/a%20b", 403),
]


def test_the_guides_route_lets_alice_into_bobs_context(place: Place) -> None:
    with place.route("guide", rule("all", "/*", plugins=[place.openid(), place.authz()])):
        bearer = place.bearer()
        for target, status in _PATHS:
            answer = place.ask(target, bearer)
            assert (target, answer.status) == (target, status)
            if status == 200:
                assert answer.json()["target"] == target
                assert answer.json()["headers"]["X-Sandbox-Service"] == f"{place.name}/engine"
            else:
                assert answer.json() == {
                    "error": "access_denied",
                    "error_description": "not_authorized",
                }
        assert place.ask("/alice/x").status == 401
        assert place.ask("/alice/x", "Authorization: Bearer nonsense").status == 401
        assert place.ask("/bob/x", place.bearer("bob")).status == 200


def test_the_guard_closes_every_crossing(place: Place) -> None:
    plugins = [place.openid(), place.authz(), serverless(GUARD), serverless(REMOVAL, "post")]
    with place.route("guarded", rule("all", "/*", plugins=plugins)):
        bearer = place.bearer()
        plain = {"/alice/x", "/alice", "/alice/", "/ALICE/x", "/bob/x"}
        for target, status in _PATHS:
            expected = status if target in plain else 400
            assert (target, place.ask(target, bearer).status) == (target, expected)
        assert place.ask("/alice/x", bearer, "services_namespace: bob").status == 400
        headers = place.ask("/alice/x", bearer).json()["headers"]
        assert not {"Authorization", "X-Access-Token"} & set(headers)


def test_a_method_as_scope_is_keycloaks_error(place: Place) -> None:
    plugins = [place.openid(), place.authz(http_method_as_scope=True)]
    with place.route("scope", rule("all", "/*", plugins=plugins)):
        answer = place.ask("/alice/x", place.bearer())
        assert (answer.status, answer.json()["error"]) == (400, "invalid_scope")


def test_introspection_says_inactive(place: Place) -> None:
    with place.route("introspect", rule("all", "/*", plugins=[place.openid(use_jwks=False)])):
        answer = place.ask("/alice/x", place.bearer())
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_browser_logs_in(place: Place) -> None:
    openid = place.openid(bearer_only=False, access_token_in_authorization_header=True)
    with place.route("browser", rule("all", "/*", plugins=[openid, place.authz()])):
        first = place.ask("/alice/page?q=1")
        assert first.status == 302
        browser = requests.Session()
        browser.trust_env = False
        browser.verify = place.recorded["ca_file"]
        form = browser.get(first.headers["Location"], timeout=10)
        action = re.search(r'action="([^"]+)"', form.text)
        assert action is not None
        password = place.recorded["users"]["alice"]["password"]
        login = browser.post(unescape(action[1]), {"username": "alice", "password": password},
                             allow_redirects=False, timeout=10)  # fmt: skip
        assert login.status_code == 302
        url = urlsplit(login.headers["Location"])
        assert url.path == "/alice/page/.apisix/redirect"
        back = place.ask(f"{url.path}?{url.query}", _cookies(first))
        assert back.status == 302
        assert back.headers["Location"] == f"https://{place.host}:{place.port}/alice/page?q=1"
        page = place.ask("/alice/page?q=1", _cookies(back))
        assert page.status == 200
        assert page.json()["headers"]["Authorization"].startswith("Bearer ")
        assert place.ask("/bob/page", _cookies(back)).status == 403


def test_a_missing_secret_publishes_nothing_until_it_comes(place: Place) -> None:
    core = kube.CoreV1Api(place.api)
    late = {**place.openid(), "secretRef": "late"}
    with place.route("late", rule("all", "/*", plugins=[late]), status="False"):
        assert place.condition("apisixroutes", "late")["reason"] == "InvalidSpec"
        assert place.ask("/alice/x").status == 404
        data = {"client_id": place.name, "client_secret": place.client_secret}
        body = kube.V1Secret(metadata=kube.V1ObjectMeta(name="late"), string_data=data)
        core.create_namespaced_secret(place.name, body)
        assert wait(lambda: place.ask("/alice/x").status == 401) < 2
        wait(lambda: place.condition("apisixroutes", "late")["status"] == "True")


def test_no_ready_endpoint_no_upstream(place: Place) -> None:
    discovery = kube.DiscoveryV1Api(place.api)

    def ready(value: bool) -> None:
        endpoint = {"addresses": ["10.9.9.9"], "conditions": {"ready": value}}
        discovery.patch_namespaced_endpoint_slice("engine-1", place.name, {"endpoints": [endpoint]})

    with place.route("open", rule("all", "/*")):
        assert place.ask("/x").status == 200
        ready(False)
        assert wait(lambda: place.ask("/x").status == 503) < 2
        ready(True)
        assert wait(lambda: place.ask("/x").status == 200) < 2


def test_status_is_written_once(place: Place) -> None:
    custom: Any = kube.CustomObjectsApi(place.api)
    with place.route("once", rule("all", "/*")):
        arguments = (*GROUP, place.name, "apisixroutes", "once")
        before = custom.get_namespaced_custom_object(*arguments)["metadata"]["resourceVersion"]
        time.sleep(1.5)
        after = custom.get_namespaced_custom_object(*arguments)["metadata"]["resourceVersion"]
        assert before == after


def _cookies(answer: Answer) -> str:
    return "Cookie: " + "; ".join(cookie.split(";")[0] for cookie in answer.cookies)


def _serves(place: Place) -> bool:
    try:
        return place.ask("/").status == 404
    except OSError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _self_signed(host: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())  # fmt: skip
    return certificate.public_bytes(serialization.Encoding.PEM), private


@contextlib.contextmanager
def _namespace(
    api: kube.ApiClient, name: str, certificate: bytes, key: bytes, client_secret: str
) -> Iterator[None]:
    """A namespace with everything a route needs, and an endpoint made by hand."""
    core: Any = kube.CoreV1Api(api)
    discovery: Any = kube.DiscoveryV1Api(api)
    custom: Any = kube.CustomObjectsApi(api)
    core.create_namespace({"metadata": {"name": name}})
    try:
        pair = {"tls.crt": _text(certificate), "tls.key": _text(key)}
        client = {"client_id": name, "client_secret": client_secret,
                  "session.secret": secrets.token_hex(16)}  # fmt: skip
        client = {entry: _text(value.encode()) for entry, value in client.items()}
        for which, data in (("tls", pair), ("client", client)):
            core.create_namespaced_secret(name, {"metadata": {"name": which}, "data": data})
        service = {
            "metadata": {"name": "engine"},
            "spec": {"ports": [{"name": "http", "port": 80}]},
        }
        core.create_namespaced_service(name, service)
        discovery.create_namespaced_endpoint_slice(name, {
            "metadata": {"name": "engine-1", "labels": {"kubernetes.io/service-name": "engine"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.9.9.9"], "conditions": {"ready": True}}],
        })  # fmt: skip
        tls = {"apiVersion": "/".join(GROUP), "kind": "ApisixTls", "metadata": {"name": "tls"},
               "spec": {"ingressClassName": "apisix", "hosts": [f"{name}.test"],
                        "secret": {"name": "tls", "namespace": name}}}  # fmt: skip
        custom.create_namespaced_custom_object(*GROUP, name, "apisixtlses", tls)
        yield
    finally:
        core.delete_namespace(name)


@contextlib.contextmanager
def _keycloak_client(sandbox: dict[str, Any], name: str) -> Iterator[str]:
    """A confidential client that guards /alice/* and /bob/* for their owners; its secret."""
    keycloak = sandbox["keycloak"]
    session = requests.Session()
    session.trust_env = False  # REQUESTS_CA_BUNDLE would win over verify
    session.verify = sandbox["ca_file"]

    def login() -> None:
        form = {"grant_type": "password", "client_id": "admin-cli",
                "username": keycloak["admin_user"],
                "password": keycloak["admin_password"]}  # fmt: skip
        url = f"{keycloak['url']}/realms/master/protocol/openid-connect/token"
        token = session.post(url, data=form, timeout=10).json()["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"

    login()
    admin = f"{keycloak['url']}/admin/realms/{keycloak['realm']}"
    users = ("alice", "bob")
    policies = [_policy(f"{user}-policy", "user", users=[user]) for user in users]
    policies += [
        _policy(
            f"{user}-permission", "resource", resources=[user], applyPolicies=[f"{user}-policy"]
        )
        for user in users
    ]
    client_secret = secrets.token_hex(16)
    body = {
        "clientId": name,
        "secret": client_secret,
        "publicClient": False,
        "serviceAccountsEnabled": True,
        "authorizationServicesEnabled": True,
        "redirectUris": [f"https://{name}.test/*", "*"],
        "authorizationSettings": {
            "policyEnforcementMode": "ENFORCING",
            "resources": [{"name": u, "uris": [f"/{u}/*"]} for u in users],
            "policies": policies,
        },
    }
    made = session.post(f"{admin}/clients", json=body, timeout=20)
    made.raise_for_status()
    try:
        yield client_secret
    finally:
        login()  # the admin's token lives a minute
        session.delete(made.headers["Location"], timeout=20).raise_for_status()


def _policy(name: str, kind: str, **config: list[str]) -> dict[str, Any]:
    return {"name": name, "type": kind, "config": {k: json.dumps(v) for k, v in config.items()}}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
