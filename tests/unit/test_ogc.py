"""The transport: who asks, what an error means, what is tried again."""

from __future__ import annotations

import base64
import email.utils
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _job, _jobs, _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock, Deadline
from tests.ogc_double import Asked, Double, Engine, Reply, serving

BASE = "/alice/ogc-api"


def jwt(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.sig"


def server(double: Double, clock: Clock | None = None, **more: Any) -> _ogc.Server:
    return _ogc.Server({"url": double.url + BASE, "timeout": 2, **more}, Context(), clock)


@pytest.fixture
def double() -> Iterator[Double]:
    with serving(Engine()) as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "pause", lambda attempt, header=None: 0.01)


# Who asks


def test_no_token_means_no_header_even_with_a_netrc(
    double: Double, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server(double).ask("GET", ["processes"], "listing")
    server(double, token="abc").ask("GET", ["processes"], "listing")
    assert [a.headers.get("authorization") for a in double.asked] == [None, "Bearer abc"]


def test_the_token_of_the_environment_is_for_tasks_that_name_no_account(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OAPIP_TOKEN", "spare")
    ctx = Context()
    _ogc.Server({"url": double.url + BASE}, ctx).ask("GET", ["processes"], "listing")
    assert "spare" in ctx.secrets
    server(double, token="abc").ask("GET", ["processes"], "listing")
    assert [a.headers["authorization"] for a in double.asked] == ["Bearer spare", "Bearer abc"]
    issuer = Issuer(300)
    with serving(issuer) as other:
        account: dict[str, Any] = {"client_id": "c", "username": "u", "password": "p"}
        one = server(other, **account, token_url=f"{other.url}/token")
        one.ask("GET", ["processes"], "listing")
        assert other.asked[-1].headers["authorization"] == "Bearer t1"


class Issuer:
    """A token endpoint beside the engine; tokens are numbered."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.forms: list[str] = []
        self.engine = Engine()
        self.refused: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        if asked.path == "/token":
            self.forms.append(asked.body.decode())
            return Reply(200, {"access_token": f"t{len(self.forms)}", "expires_in": self.life})
        if asked.headers.get("authorization", "").removeprefix("Bearer ") in self.refused:
            return Reply(401, {"error": "invalid_token"})
        return self.engine(asked)


def test_tokens_are_fetched_once_and_renewed_before_they_expire() -> None:
    issuer, now = Issuer(300), [0.0]
    clock = Clock(lambda: now[0], lambda s: None)
    with serving(issuer) as double:
        account: dict[str, Any] = {
            "client_id": "c",
            "client_secret": "s",
            "token_url": f"{double.url}/token",
        }
        one = server(double, clock, **account)
        for moment in (0.0, 1.0, 269.0, 271.0, 300.0):
            now[0] = moment
            one.ask("GET", ["processes"], "listing")
        seen = [a.headers["authorization"] for a in double.asked if a.path != "/token"]
        assert seen == ["Bearer t1"] * 3 + ["Bearer t2"] * 2
        assert "grant_type=client_credentials" in issuer.forms[0]


def test_a_refused_token_is_renewed_once_and_a_write_is_then_sent_again() -> None:
    issuer = Issuer(300)
    issuer.refused.add("t1")
    with serving(issuer) as double:
        account: dict[str, Any] = {"client_id": "c", "username": "u", "password": "p"}
        one = server(double, **account, token_url=f"{double.url}/token")
        assert one.ask("DELETE", ["processes", "x"], "undeploying").status_code == 404
        assert "grant_type=password" in issuer.forms[0]
        issuer.refused.add("t2")
        issuer.refused.add("t3")
        assert one.ask("GET", ["processes"], "listing").status_code == 401
        assert len(issuer.forms) == 3


def test_a_refusing_token_endpoint_is_told_without_the_secret(double: Double) -> None:
    double.fail(
        "POST", "/token", Reply(401, {"error": "invalid_client", "error_description": "no"})
    )
    account: dict[str, Any] = {
        "client_id": "c",
        "client_secret": "hush-hush",
        "token_url": f"{double.url}/token",
    }
    said = r"getting a token for c \(HTTP 401 from http://127.0.0.1:\d+\): invalid_client: no"
    with pytest.raises(OapipError, match=said):
        server(double, **account).ask("GET", ["processes"], "listing")


def test_an_expired_given_token_is_told_before_it_is_sent(double: Double) -> None:
    with pytest.raises(OapipError, match="it expired 6"):
        server(double, token=jwt(exp=time.time() - 60)).ask("GET", ["processes"], "listing")
    assert double.asked == []
    server(double, token=jwt(exp=time.time() + 60)).ask("GET", ["processes"], "listing")


def test_what_may_be_sent_once_is_sent_on_a_connection_of_its_own(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may be closing an idle one, and then nobody knows what became of the request."""
    closed: list[str] = []
    monkeypatch.setattr(requests.Session, "close", lambda _session: closed.append("close"))
    one = server(double)
    one.ask("GET", ["processes"], "asking")
    assert closed == []
    one.ask("POST", ["processes", "echo", "execution"], "starting", json={"inputs": {}})
    one.ask("GET", ["processes"], "asking")
    assert closed == ["close"]


def test_the_life_of_a_given_token_goes_by_the_monotonic_clock(
    double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    one = server(double, Clock(lambda: now[0], lambda s: None), token=jwt(exp=time.time() + 60))
    real = time.time
    for jumped in (3600, -3600):
        monkeypatch.setattr(time, "time", lambda by=jumped: real() + by)
        one.ask("GET", ["processes"], "listing")
    now[0] = 61.0
    with pytest.raises(OapipError, match="it expired 1 seconds ago"):
        one.ask("GET", ["processes"], "listing")


@pytest.mark.parametrize(
    "token", ["", "abc", "a.b.c", jwt(), jwt(exp="x"), jwt(exp=True), "a.W10.c"]
)
def test_tokens_without_an_expiry_are_left_alone(token: str) -> None:
    assert _ogc.seconds_left(token) is None


@pytest.mark.parametrize(
    "missing", [{"client_secret": "s"}, {"client_id": "c"}, {"client_id": "c", "username": "u"}]
)
def test_half_an_account_is_refused(double: Double, missing: dict[str, Any]) -> None:
    with pytest.raises(OapipError, match="choosing how to authenticate"):
        server(double, token_url="https://x.example", **missing)


# Where to


@pytest.mark.parametrize(
    "url", ["zoo.example.org", "ftp://x/y", "https://u:p@x/", "https://x/?a=1"]
)
def test_a_base_must_be_a_plain_url(url: str) -> None:
    with pytest.raises(OapipError, match="reading the option url"):
        _ogc.base_url(url)


def test_urls_come_from_the_base_and_ids_are_quoted(double: Double) -> None:
    one = server(double)
    assert one.url("processes", "a/../b?c") == f"{double.url}{BASE}/processes/a%2F..%2Fb%3Fc"
    assert one.url("jobs", "\ud800é").endswith("/jobs/%ED%A0%80%C3%A9")
    for elsewhere in ("", ".", ".."):
        with pytest.raises(OapipError, match="such an ID leads elsewhere"):
            one.url("jobs", elsewhere)
    one.ask("GET", [], "reading the landing page")
    assert double.asked[0].target == f"{BASE}/"


@pytest.mark.parametrize(
    ("url", "context"),
    [
        ("https://x/alice/ogc-api", "alice"),
        ("https://x/alice/ogc-api/processes/y", "alice"),
        ("https://x/ogc-api/", ""),
        ("https://x/other", ""),
        ("", ""),
    ],
)
def test_the_context_of_a_url(url: str, context: str) -> None:
    assert _ogc.context_of(url) == context


def test_a_redirect_is_a_login_page_not_an_answer(double: Double) -> None:
    to = {"Location": "https://auth.example.org/realms/x/protocol?state=secret"}
    double.fail("GET", "/processes", Reply(302, "", to))
    with pytest.raises(OapipError, match=r"redirected to https://auth\.example\.org/realms/x") as e:
        server(double).ask("GET", ["processes"], "listing")
    assert "secret" not in e.value.text()


# What an error means


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            {
                "title": "NoSuchProcess",
                "type": "http://www.opengis.net/def/rel/ogc/1.0/exception/no-such-process",
            },
            "nosuchprocess",
        ),
        (
            {"type": "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/no-such-job"},
            "nosuchjob",
        ),
        ({"title": "None", "type": "None", "detail": "no sync"}, "none"),
        ({"code": "NoSuchJob", "type": "NoSuchJob", "description": "x"}, "nosuchjob"),
        ({"type": "about:blank", "title": "Not Found", "status": 404}, "notfound"),
        ({"error_msg": "404 Route Not Found"}, ""),
        ({"detail": "Not Found"}, ""),
        ([], ""),
        ("x", ""),
        ({"title": 3, "type": []}, ""),
    ],
)
def test_names_of_exceptions(body: Any, code: str) -> None:
    assert _ogc.exception_code(body) == code


@pytest.mark.parametrize(
    ("body", "yes"),
    [
        ({"title": "a", "type": "a", "detail": "b"}, True),
        ({"title": "a", "type": "a", "status": 400, "instance": "x"}, True),
        ({"title": "a", "type": "FeatureCollection", "features": []}, False),
        ({"out": {"value": 1}}, False),
        ({}, False),
        (None, False),
    ],
)
def test_results_are_told_from_exceptions(body: Any, yes: bool) -> None:
    assert _ogc.is_exception(body) is yes


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(500, "<html>Internal</html>", {"Content-Type": "text/html"}), "text/html, not JSON"),
        (Reply(200, '{"processes": ['), "not JSON but application/json.*'%'"),
        (Reply(200, "<html>", {"Content-Type": "text/html"}), "not JSON but text/html"),
        (Reply(404, {"error_msg": "404 Route Not Found"}), "HTTP 404.*nothing answers there"),
        (
            Reply(
                500,
                {
                    "title": "NoApplicableCode",
                    "type": "NoApplicableCode",
                    "detail": "signal 11 = SIGSEGV ",
                },
            ),
            "NoApplicableCode: signal 11 = SIGSEGV.*zookernel",
        ),
        (
            Reply(403, {"error": "access_denied", "error_description": "not_authorized"}),
            "access_denied: not_authorized.*context",
        ),
    ],
)
def test_bad_answers_are_told_in_the_servers_words(
    double: Double, reply: Reply, words: str
) -> None:
    double.fail("GET", "/processes", reply)
    with pytest.raises(OapipError) as caught:
        server(double).read(["processes"], "listing processes")
    assert re.search(words, caught.value.text())


# What is tried again


@pytest.mark.parametrize(
    "fault", [Reply(503), Reply(429), Reply(502), Reply(cut=-1), Reply(200, "x" * 99, cut=10)]
)
def test_reads_survive_short_faults(double: Double, fault: Reply) -> None:
    double.fail("GET", "/processes", fault, fault)
    assert "processes" in server(double).read(["processes"], "listing")
    assert len(double.asked) == 3


@pytest.mark.parametrize("fault", [Reply(503), Reply(cut=-1), Reply(201, "x" * 99, cut=10)])
def test_a_job_is_never_started_twice(double: Double, fault: Reply) -> None:
    double.fail("POST", "/execution", fault)
    with pytest.raises(OapipError) as caught:
        _jobs.start(server(double), "echo", {"inputs": {}, "response": "document"})
    assert double.writes() == [f"POST {BASE}/processes/echo/execution"]
    if fault.cut is not None:
        assert "not known whether the job was started" in caught.value.hint


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_in_both_forms_reaches_the_wait(double: Double, form: str) -> None:
    value = "7" if form == "seconds" else email.utils.formatdate(time.time() + 7.5, usegmt=True)
    double.fail("GET", "/jobs/j", Reply(429, "", {"Retry-After": value}))
    look = _jobs.looker(server(double), "j", Deadline(60))()
    assert look.trouble.startswith("HTTP 429")
    assert look.retry_after == pytest.approx(7, abs=1)
    assert len(double.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Reply(cut=-1),
        Reply(200, {"status": "running"}, cut=5),
        Reply(200, '{"status": "runn'),
        Reply(200, {}),
        Reply(500, "<html>", {"Content-Type": "text/html"}),
        Reply(404, {"error_msg": "404 Route Not Found"}),
        Reply(503, ""),
    ],
    ids=["reset", "reset mid-body", "truncated", "empty", "html 500", "no route", "503"],
)
def test_faults_while_waiting_are_trouble_not_ends(double: Double, fault: Reply) -> None:
    engine = double.handler
    assert isinstance(engine, Engine)
    engine.jobs["j"] = [{"status": "successful"}]
    double.fail("GET", "/jobs/j", fault)
    look = _jobs.looker(server(double), "j", Deadline(60))
    first = look()
    assert first.trouble
    assert not first.gone
    assert look().status == {"status": "successful"}


def test_refused_access_ends_a_wait_at_once(double: Double) -> None:
    double.fail("GET", "/jobs/j", Reply(403, {"error": "access_denied"}))
    with pytest.raises(OapipError, match="access_denied"):
        _jobs.looker(server(double), "j", Deadline(60))()


def test_a_silent_server_does_not_hold_a_wait_past_its_deadline() -> None:
    def silent(asked: Asked) -> Reply:
        time.sleep(4)
        return Reply(200, {"status": "running"})

    with serving(silent) as double:
        begin = time.monotonic()
        deadline = Deadline(2)
        one = _ogc.Server({"url": double.url, "timeout": 30}, Context())
        outcome = _job.wait(_jobs.looker(one, "j", deadline), deadline)
        assert outcome.state == "timeout"
        assert time.monotonic() - begin < 3.5


def test_reset_connections_are_known_to_requests() -> None:
    cut = Reply(200, "x" * 100, cut=10)
    broken = pytest.raises(requests.exceptions.RequestException)
    with broken, serving(lambda asked: cut) as double:
        requests.get(double.url, timeout=5)
