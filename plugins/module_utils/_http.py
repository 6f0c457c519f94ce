# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One policy for requests: what is retried, how long, and how a server's words are shown.

What does the same when it is sent twice (reads, PUT, DELETE) is sent again on 429, 502, 503, 504
and broken connections, within a deadline. Other writes are sent again only where the server says
that it did nothing: on 429, and on 503 with ``Retry-After``. That header (seconds or HTTP date, RFC
9110 section 10.2.3) is honoured.
"""

from __future__ import annotations

import email.utils
import random
import re
import ssl
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils._deps import requests, require
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

TRANSIENT = frozenset({429, 502, 503, 504})
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be sent again without knowing what became of the first time (9.2.2)."""
RETRY_SECONDS = 30.0
"""No attempt of a request begins later than this after the first one."""
ODD = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What Python's libraries raise over bytes that nobody expects in an answer."""
USER_AGENT = "eoepca.oapip"
WORDS = (
    "title",
    "code",
    "error",
    "errorMessage",
    "error_description",
    "message",
    "detail",
    "description",
)
"""Members of error documents that hold words, the name of the error first."""


def retry_after(value: t.Optional[str], sent: t.Optional[str] = None) -> t.Optional[float]:
    """Return the seconds that ``Retry-After`` asks for; None where it says nothing usable.

    :param sent: ``Date`` of the same answer: a date is a wish by the server's clock, not by ours.
    """
    if not value:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", value):
        return float(value)
    moment = moment_of(value)
    if moment is None:
        return None
    now = moment_of(sent)
    return max(0.0, moment - (time.time() if now is None else now))


def moment_of(date: t.Optional[str]) -> t.Optional[float]:
    """Return an HTTP date in seconds since the epoch, or None."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (*ODD, OverflowError, OSError):
        return None


def pause(attempt: int, wish: t.Optional[float] = None) -> float:
    """Return the seconds before the next attempt: the server's wish, at least 0.5, 1, 2, ... s."""
    return float(max(wish or 0.0, min(0.5 * 2**attempt, 8.0) * random.uniform(0.7, 1.3)))


class Attempts:
    """The attempts of one request: whether there is another one, and when.

    :param repeatable: sending it twice does the same as sending it once.
    :param seconds: no attempt begins later than this after the first one.
    :param transient: statuses that may pass by themselves.
    :param within: no attempt begins after this deadline, either.
    """

    def __init__(
        self,
        repeatable: bool,
        seconds: float = RETRY_SECONDS,
        transient: t.AbstractSet[int] = TRANSIENT,
        within: t.Optional[Deadline] = None,
    ) -> None:
        self.repeatable = repeatable
        self.transient = transient
        outer = within or Deadline(seconds)
        self.deadline = Deadline(min(seconds, outer.left), outer.clock)
        self.count = 0

    def again(
        self,
        status: t.Optional[int] = None,
        header: t.Optional[str] = None,
        sent: t.Optional[str] = None,
    ) -> bool:
        """Sleep until the next attempt is due; False, at once, where there is none.

        :param status: of the answer; None where none came.
        :param header: ``Retry-After`` of the answer.
        :param sent: ``Date`` of the answer.
        """
        wish = retry_after(header, sent)
        refused = status == 429 or (status == 503 and wish is not None)
        passing = status is None or status in self.transient
        wait = pause(self.count, wish)
        if not (refused or (passing and self.repeatable)) or wait >= self.deadline.left:
            return False
        self.deadline.sleep(wait)
        self.count += 1
        return True


def session(
    validate_certs: bool = True,
    ca_path: t.Optional[str] = None,
    client_cert: t.Optional[str] = None,
    client_key: t.Optional[str] = None,
) -> t.Any:
    """Return a ``requests.Session`` that trusts only ``ca_path``, or the system's store.

    :param client_cert: PEM file with the client's certificate, and its key without ``client_key``.
    :raises OapipError: the client's certificate and key cannot be used.
    """
    require("requests")
    made = requests.Session()
    made.cert = client(client_cert, client_key)
    made.verify = trust(validate_certs, ca_path)
    made.headers["User-Agent"] = USER_AGENT
    made.auth = _as_it_is
    # no redirect is followed, and to look where one leads would trip over an odd Location
    made.resolve_redirects = lambda *_args, **_kwargs: iter(())
    for adapter in made.adapters.values():
        adapter.build_response = _forgiving(adapter.build_response)
    return made


def _forgiving(build: t.Callable[[t.Any, t.Any], t.Any]) -> t.Callable[[t.Any, t.Any], t.Any]:
    """Let requests make an answer of any headers: ``text/html; charset`` alone is too much for it.

    Else the id of a job would be lost with the whole answer.
    """

    def built(request: t.Any, raw: t.Any) -> t.Any:
        try:
            return build(request, raw)
        except ODD:
            raw.headers.discard("Content-Type")
            return build(request, raw)

    return built


def client(cert: t.Optional[str], key: t.Optional[str]) -> t.Optional[t.Tuple[str, str]]:
    """Return the ``cert`` of requests, tried out: a wrong one would fail in the midst of requests.

    :raises OapipError: a file cannot be read, they do not belong together, or the key is encrypted.
    """
    if not cert and not key:
        return None
    doing = "reading client_cert and client_key"
    hint = "Give PEM files: the certificate, and its private key without a passphrase."
    if not cert:
        raise OapipError(doing, "client_key needs client_cert", hint)
    try:
        # without a password, OpenSSL would ask for one on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        reason = "they are no certificate and its key"
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            reason = error.strerror or reason
        raise OapipError(doing, reason, hint) from None
    return cert, key or cert


def trust(validate_certs: bool, ca_path: t.Optional[str]) -> t.Union[bool, str]:
    """Return the ``verify`` of requests; who asks for no check is not warned at each request."""
    if validate_certs:
        return ca_path or True
    import urllib3

    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return False


def _as_it_is(request: t.Any) -> t.Any:
    """Leave a request alone, where requests would put the login of a ``.netrc`` over ours."""
    return request


def send(
    http: t.Any,
    method: str,
    url: str,
    doing: str,
    timeout: float = 30.0,
    budget: float = RETRY_SECONDS,
    retry: t.Optional[bool] = None,
    **kwargs: t.Any,
) -> t.Any:
    """Send a request and return the response, whatever its status.

    :param doing: what this request is for, in words for the error message.
    :param timeout: seconds for one attempt.
    :param budget: seconds in which attempts may begin.
    :param retry: whether it does the same when it is sent twice; default: as its method says.
        False: it is sent once, whatever the answer.
    :raises OapipError: the server cannot be reached or does not answer in time.
    """
    repeatable = method.upper() in IDEMPOTENT if retry is None else retry
    attempts = Attempts(repeatable, 0.0 if retry is False else budget)
    # a proxy or CA of the environment must not replace the session's own choice of trust
    kwargs.setdefault("verify", http.verify)
    while True:
        try:
            response = http.request(method, url, timeout=timeout, allow_redirects=False, **kwargs)
        except requests.exceptions.RequestException as error:
            if not is_transient(error) or not attempts.again():
                raise unreachable(doing, url, error) from None
            continue
        except ODD as error:
            reason = f"the answer of {server_of(url)} cannot be read: {type(error).__name__}"
            raise OapipError(doing, reason, path=urlsplit(url).path) from None
        told = response.headers
        if not attempts.again(response.status_code, told.get("Retry-After"), told.get("Date")):
            return response


def whole(response: t.Any) -> bool:
    """Read the body of a streamed answer; False where the connection breaks inside it."""
    try:
        return response.content is not None
    except (requests.exceptions.RequestException, *ODD):
        return False


def is_transient(error: BaseException) -> bool:
    """Whether a transport error may pass by itself: not a wrong certificate, URL or name."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    kinds = (
        requests.exceptions.ConnectionError,
        requests.exceptions.Timeout,
        requests.exceptions.ChunkedEncodingError,
    )
    return isinstance(error, kinds)


def unreachable(doing: str, url: str, error: BaseException) -> OapipError:
    """Return the error for a server that gave no answer, with the innermost reason."""
    text = root_cause(error)
    if isinstance(error, requests.exceptions.SSLError) and "verify failed" not in text:
        hint = (
            "The server broke TLS off: it may demand a client's certificate that it trusts"
            " (client_cert, where the module has it), or not speak TLS."
        )
    elif isinstance(error, requests.exceptions.SSLError):
        hint = "Give the CA that signed the server's certificate with ca_path."
    elif isinstance(error, requests.exceptions.Timeout):
        hint = "Check that the server is up and not overloaded, or raise timeout."
    else:
        hint = "Check the URL, the name resolution, proxies and that the server is up."
    return OapipError(
        doing,
        f"no answer from {server_of(url)}: {text}",
        hint,
        path=urlsplit(url).path,
    )


def server_of(url: str) -> str:
    """Return scheme, host and port of a URL, without a login."""
    where = urlsplit(url)
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}"


def root_cause(error: BaseException) -> str:
    """Return the innermost reason of an exception in one line, without object addresses."""
    seen = error
    while True:
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            nested = (part for part in seen.args if isinstance(part, BaseException))
            inner = seen.__cause__ or next(nested, None)
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    text = str(seen) or type(seen).__name__
    if "IncompleteRead" in type(seen).__name__:
        text = "the connection broke inside the answer"
    text = re.sub(r"<[^>]* object at 0x[0-9a-f]+>:?\s*", "", text)
    return re.sub(r"\s+", " ", text)[:300]


def message_of(response: t.Any) -> str:
    """Return the server's own words from an error answer; never a raw body."""
    try:
        body = parsed(response)
    except ValueError:
        return f"{response.reason or 'error'} (the body is {_type_of(response)}, not JSON)"
    return words(body) or str(response.reason or "error")


def _type_of(response: t.Any) -> str:
    return str(response.headers.get("Content-Type", "no content type").split(";")[0])


def words(body: t.Any) -> str:
    """Return the message in an error document of Keycloak, OAuth 2.0, Kubernetes, RFC 9457, OGC."""
    if isinstance(body, str):
        return body[:300]
    if not isinstance(body, dict):
        return ""
    if isinstance(body.get("errors"), list):  # Keycloak, of several fields at once
        each = ({**one, "errors": None} if isinstance(one, dict) else one for one in body["errors"])
        return "; ".join(words(one) for one in each)[:500]
    parts = [body.get(key) for key in WORDS if isinstance(body.get(key), str) and body.get(key)]
    if parts and isinstance(body.get("field"), str):
        params = body.get("params")
        limits = ", ".join(str(one) for one in (params if isinstance(params, list) else [])[1:])
        parts = [body["field"], f"{parts[-1]} ({limits})" if limits else parts[-1]]
    return ": ".join(dict.fromkeys(str(part) for part in parts))[:500]


def parsed(response: t.Any) -> t.Any:
    """Return the decoded body of an answer.

    :raises ValueError: it is no JSON, or nested deeper than Python reads.
    """
    try:
        return response.json()
    except ODD:
        raise ValueError("no JSON") from None


def json_of(response: t.Any, doing: str) -> t.Any:
    """Return the decoded body of a good answer.

    :raises OapipError: the body is not JSON (a proxy's page, a truncated answer).
    """
    try:
        return parsed(response)
    except ValueError:
        hint = "Something else than the server may have answered (a proxy, a login page)."
        raise wrong(
            response, doing, f"the answer is not JSON but {_type_of(response)}", hint
        ) from None


def failed(response: t.Any, doing: str, hint: str = "") -> OapipError:
    """Return the error for an answer with an unwanted status."""
    wish = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
    if wish:
        hint = f"{hint} It asks to wait {wish:.0f} s.".strip()
    return wrong(response, doing, message_of(response), hint)


def wrong(response: t.Any, doing: str, reason: str, hint: str = "") -> OapipError:
    """Return the error that tells who gave an answer, to what, and what is wrong with it."""
    return OapipError(
        doing,
        reason,
        hint,
        response.status_code,
        urlsplit(response.url).path,
        server=server_of(response.url),
    )
