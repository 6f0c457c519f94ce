# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""OGC API - Processes (18-062r2, Part 1; 20-044, Part 2): the one way to a server.

URLs are built from the configured base and ids; links of an answer are never followed, because
the engine builds them from its settings, which may be wrong.
"""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
import typing as t
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _http
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    Params,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock

EARLY = 30.0
"""Seconds before its expiry at which a token is fetched anew (at most a quarter of its life)."""

PERCENT = "a label or doc of a process holds a '%'"
"""What ZOO-Project prints as a format: it garbles the answer or crashes."""

PAGES = 1000
"""Pages of a list that are read."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

Auth = t.Callable[[t.Any], t.Any]
Document = t.Dict[str, t.Any]


class Tokens:
    """Bearer tokens of one account: given, or fetched (RFC 6749 4.3, 4.4) and renewed in time.

    :param http: a session that trusts the token endpoint.
    """

    def __init__(
        self, params: Params, ctx: Context, http: t.Any, clock: t.Optional[Clock] = None
    ) -> None:
        self._ctx = ctx
        self._http = http
        self._clock = clock or Clock()
        self._given: str = params.get("token") or ""
        self._url: str = params.get("token_url") or ""
        self._timeout = float(params.get("timeout") or 30)
        self._form = token_form(params) if self._url and not self._given else {}
        # from here on the monotonic clock counts: the wall clock may jump in a long wait
        left = seconds_left(self._given)
        self._over_at = None if left is None else self._clock.now() + left
        self._token = ""
        self._renew_at = 0.0
        self._lock = threading.Lock()

    @property
    def renewable(self) -> bool:
        """Whether a new token can be fetched."""
        return bool(self._form)

    def current(self, patience: t.Optional[float] = None) -> str:
        """Return a token that is good now, or an empty text for anonymous requests.

        :param patience: seconds for one attempt to fetch one; without it, as for other requests.
        :raises OapipError: the token endpoint refuses, or the given token is over.
        """
        if not self._form:
            if self._over_at is not None and self._over_at <= self._clock.now():
                ago = self._clock.now() - self._over_at
                raise OapipError(
                    "authenticating with the given token",
                    f"it expired {ago:.0f} seconds ago",
                    "Give a new token, or token_url with client_id so that tokens are renewed.",
                    extra={"token": "expired"},
                )
            return self._given
        with self._lock:
            if not self._token or self._clock.now() >= self._renew_at:
                self._fetch(patience)
            return self._token

    def forget(self, refused: str) -> None:
        """Drop the token that a server refused, so that the next one is new."""
        with self._lock:
            if self._token == refused:
                self._token = ""

    def _fetch(self, patience: t.Optional[float]) -> None:
        account = self._form.get("username") or self._form["client_id"]
        doing = f"getting a token for {account}"
        response = _http.send(
            self._http,
            "POST",
            self._url,
            doing,
            self._timeout if patience is None else patience,
            retry=patience is None,  # asking twice for a token changes nothing
            data=self._form,
            auth=bearer(""),
        )
        if response.status_code != 200:
            error = _http.failed(
                response, doing, "Check token_url, client_id, client_secret, username and password."
            )
            if response.status_code < 500 and response.status_code != 429:
                error.extra["token"] = "refused"
            raise error
        body = _http.json_of(response, doing)
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token:
            raise OapipError(doing, "the answer has no access_token", "Check token_url.")
        self._token = self._ctx.secret(token)
        life = number(body.get("expires_in")) or seconds_left(token) or 60.0
        self._renew_at = self._clock.now() + life - min(EARLY, life / 4)


def token_of_environment(params: Params) -> str:
    """Return the token of the environment where the options name no account.

    It is no fallback of the option: it would win over a ``token_url`` that the task names.
    """
    return "" if params.get("token_url") else os.environ.get("OAPIP_TOKEN", "")


def token_form(params: Params) -> t.Dict[str, str]:
    """Return the form of the token request that the options ask for.

    :raises OapipError: the options do not make a grant.
    """
    if not params.get("client_id"):
        raise OapipError("choosing how to authenticate", "token_url needs client_id", "Give it.")
    form = {"client_id": str(params["client_id"])}
    if params.get("client_secret"):
        form["client_secret"] = str(params["client_secret"])
    if params.get("username"):
        if not params.get("password"):
            raise OapipError("choosing how to authenticate", "username needs password", "Give it.")
        return {
            **form,
            "grant_type": "password",
            "scope": "openid",
            "username": str(params["username"]),
            "password": str(params["password"]),
        }
    if not params.get("client_secret"):
        raise OapipError(
            "choosing how to authenticate",
            "token_url needs client_secret, or username and password",
            "Give them.",
        )
    return {**form, "grant_type": "client_credentials"}


def bearer(token: str) -> Auth:
    """Return what puts the token into a request; for none too, else ``.netrc`` would choose."""

    def sign(request: t.Any) -> t.Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def number(value: t.Any) -> t.Optional[float]:
    """Return a finite positive number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value < 1e12 else None


def seconds_left(token: str) -> t.Optional[float]:
    """Return the seconds until a JWT's ``exp`` (RFC 7519 4.1.4); None where there is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        body = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):  # of base64, of UTF-8, of JSON
        return None
    expiry = number(body.get("exp")) if isinstance(body, dict) else None
    return None if expiry is None else expiry - time.time()


class Server:
    """An OGC API - Processes server, and the account that speaks to it."""

    def __init__(self, params: Params, ctx: Context, clock: t.Optional[Clock] = None) -> None:
        self.base = base_url(params["url"])
        self.timeout = float(params.get("timeout") or 30)
        self._http = _http.session(
            params.get("validate_certs", True),
            params.get("ca_path"),
            params.get("client_cert"),
            params.get("client_key"),
        )
        token = params.get("token") or ctx.secret(token_of_environment(params))
        self._tokens = Tokens({**params, "token": token}, ctx, self._http, clock)
        self.date: t.Optional[float] = None
        """When the server gave its last answer, by its own clock: seconds since the epoch."""

    def url(self, *segments: str) -> str:
        """Return the URL of a resource below the base, each segment quoted.

        :raises OapipError: an id that would lead elsewhere.
        """
        if not {"", ".", ".."}.isdisjoint(segments):
            raise OapipError(f"asking for {'/'.join(segments)}", "such an ID leads elsewhere")
        # an id is whatever a server made of it, also half a character
        quoted = (quote(segment, safe="", errors="surrogatepass") for segment in segments)
        return "/".join([self.base, *quoted])

    def ask(
        self,
        method: str,
        segments: t.Sequence[str],
        doing: str,
        headers: t.Optional[t.Mapping[str, str]] = None,
        timeout: t.Optional[float] = None,
        **kwargs: t.Any,
    ) -> t.Any:
        """Send a request and return the answer, whatever its status.

        A refused token is fetched anew once: a 401 means that nothing was done.

        :raises OapipError: no answer, no token, or a redirect (a login page).
        """
        # a path that ends in an empty segment is the landing page, with its slash
        url = self.url(*segments) if segments else f"{self.base}/"
        response = self.visit(method, url, doing, headers, timeout, **kwargs)
        if response.status_code in REDIRECTS:
            raise redirected(response, doing)
        return response

    def visit(
        self,
        method: str,
        url: str,
        doing: str,
        headers: t.Optional[t.Mapping[str, str]] = None,
        timeout: t.Optional[float] = None,
        **kwargs: t.Any,
    ) -> t.Any:
        """Send a request to an address of this server (:meth:`own`), return what it answers."""
        patience = timeout if kwargs.get("retry") is False else None
        for last in (False, True):
            token = self._tokens.current(patience)
            if method not in _http.IDEMPOTENT:
                # an idle connection may be about to end, and then nobody knows what was done
                self._http.close()
            response = _http.send(
                self._http,
                method,
                url,
                doing,
                self.timeout if timeout is None else timeout,
                headers={"Accept": "application/json", **(headers or {})},
                auth=bearer(token),
                **kwargs,
            )
            self.date = _http.moment_of(response.headers.get("Date")) or self.date
            if response.status_code != 401 or not self._tokens.renewable or last:
                break
            self._tokens.forget(token)
        return response

    def own(self, href: str, told: bool = False) -> str:
        """Return the address of a link's target on this server, or an empty text: it is elsewhere.

        Files of a context of the engine lie beside its API, in ``temp``; its links to them may
        name another host, or leave out the context.

        :param told: the server itself makes this link, so that its host does not count.
        """
        here = urlsplit(self.base)
        try:
            url = urljoin(f"{self.base}/", href)
            there = urlsplit(url)
            same = origin(url) == origin(self.base)
        except ValueError:
            return ""
        if there.scheme not in ("http", "https") or not (same or told):
            return ""
        if not {".", ".."}.isdisjoint(unquote(there.path).split("/")):
            return ""
        root, api, _rest = here.path.rpartition("/ogc-api")
        _place, found, name = there.path.partition("/temp/")
        if api and found and not (same and there.path.startswith(f"{root}/temp/")):
            return f"{here.scheme}://{here.netloc}{root}/temp/{name}"
        return url if same else ""

    def read(self, segments: t.Sequence[str], doing: str, **kwargs: t.Any) -> t.Any:
        """GET a JSON document that must be there.

        :raises OapipError: any status but 200, or a body that is not JSON.
        """
        response = self.ask("GET", segments, doing, **kwargs)
        if response.status_code != 200:
            raise failed(response, doing)
        return document(response, doing)

    def lacks(self, response: t.Any, part: str, what: str) -> str:
        """Return the words for a refusal by a server that does not offer what was asked; else none.

        :param part: the class of 18-062r2 that has it: ``job-list``, ``dismiss``.
        """
        if response.status_code not in (404, 405, 501):
            return ""
        try:
            body = self.read(["conformance"], "reading the conformance of the server")
        except OapipError:
            body = None  # it explains another error, or none
        classes = body.get("conformsTo") if isinstance(body, dict) else None
        if isinstance(classes, list):
            if any(str(one).endswith(f"/conf/{part}") for one in classes):
                return ""
            return f"The server does not offer {what}: /conformance does not name the class {part}."
        return "" if response.status_code == 404 else f"The server does not offer {what}."

    def pages(
        self, name: str, query: t.Sequence[t.Tuple[str, str]] = ()
    ) -> t.Iterator[t.List[Document]]:
        """Yield the pages of ``/processes`` or ``/jobs``, the lists of 18-062r2.

        What a server lists by its ID alone is a document that holds no more.

        :raises OapipError: an answer that is no such list, or more than ``PAGES`` of them.
        """
        doing = f"listing {name}"
        last: t.Any = None
        asked = list(query)
        for _page in range(PAGES):
            response = self.ask("GET", [name], doing, params=asked)
            if response.status_code != 200:
                lacking = self.lacks(response, "job-list", "a list of jobs")
                raise failed(response, doing, lacking if name == "jobs" else "")
            body = document(response, doing)
            found = body.get(name) if isinstance(body, dict) else None
            if not isinstance(found, list):
                raise OapipError(doing, f"the answer has no list of {name}", "Check url.")
            if found == last:  # a server that does not turn the page
                return
            key = "jobID" if name == "jobs" else "id"
            each = ({key: one} if isinstance(one, str) else one for one in found)
            yield [one for one in each if isinstance(one, dict)]
            following = next_query(body, response)
            if not found or not following:
                return
            # ZOO-Project forgets the filters in it
            told = {key for key, _value in following}
            last, asked = found, [*(one for one in query if one[0] not in told), *following]
        raise OapipError(doing, f"it does not end after {PAGES} pages", "Ask for fewer.")


def base_url(url: str) -> str:
    """Return the base without its last slash.

    :raises OapipError: it is no absolute URL, or carries credentials, a query or a fragment.
    """
    parts = urlsplit(url)
    doing = "reading the option url"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OapipError(doing, "it is no absolute URL", "Write https://host/context/ogc-api.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise OapipError(
            doing,
            "it holds credentials, a query or a fragment",
            "Give credentials with token, or token_url and its companions.",
        )
    return url.rstrip("/")


def origin(url: str) -> t.Tuple[str, str, t.Optional[int]]:
    """Return scheme, host and port of a URL (RFC 6454 4).

    :raises ValueError: it is none.
    """
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or default


def next_query(body: Document, response: t.Any) -> t.List[t.Tuple[str, str]]:
    """Return the query of a list's ``next`` link, all that counts of it; empty on the last page.

    The link is in the document, or in the header ``Link`` (RFC 8288).
    """
    links = body.get("links")
    header = {"rel": "next", "href": response.links.get("next", {}).get("url", "")}
    for link in [*(links if isinstance(links, list) else []), header]:
        if isinstance(link, dict) and link.get("rel") == "next":
            try:
                return parse_qsl(urlsplit(str(link.get("href"))).query)
            except ValueError:
                return []
    return []


def document(response: t.Any, doing: str) -> t.Any:
    """Return the JSON body of a good answer, with the engine's own trap named when it is broken."""
    try:
        return _http.json_of(response, doing)
    except OapipError as error:
        error.hint += f" ZOO-Project breaks its answers where {PERCENT}: remove such texts."
        raise


def quiet_json(response: t.Any) -> t.Any:
    """Return a JSON body, or None."""
    try:
        return _http.parsed(response)
    except ValueError:
        return None


def code_of(response: t.Any) -> str:
    """Return the short name of an OGC exception, or an empty text where the body is none.

    Servers write it as ``title`` (ZOO-Project), as the last part of ``type`` (18-062r2 7.5) or as
    ``code`` (pygeoapi); it comes back in lower case without hyphens: ``nosuchprocess``.
    """
    return exception_code(quiet_json(response))


def exception_code(body: t.Any) -> str:
    """Return the short name of an exception document, or an empty text."""
    if not isinstance(body, dict):
        return ""
    kind = body.get("type")
    if not isinstance(kind, str):
        kind = ""
    name = body.get("code")
    if not isinstance(name, str):
        title = body.get("title")
        name = kind.rstrip("/").rsplit("/", 1)[-1] if "/" in kind else title or kind
    return re.sub(r"[^a-z]", "", str(name).lower())


def is_exception(body: t.Any) -> bool:
    """Whether a document is an exception, also with status 200: ``title``, ``type``, ``detail``."""
    members = {"type", "title", "detail", "status", "instance"}
    return isinstance(body, dict) and {"type", "title"} <= set(body) <= members


def absent(response: t.Any) -> bool:
    """Whether something is not there, or no more: a 410, or a 404 that the API itself said.

    A gateway or web server before it may say 404 too, and mean another thing.
    """
    return response.status_code == 410 or (response.status_code == 404 and bool(code_of(response)))


def failed(response: t.Any, doing: str, hint: str = "") -> OapipError:
    """Return the error for an unwanted status, with the cure that the status suggests."""
    cures = {
        401: "Give a token that the server accepts (token, or token_url).",
        403: "The account may not do this here; check the context in url and its owner.",
        404: "Check url: nothing answers there as an OGC API.",
    }
    cure = hint or cures.get(response.status_code, "")
    if not hint and response.status_code >= 500:
        cure = "See the log of the server (Deployment zoo-project-dru-zookernel of the engine)."
        if "SIGSEGV" in _http.message_of(response):
            cure = f"Its database is down, or {PERCENT}. {cure}"
    if response.status_code == 404 and code_of(response):
        cure = hint
    return _http.failed(response, doing, cure)


def redirected(response: t.Any, doing: str) -> OapipError:
    """Return the error for a redirect: mostly a login page."""
    try:
        where = urlsplit(response.headers.get("Location", ""))
        target = f"{where.scheme}://{where.netloc}{where.path}"
    except ValueError:
        target = "an address that is none"
    return OapipError(
        doing,
        f"redirected to {target}",
        "The server wants a login: give token, or token_url and its companions.",
        response.status_code,
        urlsplit(response.url).path,
    )


def not_there_yet(error: OapipError) -> bool:
    """Whether an error may only mean that the server is not set up yet (for check mode).

    That is: nobody answers, the gateway has no route (404) or no endpoints (503), or the
    account is not known to the token endpoint.
    """
    return error.status in (None, 404, 503) or error.extra.get("token") == "refused"


def context_of(url: str) -> str:
    """Return the path before ``/ogc-api``: the context that a URL of the engine stands in."""
    try:
        found = re.match(r"(.*?)/ogc-api(?:/|$)", urlsplit(url).path)
    except ValueError:  # a Location may be anything
        return ""
    return found.group(1).strip("/") if found else ""
