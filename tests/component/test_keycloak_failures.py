"""Servers, names and others that go wrong: each Keycloak module ends well, or says why unwritten.

A proxy stands between the modules and the real Keycloak; its admin events tell what was written.
What goes wrong within a whole run is in tests/faults, the rights in test_keycloak_rights.py.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    keycloak_access_info,
    keycloak_client,
    keycloak_protect,
    keycloak_user,
)
from tests.faults.fault import Fault
from tests.faults.proxy import Proxy
from tests.keycloak_realm import Realm, realm

Json = dict[str, Any]
MARKER = "engine 42"
READ = "^GET /admin"
WRITE = "^(POST|PUT|DELETE) /admin"
WRITERS = ("client", "protect", "user")
MODULES = (*WRITERS, "access")
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """One module and its options; each has something to write, but for the one that asks."""

    here: Realm
    module: ModuleType
    options: Json

    def __call__(self, **more: Any) -> Json:
        return self.here.call(self.module, **{**self.options, **more})

    def settled(self) -> None:
        """Nothing is left to be written, and nothing is written."""
        self.here.kc.request("DELETE", "admin-events")
        assert self()["changes"] == []
        assert self.here.writes() == []


@pytest.fixture(scope="module")
def direct(sandbox: Json) -> Iterator[Realm]:
    """A realm with users, a role and a client whose protection is settled."""
    with realm(sandbox) as made:
        made.user("alice")
        made.kc.create("roles", body={"name": "reader"})
        common: Json = {"client_id": "engine", "marker": MARKER}
        made.call(keycloak_client, **common, authorization=True)
        made.call(keycloak_protect, **common, contexts=[{"name": "alice"}])
        yield made


@pytest.fixture(scope="module")
def proxy(sandbox: Json, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(sandbox, "keycloak", tmp_path_factory.mktemp("proxy")) as made:
        yield made


@pytest.fixture
def here(direct: Realm, proxy: Proxy) -> Realm:
    """The realm behind the proxy, with which nothing goes wrong yet."""
    proxy.breaks()
    return direct.at(proxy.url)


def call_of(here: Realm, name: str) -> Call:
    """Return a module's call with new names, and make what it needs."""
    number = next(NUMBERS)
    common: Json = {"client_id": f"client-{number}", "marker": MARKER}
    if name == "user":
        user = {"username": f"user-{number}", "email": f"u{number}@example.org"}
        return Call(here, keycloak_user, {**user, "first_name": "A", "last_name": "B"})
    if name == "access":
        checks = [{"user": "alice", "path": "/alice/x", "expect": "allow"}]
        return Call(here, keycloak_access_info, {"client_id": "engine", "checks": checks})
    if name == "protect":
        here.call(keycloak_client, **common, authorization=True)
        return Call(here, keycloak_protect, {**common, "contexts": [{"name": "alice"}]})
    more = {"authorization": True, "audience": [common["client_id"]]}
    roles = {"service_account_roles": ["reader"]}
    return Call(here, keycloak_client, {**common, **more, **roles})


@pytest.fixture
def call(here: Realm, request: pytest.FixtureRequest) -> Call:
    made = call_of(here, request.param)
    here.kc.request("DELETE", "admin-events")
    return made


def each(names: tuple[str, ...]) -> pytest.MarkDecorator:
    """Run a test with the calls of these modules."""
    return pytest.mark.parametrize("call", names, indirect=True)


@pytest.fixture(scope="module")
def unwritten(direct: Realm, proxy: Proxy) -> Iterator[dict[str, Call]]:
    """A call of each module that is never let through, and so is good for many tests."""
    proxy.breaks()
    there = direct.at(proxy.url)
    calls = {name: call_of(there, name) for name in MODULES}
    yield calls
    assert calls["protect"]()["changed"]
    assert direct.kc.client(calls["client"].options["client_id"]) is None
    assert not direct.kc.user_exists(calls["user"].options["username"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for another attempt: the first failure is told."""
    monkeypatch.setattr(_http, "pause", lambda *_args: 1000.0)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other soon, but as late as the server wants."""
    pause = _http.pause
    monkeypatch.setattr(
        _http, "pause", lambda attempt, header=None: pause(attempt, header) if header else 0.1
    )


def refused(call: Call, **wrong: Any) -> str:
    """Return the message of a call that has to fail without a write."""
    call.here.kc.request("DELETE", "admin-events")
    with pytest.raises(OapipError) as told:
        call(**wrong)
    message = str(told.value)
    assert re.match(r"[a-z]\w+ing \S", message), message
    password = call.here.options["auth_password"]
    for foul in ("Traceback", "Error(", "object at 0x", "<html", "eyJ", password, "not-it"):
        assert foul not in message, message
    assert call.here.writes() == []
    return message


# ---------------------------------------------------------------------- nothing can be done


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"auth_password": "not-it"}, "Check auth_username, auth_password and auth_realm"),
        ({"auth_realm": "no-such-realm"}, "Realm does not exist. Check auth_realm"),
        ({"realm": "no-such-realm"}, "Create the realm no-such-realm"),
        ({"server_url": "https://localhost:9"}, "no answer from https://localhost:9"),
        ({"ca_path": None}, "Give the CA that signed the server's certificate with ca_path"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_options_that_lead_nowhere(
    unwritten: dict[str, Call], proxy: Proxy, wrong: Json, words: str
) -> None:
    proxy.breaks()
    for name, call in unwritten.items():
        assert words in refused(call, **wrong), name


@pytest.mark.parametrize(
    ("kind", "match", "words"),
    [
        ("502", "", "HTTP 502"),
        ("html", "", "the answer is not Keycloak's"),
        ("html", READ, "the answer is not JSON but text/html"),
        ("truncated", READ, "the answer is not JSON"),
        ("reset-inside", READ, "the connection broke inside the answer"),
        ("reset-before", READ, "no answer from"),
        ("silence", READ, "timed out. Check that the server is up"),
        ("429", READ, "It asks to wait 2 s"),
        ("500", READ, "Keycloak's own log says more"),
        ("expired", READ, "The server refuses a token it has just given"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_a_server_that_stays_wrong(
    unwritten: dict[str, Call], proxy: Proxy, kind: str, match: str, words: str
) -> None:
    for name, call in unwritten.items():
        proxy.breaks(Fault(kind, match, seconds=2))
        message = refused(call, **({"timeout": 1} if kind == "silence" else {}))
        assert words in message, name
        assert proxy.url in message, name
        assert proxy.struck, name


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("client", {"service_account_roles": ["nothing"]}, "no role nothing"),
        ("client", {"default_scopes": ["nothing"]}, "no client scope nothing; it has"),
        ("client", {"optional_scopes": ["nothing"]}, "no client scope nothing; it has"),
        ("client", {"token_clients": ["nothing"]}, "token_clients names the client nothing"),
        ("client", {"audience": ["nothing"]}, "audience names the client nothing"),
        ("protect", {"client_id": "nothing"}, "no client nothing"),
        ("protect", {"contexts": [{"name": "nobody"}]}, "no user nobody"),
        (
            "protect",
            {"contexts": [{"name": "x", "mode": "shared", "groups": ["/nothing"]}]},
            "no group /nothing",
        ),
        (
            "protect",
            {"contexts": [{"name": "x", "mode": "shared", "roles": ["nothing"]}]},
            "no role nothing",
        ),
        ("access", {"client_id": "nothing"}, "no client of that name"),
        (
            "access",
            {"checks": [{"user": "nobody", "path": "/x", "expect": "deny"}]},
            "no user nobody",
        ),
        (
            "access",
            {"checks": [{"user": "alice", "path": "/x", "scope": "no", "expect": "deny"}]},
            "no authorization scope no; it has none",
        ),
    ],
)
def test_names_that_nobody_has(
    unwritten: dict[str, Call], proxy: Proxy, name: str, wrong: Json, words: str
) -> None:
    proxy.breaks()
    assert words in refused(unwritten[name], **wrong)


# ---------------------------------------------------------------------- it passes


@each(MODULES)
@pytest.mark.parametrize("kind", ["502", "429", "reset-inside"])
@pytest.mark.usefixtures("quick")
def test_a_fault_of_a_read_that_passes(call: Call, proxy: Proxy, kind: str) -> None:
    proxy.breaks(Fault(kind, READ, times=2, retry_after=1))
    begun = time.monotonic()
    call()
    assert len(proxy.struck) == 2
    if kind == "429":
        assert time.monotonic() - begun >= 2
    call.settled()


@each(("client", "access"))
@pytest.mark.usefixtures("quick")
def test_a_slow_server_is_asked_again(call: Call, proxy: Proxy) -> None:
    proxy.breaks(Fault("silence", READ, times=1, seconds=2))
    call(timeout=1)
    assert proxy.struck
    call.settled()


def test_a_server_that_is_away_for_ten_seconds(here: Realm, proxy: Proxy) -> None:
    calls = [call_of(here, name) for name in MODULES]
    proxy.breaks(Fault("502", end=10))
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda one: one(), calls))
    assert len(proxy.struck) >= 2 * len(calls)
    for one in calls:
        one.settled()


@each(WRITERS)
@pytest.mark.parametrize("kind", ["429", "expired"])
@pytest.mark.usefixtures("quick")
def test_a_write_that_was_not_begun_is_sent_again(call: Call, proxy: Proxy, kind: str) -> None:
    proxy.breaks(Fault(kind, WRITE, times=1, retry_after=1))
    assert call()["changed"]
    assert len(proxy.struck) == 1
    call.settled()


@each(WRITERS)
@pytest.mark.parametrize("kind", ["502", "lost", "html"])
@pytest.mark.usefixtures("quick")
def test_a_write_of_unknown_fate_is_made_good_by_the_next_run(
    call: Call, proxy: Proxy, kind: str
) -> None:
    proxy.breaks(Fault(kind, WRITE, times=1))
    with pytest.raises(OapipError, match=r"^creating ") as told:
        call()
    assert proxy.url in str(told.value)
    assert len(proxy.struck) == 1
    proxy.breaks()
    call()
    call.settled()


@each(("client",))
@pytest.mark.usefixtures("quick")
def test_a_new_client_that_cannot_be_closed_is_removed(call: Call, proxy: Proxy) -> None:
    proxy.breaks(Fault("html", "^GET .*/resource-server/permission"))
    with pytest.raises(OapipError, match=r"^closing client"):
        call()
    assert call.here.kc.client(call.options["client_id"]) is None


@each(WRITERS)
def test_a_token_that_ends_between_list_and_write(call: Call, direct: Realm, proxy: Proxy) -> None:
    """Keycloak itself refuses it: the proxy keeps the first write until the token has ended."""
    robot: Json = {"client_id": "robot", "secret": "a-robots-secret", "service_accounts": True}
    roles = [f"realm-management/manage-{kind}" for kind in ("clients", "users")]
    roles.append("realm-management/view-realm")
    direct.call(keycloak_client, **robot, service_account_roles=roles)
    direct.kc.request("PUT", body={"realm": direct.name, "accessTokenLifespan": 2})
    account: Json = {"auth_realm": direct.name, "auth_client_id": "robot", "auth_username": None}
    account.update(auth_client_secret=robot["secret"], auth_password=None)
    proxy.breaks(Fault("silence", WRITE, times=1, seconds=3))
    assert call(**account)["changed"]
    (late,) = proxy.struck
    assert late.status == 401
    call.settled()


# ---------------------------------------------------------------------- others at work


def before(monkeypatch: pytest.MonkeyPatch, request: str, act: Callable[[], object]) -> None:
    """Do something right before the first request that looks like this (``POST users``)."""
    answer = Keycloak._answer
    done: list[str] = []

    def first(
        self: Keycloak, method: str, segments: tuple[str, ...], *rest: Any, **more: Any
    ) -> Any:
        if not done and f"{method} {segments[-1]}" == request:
            done.append(request)
            act()
        return answer(self, method, segments, *rest, **more)

    monkeypatch.setattr(Keycloak, "_answer", first)


FASTER: list[tuple[str, str, Callable[[Call], tuple[tuple[str, ...], Json]]]] = [
    ("client", "POST clients", lambda one: (("clients",), {"clientId": one.options["client_id"]})),
    (
        "client",
        "POST client-scopes",
        lambda one: (
            ("client-scopes",),
            {"name": f"{one.options['client_id']}-audience", "protocol": "openid-connect"},
        ),
    ),
    ("user", "POST users", lambda one: (("users",), {"username": one.options["username"]})),
]


@pytest.mark.parametrize(("name", "request_line", "made"), FASTER)
def test_what_somebody_else_made_faster_is_taken_over(
    direct: Realm,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    request_line: str,
    made: Callable[[Call], tuple[tuple[str, ...], Json]],
) -> None:
    call = call_of(direct, name)
    path, body = made(call)
    before(monkeypatch, request_line, lambda: direct.kc.create(*path, body=body))
    changes = call()["changes"]
    assert ("update", "client_scope" if "scopes" in request_line else name) in [
        (one["action"], one["kind"]) for one in changes
    ]
    call.settled()


@pytest.mark.parametrize("request_line", ["POST groups", "POST children", "POST import"])
@pytest.mark.parametrize("name", ["protect"])
def test_contexts_that_another_controller_made_faster_are_its_own(
    direct: Realm, monkeypatch: pytest.MonkeyPatch, name: str, request_line: str
) -> None:
    call = call_of(direct, name)
    before(monkeypatch, request_line, call)
    call()
    call.settled()
    export = direct.kc.request("GET", *direct.authz(call.options["client_id"]), "settings")
    names = [one["name"] for one in (*export["resources"], *export["policies"])]
    assert len(names) == len(set(names)) == 3


def test_a_client_that_another_installation_made_faster_is_refused(
    direct: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_of(direct, "client")
    theirs = {**call.options, "marker": "another"}
    before(monkeypatch, "POST clients", lambda: direct.call(keycloak_client, **theirs))
    with pytest.raises(OapipError, match="belongs to another installation"):
        call()
    direct.settle(keycloak_client, **theirs)


def test_what_another_controller_overwrites_is_written_again(
    direct: Realm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read the client before we wrote, and wrote it whole after us."""
    call = call_of(direct, "client")
    call()
    old = direct.kc.client(call.options["client_id"]) or {}
    put = Keycloak.request

    def overwritten(self: Keycloak, method: str, *segments: str, **more: Any) -> Any:
        done = put(self, method, *segments, **more)
        if method == "PUT" and segments[-1] == old["id"] and not overwrote:
            overwrote.append(method)
            put(self, "PUT", "clients", old["id"], body={**old, "name": "theirs"})
        return done

    overwrote: list[str] = []
    monkeypatch.setattr(Keycloak, "request", overwritten)
    changes = call(description="ours", name="ours")["changes"]
    assert [one["kind"] for one in changes] == ["client"]
    after = direct.kc.client(call.options["client_id"]) or {}
    assert (after["description"], after["name"]) == ("ours", "ours")
