# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Inputs of a job: what JSON can tell; files as qualified values (18-062r2 7.11.2.2)."""

from __future__ import annotations

import base64
import json
import mimetypes
import os
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

Document = t.Dict[str, t.Any]

OTHER = "application/octet-stream"

KINDS = {
    ".cwl": "application/cwl+yaml",
    ".geojson": "application/geo+json",
    ".gml": "application/gml+xml",
    ".gpkg": "application/geopackage+sqlite3",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".nc": "application/netcdf",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
"""Media types that the system may know by another name, or not at all."""

MOST = 64 * 1024 * 1024
"""Bytes of a file that are sent by value."""

DEPTH = 100
"""Levels of lists and mappings in an input; Python's own copies of more would meet its limit."""


def with_files(inputs: t.Mapping[str, t.Any], files: t.Mapping[str, t.Any]) -> Document:
    """Return the inputs, with those that are files by value.

    :param files: by name of the input a path, a mapping with ``path`` and ``media_type``, or a list
        of these.
    :raises OapipError: a file cannot be read, is not what its media type says, or is too long; or
        JSON cannot tell an input.
    """
    found = dict(inputs)
    for name, given in files.items():
        if name in found:
            raise OapipError(
                f"reading the file of input {name}", "it is in inputs too", "Give it once."
            )
        several = isinstance(given, list)
        values = [_value(str(name), one) for one in (given if several else [given])]
        found[str(name)] = values if several else values[0]
    for name, value in found.items():
        _check(str(name), value)
    return found


def _check(name: str, value: t.Any) -> None:
    """Refuse what would fail in the midst of the request that starts the job.

    :raises OapipError: JSON cannot tell a value.
    """
    doing, inner = f"reading input {name}", [value]
    for _depth in range(DEPTH + 1):
        boxes = [one for one in inner if isinstance(one, (list, dict))]
        inner = [one for box in boxes for one in (box.values() if isinstance(box, dict) else box)]
    if boxes:
        reason = f"it is nested deeper than {DEPTH} levels"
        raise OapipError(doing, reason, "Give a reference (href) in inputs.")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        reason = "a number in it is not finite, and JSON has no such numbers"
        raise OapipError(doing, reason, "Correct inputs.") from None
    except TypeError as error:
        raise OapipError(doing, f"JSON cannot tell it: {error}", "Correct inputs.") from None


def _value(name: str, given: t.Any) -> Document:
    if not isinstance(given, t.Mapping):
        given = {"path": given}
    doing = f"reading the file of input {name}"
    path = given.get("path")
    if not path or not isinstance(path, str) or not set(given) <= {"path", "media_type"}:
        raise OapipError(
            doing, "it is no path, nor a mapping of path and media_type", "Correct input_files."
        )
    path = os.path.expanduser(os.path.expandvars(path))
    try:
        with open(path, "rb") as file:
            data = file.read(MOST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be read"
        raise OapipError(doing, f"{path}: {reason}", "Give a file of the controller.") from None
    if len(data) > MOST:
        hint = "Put it where the server can fetch it, and give a reference (href) in inputs."
        raise OapipError(doing, f"{path} is longer than {MOST // 1024**2} MiB", hint)
    try:
        return qualified(data, str(given.get("media_type") or media_type_of(path)))
    except ValueError as error:
        hint = "Correct the file, or give another media_type."
        raise OapipError(doing, f"{path} is no JSON: {error}", hint) from None


def media_type_of(path: str) -> str:
    """Return the media type that the name of a file suggests."""
    ending = os.path.splitext(path)[1].lower()
    return KINDS.get(ending) or mimetypes.guess_type(path)[0] or OTHER


def qualified(data: bytes, media_type: str) -> Document:
    """Return a value with its media type: JSON as it is, text as text, all else in base64.

    :raises ValueError: it has to be JSON and is not, or nobody can read it.
    """
    kind = media_type.partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")):
        try:
            found = json.loads(data, parse_constant=_no_json)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return {"value": found, "mediaType": media_type}
    if kind.startswith("text/") or kind.endswith(("xml", "yaml")):
        try:
            return {"value": data.decode("utf-8"), "mediaType": media_type}
        except UnicodeDecodeError:
            pass
    value = base64.b64encode(data).decode()
    return {"value": value, "mediaType": media_type, "encoding": "base64"}


def _no_json(constant: str) -> t.NoReturn:
    raise ValueError(constant)
