"""The allow/deny matrix holds every trick that is known, and the wire sends it byte by byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _matrix, _wire
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_endpoint_info
from tests.ogc_double import ENGINE_HEADERS, Asked, Double, Reply, serving
from tests.unit_params import params_of

ISSUER = "https://auth.example.org/realms/eoepca"
SUBJECT: _matrix.Subject = {
    "own": "alice",
    "other": "bob",
    "user": "a",
    "other_user": "b",
    "issuer": ISSUER,
    "bearer_only": True,
    "guard": True,
}


def matrix(**changed: Any) -> list[_matrix.Check]:
    return _matrix.generate({**SUBJECT, **changed})  # type: ignore[typeddict-item]


def paths(user: str | None) -> dict[str, list[int]]:
    return {c["path"]: c["expect"] for c in matrix() if c["user"] == user and not c["headers"]}


# Keycloak's verification recipe, the engine's doors and what real APISIX lets through: each
# pattern must be tried by a user of another context, and by a stranger.
TRICKS = {
    "bare context": r"^/bob$",
    "context with slash": r"^/bob/$",
    "longer name": r"^/alicex/",
    "parent": r"^/alice/\.\./bob/",
    "encoded parent": r"^/alice/%2e%2e/bob/",
    "double slash": r"^//bob/",
    "upper case": r"^/BOB/",
    "upper case of the own": r"^/ALICE/",
    "path of nobody": r"^/nobody-is-here/ogc-api/",
    "encoded slash": r"^/bob%2f",
    "parent with encoded slash": r"^/alice/\.\.%2fbob",
    "decided as own: parent": r"^/bob/\.\./alice/",
    "decided as own: encoded slash": r"^/bob/\.\.%2falice/",
    "decided as own: matrix": r"^/bob/\.\.;/alice/",
    "decided as own: double encoding": r"^/bob/%252e%252e/alice/",
    "matrix parameter": r"^/bob;x=1/",
    "encoded blank": r"%20",
    "double encoded slash": r"%252f",
    "upper case encoding": r"%2F",
    "backslash": r"\\",
    "no prefix": r"^/ogc-api/processes$",
    "prefix swagger": r"^/swagger-ui/ogc-api/processes$",
    "prefix api": r"^/ogc-api/api/ogc-api/processes$",
    "prefix conformance": r"^/conformance/ogc-api/jobs$",
    "the pattern itself": r"^/bob/\*$",
    "own name after the other's": r"^/bob/alice/ogc-api/",
    "query that climbs": r"^/bob/ogc-api/processes\?/\.\./\.\./\.\./alice/",
    "WPS without slash": r"^/ogc-api\?service=WPS",
    "WPS in a context": r"^/bob/ogc-api\?service=WPS",
}


@pytest.mark.parametrize("user", ["a", None], ids=["user", "stranger"])
@pytest.mark.parametrize("pattern", TRICKS.values(), ids=TRICKS.keys())
def test_every_known_path_is_tried(pattern: str, user: str | None) -> None:
    tried = [path for path in paths(user) if re.search(pattern, path)]
    assert tried
    for path in tried:
        assert not any(200 <= code < 300 for code in paths(user)[path])


@pytest.mark.parametrize(
    "name",
    [
        "Services-Namespace",
        "X-Services-Namespace",
        "services_namespace",
        "X-Http-Authorization",
        "Http_Authorization",
    ],
)
def test_every_header_that_chooses_a_context_is_tried(name: str) -> None:
    tried = [c for c in matrix() if name in c["headers"]]
    assert {c["user"] for c in tried} == {"a", None}
    assert all(400 in c["expect"] and 200 not in c["expect"] for c in tried)


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL"])
def test_no_header_leads_to_another_address(name: str) -> None:
    tried = [(c["user"], c["path"], c["headers"]) for c in matrix() if name in c["headers"]]
    assert tried == [("a", "/bob/ogc-api/processes", {name: "/alice/ogc-api/processes"})]


def test_the_guard_is_expected_to_answer_first() -> None:
    for _name, path in _matrix.crossings("alice", "bob"):
        assert paths("a")[path] == [400]
    loose = {c["path"]: c["expect"] for c in matrix(guard=False) if c["user"] == "a"}
    assert 200 not in loose["/bob/..%2falice/ogc-api/processes"]


def test_owners_others_and_strangers_on_plain_paths() -> None:
    def plain(user: str | None, path: str) -> list[int]:
        return next(
            c["expect"]
            for c in matrix()
            if (c["user"], c["path"], c["method"], c["headers"]) == (user, path, "GET", {})
        )

    room = "ogc-api/processes"
    assert plain("a", f"/alice/{room}") == [200]
    assert plain("b", f"/bob/{room}") == [200]
    assert plain("a", f"/bob/{room}") == [403]
    assert plain("b", f"/alice/{room}") == [403]
    assert plain(None, f"/alice/{room}") == [401]
    assert plain(None, f"/bob/{room}") == [401]


def test_a_login_page_must_be_the_issuers() -> None:
    open_login = matrix(bearer_only=False)
    strangers = [c for c in open_login if c["user"] is None]
    assert all(302 in c["expect"] and c["location_prefix"] == ISSUER for c in strangers)
    assert not any(302 in c["expect"] for c in matrix())


def test_refusals_must_not_come_from_the_engine_and_no_check_comes_twice() -> None:
    for made in matrix():
        refusal = not any(200 <= code < 300 for code in made["expect"])
        assert bool(made["forbid_headers"]) is refusal
    keys = [(c["user"], c["method"], c["path"], str(c["headers"])) for c in matrix()]
    assert len(keys) == len(set(keys))


def test_without_the_other_owner_the_rest_is_still_proved() -> None:
    users = {c["user"] for c in matrix(other_user=None)}
    assert users == {"a", None}


# The wire


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(lambda asked: Reply(401, "", {"WWW-Authenticate": "Bearer"})) as made:
        yield made


def test_every_target_of_the_matrix_arrives_byte_by_byte(double: Double) -> None:
    wire = _wire.Wire(double.url, True, None, 5)
    targets = {made["path"] for made in matrix()}
    for target in targets:
        assert wire.send("GET", target, {}).status == 401
    assert {asked.target for asked in double.asked} == targets


def check(**more: Any) -> dict[str, Any]:
    return {"name": "n", "method": "GET", "path": "/", "expect": [401], **more}


@pytest.mark.parametrize(
    ("answer", "more", "why"),
    [
        (_wire.Answer(401, {}), {}, ""),
        (_wire.Answer(200, {}), {}, "200 instead of 401"),
        (_wire.Answer(0, {}, trouble="refused"), {}, "no answer: refused"),
        (
            _wire.Answer(401, {"x-powered-by": "ZOO"}),
            {"forbid_headers": ["X-Powered-By"]},
            "the answer bears X-Powered-By: it comes from behind the gateway",
        ),
        (
            _wire.Answer(302, {"location": f"{ISSUER}/protocol/x?y"}),
            {"expect": [302], "location_prefix": ISSUER},
            "",
        ),
        (
            _wire.Answer(302, {"location": f"{ISSUER}x/protocol"}),
            {"expect": [302], "location_prefix": ISSUER},
            f"redirected to {ISSUER}x/protocol, not below {ISSUER}",
        ),
        (
            _wire.Answer(302, {"location": f"{ISSUER}/../other"}),
            {"expect": [302], "location_prefix": ISSUER},
            f"redirected to {ISSUER}/../other, not below {ISSUER}",
        ),
        (
            _wire.Answer(302, {}),
            {"expect": [302], "location_prefix": ISSUER},
            f"redirected to nowhere, not below {ISSUER}",
        ),
        (
            _wire.Answer(302, {"location": "https://auth.example.org@evil.example/realms/eoepca"}),
            {"expect": [302], "location_prefix": ISSUER},
            (
                "redirected to https://auth.example.org@evil.example/realms/eoepca,"
                f" not below {ISSUER}"
            ),
        ),
        (_wire.Answer(401, {}, b"abc"), {"contains": "b"}, ""),
        (_wire.Answer(401, {}, b"abc"), {"contains": "z"}, "the body does not contain 'z'"),
        (_wire.Answer(401, {}, b"abc"), {"forbid_text": ["bc"]}, "the body contains bc"),
    ],
)
def test_answers_are_judged(answer: _wire.Answer, more: dict[str, Any], why: str) -> None:
    assert _wire.miss_of(check(**more), answer) == why


def test_only_faults_of_transport_are_tried_again(double: Double) -> None:
    double.fail("GET", "/", Reply(cut=-1), Reply(503), Reply(502))
    wire = _wire.Wire(double.url, True, None, 5)
    assert _wire.verdict(wire, check(), "", lambda _: None)["ok"]
    assert len(double.asked) == 4
    double.fail("GET", "/", Reply(200))
    assert not _wire.verdict(wire, check(), "", lambda _: None)["ok"]
    assert len(double.asked) == 5


# The module


def gateway(asked: Asked) -> Reply:
    """A gateway that does everything right: guard, token, decision."""
    target = asked.target.split("?", maxsplit=1)[0]
    names = [name.replace("_", "-") for name in asked.headers]
    bad = re.search(r"[%;\\#]|//", target) or re.search(r"/\.\.?/", target + "/")
    if bad or any("services-namespace" in n or "http-authorization" in n for n in names):
        return Reply(400)
    if target == "/ogc-api/" and asked.method == "GET":
        return Reply(200, {"links": []}, ENGINE_HEADERS)
    token = asked.headers.get("authorization", "")
    if token not in ("Bearer tok-a-secret", "Bearer tok-b-secret"):
        return Reply(401)
    context = {"a": "alice", "b": "bob"}[token[11]]
    if target.startswith(f"/{context}/"):
        return Reply(200, {}, ENGINE_HEADERS)
    return Reply(403)


USERS = [{"name": "a", "token": "tok-a-secret"}, {"name": "b", "token": "tok-b-secret"}]


def endpoint(double: Double, **more: Any) -> dict[str, Any]:
    given = {"url": double.url, "users": USERS, "matrix": dict(SUBJECT), **more}
    return params_of(oapip_endpoint_info, given)


def test_a_right_gateway_passes_and_says_so() -> None:
    with serving(gateway) as double:
        made = oapip_endpoint_info.run(endpoint(double), Context())
        assert made["failed_checks"] == 0
        assert made["changed"] is False
        assert len(made["checks"]) == len(matrix())


def no_guard(asked: Asked) -> Reply:
    """What the guide's route does: Keycloak gets the normalised path, the engine the raw one."""
    raw = asked.target.lower()
    if raw.startswith("/bob/..%2falice/") and "tok-a" in asked.headers.get("authorization", ""):
        return Reply(200, {}, ENGINE_HEADERS)
    return gateway(asked)


def test_a_hole_fails_with_its_name() -> None:
    with serving(no_guard) as double:
        with pytest.raises(OapipError) as caught:
            oapip_endpoint_info.run(endpoint(double), Context())
        assert "2 of" in caught.value.reason
        assert "/bob/..%2falice/ogc-api/processes as a: 200 instead of 400" in caught.value.reason
        assert "tok-a-secret" not in str(caught.value.as_result())
        told = oapip_endpoint_info.run(endpoint(double, fail_on_miss=False), Context())
        assert told["failed_checks"] == 2


def test_check_mode_only_reads() -> None:
    with serving(gateway) as double:
        made = oapip_endpoint_info.run(endpoint(double), Context(check_mode=True))
        assert double.writes() == []
        assert len(made["would_prove"]) == len(
            [c for c in matrix() if c["method"] not in ("GET", "HEAD")]
        )


def test_check_mode_before_anything_is_there_says_what_would_be_proved() -> None:
    with serving(lambda asked: Reply(404, {"error_msg": "404 Route Not Found"})) as double:
        given = endpoint(double, assume_missing=True)
        made = oapip_endpoint_info.run(given, Context(check_mode=True))
        assert made["checks"] == []
        assert len(made["would_prove"]) == len(matrix())
        assert made["assumed"] == [f"server {double.url}"]


def test_an_unknown_user_is_a_mistake_of_ours_not_a_breach() -> None:
    with serving(gateway) as double, pytest.raises(OapipError, match="no such users: a"):
        oapip_endpoint_info.run(endpoint(double, users=USERS[1:]), Context())


@pytest.mark.parametrize(
    ("got", "cure"),
    [
        ([503, 0, 429], "No door was seen open"),
        ([200], "Close the engine's route"),
        ([503, 200], "Close the engine's route"),
    ],
)
def test_a_gateway_that_is_not_well_is_no_open_door(got: list[int], cure: str) -> None:
    assert oapip_endpoint_info.cure([{"got": one} for one in got]).startswith(cure)
