# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""One policy for requests: what is retried, how long, and how a server's words are shown.

Reads are retried on 429, 502, 503, 504 and broken connections, within a deadline; ``Retry-After``
(seconds or HTTP date, RFC 9110 section 10.2.3) is honoured. Writes are sent once.
"""

from __future__ import annotations

import email.utils
import json
import random
import re
import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils._deps import requests, require
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

TRANSIENT = frozenset({429, 502, 503, 504})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
USER_AGENT = "eoepca.oapip"


def retry_after(value: t.Optional[str]) -> t.Optional[float]:
    """Return the seconds that ``Retry-After`` asks for; None where it says nothing usable."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def pause(attempt: int, header: t.Optional[str] = None) -> float:
    """Return the seconds before the next attempt: the server's wish, else 0.5, 1, 2, ... s."""
    wish = retry_after(header)
    if wish is not None:
        return wish
    return float(min(0.5 * 2**attempt, 8.0) * random.uniform(0.7, 1.3))


def session(validate_certs: bool = True, ca_path: t.Optional[str] = None) -> t.Any:
    """Return a ``requests.Session`` that trusts only ``ca_path``, or the system's store."""
    require("requests")
    made = requests.Session()
    made.verify = (ca_path or True) if validate_certs else False
    made.headers["User-Agent"] = USER_AGENT
    made.auth = _as_it_is
    if not validate_certs:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return made


def _as_it_is(request: t.Any) -> t.Any:
    """Leave a request alone, where requests would put the login of a ``.netrc`` over ours."""
    return request


def send(
    http: t.Any,
    method: str,
    url: str,
    doing: str,
    timeout: float = 30.0,
    budget: float = 30.0,
    retry: t.Optional[bool] = None,
    **kwargs: t.Any,
) -> t.Any:
    """Send a request and return the response, whatever its status.

    :param doing: what this request is for, in words for the error message.
    :param timeout: seconds for one attempt.
    :param budget: seconds for all attempts together.
    :param retry: whether transient faults are retried; default: only for safe methods.
    :raises OapipError: the server cannot be reached or does not answer in time.
    """
    again = method.upper() in SAFE if retry is None else retry
    deadline = Deadline(budget)
    attempt = 0
    # a proxy or CA of the environment must not replace the session's own choice of trust
    kwargs.setdefault("verify", http.verify)
    while True:
        try:
            response = http.request(method, url, timeout=timeout, allow_redirects=False, **kwargs)
        except requests.exceptions.RequestException as error:
            wait = pause(attempt)
            if not again or not is_transient(error) or wait >= deadline.left:
                raise unreachable(doing, url, error) from None
        else:
            wait = pause(attempt, response.headers.get("Retry-After"))
            if response.status_code not in TRANSIENT or not again or wait >= deadline.left:
                return response
        deadline.sleep(wait)
        attempt += 1


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
    where = urlsplit(url)
    text = root_cause(error)
    if isinstance(error, requests.exceptions.SSLError):
        hint = "Give the CA that signed the server's certificate with ca_path."
    elif isinstance(error, requests.exceptions.Timeout):
        hint = "Check that the server is up and not overloaded, or raise timeout."
    else:
        hint = "Check the URL, the name resolution, proxies and that the server is up."
    return OapipError(
        doing,
        f"no answer from {where.scheme}://{where.netloc.rpartition('@')[2]}: {text}",
        hint,
        path=where.path,
    )


def root_cause(error: BaseException) -> str:
    """Return the innermost reason of an exception in one line, without object addresses."""
    seen = error
    while True:
        inner = getattr(seen, "reason", None)
        if not isinstance(inner, BaseException):
            inner = seen.__cause__ or (seen.args[0] if seen.args else None)
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    text = str(seen) or type(seen).__name__
    text = re.sub(r"<[^>]* object at 0x[0-9a-f]+>:?\s*", "", text)
    return re.sub(r"\s+", " ", text)[:300]


def message_of(response: t.Any) -> str:
    """Return the server's own words from an error answer; never a raw body."""
    try:
        body = response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        return f"{response.reason or 'error'} (the body is {kind}, not JSON)"
    return words(body) or str(response.reason or "error")


def words(body: t.Any) -> str:
    """Return the message in an error document of Keycloak, OAuth 2.0, Kubernetes or RFC 9457."""
    if isinstance(body, str):
        return body[:300]
    if not isinstance(body, dict):
        return ""
    parts = [
        body.get(key)
        for key in ("title", "error", "errorMessage", "error_description", "message", "detail")
        if isinstance(body.get(key), str) and body.get(key)
    ]
    return ": ".join(dict.fromkeys(str(part) for part in parts))[:500]


def json_of(response: t.Any, doing: str) -> t.Any:
    """Return the decoded body of a good answer.

    :raises OapipError: the body is not JSON (a proxy's page, a truncated answer).
    """
    try:
        return response.json()
    except (ValueError, json.JSONDecodeError):
        kind = response.headers.get("Content-Type", "no content type").split(";")[0]
        raise OapipError(
            doing,
            f"the answer is not JSON but {kind}",
            "Something else than the server may have answered (a proxy, a login page).",
            response.status_code,
            urlsplit(response.url).path,
        ) from None


def failed(response: t.Any, doing: str, hint: str = "") -> OapipError:
    """Return the error for an answer with an unwanted status."""
    return OapipError(
        doing, message_of(response), hint, response.status_code, urlsplit(response.url).path
    )
