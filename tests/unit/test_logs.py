"""The ends of a job's logs: from the right address, bounded, clean, and never a failure."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _logs, _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job
from tests.ogc_double import Asked, Engine, Reply, serving
from tests.unit_params import params_of

TEXT = {"Content-Type": "text/plain"}


def server_of(url: str, **given: Any) -> _ogc.Server:
    return _ogc.Server({"url": url, "timeout": 5, **given}, Context())


@pytest.mark.parametrize(
    ("base", "href", "own"),
    [
        (
            "https://h/alice/ogc-api",
            "http://wrong/alice/temp/j/a.log",
            "https://h/alice/temp/j/a.log",
        ),
        ("https://h/alice/ogc-api", "http://wrong/temp/j/a.log", "https://h/alice/temp/j/a.log"),
        ("https://h/alice/ogc-api", "https://h:443/temp/a.log", "https://h/alice/temp/a.log"),
        ("https://h/x/alice/ogc-api", "http://w/alice/temp/a", "https://h/x/alice/temp/a"),
        ("https://h/temp/ogc-api", "https://h/temp/temp/a.log", "https://h/temp/temp/a.log"),
        ("https://h/ogc-api", "http://wrong/temp/a.log", "https://h/temp/a.log"),
        ("https://h/oapi", "https://h/files/a.log?x=1", "https://h/files/a.log?x=1"),
        ("https://h/oapi", "jobs/1/log", "https://h/oapi/jobs/1/log"),
        ("https://h/oapi", "http://h/files/a.log", ""),
        ("https://h/oapi", "https://other/temp/a.log", ""),
        ("https://h/alice/ogc-api", "https://other/a.log", ""),
        ("https://h/alice/ogc-api", "http://w/alice/temp/%2e%2e/%2E%2E/bob/temp/a", ""),
        ("https://h/alice/ogc-api", "http://w/alice/temp/..%2fbob", ""),
        ("https://h/alice/ogc-api", "file:///alice/temp/a", ""),
        ("https://h/alice/ogc-api", "https://[bad", ""),
    ],
)
def test_addresses_are_built_from_the_base(base: str, href: str, own: str) -> None:
    assert server_of(base).own(href, told=True) == own


def test_a_host_that_the_server_does_not_vouch_for_is_elsewhere() -> None:
    server = server_of("https://h/alice/ogc-api")
    assert server.own("https://data.example.org/alice/temp/a.tif") == ""
    assert server.own("https://h/alice/temp/a.tif") == "https://h/alice/temp/a.tif"


def test_a_log_is_shown_clean() -> None:
    data = (
        b"\x1b[1;31mred\x1b[0m\x1b]0;title\x07 text\r\n"
        b" 10 %\r 99 %\r100 %\n"
        b"bell\x07 back\x08space \xff\xe2\x80\xae tab\tend\n\n"
    )
    assert _logs.clean(data, whole=True) == ["red text", "100 %", "bell backspace \ufffd tab end"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("GET https://s3/b/k?X-Amz-Signature=abc&y=1 200", "GET https://s3/b/k?... 200"),
        ("http://me:hunter2@host/x", "http://host/x"),
        ("Authorization: Bearer abc.def-g", "Authorization: Bearer <secret>"),
        ("got eyJhbGciOi.eyJzdWIi.c2ln here", "got <secret> here"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+g", "AWS_SECRET_ACCESS_KEY=<secret>"),
        ('{"access_token": "abc", "size": 3}', '{"access_token": "<secret>", "size": 3}'),
        ("db password: hunter2!", "db password: <secret>"),
        ("mine is s3same", "mine is <secret>"),
        (
            "convert: no decode delegate `x' @ error/a.c/1",
            "convert: no decode delegate `x' @ error/a.c/1",
        ),
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str, shown: str) -> None:
    assert _logs.clean(line.encode(), True, {"s3same"}) == [shown]


def test_a_secret_is_hidden_before_a_line_is_cut() -> None:
    line = "x" * (_logs.WIDTH - 8) + " abcdefghijkl"
    (kept,) = _logs.clean(line.encode(), True, {"abcdefghijkl"})
    assert "abc" not in kept


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_become_bounded_lines(data: bytes, whole: bool) -> None:
    kept = _logs.clean(data, whole, characters=700)
    assert len(kept) <= _logs.LINES
    assert sum(map(len, kept)) <= 700
    assert all(line.isprintable() for line in kept)


@pytest.mark.parametrize(
    "part", ["y", "a.", "x://", "-eyJ", "token ", "\x1b]", "\x1b[", "Bearer ", " ", "a://b@", "\r"]
)
def test_no_line_takes_long(part: str) -> None:
    start = time.monotonic()
    _logs.clean((part * _logs.END)[: _logs.END].encode(), True, {"some-secret"})
    assert time.monotonic() - start < 1


def test_the_end_of_a_long_log_is_kept_without_half_a_line() -> None:
    lines = [f"line {n} of a log that is long" for n in range(20_000)]
    text = "\n".join(lines)
    asked: list[Asked] = []

    def answer(one: Asked) -> Reply:
        asked.append(one)
        return Reply(200, text, TEXT)

    with serving(answer) as double:
        server = server_of(f"{double.url}/alice/ogc-api", token="the-token")
        (tail,) = _logs.tails(server, ["http://wrong.invalid/alice/temp/a.log"])
    assert tail == (f"{double.url}/alice/temp/a.log", lines[-_logs.LINES :], "")
    assert asked[0].headers["range"] == f"bytes=-{_logs.END}"
    assert asked[0].headers["authorization"] == "Bearer the-token"


def test_a_part_that_the_server_sends_loses_its_first_line() -> None:
    part = Reply(206, "half\nwhole\n", {**TEXT, "Content-Range": "bytes 90-101/102"})
    with serving(lambda _one: part) as double:
        (tail,) = _logs.tails(server_of(f"{double.url}/a/ogc-api"), ["/a/temp/x"])
    assert tail.lines == ["whole"]


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (Reply(404, "<html/>", {"Content-Type": "text/html"}), "HTTP 404"),
        (Reply(503), "HTTP 503"),
        (Reply(200, "<html/>", {"Content-Type": "text/html"}), "it is a page, not a log"),
        (Reply(302, "", {"Location": "http://127.0.0.1:1/login"}), "HTTP 302"),
        (Reply(200, "text", TEXT, cut=2), "the connection broke"),
        (Reply(200, "text", {**TEXT, "Content-Encoding": "gzip"}), "the connection broke"),
        (Reply(416), ""),
        (Reply(200, "x" * 300 + "\n", TEXT), ""),
    ],
)
def test_a_log_that_cannot_be_had_says_why(reply: Reply, trouble: str) -> None:
    with serving(lambda _one: reply) as double:
        (tail,) = _logs.tails(server_of(f"{double.url}/a/ogc-api"), ["/a/temp/x"])
    assert tail.trouble == trouble


def test_a_log_of_another_host_is_not_read() -> None:
    with serving(lambda _one: Reply(200, "x", TEXT)) as double:
        server = server_of("http://127.0.0.1:1/oapi", token="the-token")
        (tail,) = _logs.tails(server, [f"{double.url}/a.log"])
        assert tail.trouble == "it is not on this server"
        assert double.asked == []


def test_many_logs_share_the_room() -> None:
    with serving(lambda _one: Reply(200, f"{'y' * 400}\n" * 90, TEXT)) as double:
        hrefs = [f"/a/temp/{n}" for n in range(_logs.FILES + 2)]
        found = _logs.tails(server_of(f"{double.url}/a/ogc-api"), hrefs)
    assert sum(len(line) for one in found for line in one.lines) <= _logs.TOTAL
    assert all(one.lines for one in found[: _logs.FILES])
    assert [bool(one.trouble) for one in found] == [False] * _logs.FILES + [True] * 2


@contextmanager
def dripping() -> Iterator[str]:
    """Serve one byte each tenth of a second, so that no request ever times out."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        connection, _peer = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not stop.wait(0.1):
                connection.sendall(b"x")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join(5)
        listener.close()


def test_a_server_that_drips_does_not_hold_the_report_up() -> None:
    with dripping() as url:
        start = time.monotonic()
        found = _logs.tails(server_of(f"{url}/a/ogc-api"), ["/a/temp/x", "/a/temp/y"], seconds=0.5)
        assert time.monotonic() - start < 2
    assert [one.trouble for one in found] == ["it was not read in time"] * 2


def test_the_message_of_a_failed_job_ends_with_its_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "pause", lambda attempt, header=None: 0.01)
    engine = Engine()
    engine.packages["water"] = "cwl"
    engine.script = [
        {
            "status": "failed",
            "message": "Unable to run the Service.",
            "links": [
                {"rel": "related", "href": "http://wrong.invalid/alice/temp/j/tool.log"},
                {"rel": "related", "href": "http://wrong.invalid/alice/temp/j/gone.log"},
            ],
        }
    ]

    def answer(one: Asked) -> Reply:
        if one.path == "/alice/temp/j/tool.log":
            return Reply(200, "\n".join([*(f"line {n}" for n in range(14)), "t0p-secret"]), TEXT)
        return engine(one)

    with serving(answer) as double:
        params = params_of(
            oapip_job,
            {
                "url": f"{double.url}/alice/ogc-api",
                "token": "t0p-secret",
                "process_id": "water",
                "inputs": {"fn": "x"},
            },
        )
        with pytest.raises(OapipError) as caught:
            oapip_job.run(params, Context(secrets={"t0p-secret"}))
        told = caught.value.as_result()
        root = f"{double.url}/alice/temp/j"
    shown = "".join(f"  line {n}\n" for n in range(5, 14))
    assert told["msg"].endswith(
        "it failed: MissingParameterValue: no <must>: Unable to run the Service. Its logs:\n"
        f"{root}/tool.log\n{shown}  <secret>\n"
        f"{root}/gone.log (HTTP 404)"
    )
    assert told["logs"] == [f"{root}/tool.log", f"{root}/gone.log"]
    assert [len(one["lines"]) for one in told["log_tails"]] == [15, 0]
    assert "t0p-secret" not in json.dumps(told)
