"""The retry policy and the server's words, against a server that misbehaves on purpose."""

from __future__ import annotations

import email.utils
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _kube, _s3
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
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

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


def test_writes_are_sent_once(server: Scripted) -> None:
    server.script = [(503, {}, b""), (200, {}, b"{}")]
    assert ask(server, "POST")[:2] == (503, 1)


def test_an_http_date_is_seconds_from_now() -> None:
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert _http.retry_after(later) == pytest.approx(30, abs=2)
    assert _http.retry_after("soon") is None
    assert _http.retry_after(None) is None


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
