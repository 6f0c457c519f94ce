# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Application Packages (OGC 20-089) in CWL: read, checked and packed on our side.

The engine says no more than "file not found" about a bad package.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.eoepca.oapip.plugins.module_utils._deps import require, yaml
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

MEDIA_TYPE = "application/cwl+yaml"
"""The one media type used for an id: the engine keeps another file for each kind."""

VERSIONS = ("v1.0", "v1.1", "v1.2")
ID = re.compile(r"[A-Za-z0-9_-]+")
RESERVED = (
    "DeployProcess",
    "UndeployProcess",
    "securityIn",
    "securityOut",
    "display",
    "runDismiss",
    "browse",
    "Notify",
)
"""ZOO-Project hides every process whose id is part of one of these names."""

DEEPEST = 200
"""Levels of nesting that a package may have."""

Node = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Package:
    """An Application Package that may be sent."""

    id: str
    text: str
    document: t.Any = field(compare=False, repr=False)
    warnings: t.Tuple[str, ...] = ()


def wrong(reason: str, hint: str = "") -> OapipError:
    """Return the error for a package that cannot be deployed."""
    return OapipError("checking the Application Package", reason, hint)


def decode(data: bytes) -> str:
    """Return the text of a package.

    :raises OapipError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise wrong(f"it is not UTF-8 text (byte {error.start})") from None


def parse(text: str) -> t.Any:
    """Return the content of a YAML or JSON text.

    :raises OapipError: it is neither.
    """
    require("PyYAML")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:  # libyaml's composer recurses in C: it would kill the process
                raise wrong("it is nested too deeply")
        return yaml.load(text, Loader=loader)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise wrong(f"it is no YAML{where}: {problem}") from None
    except RecursionError:
        raise wrong("it is nested too deeply") from None
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, IndexError) as error:
        # the constructors of PyYAML let their own errors out: dates, numbers, keys
        raise wrong(f"it is no YAML: {type(error).__name__}") from None


def load(text: str, workflow: str = "") -> Package:
    """Read and check one self-contained document.

    :param workflow: the id of the Workflow to deploy; without it, the first one.
    :raises OapipError: it cannot be deployed, and why.
    """
    document = parse(text)
    if not isinstance(document, dict):
        raise wrong("it is no CWL: the document is no mapping")
    version = document.get("cwlVersion")
    if not isinstance(version, str) or version not in VERSIONS:
        shown = repr(version)[:40] if version is not None else "missing"
        raise wrong(f"its cwlVersion is {shown}", f"Write one of {', '.join(VERSIONS)}.")
    nodes = processes(document)
    outside = references(document)
    if outside:
        raise wrong(
            f"it refers to other files: {', '.join(sorted(outside)[:5])}",
            "Give the entry document with src, so that its files are packed into it.",
        )
    check_links(nodes)
    chosen = choose(nodes, workflow)
    return Package(ident(chosen), text, document, tuple(warnings(chosen)))


def processes(document: Node) -> t.List[Node]:
    """Return the processes of a document: those of ``$graph``, or itself."""
    if "$graph" not in document:
        return [document]
    graph = document["$graph"]
    if not isinstance(graph, list) or not all(isinstance(node, dict) for node in graph):
        raise wrong("its $graph is no list of processes")
    seen: t.Set[str] = set()
    for node in graph:
        name = ident(node)
        if not name:
            raise wrong("a process in its $graph has no id")
        if name in seen:
            raise wrong(f"two processes in its $graph have the id {name}")
        seen.add(name)
    return graph


def ident(node: Node) -> str:
    """Return the id of a process without the ``#`` or the file before it."""
    value = node.get("id")
    return value.rsplit("#", 1)[-1] if isinstance(value, str) else ""


def choose(nodes: t.Sequence[Node], workflow: str) -> Node:
    """Return the Workflow to deploy.

    :raises OapipError: there is none, or it has no id.
    """
    workflows = [node for node in nodes if node.get("class") == "Workflow"]
    if not workflows:
        kinds = sorted({str(node.get("class")) for node in nodes})
        raise wrong(
            f"it holds no Workflow, only {', '.join(kinds) or 'nothing'}",
            "Wrap the tool into a Workflow of one step: only Workflows can be deployed.",
        )
    found = [node for node in workflows if not workflow or ident(node) == workflow]
    if not found:
        names = ", ".join(ident(node) or "(without id)" for node in workflows)
        raise wrong(f"it holds no Workflow {workflow}, only {names}", "Correct workflow.")
    if not ident(found[0]):
        raise wrong("its Workflow has no id", "Write the id that the process shall have.")
    return found[0]


def id_fault(name: str) -> str:
    """Return why the engine cannot use an id for a process; empty where it can."""
    if not ID.fullmatch(name):
        return "has characters other than letters, digits, _ and -, which the engine breaks"
    for reserved in RESERVED:
        if name in reserved:
            return f"is part of the engine's own name {reserved}, so the engine would hide it"
    return ""


def walk(value: t.Any) -> t.Iterator[Node]:
    """Yield every mapping of a document once, also where aliases make it a loop."""
    seen: t.Set[int] = set()
    todo = [value]
    while todo:
        here = todo.pop()
        if id(here) in seen or not isinstance(here, (dict, list)):
            continue
        seen.add(id(here))
        if isinstance(here, dict):
            yield here
            todo.extend(here.values())
        else:
            todo.extend(here)


def steps_of(node: Node) -> t.List[Node]:
    """Return the steps of a Workflow, written as a list or as a mapping."""
    steps = node.get("steps")
    listed = list(steps.values()) if isinstance(steps, dict) else steps
    return [step for step in listed if isinstance(step, dict)] if isinstance(listed, list) else []


def references(document: t.Any) -> t.Set[str]:
    """Return the other files that a document needs: ``run``, ``$import`` and ``$include``."""
    found: t.Set[str] = set()
    for node in walk(document):
        for key in ("$import", "$include"):
            if isinstance(node.get(key), str):
                found.add(node[key])
        for step in steps_of(node) if node.get("class") == "Workflow" else []:
            run = step.get("run")
            if isinstance(run, str) and not run.startswith("#"):
                found.add(run)
    return found


def check_links(nodes: t.Sequence[Node]) -> None:
    """Fail where a step runs a process that its document does not hold."""
    names = {ident(node) for node in nodes}
    for node in nodes:
        for step in steps_of(node) if node.get("class") == "Workflow" else []:
            run = step.get("run")
            if run is None:
                raise wrong(f"a step of {ident(node) or 'its Workflow'} has no run")
            if isinstance(run, str) and run.startswith("#") and run.lstrip("#") not in names:
                raise wrong(f"a step of {ident(node)} runs {run}, which is not in its $graph")


def warnings(workflow: Node) -> t.Iterator[str]:
    """Yield what the engine will do wrong with a Workflow that it accepts."""
    shown = [workflow]
    ports: t.List[t.Tuple[str, Node]] = []
    for side in ("inputs", "outputs"):
        given = workflow.get(side)
        if isinstance(given, dict):
            pairs = [(str(name), about) for name, about in given.items()]
        elif isinstance(given, list):
            pairs = [(ident(about), about) for about in given if isinstance(about, dict)]
        else:
            pairs = []
        ports += [(name, about) for name, about in pairs if isinstance(about, dict)]
        shown += [about for name, about in pairs if isinstance(about, dict)]
    if any("%" in str(node.get(key)) for node in shown for key in ("label", "doc", "id")):
        yield "a label or doc of the Workflow holds a '%': ZOO-Project breaks its lists with it"
    for name, about in ports:
        default = about.get("default")
        if "default" in about and default is not None and not default:
            yield (
                f"the engine loses the default of the input {name} ({default!r}):"
                " give it with every job"
            )


def same(one: str, other: str) -> bool:
    """Whether two package texts say the same: byte by byte, or as documents."""
    if one.rstrip("\n") == other.rstrip("\n"):
        return True
    try:
        first, second = parse(one), parse(other)
        return bool(first == second) and isinstance(first, dict)
    except (OapipError, RecursionError):
        return False


def from_server(text: str) -> str:
    """Return a stored package without the one newline that the engine adds."""
    return text.removesuffix("\n")


def from_ogcapppkg(body: t.Any) -> t.Optional[str]:
    """Return the CWL text inside an OGC Application Package document (20-044 7.3), or None."""
    unit = body.get("executionUnit") if isinstance(body, dict) else None
    if isinstance(unit, list):
        unit = unit[0] if unit else None
    if not isinstance(unit, dict):
        return None
    value = unit.get("value", unit.get("unit"))
    if isinstance(value, str):
        return value
    if isinstance(value, dict) or "cwlVersion" in unit:
        return json.dumps(value if isinstance(value, dict) else unit, indent=2)
    return None
