"""Commands of the public image `eoepca/convert`, as far as packages here use them.

* `convert IN -resize GEOMETRY OUT`: ImageMagick's resize (`50%`, `320x200`, `320`, `x200`, `!`).
* `convert.sh resize --url IN GEOMETRY`: the image's own script; writes the resized picture and a
  STAC catalog into the working folder.
* `curl [-fsSL] -o OUT URL`: over TLS with the authorities of SSL_CERT_FILE.
"""

from __future__ import annotations

import json
import mimetypes
import re
import ssl
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

_GEOMETRY = re.compile(r"(?:(?P<percent>\d+(?:\.\d+)?)%|(?P<w>\d+)?(?:x(?P<h>\d+))?(?P<exact>!)?)")
_WORLD = [[[-180, -90], [-180, 90], [180, 90], [180, -90], [-180, -90]]]


def new_size(size: tuple[int, int], geometry: str) -> tuple[int, int]:
    """Size after `-resize`: the aspect is kept unless the geometry ends in `!`."""
    found = _GEOMETRY.fullmatch(geometry)
    if not found or not geometry.strip("!x"):
        sys.exit(f"convert: invalid argument for option '-resize': {geometry}")
    width, height = size
    if found["percent"]:
        factor = float(found["percent"]) / 100
    else:
        across = int(found["w"]) / width if found["w"] else None
        down = int(found["h"]) / height if found["h"] else None
        if found["exact"] and across and down:
            return int(found["w"]), int(found["h"])
        factor = min(part for part in (across, down) if part)
    return max(1, round(width * factor)), max(1, round(height * factor))


def resize(source: str, geometry: str, target: str) -> None:
    """ImageMagick's `convert SOURCE -resize GEOMETRY TARGET`."""
    with Image.open(source) as picture:
        picture.resize(new_size(picture.size, geometry)).save(target)


def curl(arguments: list[str]) -> None:
    """A download; fails with curl's codes 22 (HTTP status) and 60 or 7 (no connection)."""
    target = arguments[arguments.index("-o") + 1]
    url = next(a for a in arguments if a.startswith(("http://", "https://")))
    try:
        with urllib.request.urlopen(url, timeout=60, context=ssl.create_default_context()) as got:
            Path(target).write_bytes(got.read())
    except urllib.error.HTTPError as error:
        print(f"curl: (22) The requested URL returned error: {error.code}", file=sys.stderr)
        sys.exit(22)
    except urllib.error.URLError as error:
        code = 60 if isinstance(error.reason, ssl.SSLError) else 7
        print(f"curl: ({code}) {error.reason}", file=sys.stderr)
        sys.exit(code)


def script(arguments: list[str]) -> None:
    """The image's convert.sh."""
    if arguments[:2] != ["resize", "--url"] or len(arguments) != 4:
        sys.exit(f"ERROR: Unknown function or source type = {' '.join(arguments[:2])}")
    source = Path(arguments[2])
    target = Path(f"{source.stem}-resize{source.suffix}")
    resize(str(source), arguments[3], str(target))
    now = datetime.now(UTC)
    time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    asset = {
        "type": mimetypes.guess_type(target.name)[0] or "application/octet-stream",
        "roles": ["data"],
        "href": target.name,
        "file:size": target.stat().st_size,
    }
    item = {
        "stac_version": "1.0.0",
        "id": f"{target.stem}-{now.timestamp():.6f}",
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": _WORLD},
        "properties": {"created": time, "datetime": time, "updated": time},
        "bbox": [-180, -90, 180, 90],
        "assets": {target.stem: asset},
        "links": [{"type": "application/json", "rel": "parent", "href": "catalog.json"}],
    }
    catalog = {
        "stac_version": "1.0.0",
        "id": "catalog",
        "type": "Catalog",
        "description": "Root catalog",
        "links": [
            {"type": "application/geo+json", "rel": "item", "href": f"{target.stem}.json"},
            {"type": "application/json", "rel": "self", "href": "catalog.json"},
        ],
    }
    Path(f"{target.stem}.json").write_text(json.dumps(item, indent=2))
    Path("catalog.json").write_text(json.dumps(catalog, indent=2))


def main() -> None:
    """Play the command named first."""
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "curl":
        curl(arguments)
    elif command == "convert.sh":
        script(arguments)
    elif len(arguments) == 4 and arguments[1] == "-resize":
        resize(arguments[0], arguments[2], arguments[3])
    else:
        sys.exit("convert: only `convert IN -resize GEOMETRY OUT` is offered here")


if __name__ == "__main__":
    main()
