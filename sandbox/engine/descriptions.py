"""Documents of OGC API - Processes as the kernel writes them.

Source: K`service_json.c`; members and their order are those of real answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .flavours import Flavour
from .packages import Package, is_optional, metadata, ports, version
from .settings import Settings

Document = dict[str, Any]
EXECUTE = "http://www.opengis.net/def/rel/ogc/1.0/execute"
RESULTS = "http://www.opengis.net/def/rel/ogc/1.0/results"
ECHO = "echo"
HIDDEN = [
    "DeployProcess",
    "UndeployProcess",
    "securityIn",
    "securityOut",
    "display",
    "runDismiss",
    "browse",
]
_JSON = "application/json"
_PART_1 = ["core", "oas30", "json", "job-list", "dismiss", "callback", "ogc-process-description"]
_PART_2 = ["deploy-replace-undeploy", "ogcapppkg", "cwl"]
_COMMON = ["core", "landing-page", "oas30", "json"]
_LINK_SCHEMA = {"$ref": "http://zoo-project.org/dl/link.json"}
_SCHEMAS: dict[str, Document] = {
    "string": {"type": "string"},
    "int": {"type": "integer"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "boolean": {"type": "boolean"},
    "Any": {"type": "object"},
    "File": {"type": "string", "format": "uri"},
    "Directory": {"type": "string", "format": "uri"},
}


def base_url(settings: Settings, user: str | None) -> str:
    """`{hosturl}/{user}/ogc-api`: never taken from the request."""
    return f"{settings.host_url}/{user}/ogc-api" if user else f"{settings.host_url}/ogc-api"


def is_hidden(identifier: str, flavour: Flavour) -> bool:
    """The kernel hides an id that is a substring of one of its own services."""
    names = [*HIDDEN, "Notify"] if flavour.status_has_id else HIDDEN
    return any(identifier in name for name in names)


def landing(settings: Settings, base: str) -> Document:
    """The landing page."""
    pages = {
        "/": ("self", "this document"),
        "/api": ("service-desc", "the API definition"),
        "/conformance": (
            "http://www.opengis.net/def/rel/ogc/1.0/conformance",
            "OGC API - Processes conformance classes implemented by this server",
        ),
        "/processes": (
            "http://www.opengis.net/def/rel/ogc/1.0/processes",
            "The processes offered by this server",
        ),
        "/jobs": ("http://www.opengis.net/def/rel/ogc/1.0/job-list", "The job list"),
    }
    kinds = {"/api": "application/vnd.oai.openapi+json;version=3.0"}
    links = [
        {"rel": rel, "type": kinds.get(path, _JSON), "title": title, "href": base + path}
        for path, (rel, title) in pages.items()
    ]
    return {"title": settings.title, "description": settings.abstract, "links": links}


def conformance(settings: Settings) -> Document:
    """Conformance classes; the ones of Processes 2.0 by `zoo.processesv2`."""
    spec = "http://www.opengis.net/spec/"
    uris = [f"{spec}ogcapi-processes-1/1.0/conf/{name}" for name in _PART_1]
    uris += [f"{spec}ogcapi-processes-2/1.0/conf/{name}" for name in _PART_2]
    uris += [f"{spec}ogcapi-common-1/1.0/conf/{name}" for name in _COMMON]
    if settings.processes_v2 and settings.flavour.original_schema:
        names = [*_PART_1, "oas", "query-param-profile"]
        uris += [f"{spec}ogcapi-processes-1/2.0/conf/{name}" for name in names]
    return {"conformsTo": uris}


def openapi(settings: Settings, base: str) -> Document:
    """A small OpenAPI 3.0.3 document with the paths the engine serves."""
    paths = {
        "/": ["get"],
        "/conformance": ["get"],
        "/api": ["get"],
        "/processes": ["get", "post"],
        "/processes/{processID}": ["get", "put", "delete"],
        "/processes/{processID}/package": ["get"],
        "/processes/{processID}/execution": ["post"],
        "/jobs": ["get"],
        "/jobs/{jobID}": ["get", "delete"],
        "/jobs/{jobID}/results": ["get"],
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": settings.title, "version": "1.0.0"},
        "servers": [{"url": base}],
        "paths": {
            path: {verb: {"responses": {"200": {"description": "successful"}}} for verb in verbs}
            for path, verbs in paths.items()
        },
    }


def summary(package: Package, flavour: Flavour, link: Document) -> Document:
    """What lists and deployments say of a process."""
    node = package.workflow
    found: Document = {
        "id": package.identifier,
        "title": str(node.get("label") or package.identifier),
        "description": _text(node.get("doc")) or flavour.describes_missing,
        "mutable": True,
        "version": version(package),
    }
    described = [{"role": role, "value": value} for role, value in metadata(package).items()]
    if described:
        found["metadata"] = described
    found["outputTransmission"] = ["value", "reference"]
    found["jobControlOptions"] = ["async-execute", "dismiss"]
    found["links"] = [link]
    return found


def self_link(base: str, identifier: str) -> Document:
    """The link of a list's entry."""
    href = f"{base}/processes/{identifier}"
    return {"rel": "self", "type": _JSON, "title": "Process Description", "href": href}


def execute_link(base: str, identifier: str) -> Document:
    """The link of a description and of a deployment."""
    href = f"{base}/processes/{identifier}/execution"
    return {"rel": EXECUTE, "type": _JSON, "title": "Execute End Point", "href": href}


def description(package: Package, flavour: Flavour, link: Document) -> Document:
    """The summary with inputs and outputs."""
    inputs = ports(package.workflow, "inputs")
    outputs = ports(package.workflow, "outputs")
    return summary(package, flavour, link) | {
        "inputs": {name: _input(name, port, flavour) for name, port in inputs.items()},
        "outputs": {name: _output(name, port) for name, port in outputs.items()},
    }


def echo(link: Document, *, whole: bool) -> Document:
    """The static process that ships in the image."""
    found: Document = {
        "id": ECHO,
        "title": "Echo input",
        "description": "Simply echo the value provided as input",
        "mutable": False,
        "version": "2.0.0",
        "metadata": [{"title": "Demo"}],
        "jobControlOptions": ["sync-execute", "async-execute", "dismiss"],
        "outputTransmission": ["value", "reference"],
        "links": [link],
    }
    if whole:
        port = {"title": "Literal", "description": "A literal", "schema": {"type": "string"}}
        found |= {"inputs": {"a": port}, "outputs": {"a": port}}
    return found


def _text(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _input(name: str, port: Mapping[str, Any], flavour: Flavour) -> Document:
    kind = port.get("type")
    schema = _schema(kind)
    if port.get("default"):
        schema = {**schema, "default": port["default"]}
    if is_optional(kind):
        schema = {**schema, "nullable": True}
    found: Document = {
        "title": str(port.get("label") or name),
        "description": _text(port.get("doc")) or "None",
    }
    if flavour.original_schema:
        if is_optional(kind) or port.get("default"):
            found["minOccurs"] = 0
        found["metadata"] = [{"role": "cwl:type", "value": str(kind)}]
        found["original-schema"] = schema
    return found | {"schema": schema}


def _output(name: str, port: Mapping[str, Any]) -> Document:
    value = {"oneOf": [{"type": "object"}]}
    boxed = {"type": "object", "required": ["value"], "properties": {"value": value}}
    return {
        "title": str(port.get("label") or name),
        "description": _text(port.get("doc")) or "None",
        "extended-schema": {"oneOf": [{"allOf": [_LINK_SCHEMA]}, boxed]},
        "schema": value,
    }


def _schema(kind: object) -> Document:
    if isinstance(kind, list):
        return _schema(next((item for item in kind if item != "null"), "string"))
    if isinstance(kind, Mapping):
        if kind.get("type") == "array":
            return {"type": "array", "items": _schema(kind.get("items"))}
        if kind.get("type") == "enum":
            names = [str(s).rpartition("/")[2] for s in kind.get("symbols", [])]
            return {"type": "string", "enum": names}
        return {"type": "object"}
    text = str(kind).removesuffix("?")
    if text.endswith("[]"):
        return {"type": "array", "items": _schema(text.removesuffix("[]"))}
    return _SCHEMAS.get(text, {"type": "object"})
