"""The objects of a route, and the plan from what is there to what is wanted."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _route
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import NEW_SECRET, SECRET
from ansible_collections.eoepca.oapip.plugins.module_utils._route import Oidc, Route, Secrets

OIDC = Oidc("https://auth.example.org/realms/eoepca", "eoepca", "oapip-engine")
ROUTE = Route(
    "zoo", "zoo", "zoo.example.org", "engine", tls_mode="supplied", oidc=OIDC, shared=("team",)
)
KNOWN = Secrets("client-secret-value", "session-secret-value-0123", "CERT", "KEY")


def live(objects: list[dict[str, Any]]) -> dict[_route.Key, dict[str, Any]]:
    """The objects as a server gives them back."""
    made = {}
    for number, obj in enumerate(copy.deepcopy(objects)):
        obj["metadata"].update(uid=f"u{number}", resourceVersion="7", generation=1)
        made[_route.key_of(obj)] = obj
    return made


def apply(
    current: dict[_route.Key, dict[str, Any]], changes: list[Any]
) -> dict[_route.Key, dict[str, Any]]:
    after = dict(current)
    for change in changes:
        key = (change.kind, change.name)
        if change.action == "delete":
            del after[key]
        elif change.action == "create":
            after |= live([change.payload])
        else:
            after[key] = _route.merged(current[key], change.payload)
    return after


def rules(route: Route) -> dict[str, dict[str, Any]]:
    return {rule["name"]: rule for rule in _route.rules(route)}


def plugins(rule: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {plugin["name"]: plugin for plugin in rule["plugins"]}


def test_secrets_come_before_what_relies_on_them() -> None:
    kinds = [obj["kind"] for obj in _route.desire(ROUTE, KNOWN)]
    assert kinds == ["Secret", "Secret", "Secret", "ApisixTls", "ApisixRoute"]


def test_no_secret_outside_a_secret() -> None:
    objects = [o for o in _route.desire(ROUTE, KNOWN) if o["kind"] != "Secret"]
    text = json.dumps(objects)
    for value in (KNOWN.client_secret, KNOWN.session, KNOWN.private_key):
        assert value is not None
        assert value not in text
        assert _route.encode(value) not in text


def test_no_secret_in_the_plan() -> None:
    changes = _route.plan({}, _route.desire(ROUTE, KNOWN))
    text = json.dumps([[c.before, c.after] for c in changes]) + repr(changes)
    for value in (KNOWN.client_secret, KNOWN.session, KNOWN.private_key):
        assert value is not None
        assert value not in text
        assert _route.encode(value) not in text


def test_every_rule_carries_the_guard_first() -> None:
    for route in (ROUTE, dataclasses.replace(ROUTE, oidc=None)):
        for rule in _route.rules(route):
            first = rule["plugins"][0]
            assert first["name"] == "serverless-pre-function"
            assert first["config"]["phase"] == "rewrite"
            assert "services-namespace" in first["config"]["functions"][0]
            assert rule["timeout"]["read"] == "600s"


def test_open_rule_is_exact_and_reads_only() -> None:
    rule = rules(ROUTE)["open"]
    assert rule["match"]["methods"] == ["GET", "HEAD"]
    assert not [path for path in rule["match"]["paths"] if "*" in path]
    assert "/ogc-api" not in rule["match"]["paths"]  # WPS answers there
    assert "openid-connect" not in plugins(rule)
    assert (
        '["authorization"]=true'
        in plugins(rule)["serverless-pre-function"]["config"]["functions"][2]
    )


def test_protected_rules_ask_keycloak() -> None:
    for name in ("protected", "shared-team"):
        found = plugins(rules(ROUTE)[name])
        login, decision = found["openid-connect"], found["authz-keycloak"]
        assert login["secretRef"] == "zoo-oidc"
        assert login["config"]["use_jwks"] is True
        assert decision["secretRef"] == "zoo-authz"
        assert decision["config"]["policy_enforcement_mode"] == "ENFORCING"
        assert decision["config"]["ssl_verify"] is True


def test_shared_context_forgets_the_token_after_the_decision() -> None:
    assert rules(ROUTE)["shared-team"]["match"]["paths"] == ["/team", "/team/*"]
    post = plugins(rules(ROUTE)["shared-team"])["serverless-post-function"]
    assert post["config"]["phase"] == "access"
    assert '["authorization"]=true' in post["config"]["functions"][0]
    assert "serverless-post-function" not in plugins(rules(ROUTE)["protected"])


def test_class_is_always_written() -> None:
    for gateway in ("apisix", "ingress"):
        route = dataclasses.replace(ROUTE, gateway=gateway, oidc=None)
        for obj in _route.desire(route, KNOWN):
            if obj["kind"] != "Secret":
                assert obj["spec"]["ingressClassName"] == "apisix"


def test_a_new_secret_reaches_the_route() -> None:
    current = live(_route.desire(ROUTE, KNOWN))
    other = dataclasses.replace(KNOWN, client_secret="another")
    changes = _route.plan(current, _route.desire(ROUTE, other))
    assert [(c.action, c.kind, c.name, c.fields) for c in changes] == [
        ("update", "Secret", "zoo-oidc", ["data.client_secret"]),
        ("update", "Secret", "zoo-authz", ["data.client_secret"]),
        ("update", "ApisixRoute", "zoo", [f"annotations.{_route.DIGEST}"]),
    ]
    assert changes[0].after is not None
    assert changes[0].after["data"]["client_secret"] == NEW_SECRET
    assert changes[0].after["data"]["client_id"] == SECRET


def test_unknown_secrets_plan_as_the_real_run_does() -> None:
    """In check mode the client may not be there yet: the list of changes is the same."""
    dark = dataclasses.replace(KNOWN, client_secret=None, session=None)
    for current in ({}, live(_route.desire(ROUTE, KNOWN))):
        fresh = dataclasses.replace(KNOWN, client_secret="new", session="new" * 6)
        planned = _route.plan(current, _route.desire(ROUTE, dark))
        real = _route.plan(current, _route.desire(ROUTE, fresh))
        assert [c.as_dict() for c in planned] == [c.as_dict() for c in real]
        assert [(c.before, c.after) for c in planned] == [(c.before, c.after) for c in real]


def test_a_rule_that_somebody_added_is_removed() -> None:
    current = live(_route.desire(ROUTE, KNOWN))
    spec = current["ApisixRoute", "zoo"]["spec"]
    spec["http"].append({"name": "debug", "match": {"paths": ["/debug/*"]}})
    (change,) = _route.plan(current, _route.desire(ROUTE, KNOWN))
    assert (change.action, change.kind, change.fields) == ("update", "ApisixRoute", ["spec.http"])


def test_foreign_labels_and_annotations_stay() -> None:
    current = live(_route.desire(ROUTE, KNOWN))
    meta = current["ApisixRoute", "zoo"]["metadata"]
    meta["labels"]["team"] = "x"
    meta["annotations"]["note"] = "y"
    desired = _route.desire(ROUTE, KNOWN)
    assert _route.plan(current, desired) == []
    body = _route.merged(current["ApisixRoute", "zoo"], desired[-1])
    assert body["metadata"]["labels"]["team"] == "x"
    assert body["metadata"]["annotations"]["note"] == "y"
    assert body["metadata"]["resourceVersion"] == "7"


def test_removal_starts_with_the_route() -> None:
    changes = _route.plan(live(_route.desire(ROUTE, KNOWN)), [])
    assert [c.kind for c in changes] == ["ApisixRoute", "ApisixTls", "Secret", "Secret", "Secret"]
    assert {c.action for c in changes} == {"delete"}


routes = st.builds(
    Route,
    namespace=st.just("zoo"),
    name=st.sampled_from(["zoo", "b"]),
    host=st.sampled_from(["a.example.org", "localhost"]),
    service_name=st.sampled_from(["engine", "other"]),
    service_port=st.sampled_from([80, 8080]),
    gateway=st.sampled_from(["apisix", "ingress"]),
    ingress_class=st.sampled_from(["apisix", "nginx"]),
    tls_mode=st.sampled_from(["none", "existing", "supplied"]),
    tls_secret=st.sampled_from(["", "wildcard"]),
    oidc=st.sampled_from([None, OIDC, dataclasses.replace(OIDC, bearer_only=False)]),
    shared=st.sampled_from([(), ("team",), ("a", "b")]),
    open_paths=st.sampled_from([(), ("/ogc-api/",), _route.OPEN_PATHS]),
)
texts = st.sampled_from(["one", "two", "three" * 4])
known = st.builds(Secrets, client_secret=texts, session=texts, certificate=texts, private_key=texts)


@given(before=routes, after=routes, old=known, new=known)
def test_plan_of_the_applied_plan_is_empty(
    before: Route, after: Route, old: Secrets, new: Secrets
) -> None:
    start = live(_route.desire(before, old))
    desired = _route.desire(after, new)
    assert _route.plan(apply(start, _route.plan(start, desired)), desired) == []


@pytest.mark.parametrize(
    ("conditions", "good"),
    [
        ([], None),
        ([{"type": "Accepted", "status": "True", "observedGeneration": 3, "reason": "A"}], True),
        ([{"type": "Accepted", "status": "True", "observedGeneration": 2, "reason": "A"}], None),
        ([{"type": "ResourcesAvailable", "status": "True", "observedGeneration": 3}], True),
        ([{"type": "ResourcesAvailable", "status": "False", "observedGeneration": 3}], False),
        ([{"type": "Other", "status": "True", "observedGeneration": 3}], None),
    ],
)
def test_controllers_word(conditions: list[dict[str, Any]], good: bool | None) -> None:
    obj = {"metadata": {"generation": 3}, "status": {"conditions": conditions}}
    assert _route.settled(obj)[0] is good


@pytest.mark.parametrize("value", ["//4=", "", None])
def test_a_secrets_value_that_is_no_text_is_none(value: str | None) -> None:
    assert _route.decode(value) is None
    assert _route.decode(_route.encode("täxt")) == "täxt"
