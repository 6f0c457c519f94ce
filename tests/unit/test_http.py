"""The retry policy and the server's words, against a server that misbehaves on purpose."""

from __future__ import annotations

import email.utils
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes
import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _http,
    _keycloak,
    _kube,
    _s3,
    _wire,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

Answer = tuple[int, dict[str, str], bytes]


class Scripted(http.server.ThreadingHTTPServer):
    """Answers with a list of answers, one a request; the last one for ever."""

    script: list[Answer]
    seen: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self.server.seen.append(self.command)
        index = min(len(self.server.seen), len(self.server.script)) - 1
        status, headers, body = self.server.script[index]
        if status == 0:  # hang up without a word
            self.connection.close()
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted(("127.0.0.1", 0), Handler) as made:
        made.seen = []
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(server: Scripted, method: str = "GET", budget: float = 20) -> tuple[int, int, float]:
    """Return status, number of requests and seconds."""
    start = time.monotonic()
    url = f"http://127.0.0.1:{server.server_address[1]}/path?secret=1"
    answer = _http.send(_http.session(), method, url, "asking", budget=budget, timeout=5)
    return answer.status_code, len(server.seen), time.monotonic() - start


@pytest.mark.parametrize("fault", [(503, {}, b""), (502, {}, b"<html>"), (0, {}, b"")])
def test_reads_outlive_a_passing_fault(server: Scripted, fault: Answer) -> None:
    server.script = [fault, (200, {}, b"{}")]
    assert ask(server)[:2] == (200, 2)


def test_retry_after_is_honoured(server: Scripted) -> None:
    server.script = [(429, {"Retry-After": "2"}, b""), (200, {}, b"{}")]
    status, requests, seconds = ask(server)
    assert (status, requests) == (200, 2)
    assert seconds >= 2


def test_retry_after_beyond_the_budget_is_an_answer(server: Scripted) -> None:
    server.script = [(429, {"Retry-After": "600"}, b"")]
    status, requests, seconds = ask(server, budget=5)
    assert (status, requests) == (429, 1)
    assert seconds < 5


REFUSED: list[Answer] = [(429, {}, b""), (503, {"Retry-After": "1"}, b"")]


@pytest.mark.parametrize("fault", [(503, {}, b""), (502, {}, b""), (504, {}, b"")])
def test_a_write_whose_fate_is_unknown_is_sent_once(server: Scripted, fault: Answer) -> None:
    server.script = [fault, (200, {}, b"{}")]
    assert ask(server, "POST")[:2] == (fault[0], 1)


def test_a_write_without_an_answer_is_sent_once(server: Scripted) -> None:
    server.script = [(0, {}, b""), (200, {}, b"{}")]
    with pytest.raises(OapipError, match=r"no answer from http://127\.0\.0\.1"):
        ask(server, "POST")
    assert len(server.seen) == 1


@pytest.mark.parametrize("fault", REFUSED)
def test_a_write_that_the_server_did_not_begin_is_sent_again(
    server: Scripted, fault: Answer
) -> None:
    server.script = [fault, (200, {}, b"{}")]
    assert ask(server, "POST")[:2] == (200, 2)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("fault", [(503, {}, b""), (0, {}, b"")])
def test_a_write_that_is_the_same_twice_is_sent_again(
    server: Scripted, method: str, fault: Answer
) -> None:
    server.script = [fault, (200, {}, b"{}")]
    assert ask(server, method)[:2] == (200, 2)


@pytest.mark.parametrize("fault", [*REFUSED, (502, {}, b"")])
def test_who_wants_one_attempt_gets_one(server: Scripted, fault: Answer) -> None:
    server.script = [fault, (200, {}, b"{}")]
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    answer = _http.send(_http.session(), "GET", url, "asking", retry=False)
    assert (answer.status_code, len(server.seen)) == (fault[0], 1)


def test_a_failure_names_the_server_and_how_long_it_wants_to_rest(server: Scripted) -> None:
    server.script = [(503, {"Retry-After": "600"}, b"")]
    url = f"http://me:hush@127.0.0.1:{server.server_address[1]}/path"
    answer = _http.send(_http.session(), "GET", url, "asking")
    told = str(_http.failed(answer, "asking"))
    assert f"asking (HTTP 503 from http://127.0.0.1:{server.server_address[1]}): " in told
    assert "It asks to wait 600 s." in told
    assert "hush" not in told


def test_a_broken_connection_is_told_in_words(server: Scripted) -> None:
    server.script = [(0, {}, b"")]
    with pytest.raises(OapipError) as caught:
        ask(server, "POST")
    assert "RemoteDisconnected" not in str(caught.value)
    assert "('" not in str(caught.value)


def test_half_an_answer_is_told_in_words(server: Scripted) -> None:
    server.script = [(200, {"Content-Length": "70"}, b"half")]
    with pytest.raises(OapipError, match="the connection broke inside the answer"):
        ask(server, "POST")


def test_an_http_date_is_seconds_from_now() -> None:
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert _http.retry_after(later) == pytest.approx(30, abs=2)
    assert _http.retry_after("soon") is None
    assert _http.retry_after(None) is None


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_an_http_date_goes_by_the_servers_clock_where_it_is_told(ahead: int) -> None:
    sent, later = (
        email.utils.formatdate(time.time() + ahead + more, usegmt=True) for more in (0, 30)
    )
    assert _http.retry_after(later, sent) == 30
    assert _http.retry_after(later, "now") == pytest.approx(max(0, ahead + 30), abs=2)


def test_no_wish_makes_a_flood() -> None:
    assert _http.pause(0, 0.0) >= 0.3
    assert _http.pause(9, 0.0) >= 5
    assert _http.pause(0, 7.0) == 7


def test_a_dead_server_is_named_with_a_cure_and_without_the_query() -> None:
    with pytest.raises(OapipError) as caught:
        _http.send(
            _http.session(), "POST", "http://127.0.0.1:1/admin?secret=1", "creating the client"
        )
    text = str(caught.value)
    assert text.startswith("creating the client: no answer from http://127.0.0.1:1: ")
    assert "Connection refused" in text
    assert "secret" not in text
    assert "object at 0x" not in text


def test_html_is_not_json(server: Scripted) -> None:
    server.script = [(200, {"Content-Type": "text/html"}, b"<html>login</html>")]
    url = f"http://127.0.0.1:{server.server_address[1]}/realms"
    answer = _http.send(_http.session(), "GET", url, "reading the realm")
    with pytest.raises(OapipError, match="not JSON but text/html"):
        _http.json_of(answer, "reading the realm")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"errorMessage": "Client x already exists"}, "Client x already exists"),
        ({"error": "invalid_grant", "error_description": "wrong"}, "invalid_grant: wrong"),
        ({"kind": "Status", "message": "no"}, "no"),
        ({"title": "NoSuchJob", "type": "u", "detail": "gone"}, "NoSuchJob: gone"),
        ({"code": "NoSuchJob", "type": "NoSuchJob", "description": "x"}, "NoSuchJob: x"),
        ({"kind": "Status", "code": 409, "message": "no"}, "no"),
        ([], ""),
        (None, ""),
    ],
)
def test_the_words_of_each_server(body: object, words: str) -> None:
    assert _http.words(body) == words


def test_netrc_does_not_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither in place of our token nor in place of a stranger without one."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login root password hush\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    http = _http.session()
    asked = [
        http.prepare_request(requests.Request("GET", "http://there/", headers=headers))
        for headers in ({}, {"Authorization": "Bearer ours"})
    ]
    assert [one.headers.get("Authorization") for one in asked] == [None, "Bearer ours"]


def test_the_login_in_a_url_is_not_told() -> None:
    told = str(_http.unreachable("asking", "https://me:hush@there:1/x", OSError("refused")))
    assert "https://there:1: refused" in told
    assert "hush" not in told


def test_a_hint_given_later_is_told() -> None:
    error = OapipError("asking", "refused")
    error.hint = "Wait."
    assert str(error) == error.as_result()["msg"] == "asking: refused. Wait."


def test_an_s3_endpoint_without_scheme_is_told() -> None:
    with pytest.raises(OapipError, match="Invalid endpoint"):
        _s3.Store({"endpoint": "s3.example.org", "access_key": "a", "secret_key": "b"})


@pytest.mark.parametrize("text", ["a: [b", "just text", ""])
def test_a_kubeconfig_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OapipError, match="loading the kubeconfig"):
        _kube.Kube.connect(str(path))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before the next attempt."""
    monkeypatch.setattr(_http, "pause", lambda *_args: 0.0)


# ---------------------------------------------------------------------- Kubernetes


@pytest.fixture
def kube(server: Scripted) -> _kube.Kube:
    settings = kubernetes.client.Configuration()
    settings.host = f"http://127.0.0.1:{server.server_address[1]}"
    return _kube.Kube(kubernetes.client.ApiClient(settings))


LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "x", "namespace": "y"},
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", [(503, {}, b""), (500, {}, b""), (0, {}, b"")])
def test_all_but_a_creation_is_the_same_twice(
    server: Scripted, kube: _kube.Kube, fault: Answer
) -> None:
    path = _kube.url_of("Lease", "y", "x")
    acts: list[Callable[[], object]] = [
        lambda: kube.get(path),
        lambda: kube.apply(LEASE),
        lambda: kube.replace(LEASE),
        lambda: kube.patch(path, {}),
        lambda: kube.delete(path),
        lambda: kube.request("POST", path, LEASE, {"dryRun": "All"}),
    ]
    for act in acts:
        server.script, server.seen = [fault, (200, {}, b"{}")], []
        act()
        assert len(server.seen) == 2
    server.seen = []
    with pytest.raises(OapipError, match=r"creating .* of the Kubernetes API.* http://127"):
        kube.create(LEASE)
    assert len(server.seen) == 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", REFUSED)
def test_a_creation_that_the_api_server_did_not_begin_is_sent_again(
    server: Scripted, kube: _kube.Kube, fault: Answer
) -> None:
    server.script = [fault, (201, {}, b"{}")]
    kube.create(LEASE)
    assert len(server.seen) == 2


@pytest.mark.parametrize("body", [b"<html>\n<p>login</p>\n", b'{"type": "ADD\n', b'["x"]\n', b""])
def test_a_watch_that_shows_something_else_has_ended(
    server: Scripted, kube: _kube.Kube, body: bytes
) -> None:
    server.script = [(200, {}, body)]
    assert list(kube.watch(_kube.url_of("Pod", "y"), "1", 2)) == []


def test_a_watch_that_cannot_begin_has_ended(server: Scripted, kube: _kube.Kube) -> None:
    server.script = [(0, {}, b"")]
    assert list(kube.watch(_kube.url_of("Pod", "y"), "1", 2)) == []


# ---------------------------------------------------------------------- S3


@pytest.fixture
def store(server: Scripted) -> _s3.Store:
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    return _s3.Store({"endpoint": endpoint, "access_key": "a", "secret_key": "b"})


def test_a_store_that_asks_for_a_pause_gets_it(server: Scripted, store: _s3.Store) -> None:
    server.script = [(429, {"Retry-After": "2"}, b""), (200, {}, b"")]
    start = time.monotonic()
    store.create_bucket("x")
    assert len(server.seen) == 2
    assert time.monotonic() - start >= 2


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", [(500, {}, b""), (502, {}, b"<html>"), (0, {}, b"")])
def test_a_store_is_asked_again(server: Scripted, store: _s3.Store, fault: Answer) -> None:
    server.script = [fault, (200, {}, b"picture")]
    assert store.get("x", "y") == b"picture"


@pytest.mark.usefixtures("at_once")
def test_half_an_object_is_fetched_again(server: Scripted, store: _s3.Store) -> None:
    server.script = [(200, {"Content-Length": "70"}, b"half"), (200, {}, b"picture")]
    assert store.get("x", "y") == b"picture"


HTML: Answer = (200, {"Content-Type": "text/html"}, b"<html>login</html>")


def test_a_web_page_is_no_bucket(server: Scripted, store: _s3.Store) -> None:
    server.script = [HTML]
    acts: list[Callable[[], object]] = [
        store.check_access,
        lambda: store.has_bucket("x"),
        lambda: store.create_bucket("x"),
        lambda: store.put("x", "y", b"z", "image/png"),
    ]
    for act in acts:
        with pytest.raises(
            OapipError, match=r"in S3 \(HTTP 200 from http.*: the answer is not S3's"
        ):
            act()


def test_half_a_list_of_buckets_is_none(
    server: Scripted, store: _s3.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http.Attempts, "again", lambda *_args: False)
    server.script = [(200, {"Content-Type": "application/xml"}, b"<ListAllMyBucketsRes")]
    # botocore makes an error 500 of it, as S3 may begin a good answer and then fail
    with pytest.raises(OapipError, match=r"listing the buckets in S3 \(HTTP 500 from http"):
        store.check_access()


def test_a_store_that_gives_no_answer_is_told_with_the_reason(
    server: Scripted, store: _s3.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http.Attempts, "again", lambda *_args: False)
    server.script = [(0, {}, b"")]
    with pytest.raises(OapipError) as caught:
        store.create_bucket("x")
    told = str(caught.value)
    assert told.startswith("creating bucket x in S3: no answer from http://127.0.0.1:")
    assert "RemoteDisconnected" not in told


# ---------------------------------------------------------------------- Keycloak and the wire


@pytest.mark.parametrize("answer", [HTML, (200, {"Content-Type": "application/json"}, b'{"acc')])
def test_a_login_that_answers_something_else_is_told(server: Scripted, answer: Answer) -> None:
    server.script = [answer]
    url = f"http://127.0.0.1:{server.server_address[1]}"
    given = {"server_url": url, "realm": "r", "auth_username": "a", "auth_password": "hush"}
    with pytest.raises(
        OapipError, match=r"logging in as a .* \(HTTP 200 from http.*not Keycloak's"
    ):
        _keycloak.connect(given).request("GET", doing="reading the realm")


CHECK = {"name": "jobs", "method": "GET", "path": "/jobs", "expect": [401], "forbid_text": ["zoo"]}


def test_the_wire_honours_retry_after(server: Scripted) -> None:
    server.script = [(429, {"Retry-After": "7"}, b""), (401, {}, b"")]
    wire = _wire.Wire(f"http://127.0.0.1:{server.server_address[1]}", True, None, 5)
    slept: list[float] = []
    assert _wire.verdict(wire, CHECK, "", slept.append)["ok"]
    assert slept == [7]
    server.script, server.seen = [(429, {"Retry-After": "700"}, b"")], []
    assert not _wire.verdict(wire, CHECK, "", slept.append)["ok"]
    assert slept == [7]


def test_half_a_body_proves_nothing_on_the_wire(server: Scripted) -> None:
    server.script = [(401, {"Content-Length": "70"}, b"not")]
    wire = _wire.Wire(f"http://127.0.0.1:{server.server_address[1]}", True, None, 5)
    verdict = _wire.verdict(wire, CHECK, "", lambda _seconds: None)
    assert not verdict["ok"]
    assert "broke" in verdict["why"]
