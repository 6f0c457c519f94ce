# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The files that the results of a job refer to, and what saving all of it changes.

Results refer to files by links (18-062r2 7.13, ``href``) and by STAC documents in or behind them
(STAC 1.0 and 1.1: assets of items and collections, links ``item`` and ``child``).
"""

from __future__ import annotations

import io
import json
import os
import typing as t
from urllib.parse import unquote, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _files, _jobs, _ogc
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    Params,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._remote import Remote, shown

Document = t.Dict[str, t.Any]
Names = t.Tuple[str, ...]

DOCUMENTS = 1000
"""STAC documents that are read."""

DOCUMENT_BYTES = 32 * 1024 * 1024
"""Length of a JSON file beyond which it is taken for data."""


class Asset(t.NamedTuple):
    """A file to save: where it is, the names of its folders, its own, and its key in STAC."""

    url: str
    folders: Names
    name: str
    key: str = ""
    data: t.Optional[bytes] = None

    @property
    def path(self) -> str:
        """Path below the folder where all are saved."""
        return "/".join((*self.folders, self.name))


class _TooLongError(Exception):
    """A JSON file that is read as data instead."""


class _Page(io.BytesIO):
    def write(self, data: t.Any, /) -> int:
        if self.tell() + len(data) > DOCUMENT_BYTES:
            raise _TooLongError
        return super().write(data)


class Gathered:
    """The assets of results, in the order in which they are found.

    :param results: as the server gave them, in either shape.
    :param base: address of the results, which relative links start from.
    :raises OapipError: a document cannot be read, or an address is refused.
    """

    def __init__(self, results: t.Any, base: str, remote: Remote) -> None:
        self.assets: t.List[Asset] = []
        self._remote = remote
        self._seen: t.Set[str] = set()
        if not isinstance(results, dict) or _kind(results) or _href(results):
            self._value(results, (), base)
            return
        for name, value in results.items():
            self._value(value, (_files.safe_name(str(name)),), base)

    def _value(self, value: t.Any, folders: Names, base: str) -> None:
        if isinstance(value, list):
            for one in value:
                self._value(one, folders, base)
        elif isinstance(value, str) and value.startswith("s3://"):
            self._reference(value, "", folders, base)
        elif isinstance(value, dict):
            if _kind(value):
                self._stac(value, folders, _base_of(value, base))
            elif _href(value):
                self._reference(value["href"], str(value.get("type")), folders, base)
            else:
                self._value(value.get("value"), folders, base)

    def _reference(self, href: str, media_type: str, folders: Names, base: str) -> None:
        url = self._remote.resolve(href, base)
        if "json" in media_type or urlsplit(url).path.endswith(("json", ".geojson")):
            self._document(url, folders)
        else:
            self.assets.append(Asset(url, folders, _name_of(url)))

    def _document(self, url: str, folders: Names, child: bool = False) -> None:
        """Read a JSON file, and follow it where it is one of STAC."""
        if url in self._seen:
            return
        self._seen.add(url)
        if len(self._seen) > DOCUMENTS:
            raise OapipError(
                "reading the STAC documents of the results",
                f"there are more than {DOCUMENTS} of them",
                "Download them with a tool for catalogs of that size.",
            )
        page = _Page()
        try:
            self._remote.copy(url, page)
            found = json.loads(page.getvalue())
        except _TooLongError:
            self.assets.append(Asset(url, folders, _name_of(url)))
            return
        except (ValueError, RecursionError):
            found = None
        kind = _kind(found)
        if child or kind == "Feature":
            folders = (*folders, _files.safe_name(str(found.get("id") if kind else "")))
        self.assets.append(Asset(url, folders, _name_of(url), data=page.getvalue()))
        if kind:
            self._stac(found, folders[:-1] if kind == "Feature" else folders, url)

    def _stac(self, document: Document, folders: Names, base: str) -> None:
        kind = _kind(document)
        if kind == "FeatureCollection":
            for one in document["features"]:
                if _kind(one) == "Feature":
                    self._stac(one, folders, _base_of(one, base))
            return
        if kind == "Feature":
            folders = (*folders, _files.safe_name(str(document.get("id"))))
        assets = document.get("assets")
        for key, asset in (assets if isinstance(assets, dict) else {}).items():
            if _href(asset):
                url = self._remote.resolve(asset["href"], base)
                self.assets.append(Asset(url, folders, _name_of(url), str(key)))
        links = document.get("links")
        for link in links if isinstance(links, list) and kind != "Feature" else []:
            if _href(link) and link.get("rel") in ("item", "child"):
                url = self._remote.resolve(link["href"], base)
                self._document(url, folders, link["rel"] == "child")


def _kind(document: t.Any) -> str:
    """Return the type of a STAC document; empty for anything else."""
    if not isinstance(document, dict):
        return ""
    kind = document.get("type")
    needed = {
        "Catalog": ("links", list),
        "Collection": ("links", list),
        "Feature": ("assets", dict),
        "FeatureCollection": ("features", list),
    }
    if not isinstance(kind, str) or kind not in needed:
        return ""
    member, form = needed[kind]
    return kind if isinstance(document.get(member), form) else ""


def _href(value: t.Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("href"), str) and bool(value["href"])


def _base_of(document: Document, base: str) -> str:
    """Return where the relative links of a document inside another start from."""
    links = document.get("links")
    for link in links if isinstance(links, list) else []:
        if _href(link) and link.get("rel") == "self" and "://" in link["href"]:
            return str(link["href"])
    return base


def _name_of(url: str) -> str:
    name = url.partition("?")[0].rstrip("/").rsplit("/", 1)[-1]
    return _files.safe_name(name if url.startswith("s3://") else unquote(name))


def settled(assets: t.Iterable[Asset]) -> t.List[Asset]:
    """Return each file once, those of the same name in folders named by their keys.

    :raises OapipError: two files still have one name.
    """
    once = {(one.url, one.folders): one for one in assets}
    taken = _by_path(once.values())
    found = [
        one._replace(folders=(*one.folders, _files.safe_name(one.key)))
        if one.key and len(taken[one.path.casefold()]) > 1
        else one
        for one in once.values()
    ]
    taken = _by_path(found)
    for path, same in taken.items():
        parents = [path.rsplit("/", n)[0] for n in range(1, path.count("/") + 1)]
        others = [other for parent in parents for other in taken.get(parent, [])]
        if len(same) > 1 or others:
            both = " and ".join(shown(one.url) for one in [*others, *same][:2])
            raise OapipError(
                "choosing the names of the results' files",
                f"{both} would both be saved as {same[0].path}",
                "Give the outputs of the process files of different names.",
            )
    return found


def _by_path(assets: t.Iterable[Asset]) -> t.Dict[str, t.List[Asset]]:
    taken: t.Dict[str, t.List[Asset]] = {}
    for one in assets:
        taken.setdefault(one.path.casefold(), []).append(one)
    return taken


def expected(params: Params) -> t.List[Change]:
    """Return the changes of saving results that are not known yet: taken for different."""
    kinds = {"dest": "file", "assets_dest": "folder"}
    return [_files.file_change(params[key], kind) for key, kind in kinds.items() if params[key]]


def keep(
    params: Params,
    ctx: Context,
    server: _ogc.Server,
    job_id: str,
    status: Document,
    results: t.Any,
) -> t.Tuple[t.List[Change], t.Dict[str, t.Any]]:
    """Save results and the files they refer to, where that is asked for; in check mode only look.

    :param job_id: empty for a synchronous job without one.
    :return: the changes, and the fact ``assets``.
    """
    changes, facts = [], {}
    if params["dest"]:
        data = _jobs.saved(results)
        if _files.differs(params["dest"], data):
            changes.append(_files.file_change(params["dest"]))
            if not ctx.check_mode:
                _files.save(params["dest"], lambda file: file.write(data))
    if params["assets_dest"]:
        change = _files.file_change(params["assets_dest"], "folder")
        facts["assets"] = _kept_assets(params, ctx, server, job_id, status, _jobs.told(results))
        if any(one["changed"] for one in facts["assets"]):
            changes.append(change)
    return changes, facts


def _kept_assets(
    params: Params,
    ctx: Context,
    server: _ogc.Server,
    job_id: str,
    status: Document,
    results: t.Any,
) -> t.List[Document]:
    remote = Remote(server, params, status)
    of_process = ["processes", params["process_id"] or "", "execution"]
    base = server.url(*(["jobs", job_id, "results"] if job_id else of_process))
    found: t.List[Document] = []
    for asset in settled(Gathered(results, base, remote).assets):
        path = os.path.join(params["assets_dest"], *asset.path.split("/"))
        data = asset.data
        changed = remote.differs(asset.url, path) if data is None else _files.differs(path, data)
        if changed and not ctx.check_mode:
            _make_folder(os.path.dirname(path))
            _files.save(path, _writer(remote, asset))
            if not params["quiet"]:
                ctx.say(f"saved {asset.path}")
        found.append({"href": shown(asset.url), "path": path, "changed": changed})
    return found


def _writer(remote: Remote, asset: Asset) -> t.Callable[[t.BinaryIO], t.Any]:
    data = asset.data
    if data is not None:
        content = data
        return lambda file: file.write(content)
    return lambda file: remote.copy(asset.url, file)


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OapipError(f"creating the folder {path}", str(error.strerror)) from None
