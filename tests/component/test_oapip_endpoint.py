"""The wire proof through the gateway stand-in and the real Keycloak, with and without the guard."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _matrix
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_endpoint_info
from tests.component.test_gateway import Place, place
from tests.unit.sandbox.gateway_bench import GUARD, REMOVAL, rule, serverless
from tests.unit_params import params_of

__all__ = ["place"]


@pytest.fixture
def params(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:  # noqa: F811
    """Options for alice and bob; the route's own host name leads to the loopback."""
    resolve = socket.getaddrinfo

    def local(host: Any, *more: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == place.host else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", local)
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(
        place.certificate + b"\n" + Path(place.recorded["ca_file"]).read_bytes()
    )
    users = place.recorded["users"]
    return {
        "url": f"https://{place.host}:{place.port}",
        "token_url": f"{place.issuer}/protocol/openid-connect/token",
        "client_id": place.recorded["token_client"],
        "users": [{"name": name, "password": users[name]["password"]} for name in ("alice", "bob")],
        "matrix": {
            "own": "alice",
            "other": "bob",
            "user": "alice",
            "other_user": "bob",
            "issuer": place.issuer,
        },
        "ca_path": str(authorities),
    }


def prove(params: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {**params, "matrix": {**params["matrix"], **more}}
    return oapip_endpoint_info.run(params_of(oapip_endpoint_info, whole), Context())


def test_the_guarded_route_passes_the_whole_matrix(place: Place, params: dict[str, Any]) -> None:  # noqa: F811
    plugins = [place.openid(), place.authz(), serverless(GUARD), serverless(REMOVAL, "post")]
    with place.route("proof", rule("all", "/*", plugins=plugins)):
        made = prove(params)
    assert made["failed_checks"] == 0
    assert len(made["checks"]) == len(_matrix.generate(params["matrix"]))


def test_a_route_that_logs_in_passes_and_leads_to_the_issuer(
    place: Place,  # noqa: F811
    params: dict[str, Any],
) -> None:
    plugins = [place.openid(bearer_only=False), place.authz(), serverless(GUARD)]
    with place.route("login", rule("all", "/*", plugins=plugins)):
        made = prove(params, bearer_only=False)
        strangers = [one for one in made["checks"] if one["got"] == 302]
        assert len(strangers) > 10
        with pytest.raises(OapipError, match="not below https://elsewhere"):
            prove(params, bearer_only=False, issuer="https://elsewhere.example.org")


def test_the_guides_route_is_found_out(place: Place, params: dict[str, Any]) -> None:  # noqa: F811
    guide = rule("all", "/*", plugins=[place.openid(), place.authz()])
    with place.route("guide", guide), pytest.raises(OapipError) as caught:
        prove(params)
    missed = {one["path"] for one in caught.value.extra["checks"] if not one["ok"]}
    for known in (
        "/bob/..%2falice/",
        "/bob/../alice/",
        "/bob/..;/alice/",
        "/bob/%252e%252e/alice/",
    ):
        assert f"{known}ogc-api/processes" in missed
