# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Several CWL files as one document (CWL v1.0 to v1.2, section 3.1; Schema Salad, 3.1 to 3.4).

The processes become the ``$graph`` of one document, which is what runners of the engine expect
(OGC 20-089): cwl-utils and cwltool would nest the tools, or rename the Workflow to ``main``.
"""

from __future__ import annotations

import os
import re
import typing as t
from urllib.parse import unquote, urljoin, urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils import _cwl
from ansible_collections.eoepca.oapip.plugins.module_utils._deps import yaml

Node = t.Dict[str, t.Any]
Key = t.Tuple[str, str]

LARGEST = 200_000
"""Nodes that the files may have together: aliases multiply."""


def packed(
    src: str,
    text: str,
    read: t.Callable[[str], str],
    moved: t.Optional[t.Mapping[str, str]] = None,
) -> str:
    """Return a document with the files that it refers to packed into it; itself where none.

    :param src: file of the controller, or ``http(s)`` address, that the text was read from.
    :param read: returns the text of another one.
    :param moved: addresses that were read so far, and where redirects led to from there.
    :raises OapipError: a file is missing, or the files do not go together.
    """
    document = _cwl.parse(text)
    if not isinstance(document, dict) or not _cwl.references(document):
        return text
    entry = src if is_url(src) else os.path.abspath(src)
    try:
        whole = _Packer(entry, document, read, moved or {}).whole()
    except RecursionError:
        raise _cwl.wrong("its files refer to one another too deeply") from None
    return str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100))


def is_url(location: str) -> bool:
    """Whether a location is an address, not a file of the controller."""
    return location.startswith(("http://", "https://"))


def resolve(base: str, reference: str) -> Key:
    """Return the location and the fragment of a reference in a file.

    :raises OapipError: a document from elsewhere names a file of the controller.
    """
    link, _hash, fragment = reference.partition("#")
    try:
        location = urljoin(base, link) if is_url(base) else link
        path = unquote(urlsplit(link).path) if link.startswith("file:") else link
    except ValueError:
        raise _cwl.wrong(f"{shown(base)} refers to {link[:80]}, which is no address") from None
    if is_url(base) or is_url(link):
        if not is_url(location):
            raise _cwl.wrong(f"{shown(base)} refers to {link[:80]}, which is no web address")
        return location, fragment
    if not path:
        return base, fragment
    path = os.path.normpath(os.path.join(os.path.dirname(base), path))
    return (path if os.path.exists(path) else unquote(path)), fragment


def shown(location: str) -> str:
    """Return a location as messages show it."""
    return address(location) if is_url(location) else os.path.basename(location)


def address(url: str) -> str:
    """Return an address without its query, which may be a signature, and without a login."""
    scheme, _found, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


class _Packer:
    """Gathers the processes that an entry document needs, each once."""

    def __init__(
        self,
        entry: str,
        document: Node,
        read: t.Callable[[str], str],
        moved: t.Mapping[str, str],
    ) -> None:
        self._entry = entry
        self._read = read
        self._moved = moved
        self._version = document.get("cwlVersion")
        self._head: Node = {"cwlVersion": self._version}
        self._count = 0
        self._raw: t.Dict[str, t.Any] = {entry: document}
        self._made: t.Dict[str, t.Any] = {}
        self._labels: t.Dict[str, str] = {}
        self._names: t.Dict[Key, str] = {}
        self._graph: t.Dict[str, Node] = {}

    def whole(self) -> Node:
        """Return the one document."""
        document = self._document(self._entry)
        nodes = _cwl.processes(document)
        for node in nodes:  # first of all: they keep their names
            if not _cwl.ident(node):
                raise _cwl.wrong("it has no id", "Write the id that the process shall have.")
            self._names[self._entry, _cwl.ident(node)] = _cwl.ident(node)
        for node in nodes:
            self._add(node, _cwl.ident(node), self._entry)
        return {**self._head, "$graph": list(self._graph.values())}

    def _document(self, location: str) -> t.Any:
        """Return a file with its imports in place and its references absolute."""
        if location not in self._made:
            self._made[location] = None  # while it is made: an import of itself ends here
            raw = self._load(location)
            self._made[location] = self._expand(raw, location, self._defined(raw), 0)
        made = self._made[location]
        if made is None:
            raise _cwl.wrong(f"{shown(location)} imports itself")
        return made

    def _load(self, location: str) -> t.Any:
        if location not in self._raw:
            self._raw[location] = _cwl.parse(self._read(location))
        return self._raw[location]

    def _at(self, base: str, reference: str) -> Key:
        """Return what a file refers to (:func:`resolve`), by the address it was asked for by.

        References start where redirects ended (RFC 3986 5.1.3).
        """
        location, fragment = resolve(self._moved.get(base, base), reference)
        asked = (one for one, there in self._moved.items() if there == location)
        return next(asked, location), fragment

    def _defined(self, raw: t.Any) -> t.FrozenSet[str]:
        """Return the names of the types that a file defines for its own use."""
        if isinstance(raw, dict) and "$graph" in raw:
            return frozenset()  # in a graph they stand where they stood
        named = (
            node.get("name")
            for node in _cwl.walk(raw)
            if node.get("type") in ("record", "enum", "array")
        )
        return frozenset(name.lstrip("#") for name in named if isinstance(name, str))

    def _expand(self, value: t.Any, base: str, types: t.FrozenSet[str], depth: int) -> t.Any:
        """Return a copy of a value with imports in place and references absolute."""
        self._count += 1
        if depth > _cwl.DEEPEST or self._count > LARGEST:
            raise _cwl.wrong("its files are nested too deeply, or too large together")
        if isinstance(value, list):
            found: t.List[t.Any] = []
            for one in value:
                made = self._expand(one, base, types, depth + 1)
                spliced = isinstance(one, dict) and "$import" in one and isinstance(made, list)
                found += made if spliced else [made]
            return found
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("$include"), str):
            return self._read(self._at(base, value["$include"])[0])
        if isinstance(value.get("$import"), str):
            return self._imported(*self._at(base, value["$import"]), depth)
        made = {key: self._expand(one, base, types, depth + 1) for key, one in value.items()}
        if isinstance(value.get("run"), str) and "out" in value:
            made["run"] = "#".join(self._at(base, value["run"]))
        for key in ("type", "items"):
            if key in made:
                made[key] = self._typed(made[key], base, types)
        if value.get("type") in ("record", "enum", "array") and isinstance(value.get("name"), str):
            made["name"] = self._typed(value["name"], base, types)
        return self._ports(made, base, types)

    def _ports(self, node: Node, base: str, types: t.FrozenSet[str]) -> Node:
        """Return a node whose ports in short form (``name: type``) name absolute types."""
        for side in ("inputs", "outputs", "fields"):
            ports = node.get(side)
            if isinstance(ports, dict):
                node[side] = {
                    name: self._typed(one, base, types) if isinstance(one, (str, list)) else one
                    for name, one in ports.items()
                }
        return node

    def _imported(self, location: str, fragment: str, depth: int) -> t.Any:
        made = self._document(location)
        if fragment:
            parts = [
                node
                for node in _cwl.walk(made)
                if fragment in (_cwl.ident(node), str(node.get("name")).rpartition("/")[2])
            ]
            if not parts:
                raise _cwl.wrong(f"{shown(location)} holds no {fragment}")
            made = parts[0]
        if isinstance(made, dict):
            made = self._bare(made, location)
        return self._expand_copy(made, depth)

    def _expand_copy(self, value: t.Any, depth: int) -> t.Any:
        """Return a copy: one object in two places would be written with anchors."""
        self._count += 1
        if depth > _cwl.DEEPEST or self._count > LARGEST:
            raise _cwl.wrong("its files are nested too deeply, or too large together")
        if isinstance(value, list):
            return [self._expand_copy(one, depth + 1) for one in value]
        if isinstance(value, dict):
            return {key: self._expand_copy(one, depth + 1) for key, one in value.items()}
        return value

    def _typed(self, kind: t.Any, base: str, types: t.FrozenSet[str]) -> t.Any:
        """Return a type whose name says the file that defines it."""
        if isinstance(kind, list):
            return [self._typed(one, base, types) for one in kind]
        if not isinstance(kind, str):
            return kind
        found = re.fullmatch(r"(.*?)((?:\[\])*\??)", kind, re.DOTALL)
        name, suffix = found.groups() if found else (kind, "")
        if name.lstrip("#") in types:
            return f"#{self._label(base)}/{name.lstrip('#')}{suffix}"
        if "#" in name and not name.startswith("#"):
            location, fragment = self._at(base, name)
            return f"#{self._label(location)}/{fragment}{suffix}"
        return kind

    def _label(self, location: str) -> str:
        """Return a short name for a file, another one for each."""
        if location not in self._labels:
            stem = re.sub(r"[^A-Za-z0-9_.-]", "_", os.path.basename(urlsplit(location).path))
            self._labels[location] = free(stem or "file", set(self._labels.values()))
        return self._labels[location]

    def _bare(self, document: Node, location: str) -> Node:
        """Return a process without what the head of the one document says for all.

        :raises OapipError: it says something else.
        """
        version = document.get("cwlVersion", self._version)
        if version != self._version:
            raise _cwl.wrong(
                f"{shown(location)} has cwlVersion {version}, the entry {self._version}",
                "One document has one version: write the same in all files.",
            )
        spaces, schemas = document.get("$namespaces"), document.get("$schemas")
        for prefix, uri in spaces.items() if isinstance(spaces, dict) else ():
            if self._head.setdefault("$namespaces", {}).setdefault(prefix, uri) != uri:
                raise _cwl.wrong(f"its files mean different things by the prefix {prefix}")
        for schema in schemas if isinstance(schemas, list) else ():
            if schema not in self._head.setdefault("$schemas", []):
                self._head["$schemas"].append(schema)
        said = ("cwlVersion", "$namespaces", "$schemas", "$graph")
        return {key: value for key, value in document.items() if key not in said}

    def _place(self, location: str, fragment: str) -> str:
        """Return the name in the graph of a process that a step runs."""
        document = self._document(location)
        if not isinstance(document, dict):
            raise _cwl.wrong(f"{shown(location)} is no CWL: it is no mapping")
        wanted = fragment or ("main" if "$graph" in document else "")
        for node in _cwl.processes(document):
            own = _cwl.ident(node)
            if wanted in (own, "") or ("$graph" not in document and not own):
                key = (location, own)
                if key not in self._names:
                    stem = os.path.splitext(self._label(location))[0]
                    taken = {*self._names.values(), *self._graph}
                    self._names[key] = free(own or stem, taken)
                    self._add(node, self._names[key], location)
                return self._names[key]
        raise _cwl.wrong(f"{shown(location)} holds no process {wanted}")

    def _add(self, node: Node, name: str, location: str) -> None:
        """Put a process into the graph, then what its steps run."""
        document = self._made[location]
        self._bare(document, location)
        kept = {**self._bare(node, location), "id": name}
        self._graph[name] = kept
        for inner in _cwl.walk(kept):
            if inner.get("class") == "Workflow":
                for step in _cwl.steps_of(inner):
                    self._link(step, location)
        unhash(kept, _cwl.ident(node), "$graph" in document)

    def _link(self, step: Node, location: str) -> None:
        run = step.get("run")
        if isinstance(run, str):
            step["run"] = f"#{self._place(*self._at(location, run))}"
        elif isinstance(run, dict):
            step["run"] = self._bare(run, location)


def free(name: str, taken: t.Collection[str]) -> str:
    """Return a name, with a number where it is taken."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def unhash(process: Node, own: str, graph: bool) -> None:
    """Let the sources of a Workflow name its ports by themselves, whatever it is called now.

    :param own: its id in its file, where ``#own/port`` names a port, and without a graph ``#port``.
    """
    lead = re.compile(rf"#{re.escape(own)}/" + ("" if graph else "|#"))

    def short(value: t.Any) -> t.Any:
        found = lead.match(value) if isinstance(value, str) else None
        return value[found.end() :] if found else value

    for node in _cwl.walk(process):
        for key in ("source", "outputSource", "scatter"):
            value = node.get(key)
            if value is not None:
                node[key] = (
                    [short(one) for one in value] if isinstance(value, list) else short(value)
                )
