"""Changes by hand, one for each kind of object that the product manages, and what it must say.

python -m tests.faults drift --list
python -m tests.faults drift NAME        make the change; `ansible-playbook site.yml` repairs it
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import secrets
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import boto3
import requests

from tests.faults.dump import record
from tests.writes import Write

SPACE = "processing"
RELEASE = "zoo-project-dru"
CLIENT = "oapip-engine"
STRANGER = base64.b64encode(secrets.token_hex(8).encode()).decode()  # for the data of a Secret

Change = tuple[str, str, str, tuple[str, ...]]
"""Action, kind, name, fields: an entry of `changes`."""
Json = dict[str, Any]


class Hands:
    """An administrator at work with kubectl, Keycloak's admin API and an S3 client."""

    def __init__(self, sandbox: Mapping[str, Any]) -> None:
        self._sandbox = sandbox
        keycloak = sandbox["keycloak"]
        self._realm = f"{keycloak['url']}/admin/realms/{keycloak['realm']}"
        self._session = requests.Session()
        self._session.verify = sandbox["ca_file"]
        self._session.trust_env = False

    # -- Kubernetes

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl as the cluster's administrator."""
        cluster = self._sandbox["clusters"][0]
        command = [self._sandbox["bin"]["kubectl"], "--kubeconfig", cluster["admin_kubeconfig"]]
        done = subprocess.run(
            [*command, "-n", SPACE, *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def patch(self, kind: str, name: str, body: Any) -> None:
        """Patch an object: a list is a JSON patch (RFC 6902), a map a merge patch (RFC 7396)."""
        how = "json" if isinstance(body, list) else "merge"
        self.kubectl("patch", kind, name, "--type", how, "-p", json.dumps(body))

    def uid(self, kind: str, name: str) -> str:
        """Return the UID of an object."""
        return self.kubectl("get", kind, name, "-o", "jsonpath={.metadata.uid}")

    # -- Keycloak

    def keycloak(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Ask the admin API of the realm; the token lasts a minute, so each call takes one."""
        url = f"{self._realm}/{path}"
        headers = {"Authorization": f"Bearer {self._token()}"}
        answer = self._session.request(
            method, url, json=body, params=query, headers=headers, timeout=30
        )
        if answer.status_code >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer.json() if answer.content else None

    def _token(self) -> str:
        keycloak = self._sandbox["keycloak"]
        answer = self._session.post(
            f"{keycloak['url']}/realms/master/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": keycloak["admin_user"],
                "password": keycloak["admin_password"],
            },
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def client(self, client_id: str = CLIENT) -> Json:
        """Return a client's representation."""
        (found,) = self.keycloak("GET", "clients", clientId=client_id)
        return dict(found)

    def edit_client(self, **fields: Any) -> None:
        """Change fields of the client, as the admin console does: all of it is written back."""
        raw = self.client()
        attributes = {**raw["attributes"], **fields.pop("attributes", {})}
        self.keycloak("PUT", f"clients/{raw['id']}", {**raw, **fields, "attributes": attributes})

    def scope(self) -> Json:
        """Return the audience scope of the client."""
        scopes = self.keycloak("GET", "client-scopes")
        return dict(next(one for one in scopes if one["name"] == f"{CLIENT}-audience"))

    def authz(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the authorization services of the client."""
        server = f"clients/{self.client()['id']}/authz/resource-server"
        return self.keycloak(method, f"{server}/{path}".rstrip("/"), body)

    def resource(self, name: str) -> Json:
        """Return a resource of the client."""
        found = self.authz("GET", f"resource?name={quote(name)}&exactName=true&deep=true")
        return dict(next(one for one in found if one["name"] == name))

    def policy(self, name: str) -> Json:
        """Return a policy or permission of the client."""
        listed = self.authz("GET", "policy?first=0&max=-1")
        return dict(next(one for one in listed if one["name"] == name))

    def group(self, path: str) -> Json:
        """Return a group of the realm."""
        return dict(self.keycloak("GET", f"group-by-path/{path.strip('/')}"))

    def user(self, name: str) -> Json:
        """Return a user of the realm."""
        (found,) = self.keycloak("GET", "users", username=name, exact="true")
        return dict(found)

    # -- S3

    def s3(self) -> Any:
        """Return a client with the engine's keys."""
        store = self._sandbox["s3"]
        return boto3.session.Session().client(
            "s3",
            endpoint_url=store["endpoint"],
            aws_access_key_id=store["access_key"],
            aws_secret_access_key=store["secret_key"],
            region_name=store["region"],
            verify=self._sandbox["ca_file"],
        )

    def drop_bucket(self, name: str) -> None:
        """Delete a bucket with all that is in it."""
        store = self.s3()
        for page in store.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                store.delete_object(Bucket=name, Key=item["Key"])
        store.delete_bucket(Bucket=name)


@dataclass(frozen=True)
class Drift:
    """One change by hand.

    :param name: what is changed, as the command line names it.
    :param stage: the tag of the stage that repairs it.
    :param make: makes the change.
    :param changes: what the product must name, in check mode and in the real run.
    :param together: whether it can be made at once with all others that can.
    :param lasting: whether a part of it stays, as no other copy tells what was there.
    """

    name: str
    stage: str
    make: Callable[[Hands], Any]
    changes: tuple[Change, ...]
    together: bool = True
    lasting: bool = False


def _update(kind: str, name: str, *fields: str) -> Change:
    return "update", kind, name, tuple(sorted(fields))


def _create(kind: str, name: str) -> Change:
    return "create", kind, name, ()


def _delete(kind: str, name: str) -> Change:
    return "delete", kind, name, ()


def _patched(name: str, kind: str, target: str, body: Any, *fields: str, **more: Any) -> Drift:
    """A patch of one object of the engine's stage."""
    said = (_update(kind, target, *fields),)
    return Drift(name, "engine", lambda hands: hands.patch(kind, target, body), said, **more)


def _deleted(
    name: str,
    kind: str,
    target: str,
    *more: Change,
    stage: str = "engine",
    lasting: bool = False,
) -> Drift:
    """A deletion of one Kubernetes object."""
    said = (_create(kind, target), *more)
    return Drift(
        name,
        stage,
        lambda hands: hands.kubectl("delete", kind, target),
        said,
        together=False,
        lasting=lasting,
    )


def _value(path: str, value: Any, op: str = "replace") -> list[Json]:
    return [{"op": op, "path": path, "value": value}]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _set_env(
    kind: str, target: str, container: str, variable: str, value: str = "stranger"
) -> Callable[[Hands], Any]:
    return lambda hands: hands.kubectl(
        "set", "env", f"{kind}/{target}", "-c", container, f"{variable}={value}"
    )


_KERNEL = f"{RELEASE}-zookernel"
_WORKER = f"{RELEASE}-zoofpm"
_POD = "spec.template.spec.containers"
_BINARY = base64.b64encode(b"\xff\xfe").decode()
_PEER_OF_ALL: list[Json] = [{"from": [{"namespaceSelector": {}}]}]

ENGINE = [
    Drift(
        "deployment-env",
        "engine",
        _set_env("deployment", _KERNEL, "zookernel", "ZOO_KEYCLOAK_AUDIENCE"),
        (_update("Deployment", _KERNEL, f"{_POD}[zookernel].env[ZOO_KEYCLOAK_AUDIENCE].value"),),
    ),
    _patched(
        "replica-count",
        "Deployment",
        f"{RELEASE}-kubeproxy",
        {"spec": {"replicas": 2}},
        "spec.replicas",
    ),
    _patched(
        "deployment-image",
        "Deployment",
        f"{RELEASE}-zoofpm",
        _value("/spec/template/spec/containers/0/image", "stranger/zoo:1"),
        f"{_POD}[zoofpm].image",
        together=False,
    ),
    Drift(
        "deployment-env-added",
        "engine",
        _set_env("deployment", _WORKER, "zoofpm", "STRANGER"),
        (_update("Deployment", _WORKER, f"{_POD}[zoofpm].env[STRANGER]"),),
    ),
    Drift(
        "deployment-env-first",  # to a container that has no variables
        "engine",
        _set_env("deployment", f"{RELEASE}-kubeproxy", "*", "STRANGER"),
        (
            _update(
                "Deployment", f"{RELEASE}-kubeproxy", f"{_POD}[{RELEASE}-kubeproxy].env[STRANGER]"
            ),
        ),
        together=False,
    ),
    Drift(
        "deployment-env-number",  # the same number, but not the same text
        "engine",
        _set_env("deployment", _WORKER, "zoofpm", "DEFAULT_MAX_RAM", "1024.0"),
        (_update("Deployment", _WORKER, f"{_POD}[zoofpm].env[DEFAULT_MAX_RAM].value"),),
        together=False,
    ),
    _patched(
        "deployment-container-added",
        "Deployment",
        _WORKER,
        _value("/spec/template/spec/containers/-", {"name": "stranger", "image": "s:1"}, "add"),
        f"{_POD}[stranger]",
        together=False,
    ),
    _patched(
        "deployment-volume-added",
        "Deployment",
        _WORKER,
        [
            *_value("/spec/template/spec/volumes/-", {"name": "stranger", "emptyDir": {}}, "add"),
            *_value(
                "/spec/template/spec/containers/0/volumeMounts/-",
                {"name": "stranger", "mountPath": "/stranger"},
                "add",
            ),
        ],
        f"{_POD}[zoofpm].volumeMounts[/stranger]",
        f"{_POD.rpartition('.')[0]}.volumes[stranger]",
        together=False,
    ),
    _patched(
        "deployment-arguments",  # there stands the broker's password
        "Deployment",
        _KERNEL,
        _value("/spec/template/spec/initContainers/0/args/1", "true"),
        f"{_POD.replace('containers', 'initContainers')}"
        "[init-wait-for-dependencies-zookernel].args[1]",
        together=False,
    ),
    _deleted("deployment-deleted", "Deployment", f"{RELEASE}-zoofpm"),
    Drift(
        "statefulset-env",
        "engine",
        _set_env("statefulset", f"{RELEASE}-postgresql", "postgresql", "PGDATA"),
        (_update("StatefulSet", f"{RELEASE}-postgresql", f"{_POD}[postgresql].env[PGDATA].value"),),
    ),
    _patched(
        "statefulset-label",
        "StatefulSet",
        f"{RELEASE}-rabbitmq",
        {"metadata": {"labels": {"app.kubernetes.io/version": "stranger"}}},
        "metadata.labels.app.kubernetes.io/version",
    ),
    _patched(
        "networkpolicy",
        "NetworkPolicy",
        f"{RELEASE}-oapip-zookernel",
        {"spec": {"ingress": _PEER_OF_ALL}},
        "spec.ingress",
    ),
    _patched(
        "networkpolicy-egress",
        "NetworkPolicy",
        f"{RELEASE}-oapip-postgresql",
        {"spec": {"egress": [{}], "policyTypes": ["Ingress", "Egress"]}},
        "spec.egress",
        "spec.policyTypes",
    ),
    _patched(
        "networkpolicy-label",
        "NetworkPolicy",
        f"{RELEASE}-oapip-kubeproxy",
        {"metadata": {"labels": {"oapip.eoepca.org/release": "stranger"}}},
        "labels.oapip.eoepca.org/release",
    ),
    _deleted("networkpolicy-deleted", "NetworkPolicy", f"{RELEASE}-oapip-rabbitmq"),
    _patched(
        "secret-storage",
        "Secret",
        f"{RELEASE}-oapip-storage",
        {"data": {"STAGEOUT_AWS_SECRET_ACCESS_KEY": STRANGER}},
        "data.STAGEOUT_AWS_SECRET_ACCESS_KEY",
    ),
    _patched(
        "secret-storage-extra",
        "Secret",
        f"{RELEASE}-oapip-storage",
        {"data": {"STAGEOUT_AWS_SESSION_TOKEN": STRANGER}},
        "data.STAGEOUT_AWS_SESSION_TOKEN",
        together=False,
    ),
    _patched(
        "secret-broker",
        "Secret",
        f"{RELEASE}-oapip-broker",
        {"data": {"password": STRANGER}},
        "data.password",
    ),
    _patched(
        "secret-database",
        "Secret",
        f"{RELEASE}-oapip-database",
        {"data": {"password": STRANGER}},
        "data.password",
    ),
    _patched(
        "secret-broker-binary",
        "Secret",
        f"{RELEASE}-oapip-broker",
        {"data": {"password": _BINARY}},
        "data.password",
        together=False,
    ),
    _patched(
        "secret-database-binary",
        "Secret",
        f"{RELEASE}-oapip-database",
        {"data": {"password": _BINARY}},
        "data.password",
        together=False,
    ),
    _deleted("secret-broker-deleted", "Secret", f"{RELEASE}-oapip-broker"),
    _deleted("secret-database-deleted", "Secret", f"{RELEASE}-oapip-database"),
    _deleted("secret-storage-deleted", "Secret", f"{RELEASE}-oapip-storage"),
    _patched(
        "secret-of-chart",
        "Secret",
        f"{RELEASE}-rabbitmq-definition",
        {"data": {"load_definition.json": STRANGER}},
        "data.load_definition.json",
    ),
    _patched(
        "configmap",
        "ConfigMap",
        f"{RELEASE}-oapip-ca",
        {"data": {"ca.crt": "stranger"}},
        "data.ca.crt",
    ),
    _patched(
        "configmap-of-chart",
        "ConfigMap",
        f"{RELEASE}-zoo-project-config",
        {"data": {"main.cfg": "stranger"}},
        "data.main.cfg",
    ),
    _deleted("configmap-deleted", "ConfigMap", f"{RELEASE}-oapip-ca"),
    _deleted("configmap-of-chart-deleted", "ConfigMap", f"{RELEASE}-cwlwrapper-config"),
    _patched(
        "service-selector",
        "Service",
        f"{RELEASE}-service",
        {"spec": {"selector": {"stranger": "yes"}}},
        "spec.selector.stranger",
    ),
    _patched(
        "service-port",
        "Service",
        f"{RELEASE}-kubeproxy",
        _value("/spec/ports/0/targetPort", 8002),
        "spec.ports[http-kubeproxy].targetPort",
    ),
    _deleted("service-deleted", "Service", f"{RELEASE}-postgresql-service"),
    _patched(
        "serviceaccount-label",
        "ServiceAccount",
        f"{RELEASE}-processing-manager",
        {"metadata": {"labels": {"app.kubernetes.io/version": "stranger"}}},
        "metadata.labels.app.kubernetes.io/version",
    ),
    _deleted("serviceaccount-deleted", "ServiceAccount", f"{RELEASE}-processing-manager"),
    _patched(
        "clusterrolebinding",
        "ClusterRoleBinding",
        f"{RELEASE}-processing",
        _value(
            "/subjects/-",
            {"kind": "ServiceAccount", "name": "stranger", "namespace": "default"},
            "add",
        ),
        "subjects",
    ),
    _deleted("clusterrolebinding-deleted", "ClusterRoleBinding", f"{RELEASE}-processing"),
    _patched(
        "claim-label",
        "PersistentVolumeClaim",
        f"{RELEASE}-tmp-folder",
        {"metadata": {"labels": {"heritage": "stranger"}}},
        "metadata.labels.heritage",
    ),
    _patched(
        "namespace-label",
        "Namespace",
        SPACE,
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
        "labels.app.kubernetes.io/managed-by",
    ),
]


# -- Keycloak ------------------------------------------------------------------------------------


def _client(name: str, field: str, fields: Json, **more: Any) -> Drift:
    said = (_update("client", CLIENT, field),)
    return Drift(name, "identity", lambda hands: hands.edit_client(**fields), said, **more)


def _mapper(hands: Hands) -> None:
    scope = hands.scope()
    (mapper,) = scope["protocolMappers"]
    mapper["config"]["included.client.audience"] = "stranger"
    path = f"client-scopes/{scope['id']}/protocol-mappers/models/{mapper['id']}"
    hands.keycloak("PUT", path, mapper)


def _leave_scope(client_id: str) -> Callable[[Hands], Any]:
    def leave(hands: Hands) -> None:
        uuid = hands.client(client_id)["id"]
        hands.keycloak("DELETE", f"clients/{uuid}/default-client-scopes/{hands.scope()['id']}")

    return leave


def _leave_group(hands: Hands) -> None:
    group = hands.group(f"/{CLIENT}/alice")
    hands.keycloak("DELETE", f"users/{hands.user('alice')['id']}/groups/{group['id']}")


def _edit_policy(name: str, **fields: Any) -> Callable[[Hands], Any]:
    """PUT a policy or permission with other fields, whole."""

    def edit(hands: Hands) -> None:
        one = hands.policy(name)
        path = f"policy/{one['type']}/{one['id']}"
        if one["type"] == "resource":
            path = f"permission/resource/{one['id']}"
        whole = hands.authz("GET", path)
        if one["type"] == "resource":
            for part, key in (("resources", "_id"), ("associatedPolicies", "id")):
                found = hands.authz("GET", f"policy/{one['id']}/{part}")
                whole["policies" if key == "id" else part] = [item[key] for item in found]
        hands.authz("PUT", path, {**whole, **fields})

    return edit


def _edit_resource(name: str, **fields: Any) -> Callable[[Hands], Any]:
    def edit(hands: Hands) -> None:
        one = hands.resource(name)
        hands.authz("PUT", f"resource/{one['_id']}", {**one, **fields})

    return edit


def _drop_policy(name: str) -> Callable[[Hands], Any]:
    return lambda hands: hands.authz("DELETE", f"policy/{hands.policy(name)['id']}")


def _loosen(hands: Hands) -> None:
    settings = hands.authz("GET", "")
    hands.authz("PUT", "", {**settings, "policyEnforcementMode": "PERMISSIVE"})


def _default_resource(hands: Hands) -> None:
    kind = f"urn:{CLIENT}:resources:default"
    hands.authz("POST", "resource", {"name": "Default Resource", "type": kind, "uris": ["/*"]})


def _rotate(hands: Hands) -> None:
    hands.keycloak("POST", f"clients/{hands.client()['id']}/client-secret", {})


IDENTITY = [
    _client("client-redirect", "redirect_uris", {"redirectUris": ["https://stranger.example/*"]}),
    _client("client-web-origins", "web_origins", {"webOrigins": ["*"]}, together=False),
    _client("client-root-url", "root_url", {"rootUrl": "https://stranger"}, together=False),
    _client("client-name", "name", {"name": "stranger"}, together=False),
    _client(
        "client-direct-grant",
        "direct_access_grants",
        {"directAccessGrantsEnabled": True},
        together=False,
    ),
    _client("client-implicit-flow", "implicit_flow", {"implicitFlowEnabled": True}, together=False),
    _client("client-disabled", "enabled", {"enabled": False}, together=False),
    _client(
        "client-attribute",
        "attributes.oapip.owner",
        {"attributes": {"oapip.owner": ""}},
        together=False,
    ),
    Drift(
        "audience-mapper",
        "identity",
        _mapper,
        (_update("client_scope", f"{CLIENT}-audience", "clients"),),
    ),
    Drift(
        "audience-scope-deleted",
        "identity",
        lambda hands: hands.keycloak("DELETE", f"client-scopes/{hands.scope()['id']}"),
        (
            _create("client_scope", f"{CLIENT}-audience"),
            _create("default_client_scope", f"{CLIENT} {CLIENT}-audience"),
            _create("default_client_scope", f"oapip-cli {CLIENT}-audience"),
        ),
        together=False,
    ),
    Drift(
        "audience-of-client",
        "identity",
        _leave_scope(CLIENT),
        (_create("default_client_scope", f"{CLIENT} {CLIENT}-audience"),),
    ),
    Drift(
        "audience-of-token-client",
        "identity",
        _leave_scope("oapip-cli"),
        (_create("default_client_scope", f"oapip-cli {CLIENT}-audience"),),
    ),
    Drift(
        "group-membership",
        "identity",
        _leave_group,
        (_update("group", f"/{CLIENT}/alice", "members"),),
    ),
    Drift(
        "group-deleted",
        "identity",
        lambda hands: hands.keycloak("DELETE", f"groups/{hands.group(f'/{CLIENT}/bob')['id']}"),
        (
            _create("group", f"/{CLIENT}/bob"),
            _update("policy", "context:bob:groups", "groups"),
        ),
        together=False,
    ),
    Drift(
        "policy",
        "identity",
        _edit_policy("context:alice:groups", logic="NEGATIVE"),
        (_update("policy", "context:alice:groups", "logic"),),
    ),
    Drift(
        "policy-deleted",
        "identity",
        _drop_policy("context:alice:groups"),
        (
            _create("policy", "context:alice:groups"),
            # Keycloak deletes the permissions that are left without a policy
            _create("permission", "context:alice:access"),
        ),
        together=False,
    ),
    Drift(
        "permission",
        "identity",
        _edit_policy("context:bob:access", decisionStrategy="UNANIMOUS"),
        (_update("permission", "context:bob:access", "decision_strategy"),),
    ),
    Drift(
        "permission-deleted",
        "identity",
        _drop_policy("context:bob:access"),
        (_create("permission", "context:bob:access"),),
        together=False,
    ),
    Drift(
        "resource-uri",
        "identity",
        _edit_resource("context:alice", uris=["/stranger/*"]),
        (_update("resource", "context:alice", "uris"),),
    ),
    Drift(
        "resource-type",
        "identity",
        _edit_resource("context:bob", type="stranger"),
        (_update("resource", "context:bob", "type"),),
    ),
    Drift(
        "resource-deleted",
        "identity",
        lambda hands: hands.authz("DELETE", f"resource/{hands.resource('context:alice')['_id']}"),
        (_create("resource", "context:alice"), _create("permission", "context:alice:access")),
        together=False,
    ),
    Drift(
        "enforcement",
        "identity",
        _loosen,
        (_update("settings", CLIENT, "policy_enforcement"),),
    ),
    Drift(
        "default-resource",
        "identity",
        _default_resource,
        (_delete("resource", "Default Resource"),),
    ),
]

# -- S3 and the gateway ----------------------------------------------------------------------------


def _route(name: str, body: Any, *fields: str, **more: Any) -> Drift:
    said = (_update("ApisixRoute", RELEASE, *fields),)
    return Drift(
        name, "gateway", lambda hands: hands.patch("ApisixRoute", RELEASE, body), said, **more
    )


def _secret(name: str, target: str, data: Json, *fields: str, **more: Any) -> Drift:
    said = (_update("Secret", target, *fields),)
    return Drift(
        name, "gateway", lambda hands: hands.patch("Secret", target, {"data": data}), said, **more
    )


_DIGEST = "annotations.oapip.eoepca.org/secrets-digest"
_OPEN_RULE = {
    "name": "stranger",
    "match": {"hosts": ["localhost"], "paths": ["/stranger/*"]},
    "backends": [{"serviceName": f"{RELEASE}-service", "servicePort": 80}],
}

STORAGE = [
    Drift(
        "bucket",
        "object_storage",
        lambda hands: hands.drop_bucket("eoepca"),
        (_create("Bucket", "eoepca"),),
    ),
]

GATEWAY = [
    _route("route", _value("/spec/http/-", _OPEN_RULE, "add"), "spec.http"),
    _route(
        "route-plugin",
        _value("/spec/http/1/plugins/1/enable", value=False),
        "spec.http",
        together=False,
    ),
    _route(
        "route-digest",
        {"metadata": {"annotations": {"oapip.eoepca.org/secrets-digest": "stranger"}}},
        _DIGEST,
        together=False,
    ),
    _deleted("route-deleted", "ApisixRoute", RELEASE, stage="gateway"),
    Drift(
        "route-tls",
        "gateway",
        lambda hands: hands.patch("ApisixTls", RELEASE, {"spec": {"hosts": ["stranger.example"]}}),
        (_update("ApisixTls", RELEASE, "spec.hosts"),),
    ),
    _deleted("route-tls-deleted", "ApisixTls", RELEASE, stage="gateway"),
    _secret("tls-secret", "zoo-tls", {"tls.crt": STRANGER}, "data.tls.crt"),
    _deleted("tls-secret-deleted", "Secret", "zoo-tls", stage="gateway"),
    _secret("login-secret", f"{RELEASE}-authz", {"client_secret": STRANGER}, "data.client_secret"),
    _secret(
        "login-secret-extra",
        f"{RELEASE}-authz",
        {"stranger": STRANGER},
        "data.stranger",
        together=False,
    ),
    _deleted("login-secret-deleted", "Secret", f"{RELEASE}-authz", stage="gateway"),
    # What follows has no other copy: what stands there is taken as it is, or made anew.
    Drift(
        "session-secret",
        "gateway",
        lambda hands: hands.patch(
            "Secret", f"{RELEASE}-oidc", {"data": {"session.secret": _encoded("stranger" * 4)}}
        ),
        (_update("ApisixRoute", RELEASE, _DIGEST),),
        together=False,
        lasting=True,
    ),
    Drift(
        "session-secret-binary",
        "gateway",
        lambda hands: hands.patch(
            "Secret", f"{RELEASE}-oidc", {"data": {"session.secret": _BINARY}}
        ),
        (
            _update("Secret", f"{RELEASE}-oidc", "data.session.secret"),
            _update("ApisixRoute", RELEASE, _DIGEST),
        ),
        together=False,
        lasting=True,
    ),
    _deleted(
        "session-secret-deleted",
        "Secret",
        f"{RELEASE}-oidc",
        _update("ApisixRoute", RELEASE, _DIGEST),
        stage="gateway",
        lasting=True,
    ),
    Drift(
        "client-secret-rotated",
        "gateway",
        _rotate,
        (
            _update("Secret", f"{RELEASE}-oidc", "data.client_secret"),
            _update("Secret", f"{RELEASE}-authz", "data.client_secret"),
            _update("ApisixRoute", RELEASE, _DIGEST),
        ),
        together=False,
        lasting=True,
    ),
]

TABLE = {drift.name: drift for drift in (*STORAGE, *ENGINE, *IDENTITY, *GATEWAY)}


# -- which object a write was meant for ------------------------------------------------------------

_PLURALS = {
    "apisixroutes": "ApisixRoute",
    "apisixtlses": "ApisixTls",
    "clusterrolebindings": "ClusterRoleBinding",
    "configmaps": "ConfigMap",
    "deployments": "Deployment",
    "namespaces": "Namespace",
    "networkpolicies": "NetworkPolicy",
    "persistentvolumeclaims": "PersistentVolumeClaim",
    "secrets": "Secret",
    "serviceaccounts": "ServiceAccount",
    "services": "Service",
    "statefulsets": "StatefulSet",
}


class Directory:
    """The names behind Keycloak's ids, before and after a run."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._names: dict[str, tuple[str, str]] = {}
        self.read()

    def read(self) -> None:
        """Add what is there now; what was there before stays known."""
        hands = self._hands
        for one in hands.keycloak("GET", "clients"):
            self._names[one["id"]] = "client", one["clientId"]
        for one in hands.keycloak("GET", "client-scopes"):
            self._names[one["id"]] = "client_scope", one["name"]
        top = hands.group(f"/{CLIENT}")
        for one in [top, *hands.keycloak("GET", f"groups/{top['id']}/children")]:
            self._names[one["id"]] = "group", one["path"]
        for one in hands.authz("GET", "resource?first=0&max=-1"):
            self._names[one["_id"]] = "resource", one["name"]
        for one in hands.authz("GET", "policy?first=0&max=-1"):
            kind = "permission" if one["type"] in ("resource", "scope", "uma") else "policy"
            self._names[one["id"]] = kind, one["name"]

    def objects(self, write: Write) -> set[tuple[str, str]]:
        """Return the kind and name of the object that a write was meant for.

        An import of authorization settings names nothing, a new group only its parent: `_logged`
        says how these stand in for what was made.
        """
        if write.server == "s3":
            return {("Bucket", write.target.rpartition(" ")[2])}
        if write.server.startswith("kubernetes"):
            resource, _, target = write.target.partition(" ")
            return {(_PLURALS.get(resource, resource), target.rpartition("/")[2])}
        path = write.target.split("?")[0]
        if path.endswith("/import"):
            return {("import", CLIENT)}
        ids = [part for part in re.split("/", path) if part in self._names]
        if "/default-client-scopes/" in path:
            names = " ".join(self._names[one][1] for one in ids)
            return {("default_client_scope", names)}
        if path.endswith("/children"):
            return {("group below", self._names[ids[-1]][1])}
        if path.endswith("/authz/resource-server"):
            return {("settings", CLIENT)}
        return {self._names[ids[-1]] if ids else ("unknown", path)}


def wanted_objects(changes: Iterable[Change]) -> set[tuple[str, str]]:
    """Return the objects that a repair may write to: those of its changes, as logs tell them."""
    return {one for change in changes for one in _logged(*change)}


def _logged(action: str, kind: str, name: str, _fields: Sequence[str]) -> set[tuple[str, str]]:
    if action == "create" and kind in ("resource", "policy", "permission"):
        return {("import", CLIENT)}
    if action == "create" and kind == "group":  # made below its parent, then its user joins
        return {("group below", name.rpartition("/")[0]), (kind, name)}
    return {(kind, name)}


def together() -> Sequence[Drift]:
    """Return the changes that can all be made at once."""
    return [drift for drift in TABLE.values() if drift.together]


# -- the command line ------------------------------------------------------------------------------


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `drift`."""
    parser = commands.add_parser(
        "drift",
        help="change one managed object by hand",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=sorted(TABLE), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="the names, and what must be said")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.name is None or args.list:
        for drift in TABLE.values():
            print(f"{drift.name:<28} {drift.stage:<15} {'; '.join(map(line, drift.changes))}")
        return 0
    drift = TABLE[args.name]
    drift.make(Hands(record()))
    print(f"made. ansible-playbook site.yml --check --diff --tags {drift.stage} must say:")
    print("\n".join(f"  {line(change)}" for change in drift.changes))
    return 0


def line(change: Change) -> str:
    """Return a change as one readable line."""
    action, kind, name, fields = change
    return f"{action} {kind} {name}" + (f" ({', '.join(fields)})" if fields else "")
