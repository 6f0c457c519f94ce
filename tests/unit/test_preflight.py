"""What the preflight says, and how it reads what it finds."""

from __future__ import annotations

import base64
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _findings,
    _preflight_cluster,
    _preflight_services,
    _rights,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import contexts_of
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_cluster_info
from tests.unit_params import params_of

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]


def test_one_broken_check_hides_no_other() -> None:
    def refuse() -> _findings.Findings:
        raise OapipError("reading x", "denied", "Ask.", 403, server="https://there")

    def defect() -> _findings.Findings:
        raise ZeroDivisionError

    found = _findings.gather(
        {"a": refuse, "b": defect, "c": lambda: _findings.fail("c", "missing", "host", "Make it.")}
    )
    assert [finding.check for finding in found] == ["a", "b", "c"]
    text = _findings.summary(found, {"host": "my_host"})
    assert text.startswith("3 things have to be mended")
    assert "- a: reading x (HTTP 403 from https://there): denied. Ask." in text
    assert "this is a defect" in text
    assert "- c [my_host]: missing. Make it." in text


def test_same_finding_is_told_once() -> None:
    checks: dict[str, _findings.Check] = {
        name: lambda: _findings.fail("x", "gone", "host", "y") for name in ("one", "two")
    }
    assert len(_findings.gather(checks)) == 1


def test_every_variable_exists_in_the_inventory_roles() -> None:
    known = (ROOT / "roles" / "prerequisites" / "defaults" / "main.yml").read_text()
    derived = {"oapip_stagein_s3_bucket"}
    for variable in set(_findings.VARIABLES.values()) - derived:
        assert variable in known, variable


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("get", "", "secrets", ""), True),
        (("create", "", "secrets", ""), False),
        (("list", "apps", "deployments", ""), True),
        (("get", "", "pods/log", ""), True),
        (("get", "", "pods", ""), False),
        (("bind", "rbac.authorization.k8s.io", "clusterroles", "cluster-admin"), True),
        (("bind", "rbac.authorization.k8s.io", "clusterroles", "other"), False),
    ],
)
def test_rules(asked: _rights.Asked, expected: bool) -> None:
    rules = [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets", "pods/log"]},
        {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]},
        {
            "verbs": ["bind"],
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"],
            "resourceNames": ["cluster-admin"],
        },
    ]
    assert _rights.granted(asked, rules) is expected


class Reviews:
    """An API server that knows rules by namespace, and says what it was asked."""

    def __init__(self, rules: dict[str, list[Json]], *, complete: bool = True) -> None:
        self.rules, self.complete = rules, complete
        self.asked: list[str] = []

    def request(self, method: str, path: str, review: Json, *, repeat: bool) -> Json:
        assert (method, repeat) == ("POST", True)
        if review["kind"] == "SelfSubjectAccessReview":
            attributes = review["spec"]["resourceAttributes"]
            self.asked.append(f"may I {attributes['verb']} {attributes['resource']}")
            return {"status": {"allowed": attributes["verb"] == "list"}}
        namespace = review["spec"]["namespace"]
        self.asked.append(f"rules in {namespace}")
        rules = [*self.rules.get("", []), *self.rules.get(namespace, [])]
        return {"status": {"resourceRules": rules, "incomplete": not self.complete}}


PODS = [_rights.Right(("get", "list"), "", ("pods",))]
POD_RULE = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


def rights(reviews: Reviews, namespace: str = "") -> list[_rights.Asked]:
    kube = cast("Kube", reviews)
    return _rights.missing(kube, _rights.rules_of(kube), PODS, namespace)


def test_rights_on_the_whole_cluster_are_asked_once() -> None:
    reviews = Reviews({"": [POD_RULE]})
    assert rights(reviews, "here") == []
    assert reviews.asked == ["rules in no_such_namespace"]


def test_rights_in_a_namespace_are_none_on_the_cluster() -> None:
    reviews = Reviews({"here": [POD_RULE]})
    assert rights(reviews, "here") == []
    assert len(rights(reviews)) == 2
    assert len(rights(reviews, "elsewhere")) == 2
    assert not [asked for asked in reviews.asked if asked.startswith("may I")]


def test_an_authorizer_that_does_not_tell_its_rules_is_asked() -> None:
    reviews = Reviews({}, complete=False)
    assert rights(reviews) == [("get", "", "pods", "")]
    assert reviews.asked[1:] == ["may I get pods", "may I list pods"]


def test_rights_in_words() -> None:
    asked = _rights.each([_rights.Right(("get", "list"), "", ("pods", "secrets"))])
    assert _rights.phrase(asked) == "get, list on pods, secrets"
    assert _rights.phrase(_rights.each(_rights.BINDING[1:])) == (
        "bind on clusterroles.rbac.authorization.k8s.io/cluster-admin"
    )


def test_documented_role_grants_every_right() -> None:
    role = yaml.safe_load((ROOT / "docs" / "operator-clusterrole.yaml").read_text())
    every = [
        *_rights.NAMESPACED,
        *_rights.GATEWAY["apisix"],
        *_rights.GATEWAY["ingress"],
        *_rights.LOCK,
        *_rights.CLUSTER,
        *_rights.BINDING,
    ]
    lacking = [asked for asked in _rights.each(every) if not _rights.granted(asked, role["rules"])]
    assert lacking == []


HOST = "zoo.example.org"


def route(kind: str, spec: Json, **meta: Any) -> Json:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "other", **meta}, "spec": spec}


@pytest.mark.parametrize(
    ("kind", "spec", "namespace", "level"),
    [
        ("ApisixRoute", {"http": [{"match": {"hosts": [HOST]}, "backends": []}]}, "other", "fail"),
        ("ApisixRoute", {"http": [{"match": {"hosts": ["a.b"]}}]}, "other", "ok"),
        ("ApisixRoute", {"http": [{"match": {"hosts": ["*.example.org"]}}]}, "other", "warn"),
        (
            "ApisixRoute",
            {"http": [{"match": {"hosts": ["a.b"]}, "backends": [{"serviceName": "e-service"}]}]},
            "zoo",
            "fail",
        ),
        (
            "ApisixRoute",
            {"http": [{"match": {"hosts": ["a.b"]}, "backends": [{"serviceName": "e-service"}]}]},
            "other",
            "ok",
        ),
        ("Ingress", {"rules": [{"host": HOST}]}, "other", "fail"),
        ("Ingress", {"defaultBackend": {"service": {"name": "e-service"}}}, "zoo", "fail"),
        ("HTTPRoute", {"hostnames": [HOST]}, "other", "fail"),
        (
            "HTTPRoute",
            {
                "hostnames": ["a.b"],
                "rules": [{"backendRefs": [{"name": "e-service", "namespace": "zoo"}]}],
            },
            "other",
            "fail",
        ),
    ],
)
def test_other_routes(kind: str, spec: Json, namespace: str, level: str) -> None:
    class Fake(Kube):
        def __init__(self) -> None: ...

        def list(self, path: str, label_selector: str = "", field_selector: str = "") -> list[Json]:
            assert kind.lower() in path
            return [route(kind, spec, namespace=namespace)]

    params = {"host": HOST, "namespace": "zoo", "release_name": "e"}
    (found,) = _preflight_cluster.Cluster(Fake(), params).routes(kind)
    assert found.level == level


def test_our_own_route_is_no_stranger() -> None:
    labels = {
        "app.kubernetes.io/managed-by": "eoepca.oapip",
        "oapip.eoepca.org/route": "zoo",
    }
    mine = route("ApisixRoute", {}, namespace="processing", labels=labels)
    assert _preflight_cluster.is_ours(mine, "processing", "zoo")
    assert not _preflight_cluster.is_ours(mine, "elsewhere", "zoo")
    assert not _preflight_cluster.is_ours(mine, "processing", "other")


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/api/v1/nodes", ("list", "", "nodes", "")),
        ("/api/v1/namespaces/kube-system", ("get", "", "namespaces", "")),
        ("/api/v1/namespaces/a/secrets/b", ("get", "", "secrets", "")),
        (
            "/apis/networking.k8s.io/v1/ingresses",
            ("list", "networking.k8s.io", "ingresses", ""),
        ),
        ("/apis/apisix.apache.org/v2", None),
        ("/version", None),
    ],
)
def test_right_behind_a_refused_read(path: str, right: _rights.Asked | None) -> None:
    assert _preflight_cluster.right_of(path) == right


def test_chart_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "zoo-project-dru"
    folder.mkdir()
    (folder / "Chart.yaml").write_text("name: zoo-project-dru\nversion: 0.10.3\n")
    archive = tmp_path / "zoo-project-dru-0.10.3.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, "zoo-project-dru")
    for ref in (folder, archive):
        about = _preflight_services.local_chart(str(ref))
        assert about == {"name": "zoo-project-dru", "version": "0.10.3"}
    assert _preflight_services.local_chart("zoo-project-dru") is None
    for ref in (tmp_path / "none", tmp_path):
        with pytest.raises(OapipError):
            _preflight_services.local_chart(str(ref))


@pytest.mark.parametrize(
    ("name", "version", "wish", "level", "about"),
    [
        ("zoo-project-dru", "0.10.3", "0.10.3", "ok", "chart_version"),
        ("zoo-project-dru", "0.9.1", "0.10.3", "fail", "chart_version"),
        ("zoo-project-dru", "0.9.1", "0.9.1", "warn", "chart_version"),
        ("zoo-project-dru", "9.9.9", "9.9.9", "fail", "chart_version"),
        ("nginx", "0.10.3", "0.10.3", "fail", "chart_ref"),
    ],
)
def test_chart(tmp_path: Path, name: str, version: str, wish: str, level: str, about: str) -> None:
    (tmp_path / "Chart.yaml").write_text(f"name: {name}\nversion: {version}\n")
    params = {
        "chart_ref": str(tmp_path),
        "chart_version": wish,
        "allow_untested_chart": False,
    }
    (found,) = _preflight_services.chart(params, None)
    assert (found.level, found.about) == (level, about)


def test_users_of_contexts() -> None:
    contexts: list[Json] = [
        {"name": "alice", "mode": "personal"},
        {"name": "team", "mode": "shared", "users": ["bob", "alice"]},
        {"name": "crew", "mode": "shared", "groups": ["/crew"]},
        {"name": "carol", "mode": "personal"},
    ]
    complete = contexts_of(contexts, "engine")
    assert _preflight_services.users_of(complete) == ["alice", "carol", "bob"]
    assert _preflight_services.users_of(complete, ["CAROL"]) == ["alice", "bob"]


@pytest.mark.parametrize(
    ("error", "about"),
    [
        (OapipError("x", "no answer from y"), "keycloak_url"),
        (OapipError("x", "invalid_grant", status=401), "keycloak_admin_password"),
        (OapipError("x", "Realm not found", status=404), "keycloak_realm"),
        (OapipError("x", "denied", status=403), "keycloak_admin_user"),
        (OapipError("x", "not here", status=404, path="/auth/realms"), "keycloak_url"),
    ],
)
def test_blame_of_keycloak(error: OapipError, about: str) -> None:
    assert _preflight_services.blame_keycloak(error) == about


def test_same_store_is_asked_once() -> None:
    entry = {"endpoint": "https://s3", "access_key": "a", "secret_key": "b"}
    storage: list[Json] = [
        {**entry, "role": "stage_out", "bucket": "eoepca"},
        {**entry, "role": "stage_in", "bucket": None},
    ]
    assert len(_preflight_services.stores({"storage": storage})) == 1
    storage[1]["secret_key"] = "c"
    assert len(_preflight_services.stores({"storage": storage})) == 2


def test_secrets_are_not_in_the_message(tmp_path: Path) -> None:
    """A dead cluster and a bad certificate, told without the key."""
    key = base64.b64encode(b"this is not a key").decode()
    given = {
        "kubeconfig": str(tmp_path / "none"),
        "namespace": "zoo",
        "helm_binary": str(tmp_path / "no-helm"),
        "tls": {"mode": "supplied", "certificate": "x", "private_key": key},
    }
    from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context

    with pytest.raises(OapipError) as caught:
        oapip_cluster_info.run(params_of(oapip_cluster_info, given), Context())
    text = str(caught.value)
    assert key not in text
    for variable in ("oapip_kubeconfig", "oapip_helm_binary", "oapip_tls_certificate"):
        assert variable in text
    assert caught.value.extra["findings"]
