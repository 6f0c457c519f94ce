"""A job on a server that goes wrong: started once, never lost, and waited for no longer than told.

`oapip_job` meets each fault at each of its requests; the server's own list of jobs says what it
did. The calls of the first table run at once, as they spend their time waiting, each in a context
(and so with a list of jobs) of its own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    unexpected,
)
from ansible_collections.eoepca.oapip.plugins.modules import oapip_job, oapip_process
from sandbox.engine import flavours
from tests import ogc_double
from tests.engine_stand import CWL, FLAVOURS, Stand, running
from tests.faults.fault import KINDS, OF_JOBS, Fault, Seen
from tests.faults.proxy import Relay
from tests.unit.sandbox.engine_double import Issuer
from tests.unit_params import params_of

ECHO: dict[str, Any] = {"process_id": "echo", "inputs": {"a": "hello"}}
SLEEPER: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 60}}
DONE = {"out": {"value": "done"}}
PATIENCE = 2
"""Seconds for one request (the option timeout); a silence is longer."""


@dataclass(frozen=True)
class Call:
    """What one call of oapip_job came to: its result, or its error, and what the server has."""

    result: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    jobs: tuple[str, ...] = ()
    requests: tuple[Seen, ...] = ()
    job_id: str = ""
    """Of the job that was there before the call."""

    @property
    def message(self) -> str:
        return str(self.error.get("msg", ""))


def call(url: str, **given: Any) -> Call:
    """Run oapip_job as Ansible's worker does; a failure has to be one that we foresaw."""
    params = params_of(oapip_job, {"url": url, "timeout": PATIENCE, **given})
    begun = time.monotonic()
    try:
        done = oapip_job.run(params, Context())
    except OapipError as error:
        return Call(error=error.as_result(), seconds=time.monotonic() - begun)
    except Exception as error:
        pytest.fail(unexpected(error))
    return Call(done, seconds=time.monotonic() - begun)


def owned(stand: Stand, user: str) -> tuple[str, ...]:
    """Return the ids of a user's jobs, from the server's own list."""
    return tuple(job.job_id for job in stand.jobs.listed(user))


def url_of(server: Relay | Stand, user: str) -> str:
    """Return the URL of a user's context, through the proxy or past it."""
    if isinstance(server, Relay):
        return f"{server.url}/{user}/ogc-api"
    return server.url.replace("/alice/", f"/{user}/")


@contextmanager
def served(stand: Stand, folder: Path, chart: str = "0.10.3") -> Iterator[Relay]:
    """Run a stand-in, and a proxy before it."""
    flavour = flavours.flavour_of(FLAVOURS[chart], "")
    stand.source.settings = replace(stand.source.settings, flavour=flavour)
    with (
        running(stand, folder),
        Relay(stand.url.removesuffix("/alice/ogc-api"), "gateway") as proxy,
    ):
        yield proxy


# ---------------------------------------------------------------------- each fault at each request

DESCRIPTION, EXECUTION = "^GET /{}/ogc-api/processes/echo$", "^POST /{}/.*/execution$"
STATUS, RESULTS = "^GET /{}/ogc-api/jobs/[^/]+$", "^GET /{}/ogc-api/jobs/.*/results$"
DISMISSAL = "^DELETE /{}/ogc-api/jobs/"
PLACES: dict[str, dict[str, str]] = {
    "finished": {
        "description": DESCRIPTION,
        "execution": EXECUTION,
        "status": STATUS,
        "results": RESULTS,
    },
    "started": {"description": DESCRIPTION, "execution": EXECUTION},
    "resumed": {"status": STATUS, "results": RESULTS},
    "dismissed": {"status": STATUS, "dismissal": DISMISSAL},
}
"""The requests of oapip_job, by what it is to do; `resumed` waits for a job that was started."""

AGAIN = {"429", "429-date", "502", "503", "503-after", "reset-before", "lost", "reset-inside"}
AGAIN |= {"reset-after", "silence"}
SURVIVED: dict[str, set[str]] = {
    "description": AGAIN,
    # what says that nothing was done is sent again; of what was done, the headers name the job
    "execution": {"429", "429-date", "503-after", "reset-inside", "reset-after", "truncated"},
    "status": {*KINDS, *OF_JOBS} - {"expired"},
    "results": AGAIN | {"truncated", "html"},
    "dismissal": AGAIN | {"truncated"},
}
"""Faults that happen once and are no failure, by the request."""

Cell = tuple[str, str, str, str]
CELLS: list[Cell] = [
    (chart, state, place, kind)
    for chart in FLAVOURS
    for state, places in PLACES.items()
    for place in places
    for kind in [*KINDS, *(OF_JOBS if place == "status" and state != "dismissed" else ())]
]


@pytest.fixture(scope="module")
def calls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, full: bool
) -> dict[Cell, Call]:
    """Make all calls of the table that are wanted, at once."""
    done: dict[Cell, Call] = {}
    for chart in FLAVOURS:
        cells = [cell for cell in CELLS if cell[0] == chart and (full or chart != "0.3.22")]
        stand = Stand()
        with (
            served(stand, tmp_path_factory.mktemp("engine"), chart) as proxy,
            ThreadPoolExecutor(24) as pool,
        ):
            users = {cell: f"user{number}" for number, cell in enumerate(cells)}
            proxy.breaks(
                *(
                    Fault(
                        kind, PLACES[state][place].format(users[chart, state, place, kind]), nth=1
                    )
                    for chart, state, place, kind in cells
                )
            )
            futures = {cell: pool.submit(one, stand, proxy, users[cell], cell) for cell in cells}
            done.update({cell: future.result(120) for cell, future in futures.items()})
    return done


def one(stand: Stand, proxy: Relay, user: str, cell: Cell) -> Call:
    """Make one call, after the one that its state needs before it."""
    _chart, state, _place, _kind = cell
    given: dict[str, Any] = {**ECHO, "state": state, "wait_timeout": 20}
    before = ""
    if state in ("resumed", "dismissed"):
        before = call(url_of(stand, user), **ECHO, state="started").result["job_id"]
        given = {"job_id": before, "wait_timeout": 20}
        given["state"] = "dismissed" if state == "dismissed" else "finished"
    made = call(url_of(proxy, user), **given)
    seen = tuple(seen for seen in proxy.requests if f"/{user}/" in seen.path)
    return replace(made, jobs=owned(stand, user), requests=seen, job_id=before)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell, id="-".join(cell), marks=[pytest.mark.full] if cell[0] == "0.3.22" else []
        )
        for cell in CELLS
    ],
)
def test_one_fault(calls: dict[Cell, Call], cell: Cell) -> None:
    """Once, at the first request of its kind."""
    _chart, state, place, kind = cell
    made = calls[cell]
    assert [seen.fault for seen in made.requests if seen.fault] == [kind]
    survived = (
        kind in SURVIVED["description" if state == "dismissed" and place == "status" else place]
    )
    assert bool(made.result) is survived, made
    executions = [seen for seen in made.requests if seen.method == "POST"]
    check_once(made, state, executions)
    check_told(made)
    for earlier, later in itertools.pairwise(executions):
        assert later.at - earlier.at >= (1 if kind == "429-date" else 2)  # whole seconds in dates
    # a silence of one attempt, and attempts of at most some seconds in between
    assert made.seconds < 15


def check_once(made: Call, state: str, executions: list[Seen]) -> None:
    """No job is started twice: what the server shows is one job at most."""
    assert len(made.jobs) <= 1, made
    carried_out = [seen for seen in executions if seen.fault in ("", "lost", "truncated")]
    carried_out += [seen for seen in executions if seen.fault.startswith("reset-") and seen.status]
    assert len(carried_out) <= 1
    if state == "dismissed":
        assert len(made.jobs) == (not made.result), made
    elif state == "resumed":
        assert made.jobs == (made.job_id,)
        assert not made.result or made.result["job_results"] == {"a": "hello"}
    elif made.result:
        assert made.jobs == (made.result["job_id"],)
        assert state == "started" or made.result["job_results"] == {"a": "hello"}


def check_told(made: Call) -> None:
    """No job is lost: an error names each that is there, in words; and it is no raw page."""
    if not made.error:
        return
    for job_id in made.jobs:
        assert job_id in made.message, made
    for foul in ("Traceback", "Error(", "object at 0x", "<html"):
        assert foul not in made.message, made.message


# ---------------------------------------------------------------------- faults that last

LASTING = ["429", "429-date", "500", "502", "503-after", "reset-before", "lost", "reset-inside"]
LASTING += ["truncated", "html", "silence"]


@pytest.mark.parametrize("chart", [pytest.param("0.3.22", marks=pytest.mark.full), "0.10.3"])
def test_a_wait_ends_by_its_deadline(tmp_path: Path, chart: str, full: bool) -> None:
    """Whatever every look meets; and it tells the last status that was seen before."""
    limit = 30 if full else 8
    stand = Stand()
    with served(stand, tmp_path, chart) as proxy, ThreadPoolExecutor(len(LASTING)) as pool:
        stand.never_runs()
        users = {kind: f"user{kind.replace('-', '')}" for kind in LASTING}
        for user in users.values():
            deploy(stand, user)
        proxy.breaks(
            *(Fault(kind, STATUS.format(users[kind]), start=1.5, seconds=60) for kind in LASTING)
        )

        def wait(kind: str) -> Call:
            return call(url_of(proxy, users[kind]), **SLEEPER, wait_timeout=limit, timeout=30)

        for kind, made in zip(LASTING, pool.map(wait, LASTING), strict=True):
            (job_id,) = owned(stand, users[kind])
            assert f"not over after {limit} s" in made.message, made
            assert made.error["job_id"] == job_id
            assert job_id in made.message
            assert limit <= made.seconds <= 1.1 * limit + 0.5, (kind, made.seconds)


def deploy(stand: Stand, user: str) -> None:
    """Deploy the process whose jobs last."""
    params = params_of(oapip_process, {"url": url_of(stand, user), "content": CWL})
    oapip_process.run(params, Context(warn=lambda _line: None))


def test_a_job_that_is_not_known_at_once_is_waited_for(tmp_path: Path) -> None:
    with served(Stand(), tmp_path) as proxy:
        proxy.breaks(Fault("404", STATUS.format("alice"), end=4.0))
        made = call(url_of(proxy, "alice"), **ECHO)
    assert made.result["job_results"] == {"a": "hello"}
    assert len(proxy.struck) >= 3


@pytest.mark.parametrize("kind", ["500", "502", "silence"])
def test_a_dismissal_that_fails_at_the_deadline_is_told_with_it(tmp_path: Path, kind: str) -> None:
    stand = Stand()
    with served(stand, tmp_path) as proxy:
        stand.never_runs()
        deploy(stand, "alice")
        proxy.breaks(Fault(kind, "^DELETE"))
        made = call(url_of(proxy, "alice"), **SLEEPER, wait_timeout=2, dismiss_on_timeout=True)
        (job_id,) = owned(stand, "alice")
        assert f"waiting for job {job_id}: not over after 2 s" in made.message
        assert "could not be dismissed" in made.message
        assert made.seconds < 4  # one attempt of a second, however long the server is silent
        assert len(proxy.struck) == 1
        assert made.error["job_id"] == job_id
        assert made.error["job"]["status"] == "running"


@pytest.mark.parametrize("kind", ["lost", "502", "silence"])
def test_an_execution_without_an_answer_is_looked_for(tmp_path: Path, kind: str) -> None:
    """The jobs that began since are named, no others; none is taken for ours."""
    stand = Stand()
    with served(stand, tmp_path) as proxy:
        earlier = call(url_of(stand, "alice"), **ECHO, state="started").result["job_id"]
        time.sleep(2.1)  # times in headers have whole seconds
        proxy.breaks(Fault(kind, "^POST"))
        made = call(url_of(proxy, "alice"), **ECHO)
        began = [job_id for job_id in owned(stand, "alice") if job_id != earlier]
    assert len(began) == (kind == "lost")
    assert earlier not in made.message
    assert "not known whether the job was started" in made.message
    assert "oapip_job_info" in made.message
    for job_id in began:
        assert job_id in made.message
    assert made.error.get("jobs", []) == began


# ---------------------------------------------------------------------- clocks

HOUR = 3600.0


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what moves the wall clock of this thread, and of no server."""
    real, here, moved = time.time, threading.get_ident(), [0.0]

    def shown() -> float:
        return real() + (moved[0] if threading.get_ident() == here else 0.0)

    monkeypatch.setattr(time, "time", shown)

    def by(seconds: float) -> None:
        moved[0] = seconds

    return by


@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [(0, HOUR), (0, -HOUR), (-HOUR, -HOUR)],
    ids=["forth", "back", "late all along"],
)
def test_the_wall_clock_jumps_while_a_job_runs(
    tmp_path: Path, jump: Callable[[float], None], before: float, meanwhile: float
) -> None:
    """Neither a date in Retry-After nor the life of a token goes by it."""
    stand, issuer = Stand(), Issuer()
    stand.fetch_keys = issuer.keys
    stand.source.settings = replace(stand.source.settings, token_env=issuer.env)
    token = issuer.token(preferred_username="alice", exp=time.time() + 600).split()[1]
    with served(stand, tmp_path) as proxy:
        stand.never_runs()
        deploy(stand, "alice")
        started = call(url_of(stand, "alice"), **SLEEPER, state="started", token=token)
        job_id = started.result["job_id"]
        jump(before)
        proxy.breaks(Fault("429-date", STATUS.format("alice"), nth=2, retry_after=2))
        later = [
            threading.Timer(0.5, jump, [meanwhile]),
            threading.Timer(3.0, stand.end, [job_id]),
        ]
        for timer in later:
            timer.start()
        made = call(url_of(proxy, "alice"), job_id=job_id, wait_timeout=20, token=token)
        assert made.result.get("job_results") == DONE, made
        assert 2.9 <= made.seconds <= 6
        assert len(proxy.struck) == 1


@pytest.mark.parametrize("jumped", [HOUR, -HOUR], ids=["forth", "back"])
def test_the_wall_clock_jumps_before_a_deadline(
    tmp_path: Path, jump: Callable[[float], None], jumped: float
) -> None:
    stand = Stand()
    with served(stand, tmp_path) as proxy:
        stand.never_runs()
        deploy(stand, "alice")
        timer = threading.Timer(0.5, jump, [jumped])
        timer.start()
        made = call(url_of(proxy, "alice"), **SLEEPER, wait_timeout=2)
    assert "not over after 2 s" in made.message
    assert 2 <= made.seconds <= 3


# ---------------------------------------------------------------------- tokens

LIFE = 2.0
"""Seconds that a token lives."""


@dataclass
class Account:
    """An authorization server: tokens of `LIFE` seconds for one client and one user."""

    issuer: Issuer = field(default_factory=Issuer)
    given: list[str] = field(default_factory=list)
    broken: bool = False

    def answer(self, asked: ogc_double.Asked) -> ogc_double.Reply:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        right = {"client_id": "ci", "client_secret": "s3cr3t"}
        if form["grant_type"] == "password":
            right = {"client_id": "ci", "username": "alice", "password": "s3cr3t"}
        if self.broken or any(form.get(name) != value for name, value in right.items()):
            return ogc_double.Reply(500 if self.broken else 401, {"error": "unauthorized_client"})
        self.given.append(form["grant_type"])
        token = self.token()
        return ogc_double.Reply(200, {"access_token": token, "expires_in": int(LIFE)})

    def token(self) -> str:
        over = int(time.time() + LIFE) + 1  # engines look at whole seconds
        return self.issuer.token(preferred_username="alice", exp=over).split()[1]


GRANTS: dict[str, dict[str, str]] = {
    "client_credentials": {"client_id": "ci", "client_secret": "s3cr3t"},
    "password": {"client_id": "ci", "username": "alice", "password": "s3cr3t"},
}


@contextmanager
def guarded(folder: Path) -> Iterator[tuple[Stand, Relay, Account, str]]:
    """Run an engine that checks tokens, behind a proxy, and an authorization server."""
    account = Account()
    stand = Stand(fetch_keys=account.issuer.keys)
    stand.source.settings = replace(
        stand.source.settings, token_env=account.issuer.env, secured=True
    )
    with served(stand, folder) as proxy, ogc_double.serving(account.answer) as double:
        stand.never_runs()
        token = account.issuer.token(preferred_username="alice").split()[1]
        params = {"url": stand.url, "content": CWL, "token": token}
        oapip_process.run(params_of(oapip_process, params), Context())
        yield stand, proxy, account, f"{double.url}/token"


@pytest.mark.parametrize("grant", GRANTS)
def test_a_token_that_ends_in_a_wait_is_renewed(tmp_path: Path, grant: str) -> None:
    with guarded(tmp_path) as (stand, proxy, account, token_url):
        ending = threading.Timer(5.0, lambda: stand.end(owned(stand, "alice")[0]))
        ending.start()
        made = call(url_of(proxy, "alice"), **SLEEPER, token_url=token_url, **GRANTS[grant])
        assert made.result.get("job_results") == DONE, made
        assert owned(stand, "alice") == (made.result["job_id"],)
        # in time, so that no request is refused, and not for each look
        assert [seen.status for seen in proxy.requests if seen.status >= 400] == []
        looks = sum("/jobs/" in seen.path for seen in proxy.requests)
        assert 2 <= len(account.given) <= looks
        assert set(account.given) == {grant}


def test_a_token_that_the_server_ends_early_is_renewed(tmp_path: Path) -> None:
    """A 401 is answered with a new token, also at the execution; the job is started once."""
    with guarded(tmp_path) as (stand, proxy, _account, token_url):
        proxy.breaks(Fault("expired", "/processes/|/execution$|/jobs/", every=2))
        ending = threading.Timer(3.0, lambda: stand.end(owned(stand, "alice")[0]))
        ending.start()
        given = GRANTS["client_credentials"]
        made = call(url_of(proxy, "alice"), **SLEEPER, token_url=token_url, **given)
        assert made.result.get("job_results") == DONE, made
        assert owned(stand, "alice") == (made.result["job_id"],)
        assert len(proxy.struck) >= 3


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_given_token_that_ends_in_a_wait_is_told(tmp_path: Path, who: str) -> None:
    """With the job, which goes on, whether we see the end or the server does."""
    with guarded(tmp_path) as (stand, proxy, account, _token_url):
        if who == "server":
            token = account.issuer.token(preferred_username="alice").split()[1]
            proxy.breaks(Fault("expired", STATUS.format("alice"), start=2.0))
        else:
            token = account.token()
        made = call(url_of(proxy, "alice"), **SLEEPER, token=token)
        (job_id,) = owned(stand, "alice")
        assert made.seconds < 5
    assert ("it expired" if who == "client" else "HTTP 401") in made.message
    assert "oken" in made.error["error"]["hint"]
    assert job_id in made.message
    assert (made.error["job_id"], made.error["changed"]) == (job_id, True)
    assert made.error["job"]["status"] == "running"
    assert token not in str(made.error)


@pytest.mark.parametrize("how", ["broken", "silent"])
def test_a_wait_outlives_its_authorization_server(tmp_path: Path, how: str) -> None:
    """No token for a while is a fault like others: it passes, or the deadline ends the wait."""
    with guarded(tmp_path) as (stand, proxy, _account, token_url):
        with Relay(token_url.removesuffix("/token"), "keycloak") as before:
            before.breaks(Fault("silence" if how == "silent" else "500", start=1.5, seconds=60))
            made = call(
                url_of(proxy, "alice"),
                **SLEEPER,
                **GRANTS["client_credentials"],
                token_url=f"{before.url}/token",
                wait_timeout=5,
                timeout=30,
            )
        (job_id,) = owned(stand, "alice")
        assert "not over after 5 s (last: running 0 %; " in made.message
        assert job_id in made.message
        assert 5 <= made.seconds <= 6.5
