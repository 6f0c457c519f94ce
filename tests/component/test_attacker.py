"""What an attacker tries at a deployed engine, byte by byte: nobody sees what is not theirs.

Two users with a personal and a shared context each; every name begins like one of the other user's.
In each context lies a process with a name that cannot be guessed. An answer with a name of the
other user's, or one of the engine where the gateway had to refuse, is a breach.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.modules import keycloak_access_info, keycloak_user
from tests.harness import ROOT, run_playbook
from tests.keycloak_realm import Realm, options_for
from tests.raw_http import Answer, Line

OWNED = {"ann": ("ann", "anna-b"), "anna": ("anna", "ann-b")}
"""The contexts of each user: a personal one, and a shared one with one member."""

PAIRS = [("ann", own, other) for own in OWNED["ann"] for other in OWNED["anna"]]
PAIRS += [("anna", "ann-b", "ann")]
"""An attacker, the context from which, and the one at which the attack goes."""

FEW = (PAIRS[0], PAIRS[-1])
"""One of a personal context and one of a shared one, where all pairs would take long."""

ROOM = "ogc-api/processes"
PACKAGE = """\
cwlVersion: v1.2
$graph:
- {class: Workflow, id: NAME, inputs: {}, outputs: {}, steps: {s: {run: "#tool", in: {}, out: []}}}
- {class: CommandLineTool, id: tool, baseCommand: "true", inputs: {}, outputs: {}}
"""


@dataclass
class Place:
    """A deployed engine, tokens of the users, and the hidden process of each context."""

    line: Line
    realm: Realm
    token_url: str
    ca_file: str
    passwords: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)

    def bearer(self, user: str) -> str:
        """The user's Authorization header."""
        return f"Authorization: Bearer {self.tokens[user]}"

    def login(self, user: str) -> dict[str, str]:
        """The user's tokens, by the direct grant of the client for curl."""
        form = {"grant_type": "password", "client_id": "oapip-cli", "scope": "openid",
                "username": user, "password": self.passwords[user]}  # fmt: skip
        answer = requests.post(self.token_url, data=form, verify=self.ca_file, timeout=10)
        answer.raise_for_status()
        found: dict[str, str] = answer.json()
        return found

    def settle(self, context: str, method: str, target: str, body: bytes = b"") -> Answer:
        """A request of the context's owner, for the test's own things."""
        (user,) = [name for name, owned in OWNED.items() if context in owned]
        kind = "Content-Type: application/cwl+yaml"
        target = f"/{context}/{ROOM}{target}"
        return self.line.ask(target, self.bearer(user), kind, method=method, body=body)


def site(folder: Path, *options: str) -> None:
    report = f"oapip_report_dir={folder}"
    given = ("-l", "sandbox-1", "-e", report, "-e", "oapip_prove=never", *options)
    done = run_playbook(ROOT / "site.yml", folder, *given)
    assert done.code == 0, done.output[-6000:]


@pytest.fixture(scope="module")
def place(sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("attacked")
    server = sandbox["keycloak"]
    realm = Realm(server["realm"], options_for(sandbox, server["realm"]))
    line = Line(
        "localhost",
        sandbox["clusters"][0]["https_port"],
        ssl.create_default_context(cafile=sandbox["ca_file"]),
        timeout=3,
    )
    token_url = f"{server['issuer']}/protocol/openid-connect/token"
    made = Place(line, realm, token_url, sandbox["ca_file"])
    made.passwords = {user: secrets.token_urlsafe(20) for user in OWNED}
    for user, password in made.passwords.items():
        person: dict[str, Any] = {"email": f"{user}@example.org", "first_name": user}
        person.update(last_name="Test", password=password, update_password="always")
        realm.call(keycloak_user, username=user, **person)
    contexts: list[dict[str, Any]] = [{"name": "alice"}, {"name": "bob"}]
    for user, (own, shared) in OWNED.items():
        contexts += [{"name": own}, {"name": shared, "mode": "shared", "users": [user]}]
    try:
        site(folder, "-e", json.dumps({"oapip_contexts": contexts}))
        made.tokens = {user: made.login(user)["access_token"] for user in OWNED}
        for context in (context for owned in OWNED.values() for context in owned):
            made.hidden[context] = name = f"p{secrets.token_hex(8)}"
            body = PACKAGE.replace("NAME", name).encode()
            assert made.settle(context, "POST", "", body).status == 201
        yield made
        for context, name in made.hidden.items():
            assert made.settle(context, "DELETE", f"/{name}").status in (200, 204)
    finally:
        for user in OWNED:
            realm.call(keycloak_user, username=user, state="absent")
        site(folder)


# ---------------------------------------------------------------------- the list


@dataclass(frozen=True)
class Attack:
    """A request with another user's token, and what must come of it.

    Texts may hold {own}, {other}, {OWN}, {OTHER}, {room}, {theirs} (the hidden process) and {host}.

    :param expect: the only right answers; empty: the path is the attacker's own, so the engine may
        answer, without anything of the other's.
    :param stranger: the right answers where no token is sent; empty: it is not tried.
    :param keycloak: what Keycloak decides about the path; empty: it never gets to see it.
    """

    target: str
    expect: tuple[int, ...]
    stranger: tuple[int, ...] = (401,)
    headers: tuple[str, ...] = ()
    method: str = "GET"
    keycloak: str = "deny"

    def __str__(self) -> str:
        words = [self.method, self.target, *self.headers] if self.method != "GET" else [self.target]
        return " ".join([*words, *(self.headers if self.method == "GET" else ())])


def filled(text: str, own: str, other: str, theirs: str = "", host: str = "") -> str:
    given = {"own": own, "other": other, "OWN": own.upper(), "OTHER": other.upper(),
             "room": ROOM, "theirs": theirs, "host": host}  # fmt: skip
    return text.format(**given)


PLAIN = [
    "/{other}",
    "/{other}/",
    "/{other}/ogc-api",
    "/{other}/ogc-api/",
    "/{other}/{room}",
    "/{other}/{room}/{theirs}",
    "/{other}/{room}/{theirs}/package",
    "/{other}/ogc-api/jobs",
    "/{other}/temp/",
    "/{other}/temp/x.log",
    # the engine takes whatever stands before the last /ogc-api for the context
    "/{other}/{own}/{room}",
    "/{other}/ogc-api/{own}/{room}",
    "/{other}/{room}/{own}/{room}",
    "/swagger-ui/{other}/{room}",
    "/ogc-api/api/{other}/{room}",
    "/ogc-api/conformance/ogc-api/jobs",
    "/conformance/ogc-api/jobs",
    "/swagger-ui/ogc-api/processes",
    "/swagger-ui/oapip/ogc-api/processes",
    "/ogc-api/processes",
    "/ogc-api/processes/{theirs}",
    "/ogc-api/jobs",
    "/ogc-api/{other}/{room}",
    # WPS, which never meets the engine's own security filter
    "/ogc-api?service=WPS&request=GetCapabilities",
    "/{other}/ogc-api?service=WPS&request=GetCapabilities",
    "/cgi-bin/zoo_loader.cgi?service=WPS&request=GetCapabilities",
    "/cgi-bin/zoo_loader.cgi?/processes",
    "/{other}/cgi-bin/zoo_loader.cgi?/processes",
    # a query is no part of the path, whatever it looks like
    "/{other}/{room}?x=/{own}/",
    "/{other}/{room}?/../../../{own}/{room}",
    "/{other}/{room}?/..%2f..%2f..%2f{own}/{room}",
    "/{other}/?/..;/{own}/",
    "/{other}?/../{own}/{room}",
    # names that look alike
    "/{OTHER}/{room}",
    "/{other}x/{room}",
    "/{other}./{room}",
    "/{other},x=1/{room}",
    "/{other}&x=1/{room}",
    "/{other}@{own}/{room}",
    "/{own}:{other}/{room}",
    "/{other}*/{room}",
    "/{other}/*",
    "/*/{room}",
    "/{{id}}/{room}",
    "/*",
    "/",
]
SPELT = [
    # fullwidth, overlong and high bytes as they are: no escape for the guard to see
    "/\u00ef\u00bd\u0081nna/{room}",
    "/{other}\u00c0\u00af{room}",
    "/{own}/\u00c0\u00ae\u00c0\u00ae/{other}/{room}",
    "/{other}\u00e2\u0080\u008b/{room}",
    "/{other}\u00a0/{room}",
]
UNREAD = {
    # path: what Keycloak would decide, were it asked
    "//{other}/{room}": "deny",
    "/{other}//{room}": "deny",
    "///{other}/{room}": "deny",
    "//{own}/../{other}/{room}": "deny",
    "/./{other}/{room}": "deny",
    "/{other}/./{room}": "deny",
    "/{own}/../{other}/{room}": "deny",
    "/{other}/../{own}/{room}": "allow",
    "/{own}/{room}/../../../{other}/{room}": "deny",
    "/{other}/{room}/../../../{own}/{room}": "allow",
    "/{other}/{room}/..": "deny",
    "/{own}/%2e%2e/{other}/{room}": "deny",
    "/{other}/%2e%2e/{own}/{room}": "allow",
    "/{other}/%2E%2e/{own}/{room}": "allow",
    "/{other}/.%2e/{own}/{room}": "allow",
    "/{own}/..%2f{other}/{room}": "deny",
    "/{other}/..%2f{own}/{room}": "allow",
    "/{other}/..%2F{own}/{room}": "allow",
    "/{other}%2f..%2f{own}/{room}": "allow",
    "/{other}/%2e%2e%2f{own}/{room}": "allow",
    "/{other}%2f{room}": "deny",
    "/%2f{other}/{room}": "deny",
    "/{other}/..;/{own}/{room}": "allow",
    "/{other}/..;x=1/{own}/{room}": "allow",
    "/{other}/.;/../{own}/{room}": "deny",
    "/{own}/..;/{other}/{room}": "deny",
    "/{other};x=1/{room}": "deny",
    "/{other};/../{own}/{room}": "allow",
    "/;/{other}/{room}": "deny",
    "/{own};/../{other}/{room}": "deny",
    "/{other}/%252e%252e/{own}/{room}": "allow",
    "/{own}/%252e%252e/{other}/{room}": "deny",
    "/{other}/..%252f{own}/{room}": "allow",
    "/{other}/%25252e%25252e/{own}/{room}": "",
    "/{other}/%2e%2e;/{own}/{room}": "allow",
    "/{other}/..%3b/{own}/{room}": "allow",
    "/{other}%3bx=1/{room}": "deny",
    "/{other}%3f/../{own}/{room}": "",
    "/{other}%23/../{own}/{room}": "",
    "/{own}\\..\\{other}\\{room}": "",
    "/{other}\\..\\{own}\\{room}": "",
    "/{other}/..\\{own}/{room}": "",
    "/{other}/..%5c{own}/{room}": "",
    "/{other}#/../{own}/{room}": "",
    "/{own}#/../{other}/{room}": "",
    "/%61nna/{room}": "",
    "/{other}/%6fgc-api/processes": "deny",
    "/{other}%00/{room}": "",
    "/{other}%0a/{room}": "",
    "/{other}%20/{room}": "deny",
    "/{other}%09/{room}": "",
    "/{other}%c0%ae%c0%ae/{room}": "",
    "/{other}/%u002e%u002e/{own}/{room}": "",
    "/{other}/%/{room}": "",
    "/{own}/temp/..%2f..%2f{other}/temp/x.log": "deny",
    "/ogc-api/../{other}/{room}": "deny",
    "/ogc-api/..%2f{other}/{room}": "deny",
    "/ogc-api/..;/{other}/{room}": "",
    "/ogc-api/%252e%252e/{other}/{room}": "",
    "/swagger-ui/oapip/../../{other}/{room}": "deny",
    "/swagger-ui/oapip/..%2f..%2f{other}/{room}": "deny",
    "/ogc-api//": "deny",
    "/ogc-api/;x=1": "deny",
}
CHOOSE = [
    "Services-Namespace: {other}",
    "services-namespace: {other}",
    "SERVICES_NAMESPACE: {other}",
    "X-Services-Namespace: {other}",
    "X_Services_Namespace: {other}",
    "REDIRECT_SERVICES_NAMESPACE: {other}",
    "A-Services_Namespace-Z: {other}",
    "Http-Authorization: Bearer e30.e30.e30",
    "HTTP_AUTHORIZATION: Bearer e30.e30.e30",
    "X-Http-Authorization: Bearer e30.e30.e30",
    "Redirect-Http_Authorization: Bearer e30.e30.e30",
]
AIMED = [
    # headers by which other servers are led to another address, or to another user
    "X-Original-URL: {target}",
    "X-Rewrite-URL: {target}",
    "X-Forwarded-Uri: {target}",
    "X-Forwarded-Prefix: /{context}",
    "X-Forwarded-Host: {context}",
    "X-Forwarded-User: {user}",
    "X-Auth-Request-User: {user}",
    "Remote-User: {user}",
    "Forwarded: for=127.0.0.1;host={context}",
    "Referer: https://{{host}}{target}",
    "X-HTTP-Method-Override: GET",
    "Path-Info: {target}",
    "Script-Name: /{context}",
    "Cookie: session={context}; Authorization=Bearer e30.e30.e30",
    "X-Userinfo: eyJwcmVmZXJyZWRfdXNlcm5hbWUiOiJhbm5hIn0=",
    "X-Access-Token: e30.e30.e30",
    "X_Access_Token: e30.e30.e30",
    "X-ID-Token: e30.e30.e30",
    "Proxy-Authorization: Bearer e30.e30.e30",
    "X-Consumer-Username: {user}",
    "Connection: Authorization",
]
INSIDE = [
    # paths of the attacker's own in which the other's name stands where the engine may look for it
    "/{own}/{other}/{room}",
    "/{own}/{other}/{room}/{theirs}",
    "/{own}/{room}/{theirs}",
    "/{own}/{room}/{theirs}/package",
    "/{own}/ogc-api/{other}/{room}",
    "/{own}/{room}/{other}/{room}",
    "/{own}/{other}/temp/x.log",
    "/{own}/temp/{other}/temp/x.log",
    "/{own}/{room}?user={other}",
    "/{own}/{room}?SERVICES_NAMESPACE={other}&services_namespace={other}",
    "/{own}/{room}?/{other}/{room}",
    "/{own}/{room}?/../../../{other}/{room}",
    "/{own}/ogc-api/?/{other}/{room}",
    "/{own}/ogc-api?service=WPS&request=GetCapabilities",
    "/{own}/cgi-bin/zoo_loader.cgi?/processes",
    "/ogc-api/?/{other}/{room}",
    "/ogc-api/?service=WPS&request=GetCapabilities",
    "/ogc-api/api?/{other}/{room}",
]


def attacks() -> Iterator[Attack]:
    for target in PLAIN:
        yield Attack(target, (403,))
    for target in SPELT:
        yield Attack(target, (400, 403), (400, 401), keycloak="")
    for target, decision in UNREAD.items():
        yield Attack(target, (400,), (400,), keycloak=decision)
    for header in CHOOSE:
        for target in ("/{own}/{room}", "/{other}/{room}", "/ogc-api/"):
            yield Attack(target, (400,), (400,), (header,), keycloak="")
    for header in AIMED:
        lead = {"context": "{own}", "target": "/{own}/{room}", "user": "{own}"}
        yield Attack("/{other}/{room}", (403,), headers=(header.format(**lead),), keycloak="")
        lead = {"context": "{other}", "target": "/{other}/{room}", "user": "{other}"}
        yield Attack("/{own}/{room}", (), headers=(header.format(**lead),), keycloak="")
    for target in INSIDE:
        opened = target.startswith("/ogc-api/")
        yield Attack(target, (), () if opened else (401,), keycloak="" if opened else "allow")
    for method, target in (
        ("HEAD", "/{other}/{room}"),
        ("OPTIONS", "/{other}/{room}"),
        ("POST", "/{other}/{room}"),
        ("PUT", "/{other}/{room}/{theirs}"),
        ("PATCH", "/{other}/{room}/{theirs}"),
        ("DELETE", "/{other}/{room}/{theirs}"),
        ("PROPFIND", "/{other}/{room}"),
        ("POST", "/ogc-api/"),
        ("PUT", "/ogc-api/processes"),
    ):
        yield Attack(target, (403,), (400, 401), method=method, keycloak="")
    for method, status in (("TRACE", 405), ("CONNECT", 405), ("get", 400)):
        yield Attack("/{other}/{room}", (status,), (status,), method=method, keycloak="")


ATTACKS = list(attacks())


# ---------------------------------------------------------------------- the proof


def engines(answer: Answer) -> list[str]:
    """Headers that only the engine sends."""
    return [name for name in answer.headers if "powered-by" in name.lower()]


def breach(place: Place, attack: Attack, user: str, own: str, other: str, *, known: bool) -> str:
    """Make one attack; return what is wrong with the answer, or nothing."""
    theirs = place.hidden[other]
    words = (own, other, theirs, f"{place.line.host}:{place.line.port}")
    headers = [filled(header, *words) for header in attack.headers]
    if known:
        headers.append(place.bearer(user))
    target = filled(attack.target, *words)
    answer = place.line.ask(target, *headers, method=attack.method)
    expect = attack.expect if known else attack.stranger
    told = f"{user if known else 'stranger'}: {attack.method} {target} {headers[:1]}"
    told = f"{told.replace(place.tokens[user], '...')}: {answer.status}"
    # an answer may repeat a name that was asked for; it must not come unasked
    if answer.status < 300 if theirs in target else theirs.encode() in answer.body:
        return f"{told} with the other's process"
    if expect and (answer.status not in expect or engines(answer)):
        return f"{told} {engines(answer)}, not {expect}"
    return ""


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_nobody_gets_at_what_is_not_theirs(place: Place, attack: Attack) -> None:
    tries = [(*pair, True) for pair in PAIRS]
    tries += [(*pair, False) for pair in PAIRS[:2] if attack.stranger]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda one: breach(place, attack, *one[:3], known=one[3]), tries)
        assert [line for line in found if line] == []


def honest(place: Place) -> None:
    """Owners see their own process, and no other: without this no refusal proves anything."""
    for user, owned in OWNED.items():
        for context in owned:
            answer = place.line.ask(f"/{context}/{ROOM}", place.bearer(user))
            assert answer.status == 200
            assert engines(answer)
            seen = {each["id"] for each in answer.json()["processes"]}
            assert seen & {*place.hidden.values()} == {place.hidden[context]}
            answer = place.line.ask(
                f"/{context}/{ROOM}/{place.hidden[context]}", place.bearer(user)
            )
            assert answer.json()["id"] == place.hidden[context]
    assert place.line.ask("/ogc-api/").status == 200


def test_owners_see_their_own_and_no_other(place: Place) -> None:
    honest(place)


def test_keycloak_decides_the_same_where_it_is_asked(place: Place) -> None:
    wanted: dict[tuple[str, str], str] = {}
    for attack in ATTACKS:
        for user, own, other in FEW:
            target = filled(attack.target, own, other, place.hidden[other])
            if attack.keycloak:
                assert wanted.setdefault((user, target), attack.keycloak) == attack.keycloak
    found = place.realm.call(
        keycloak_access_info,
        client_id="oapip-engine",
        checks=[
            {"user": user, "path": path, "expect": told} for (user, path), told in wanted.items()
        ],
        credentials=[{"username": user, "token": token} for user, token in place.tokens.items()],
        fail_on_mismatch=False,
    )
    for method in ("admin", "token"):
        decided = [one for one in found["decisions"] if one["method"] == method]
        assert len(decided) == len(wanted)
        wrong = [(one["user"], one["path"], one["decision"]) for one in decided if one["mismatch"]]
        assert wrong == []


def forged(place: Place, user: str, victim: str) -> Iterator[tuple[str, str]]:
    """Yield credentials that are not the victim's but say so, and own ones of the wrong kind."""
    own = place.tokens[user]
    head, _, signature = own.split(".")
    claims = jwt.decode(own, options={"verify_signature": False})
    theirs = jwt.decode(place.tokens[victim], options={"verify_signature": False})
    kid = jwt.get_unverified_header(own)["kid"]
    claims |= {"preferred_username": victim, "sub": theirs["sub"], "sid": theirs["sid"]}
    told = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    yield "other claims under the own signature", f"Bearer {head}.{told}.{signature}"
    unsigned = jwt.encode(claims, key="", algorithm="none", headers={"kid": kid})
    yield "unsigned", f"Bearer {unsigned}"
    yield "unsigned, with a signature", f"Bearer {unsigned}{signature}"
    realm = requests.get(place.token_url.split("/protocol/")[0], verify=place.ca_file, timeout=10)
    for name, key in (("the realm's public key", realm.json()["public_key"]), ("nothing", "")):
        signed = jwt.api_jws.PyJWS(options={}).encode(
            json.dumps(claims).encode(), key.encode() or b"-" * 32, "HS256", {"kid": kid}
        )
        yield f"signed with {name} as a shared secret", f"Bearer {signed}"
    grant = place.login(user)
    yield "refresh token", f"Bearer {grant['refresh_token']}"
    yield "identity token", f"Bearer {grant['id_token']}"
    yield "two in one", f"Bearer {own}, Bearer {unsigned}"
    yield "lower case", f"bearer {own}"
    pair = base64.b64encode(f"{user}:{place.passwords[user]}".encode()).decode()
    yield "password", f"Basic {pair}"


def test_no_made_up_credential_opens_another_context(place: Place, admin: requests.Session) -> None:
    foreign = ("administrator of another realm", str(admin.headers["Authorization"]))
    for user, victim in (("ann", "anna"), ("anna", "ann")):
        for name, credential in (*forged(place, user, victim), foreign):
            for other in OWNED[victim]:
                answer = place.line.ask(f"/{other}/{ROOM}", f"Authorization: {credential}")
                assert (name, answer.status) in [(name, code) for code in (400, 401, 403)]
                assert not engines(answer)
            own = place.line.ask(f"/{user}/{ROOM}", f"Authorization: {credential}")
            assert place.hidden[victim].encode() not in own.body
            landing = place.line.ask("/ogc-api/", f"Authorization: {credential}")
            assert (name, landing.status, victim.encode() in landing.body) == (name, 200, False)


def test_nobody_makes_a_resource_of_their_own_over_anothers_path(place: Place) -> None:
    issuer = place.token_url.split("/protocol/")[0]
    target = f"/anna/{ROOM}"
    # an exact path would win against the pattern of the context
    answer = requests.post(
        f"{issuer}/authz/protection/resource_set",
        json={"name": "mine", "uris": [target], "ownerManagedAccess": True},
        headers={"Authorization": f"Bearer {place.tokens['ann']}"},
        verify=place.ca_file,
        timeout=10,
    )
    assert answer.status_code in (401, 403)
    assert place.line.ask(target, place.bearer("ann")).status == 403


def torn(line: Line, bearer: str, own: str, other: str) -> Iterator[tuple[str, str]]:
    """Yield bytes that two servers may take for different requests, by what is odd about them.

    Each asks for the own processes, and hides a request or a header for the other's.
    """
    mine, theirs = f"/{own}/{ROOM}", f"/{other}/{ROOM}"
    root = f"https://{line.host}:{line.port}"

    def one(target: str, *headers: str, method: str = "GET", close: bool = True) -> str:
        return line.request(target, bearer, *headers, method=method, close=close).decode("latin-1")

    def post(*headers: str) -> str:
        return one(mine, *headers, method="POST", close=False)

    inner = one(theirs)
    ended = f"0\r\n\r\n{inner}"
    size = f"Content-Length: {len(inner)}"
    chunked = "Transfer-Encoding: chunked"
    yield "two on one connection", one(mine, close=False) + inner
    yield "length and chunks", post("Content-Length: 4", chunked) + ended
    yield "two codings", post(chunked, "Transfer-Encoding: identity") + ended
    yield "a list of codings", post("Transfer-Encoding: gzip, chunked") + ended
    yield "an unknown coding", post("Transfer-Encoding: xchunked") + ended
    yield "a blank before the colon", post("Transfer-Encoding : chunked") + ended
    yield "a vertical tab in the coding", post("Transfer-Encoding: \x0bchunked") + ended
    yield "two lengths", post("Content-Length: 0", size) + inner
    yield "a signed length", post("Content-Length: +0") + inner
    yield "a list of lengths", post(f"Content-Length: 0, {len(inner)}") + inner
    yield "a body where none belongs", one(mine, size) + inner
    yield "a size of a chunk that overflows", post(chunked) + "10000000000000000\r\n" + ended
    yield "another protocol", one(mine, "Upgrade: h2c", "Connection: Upgrade") + inner
    yield "a web socket", one(mine, "Upgrade: websocket", "Connection: Upgrade") + inner
    yield "a body that is waited for", one(mine, "Expect: 100-continue", size) + inner
    chosen = f"Services-Namespace: {other}"
    trailer = one(mine, chunked, "Trailer: Services-Namespace", method="POST")
    yield "a trailer", f"{trailer}0\r\n{chosen}\r\n\r\n"
    for name, header in (
        ("a blank after the name", f"Services-Namespace : {other}"),
        ("a tab after the name", f"Services-Namespace\t: {other}"),
        ("a folded line", f"X-A: b\r\n {chosen}"),
        ("a blank before the name", f" {chosen}"),
        ("a bare line feed", f"X-A: b\n{chosen}"),
        ("a bare carriage return", f"X-A: b\r{chosen}"),
        ("a null", f"X-A: b\0{chosen}"),
        ("a null in the name", f"Services-\0Namespace: {other}"),
        *((f"{mark} in the name", f"Services{mark}Namespace: {other}") for mark in ".#~+!$'"),
        ("another host", "Host: elsewhere"),
        ("a host that is a path", f"Host: {line.host}{theirs}?"),
        ("another token", "Authorization: Bearer e30.e30.e30"),
    ):
        yield name, one(mine, header)
    many = [f"X-{number}: x" for number in range(110)]  # Lua reads 100 unless told
    yield "the last of many headers", one(mine, *many, chosen)
    for name, target in (
        ("the whole address", f"{root}{theirs}"),
        ("the whole address, crossed", f"{root}/{other}/..%2f{own}/{ROOM}"),
        ("the address of another host", f"https://elsewhere{theirs}"),
        ("a user in the address", f"https://{line.host}@elsewhere{theirs}"),
        ("an address without path", f"{root}?{theirs}"),
        ("no slash", theirs[1:]),
        ("two targets", f"{mine} {theirs}"),
        ("two targets, a tab between", f"{mine}\t{theirs}"),
        ("two targets, a carriage return between", f"{mine}\r{theirs}"),
        ("a blank too many", f" {theirs}"),
        ("a control character", f"/{other}\x01/{ROOM}"),
        ("the last ASCII character", f"/{other}\x7f/{ROOM}"),
    ):
        yield name, one(target)
    yield "lines before the request", f"\r\n\n{inner}"
    yield "HTTP/0.9", f"GET {theirs}\r\n\r\n"
    yield "HTTP/1.0", inner.replace("HTTP/1.1", "HTTP/1.0")
    yield "HTTP/1.0 without a host", f"GET {theirs} HTTP/1.0\r\n{bearer}\r\n\r\n"
    yield "HTTP/2.0", inner.replace("HTTP/1.1", "HTTP/2.0")


def test_no_torn_request_brings_the_others_answer(place: Place) -> None:
    def reply(user: str, own: str, other: str, name: str, sent: str) -> str:
        came = place.line.send(sent.encode("latin-1"))
        if not came.startswith(b"HTTP/"):
            return f"{user}, {name}: no answer"
        return f"{user}, {name}: {came!r}" if place.hidden[other].encode() in came else ""

    tries = [
        (user, own, other, *case)
        for user, own, other in FEW
        for case in torn(place.line, place.bearer(user), own, other)
    ]
    with ThreadPoolExecutor(8) as pool:
        assert [line for line in pool.map(lambda one: reply(*one), tries) if line] == []
    honest(place)
