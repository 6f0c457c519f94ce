"""pygeoapi on a free port of the loopback, with its state in a folder, until it is ended.

Run by the Python of pygeoapi's own environment: `serve.py FOLDER`; the folder then gets the file
`port`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError
from werkzeug.serving import make_server

LINKS = "http://wrong.invalid/nowhere"
"""What it takes for its own address: a client that follows its links gets nowhere."""

SLEEPER: dict[str, Any] = {
    "id": "sleeper",
    "version": "1.0.0",
    "title": "Sleeps",
    "description": "Sleeps and fails where it is told to",
    "jobControlOptions": ["sync-execute", "async-execute"],
    "outputTransmission": ["value"],
    "keywords": [],
    "links": [],
    "inputs": {
        "seconds": {"schema": {"type": "number"}, "minOccurs": 1, "maxOccurs": 1},
        "fail": {"schema": {"type": "string"}, "minOccurs": 0, "maxOccurs": 1},
        "picture": {"schema": {"type": "boolean"}, "minOccurs": 0, "maxOccurs": 1},
    },
    "outputs": {"slept": {"schema": {"type": "number"}}},
}


class Sleeper(BaseProcessor):  # type: ignore[misc]
    """A process that takes as long as it is told, and then fails where it is told to."""

    def __init__(self, definition: dict[str, Any]) -> None:
        super().__init__(definition, SLEEPER)

    def execute(self, data: dict[str, Any], outputs: Any = None) -> tuple[str, Any]:
        time.sleep(data["seconds"])
        if data.get("fail"):
            raise ProcessorExecuteError(data["fail"])
        if data.get("picture"):
            return "image/png", b"\x89PNG\r\n\x1a\n"
        return "application/json", {"id": "slept", "value": data["seconds"]}


def configuration(folder: Path) -> dict[str, Any]:
    """Return the settings: three processes, jobs in a file, short pages, and what it insists on."""
    processors = {"hello-world": "HelloWorld", "echo": "Echo", "sleeper": "serve.Sleeper"}
    named = {"name": "x", "url": "https://example.org"}
    return {
        "server": {
            "bind": {"host": "127.0.0.1", "port": 0},
            "url": LINKS,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "languages": ["en-US"],
            "pretty_print": False,
            "limits": {"default_items": 3, "max_items": 3},
            "map": {"url": "https://example.org", "attribution": "none"},
            "manager": {
                "name": "TinyDB",
                "connection": str(folder / "jobs.db"),
                "output_dir": str(folder / "results"),
            },
        },
        "logging": {"level": "ERROR"},
        "metadata": {
            "identification": {"title": "x", "description": "x", "keywords": ["x"], **named},
            "license": named,
            "provider": named,
            "contact": {**named, "email": "x@example.org"},
        },
        "resources": {
            name: {"type": "process", "processor": {"name": processor}}
            for name, processor in processors.items()
        },
    }


def main(folder: Path) -> None:
    """Serve until the process is ended."""
    (folder / "results").mkdir()
    (folder / "config.yml").write_text(yaml.safe_dump(configuration(folder)))
    (folder / "openapi.yml").write_text("openapi: 3.0.2\n")
    os.environ["PYGEOAPI_CONFIG"] = str(folder / "config.yml")
    os.environ["PYGEOAPI_OPENAPI"] = str(folder / "openapi.yml")
    from pygeoapi.flask_app import APP  # reads both while it is imported

    server = make_server("127.0.0.1", 0, APP, threaded=True)
    (folder / "port.new").write_text(str(server.port))
    (folder / "port.new").rename(folder / "port")
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
