"""The fault proxy itself: faithful where nothing is to go wrong, and wrong as it was asked."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.faults.fault import Fault, Seen, digest
from tests.faults.proxy import Proxy

WELL_KNOWN = "/realms/eoepca/.well-known/openid-configuration"


@pytest.fixture(scope="module")
def keycloak(sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(sandbox, "keycloak", tmp_path_factory.mktemp("keycloak")) as proxy:
        yield proxy


@pytest.fixture
def client(sandbox: dict[str, Any]) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.verify = sandbox["ca_file"]
        session.trust_env = False
        yield session


def raw(proxy: Proxy, ca_file: str, target: str) -> int:
    """Send a target that every better library would tidy up."""
    trust = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=20, context=trust)
    connection.putrequest("GET", target, skip_accept_encoding=True)
    connection.endheaders()
    with contextlib.closing(connection):
        return connection.getresponse().status


def test_what_is_no_fault_is_passed_on_as_it_is(
    sandbox: dict[str, Any], keycloak: Proxy, client: requests.Session
) -> None:
    keycloak.breaks()
    here = client.get(keycloak.url + WELL_KNOWN, timeout=20)
    there = client.get(sandbox["keycloak"]["url"] + WELL_KNOWN, timeout=20)
    assert here.json() == there.json()
    assert here.headers["Content-Type"] == there.headers["Content-Type"]
    (seen,) = keycloak.requests
    assert (seen.method, seen.path, seen.status, seen.fault) == ("GET", WELL_KNOWN, 200, "")


def test_odd_paths_reach_the_server_byte_by_byte(sandbox: dict[str, Any], tmp_path: Path) -> None:
    with Proxy(sandbox, "gateway", tmp_path) as proxy:
        for target in ("/ogc-api/..%2falice/x", "/ogc-api/../alice/x", "/ogc-api/..;/alice/x"):
            assert raw(proxy, sandbox["ca_file"], target) == 400, target
        assert [seen.path for seen in proxy.requests][-1] == "/ogc-api/..;/alice/x"


def test_a_watch_comes_line_by_line_and_needs_no_credentials(
    sandbox: dict[str, Any], tmp_path: Path, client: requests.Session
) -> None:
    with Proxy(sandbox, "kubernetes", tmp_path) as proxy:
        path = "/api/v1/namespaces/processing/pods?watch=true&timeoutSeconds=30"
        begun = time.monotonic()
        with client.get(proxy.url + path, stream=True, timeout=20) as answer:
            line = next(answer.iter_lines(chunk_size=1))
            assert json.loads(line)["type"] == "ADDED"
        assert time.monotonic() - begun < 10
        # who goes away ends the watch at the server too
        deadline = time.monotonic() + 10
        while not proxy.requests[0].seconds and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0 < proxy.requests[0].seconds < 20


ANSWERS = {"500": 500, "502": 502, "503": 503, "503-after": 503, "html": 200, "expired": 401}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_in_place_of_the_servers(
    keycloak: Proxy, client: requests.Session, kind: str
) -> None:
    keycloak.breaks(Fault(kind))
    answer = client.get(keycloak.url + WELL_KNOWN, timeout=20)
    assert answer.status_code == ANSWERS[kind]
    assert "issuer" not in answer.text
    assert ("Retry-After" in answer.headers) == (kind == "503-after")


def test_too_many_requests_ask_for_a_pause(keycloak: Proxy, client: requests.Session) -> None:
    keycloak.breaks(Fault("429", retry_after=7))
    assert client.get(keycloak.url + WELL_KNOWN, timeout=20).headers["Retry-After"] == "7"
    keycloak.breaks(Fault("429-date", retry_after=7))
    date = client.get(keycloak.url + WELL_KNOWN, timeout=20).headers["Retry-After"]
    assert 4 < email.utils.parsedate_to_datetime(date).timestamp() - time.time() <= 7


@pytest.mark.parametrize("kind", ["reset-before", "lost", "reset-inside"])
def test_a_connection_that_breaks(keycloak: Proxy, client: requests.Session, kind: str) -> None:
    keycloak.breaks(Fault(kind))
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.get(keycloak.url + WELL_KNOWN, timeout=20)
    assert [seen.fault for seen in keycloak.struck] == [kind]


def test_a_connection_that_breaks_after_the_answer(
    keycloak: Proxy, client: requests.Session
) -> None:
    keycloak.breaks(Fault("reset-after", times=1))
    assert "issuer" in client.get(keycloak.url + WELL_KNOWN, timeout=20).json()


def test_half_an_answer_looks_like_a_whole_one(keycloak: Proxy, client: requests.Session) -> None:
    keycloak.breaks(Fault("truncated"))
    answer = client.get(keycloak.url + WELL_KNOWN, timeout=20)
    assert answer.status_code == 200
    assert answer.text.startswith('{"issuer"')
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_silence(keycloak: Proxy, client: requests.Session) -> None:
    keycloak.breaks(Fault("silence", seconds=1.5))
    with pytest.raises(requests.Timeout):
        client.get(keycloak.url + WELL_KNOWN, timeout=0.5)
    assert "issuer" in client.get(keycloak.url + WELL_KNOWN, timeout=20).json()


def test_which_requests_go_wrong() -> None:
    def struck(fault: Fault, lines: list[str]) -> list[int]:
        return [n for n, line in enumerate(lines, 1) if fault.strikes(line, 0.0)]

    lines = ["GET /a", "POST /a", "GET /b", "POST /b", "GET /a", "POST /a"]
    assert struck(Fault("500"), lines) == [1, 2, 3, 4, 5, 6]
    assert struck(Fault("500", every=2), lines) == [2, 4, 6]
    assert struck(Fault("500", nth=3), lines) == [3]
    assert struck(Fault("500", match="^POST /a$"), lines) == [2, 6]
    assert struck(Fault("500", match="^POST", times=1), lines) == [2]
    assert struck(Fault("500", start=1.0), lines) == []
    assert Seen("GET", "/a", 0.0, 200).line().endswith("GET /a")
    signed = {"Authorization": "AWS4-HMAC-SHA256 one", "X-Amz-Date": "1"}
    again = {"authorization": "AWS4-HMAC-SHA256 two", "x-amz-date": "2"}
    assert digest({"A": "1", **signed}) == digest({"a": "1", **again})
    assert digest({"Authorization": "Bearer 1"}) != digest({"Authorization": "Bearer 2"})
    with pytest.raises(ValueError, match="no fault 418"):
        Fault("418")
