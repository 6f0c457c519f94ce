# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Files behind the links of results: on the API's server, elsewhere by HTTPS, and in S3.

What logs in at the API is sent to its own server alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import time
import typing as t
from urllib.parse import urljoin, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _files, _http, _ogc, _pack
from ansible_collections.eoepca.oapip.plugins.module_utils._deps import requests
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import CHUNK, Store

HOPS = 5
"""Redirects that are followed."""

TRIES = 3
"""Times that a file is begun whose connection breaks."""

shown = _pack.address


class Remote:
    """Reads the files that the results of one job refer to.

    :param params: the options of the API, and ``storage`` with those of S3.
    :param status: status document of the job, whose links tell what host the server takes for its.
    """

    def __init__(self, server: _ogc.Server, params: Params, status: t.Mapping[str, t.Any]) -> None:
        self._server = server
        self._storage: t.Optional[Params] = params.get("storage")
        self._store: t.Optional[Store] = None
        self._elsewhere = _http.session(params.get("validate_certs", True), params.get("ca_path"))
        links = status.get("links")
        self._told = {
            _http.server_of(str(link.get("href")))
            for link in (links if isinstance(links, list) else [])
            if isinstance(link, dict) and link.get("rel") in ("monitor", "self", "status")
        }

    def resolve(self, href: str, base: str) -> str:
        """Return the address of a link's target, where the server can really be reached.

        :raises OapipError: it is none that may be read.
        """
        if base.startswith("s3://") and not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", href):
            bucket, _slash, key = base[len("s3://") :].partition("/")
            start = "" if href.startswith("/") else posixpath.dirname(key)
            href = f"s3://{bucket}/{posixpath.normpath(posixpath.join(start, href.lstrip('/')))}"
        if href.startswith("s3://"):
            bucket, _slash, key = href[len("s3://") :].partition("/")
            if not bucket or not key or ".." in key.split("/"):
                raise refused(href, "it names no object of a bucket")
            return href
        try:
            url = urljoin(base, href)
            told = _http.server_of(url) in self._told
            same = _ogc.origin(url) == _ogc.origin(self._server.base)
        except ValueError:
            raise refused(href, "it is no address") from None
        own = self._server.own(url, told)
        if same and not own:
            raise refused(href, "its path is ambiguous")
        return own or self._allowed(url)

    def _allowed(self, url: str) -> str:
        scheme = urlsplit(url).scheme
        if scheme == "https" or (scheme == "http" and self._server.base.startswith("http://")):
            return url
        raise refused(url, "only HTTPS and S3 are read")

    def _next(self, url: str, location: str) -> str:
        """Return where a redirect leads."""
        try:
            there = urljoin(url, location)
            _ogc.origin(there)
        except ValueError:
            raise refused(location, "it is no address") from None
        return self._allowed(there)

    def _s3(self, url: str) -> t.Tuple[Store, t.Dict[str, str]]:
        """Return the store of an object and what names it there."""
        if self._storage is None:
            raise OapipError(
                f"downloading {url}", "it is in S3", "Give storage: its endpoint and keys."
            )
        self._store = self._store or Store(self._storage)
        bucket, _slash, key = url[len("s3://") :].partition("/")
        return self._store, {"Bucket": bucket, "Key": key}

    def copy(self, url: str, into: _files.Sink) -> None:
        """Copy a file.

        :raises OapipError: it is not there, or cannot be read to its end.
        """
        doing = f"downloading {shown(url)}"
        if url.startswith("s3://"):
            store, names = self._s3(url)
            if store.call(doing, "get_object", into, **names) is None:
                raise OapipError(doing, "there is no such object", "Check storage.")
            return
        for left in reversed(range(TRIES)):
            if self._copied(url, doing, into, left == 0):
                return
            time.sleep(_http.pause(TRIES - left))

    def _copied(self, url: str, doing: str, into: _files.Sink, last: bool) -> bool:
        """Copy a file by HTTP; False where the connection broke and there is another try."""
        try:
            with contextlib.closing(self._open(url, doing)) as response:
                _pour(response, into)
        except requests.exceptions.RequestException as error:
            if last or not _http.is_transient(error):
                raise _http.unreachable(doing, shown(url), error) from None
            return False
        return True

    def _open(self, url: str, doing: str) -> t.Any:
        """Return the answer that holds a file; its body is not read yet."""
        asking: t.Dict[str, t.Any] = {
            "headers": {"Accept": "*/*", "Accept-Encoding": "identity"},
            "timeout": self._server.timeout,
            "stream": True,
        }
        at_home = True
        for _hop in range(HOPS + 1):
            # once it has left the server, a redirect does not carry its login back
            at_home = at_home and _ogc.origin(url) == _ogc.origin(self._server.base)
            if at_home:
                response = self._server.visit("GET", url, doing, **asking)
            else:
                none = _ogc.bearer("")
                response = _http.send(self._elsewhere, "GET", url, doing, auth=none, **asking)
            if response.status_code not in _ogc.REDIRECTS:
                break
            response.close()
            url = self._next(url, response.headers.get("Location", ""))
        if response.status_code != 200:
            error = _http.failed(response, doing)
            response.close()
            raise error
        page = "html" in response.headers.get("Content-Type", "")
        if page and not urlsplit(url).path.endswith((".html", ".htm")):
            response.close()
            raise OapipError(doing, "the answer is a page, not the file", "It may want a login.")
        return response

    def differs(self, url: str, path: str) -> bool:
        """Whether a file of the controller is missing or holds something else.

        Size and digest decide where S3 tells them, else the content, which is read for it.
        """
        if not os.path.isfile(path):
            return True
        if url.startswith("s3://"):
            store, names = self._s3(url)
            about = store.call(f"looking at {url}", "head_object", None, **names) or {}
            if about.get("ContentLength") not in (None, os.path.getsize(path)):
                return True
            digest = re.fullmatch(r'"([0-9a-f]{32})"', str(about.get("ETag")))
            if digest and "ServerSideEncryption" not in about:
                return digest.group(1) != _md5(path)
        try:
            with open(path, "rb") as file:
                sink = _files.Against(file)
                self.copy(url, sink)
                sink.end()
        except (_files.DifferentError, PermissionError):
            return True
        return False


def refused(href: str, reason: str) -> OapipError:
    """Return the error for an address that is not read."""
    return OapipError(f"downloading {shown(href)}", reason, "It is in the results of the process.")


def _pour(response: t.Any, into: _files.Sink) -> None:
    """Write the body of an answer, from the beginning.

    :raises requests.exceptions.RequestException: it ends too early.
    """
    into.seek(0)
    into.truncate()
    size = 0
    for chunk in response.iter_content(CHUNK):
        into.write(chunk)
        size += len(chunk)
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    if length.isdigit() and not encoded and int(length) != size:
        raise requests.exceptions.ChunkedEncodingError("the connection broke inside the answer")


def _md5(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # an ETag of S3 is one
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
