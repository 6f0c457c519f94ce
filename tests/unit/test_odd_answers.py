"""Any bytes for an answer: no traceback, and a job that was started is never lost."""

from __future__ import annotations

import contextlib
import email.utils
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _jobs
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job, oapip_job_info
from tests.unit_params import params_of

DEEP = b"[" * 100_000
ID = "4f1c8a2e"


def answer(status: int, body: bytes, *headers: bytes) -> bytes:
    """Return an answer as it goes on the wire."""
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, *headers, length, b"", body])


NAMED = b"Location: http://wrong.invalid/jobs/" + ID.encode()
BODY = b'{"jobID": "%s", "status": "running"}' % ID.encode()
BEGUN = answer(201, BODY, NAMED)
RUNNING = answer(200, BODY)


class Raw(socketserver.ThreadingTCPServer):
    """Describes each process, and answers an execution and all else with given bytes."""

    daemon_threads = True
    allow_reuse_address = True
    begun = b""
    other = b""

    def handle_error(self, *_: Any) -> None:
        """Let clients go when they like."""


class Handler(socketserver.StreamRequestHandler):
    server: Raw

    def handle(self) -> None:
        method, target = self.rfile.readline().split()[:2]
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            name, _colon, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        date = b"Date: " + email.utils.formatdate(usegmt=True).encode()
        about = answer(200, b'{"id": "p"}', date)
        described = about if b"/processes/" in target else self.server.other
        self.wfile.write(self.server.begun if method == b"POST" else described)


@pytest.fixture(scope="module")
def raw() -> Iterator[Raw]:
    with Raw(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def at_once() -> Iterator[None]:
    """Nothing is tried again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_http, "pause", lambda *_args: 1e9)
        patch.setattr(_jobs, "BROKEN_SECONDS", 0.0)
        yield


def url_of(raw: Raw) -> str:
    return f"http://127.0.0.1:{raw.server_address[1]}"


def run(raw: Raw, begun: bytes, other: bytes, **given: Any) -> tuple[dict[str, Any], str]:
    """Start a job; return the result, or the failed one, and its message."""
    raw.begun, raw.other = begun, other
    params = {"url": url_of(raw), "timeout": 2, "process_id": "p", "wait_timeout": 0, **given}
    try:
        return oapip_job.run(params_of(oapip_job, params), Context()), ""
    except OapipError as error:
        return error.as_result(), error.text()


LINE = st.binary(max_size=30).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))
ODD_TEXT = st.sampled_from(
    [
        "²".encode(),
        "²".encode("latin-1"),
        b"9" * 400,
        b"-1",
        b"Wed, 99 Nov",
        b"http://[",
        b"http://[::1",
        b"//\xff\xfe",
        b"text/html; charset",
        b"application/json; charset=\x00",
        b"application/json; charset=undefined",
        b"application/json; charset=idna",
        b"a=b; expires=Thu, 99-Foo-99999999999 00:00:00 GMT",
        b'<http://[>; rel="next"',
        b";;,<",
    ]
)
HEADER = st.builds(
    lambda name, value: name + b": " + value,
    st.sampled_from(
        [b"Retry-After", b"Content-Type", b"Link", b"Date", b"Set-Cookie", b"Preference-Applied"]
    ),
    ODD_TEXT | LINE,
)
CONTENT = st.binary(max_size=60) | st.sampled_from(
    [
        b"",
        DEEP,
        b'{"jobID": "a", "x": ' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"errors":[' * 400 + b"]}" * 400,
        b'{"errors": [{"field": "f", "message": "m", "params": 3}]}',
        b'{"status": "failed"}',
        b'{"status": "succeeded", "jobID": "\\ud800"}',
        b'{"jobID": ["x"], "status": "running", "progress": NaN, "links": [{"href": "http://["}]}',
        b'{"jobs": ["a", {}, {"id": null}, 3], "links": [{"rel": "next", "href": "http://["}]}',
        b"\xff\xfe{\x00",
        BODY,
    ]
)
# each example is some requests: what fails is short enough as it is
FEW = settings(max_examples=60, phases=(Phase.explicit, Phase.reuse, Phase.generate))
STATUS = st.sampled_from([200, 201, 202, 204, 301, 303, 400, 401, 404, 410, 429, 500, 503])
OTHER = st.binary(max_size=80) | st.builds(
    lambda status, body, headers: answer(status, body, *headers),
    STATUS,
    CONTENT,
    st.lists(HEADER | st.builds(lambda text: b"Location: " + text, ODD_TEXT), max_size=3),
)


@settings(FEW)
@given(
    st.sampled_from([200, 201, 202, 204, 303, 500, 503]),
    CONTENT,
    st.lists(HEADER, max_size=3),
    OTHER,
    st.sampled_from(["finished", "started"]),
)
@example(201, b"{}", [b"Retry-After: \xb2"], RUNNING, "finished")
@example(201, b"{}", [b"Content-Type: text/html; charset"], RUNNING, "finished")
@example(201, DEEP, [], RUNNING, "finished")
@example(500, DEEP, [], RUNNING, "finished")
@example(201, b"{}", [], answer(200, DEEP), "finished")
@example(201, b"{}", [], answer(429, b"", b"Retry-After: \xb2"), "finished")
@example(201, b"{}", [], answer(302, b"", b"Location: http://["), "finished")
def test_a_job_that_the_header_names_is_never_lost(
    raw: Raw, status: int, body: bytes, headers: list[bytes], other: bytes, state: str
) -> None:
    made, message = run(raw, answer(status, body, NAMED, *headers), other, state=state)
    job_id = made.get("job_id", "")
    assert job_id == ID or job_id.encode("unicode_escape") in body  # the body's word counts more
    assert not message or job_id in message
    assert "Error at" not in message


@settings(FEW)
@given(OTHER, OTHER)
@example(answer(201, b"{}", b"Location: http://["), RUNNING)
@example(answer(302, b"", b"Location: http://["), RUNNING)
@example(answer(503, b"", b"Retry-After: \xb2"), RUNNING)
def test_no_bytes_make_a_traceback(raw: Raw, begun: bytes, other: bytes) -> None:
    _made, message = run(raw, begun, other)
    assert "unexpected " not in message


@settings(FEW)
@given(OTHER, st.sampled_from([{"job_id": "j"}, {"status": ["running"]}, {"min_duration": 1}]))
def test_no_list_and_no_status_make_a_traceback(
    raw: Raw, other: bytes, wanted: dict[str, Any]
) -> None:
    raw.other = other
    params = params_of(oapip_job_info, {"url": url_of(raw), "timeout": 2, **wanted})
    with contextlib.suppress(OapipError):
        oapip_job_info.run(params, Context())
    params = params_of(
        oapip_job, {"url": url_of(raw), "timeout": 2, "job_id": "j", "state": "dismissed"}
    )
    with contextlib.suppress(OapipError):
        oapip_job.run(params, Context())


def test_a_defect_of_ours_tells_the_job_too(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oapip_job, "unfinished", None)
    made, message = run(raw, BEGUN, RUNNING)
    assert made["job_id"] == ID
    assert made["changed"] is True
    assert message.startswith(f"following job {ID}: unexpected TypeError at ")
