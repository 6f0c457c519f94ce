"""Doors beside the API: WPS on `/ogc-api?..`, log files under `/temp/`, Swagger's pages.

None of them meets the security filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl

from .answers import Answer, html
from .descriptions import ECHO
from .processes import ProcessStore
from .settings import Settings
from .tokens import ANONYMOUS

_XML = "text/xml; charset=UTF-8"
_OWS = 'xmlns:ows="http://www.opengis.net/ows/1.1" xmlns:wps="http://www.opengis.net/wps/1.0.0"'
_SWAGGER = "/swagger-ui/oapip/"
_FILES = {"": "oapi-index.html", "index.html": "oapi-index.html"} | {
    name: name for name in ("swagger-initializer.js", "swagger-filter.js")
}
_SHIPPED = {
    "swagger-ui.css": "text/css",
    "index.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui-standalone-preset.js": "text/javascript",
    "favicon-32x32.png": "image/png",
    "favicon-16x16.png": "image/png",
}
_INDEX = (
    "<!DOCTYPE html><html><head><title>Swagger UI</title></head><body>"
    '<div id="swagger-ui"></div><script src="./swagger-initializer.js"></script></body></html>\n'
)


def wps(query: str, body: bytes, store: ProcessStore, settings: Settings) -> Answer:
    """WPS 1.0 in small: capabilities, the static process, its execution."""
    given = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
    request = given.get("request", "GetCapabilities" if b"GetCapabilities" in body else "")
    if request.lower() == "getcapabilities":
        shown, _ = store.listed(ANONYMOUS, settings.flavour)
        names = [ECHO, *(process.package.identifier for process in shown)]
        rows = "".join(
            f"<wps:Process><ows:Identifier>{escape(n)}</ows:Identifier></wps:Process>"
            for n in names
        )
        return _xml(f"<wps:ProcessOfferings>{rows}</wps:ProcessOfferings>", "Capabilities")
    if not request:
        return _report(400, "MissingParameterValue", "Parameter request was not specified")
    if given.get("identifier") != ECHO:
        return _report(400, "InvalidParameterValue", "The value for identifier seems to be wrong")
    if request.lower() == "describeprocess":
        row = f"<ProcessDescription><ows:Identifier>{ECHO}</ows:Identifier></ProcessDescription>"
        return _xml(row, "ProcessDescriptions")
    if request.lower() == "execute":
        inputs = dict(part.partition("=")[::2] for part in given.get("datainputs", "").split(";"))
        data = f"<wps:LiteralData>{escape(inputs.get('a', ''))}</wps:LiteralData>"
        return _xml(f"<wps:ProcessOutputs>{data}</wps:ProcessOutputs>", "ExecuteResponse")
    return _report(400, "InvalidParameterValue", "Unenderstood <request> value.")


def browse(name: str, namespace: str | None, store: ProcessStore) -> Answer:
    """A file of a user's temp folder (contained, as chart 0.10.3 has it)."""
    if not namespace:
        return _report(500, "NoApplicableCode", "Unable to resolve user namespace")
    base = (store.folder(namespace) / "temp").resolve()
    path = (base / name.lstrip("/")).resolve()
    if not path.is_relative_to(base):
        return _report(500, "NoApplicableCode", "Access denied")
    if not path.is_file():
        return _report(500, "NoApplicableCode", "Unable to access the file")
    return Answer(200, path.read_text(errors="replace"), "text/plain")


def static(path: str, pages: Mapping[str, str]) -> Answer:
    """What Apache serves from its document root."""
    if path == "/":
        return html(200, "Apache2 Ubuntu Default Page: It works")
    if path == _SWAGGER.rstrip("/"):
        return html(301).with_headers(Location=_SWAGGER)
    name = path.removeprefix(_SWAGGER)
    if not path.startswith(_SWAGGER) or (name not in _FILES and name not in _SHIPPED):
        return html(404)
    if name in _SHIPPED:
        return Answer(200, "/* shipped with the image */\n", _SHIPPED[name], kernel=False)
    kind = "text/javascript" if name.endswith(".js") else "text/html; charset=UTF-8"
    text = pages.get(_FILES[name], _INDEX if kind.startswith("text/html") else "")
    return Answer(200, text, kind, kernel=False) if text else html(404)


def _xml(inner: str, name: str) -> Answer:
    return Answer(200, f"<wps:{name} {_OWS}>{inner}</wps:{name}>\n", _XML)


def _report(status: int, code: str, text: str) -> Answer:
    row = f'<ows:Exception exceptionCode="{code}"><ows:ExceptionText>{escape(text)}'
    row += "</ows:ExceptionText></ows:Exception>"
    report = f'<ows:ExceptionReport {_OWS} version="1.1.0">{row}</ows:ExceptionReport>\n'
    return Answer(status, report, _XML)
