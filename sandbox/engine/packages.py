"""Application Packages: what deployment reads from CWL.

Source: D`deploy_util.py Process.create_from_cwl` (D = zoo-project/zoo-services/utils/open-api/dru).
Every refusal is told apart here, and is nothing but "file not found" to the client.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Node = dict[str, Any]
_SCHEMA_ORG = "https://schema.org/"
_SEPARATORS = (",", ";", "$q$", "$$")


class PackageError(ValueError):
    """The package cannot be deployed; the text is for the engine's log."""


@dataclass(frozen=True)
class Package:
    """A deployable workflow.

    Attributes:
        identifier: the Workflow's id, which is the process id.
        workflow: its node.
        cwl: the whole document, as written.
    """

    identifier: str
    workflow: Node
    cwl: Node


def read_package(text: str, wanted: str | None = None) -> Package:
    """Choose a Workflow of a CWL text: `wanted`, else the first in the file.

    Raises:
        PackageError: no YAML, no such Workflow, or CWL that cwl-utils refuses.
    """
    try:
        cwl = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PackageError(str(error)) from error
    if not isinstance(cwl, dict):
        raise PackageError("No workflow found")
    nodes = cwl["$graph"] if isinstance(cwl.get("$graph"), list) else [cwl]
    flows = [n for n in nodes if isinstance(n, dict) and n.get("class") == "Workflow"]
    named = [(str(node.get("id", "main")).rpartition("#")[2], node) for node in flows]
    chosen = [pair for pair in named if wanted is None or pair[0] == wanted]
    if not chosen:
        raise PackageError("No workflow found")
    identifier, workflow = chosen[0]
    _validate(cwl, identifier)
    return Package(identifier, workflow, cwl)


def _validate(cwl: Node, identifier: str) -> None:
    from cwl_utils.parser import load_document_by_yaml  # 0.4 s, wanted only here

    chosen = identifier if "$graph" in cwl else None
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".cwl") as file:  # references must resolve
            file.write(json.dumps(cwl))
            file.flush()
            uri = Path(file.name).as_uri()
            load_document_by_yaml(copy.deepcopy(cwl), uri, id_=chosen)
    except Exception as error:  # noqa: BLE001 - schema-salad raises whatever it meets
        raise PackageError(f"{type(error).__name__}: {error}") from error


def forbidden(identifier: str) -> bool:
    """Newer kernels refuse ids that their own lists would split."""
    return any(text in identifier for text in _SEPARATORS)


def metadata(package: Package) -> dict[str, str]:
    """All `s:*` fields by their URI; workflow-level ones win."""
    spaces = package.cwl.get("$namespaces") or {}
    roots = {prefix: uri for prefix, uri in spaces.items() if str(uri).startswith(_SCHEMA_ORG)}
    found: dict[str, str] = {}
    for node in (package.cwl, package.workflow):
        for key, value in node.items():
            prefix, colon, name = str(key).partition(":")
            if colon and prefix in roots and isinstance(value, str | int | float):
                found[roots[prefix] + name] = str(value)
    return found


def version(package: Package) -> str:
    """The kernel's idea of the version: `str()` of the YAML value, padded when short."""
    found = metadata(package)
    for name in ("softwareVersion", "version"):
        for base in (_SCHEMA_ORG, _SCHEMA_ORG + "SoftwareApplication"):
            if base + name in found:
                text = found[base + name]
                return text + ".0.0" if len(text) < 5 else text
    return "unknown"


def ports(node: Mapping[str, Any], side: str) -> dict[str, Node]:
    """Inputs or outputs by name, from CWL's list or map form."""
    declared = node.get(side) or {}
    if isinstance(declared, list):
        return {str(p["id"]).rpartition("#")[2].rpartition("/")[2]: p for p in declared}
    return {
        str(name): value if isinstance(value, dict) else {"type": value}
        for name, value in declared.items()
    }


def required(package: Package) -> list[str]:
    """Inputs a job must give: a falsy default is lost on the way."""
    return [
        name
        for name, port in ports(package.workflow, "inputs").items()
        if not port.get("default") and not is_optional(port.get("type"))
    ]


def is_optional(kind: object) -> bool:
    """`string?` or a union with null."""
    if isinstance(kind, str):
        return kind.endswith("?")
    return isinstance(kind, list) and "null" in kind


def images(cwl: object) -> Iterator[str]:
    """Every container image the document names."""
    for holder in _requirement_holders(cwl):
        pull = holder.get("dockerPull") or holder.get("dockerImageId")
        if pull:
            yield str(pull)


def without_containers(cwl: Node) -> str:
    """The document as JSON without its DockerRequirements, for a runner without containers."""
    bare = copy.deepcopy(cwl)
    _strip(bare)
    return json.dumps(bare)


def _requirement_holders(node: object) -> Iterator[Node]:
    if isinstance(node, dict):
        if isinstance(node.get("DockerRequirement"), dict):
            yield node["DockerRequirement"]
        if node.get("class") == "DockerRequirement":
            yield node
        for value in node.values():
            yield from _requirement_holders(value)
    elif isinstance(node, list):
        for value in node:
            yield from _requirement_holders(value)


def _strip(node: object) -> None:
    if isinstance(node, dict):
        node.pop("DockerRequirement", None)
        for side in ("requirements", "hints"):
            if isinstance(node.get(side), list):
                node[side] = [r for r in node[side] if r.get("class") != "DockerRequirement"]
        for value in node.values():
            _strip(value)
    elif isinstance(node, list):
        for value in node:
            _strip(value)
