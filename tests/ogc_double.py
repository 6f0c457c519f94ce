"""A small HTTP server in the test's own process: the engine on the wire, faults on demand."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

ENGINE_HEADERS = {"X-Powered-By": "ZOO-Project-DRU"}
NO_PROCESS = "http://www.opengis.net/def/rel/ogc/1.0/exception/no-such-process"
NO_JOB = "http://www.opengis.net/def/rel/ogc/1.0/exception/no-such-job"
PART_2 = "http://www.opengis.net/def/exceptions/ogcapi-processes-2/1.0/"


@dataclass(frozen=True)
class Asked:
    """A request as it came; `target` is the raw one of the request line."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path if not self.target.startswith("//") else self.target


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` bytes are sent and then the connection is reset."""

    status: int = 200
    body: bytes | str | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


Handler = Callable[[Asked], Reply]


class Double:
    """Answers with `handler`, unless a fault waits for the request's method and path."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[Asked] = []
        self.faults: list[tuple[str, str, Reply]] = []
        self._lock = threading.Lock()
        double = self

        class Inner(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def _any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                target = self.requestline.split(" ")[1]
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, target, headers, self.rfile.read(size))
                reply = double.answer(asked)
                body = reply.body
                if isinstance(body, dict):
                    body = json.dumps(body)
                data = body.encode() if isinstance(body, str) else body
                kind = "application/json;charset=UTF-8"
                if reply.cut is not None and reply.cut < 0:
                    self._reset()
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Type": kind, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data if reply.cut is None else data[: reply.cut])
                if reply.cut is not None:
                    self._reset()

            def _reset(self) -> None:
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """A cut connection is meant."""

        self.server = Server(("127.0.0.1", 0), Inner)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            for fault in self.faults:
                method, ending, reply = fault
                if asked.method == method and asked.path.endswith(ending):
                    self.faults.remove(fault)
                    return reply
            return self.handler(asked)

    def fail(self, method: str, ending: str, *replies: Reply) -> None:
        """Let the next requests of that kind meet these answers."""
        self.faults += [(method, ending, reply) for reply in replies]

    def writes(self) -> list[str]:
        """Return the mutating requests so far."""
        return [f"{a.method} {a.path}" for a in self.asked if a.method not in ("GET", "HEAD")]


@contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Double]:
    """Serve, with TLS where its context is given."""
    double = Double(handler)
    if tls:
        plain = double.server.socket
        # the handshake belongs to a connection's thread, not to the one that accepts
        double.server.socket = tls.wrap_socket(plain, True, do_handshake_on_connect=False)
        double.url = double.url.replace("http:", "https:")
    thread = threading.Thread(
        target=double.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield double
    finally:
        double.server.shutdown()
        double.server.server_close()


def problem(status: int, title: str, kind: str = "", detail: str = "") -> Reply:
    """Return an error in the engine's three members."""
    return Reply(
        status, {"title": title, "type": kind or title, "detail": detail or title}, ENGINE_HEADERS
    )


class Engine:
    """The processes and jobs of one context, as the engine answers for them."""

    def __init__(self, base: str = "/alice/ogc-api") -> None:
        self.base = base
        self.packages: dict[str, str] = {}
        self.leftover: set[str] = set()
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.script: list[dict[str, Any]] = [{"status": "successful"}]
        self.results: dict[str, Any] = {"out": {"value": {"type": "Collection"}}}
        self.location_user = base.split("/")[1]

    def __call__(self, asked: Asked) -> Reply:
        path = asked.path
        if not path.startswith(self.base + "/"):
            return Reply(404, "<html>Not Found</html>", {"Content-Type": "text/html"})
        parts = [unquote(part) for part in path[len(self.base) + 1 :].split("/") if part]
        query = parse_qs(urlsplit(asked.target).query)
        if not parts:
            return Reply(200, {"title": "landing", "links": []}, ENGINE_HEADERS)
        if parts[0] == "processes":
            return self._processes(asked, parts[1:], query)
        if parts[0] == "jobs":
            return self._jobs(asked, parts[1:], query)
        return problem(400, "BadRequest")

    def _about(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "title": name,
            "mutable": name != "echo",
            "jobControlOptions": ["async-execute", "dismiss"]
            + (["sync-execute"] if name == "echo" else []),
            "inputs": {
                "fn": {"schema": {"type": "string"}},
                "size": {"schema": {"type": "integer"}, "minOccurs": 0},
            },
            "outputs": {},
        }

    def _processes(self, asked: Asked, parts: list[str], query: dict[str, list[str]]) -> Reply:
        if not parts:
            if asked.method == "GET":
                names = ["echo", *self.packages]
                return Reply(200, {"processes": [self._about(n) for n in names], "links": []})
            return self._deploy(asked, query["w"][0])
        name = parts[0]
        if name == "run":
            return Reply(200, {})
        if name != "echo" and name not in self.packages:
            if asked.method == "DELETE" and name in self.leftover:
                self.leftover.discard(name)
                return Reply(204)
            return problem(404, "NoSuchProcess", NO_PROCESS)
        if parts[1:] == ["package"]:
            if asked.headers.get("accept") != "application/cwl+yaml":
                return problem(406, "NotAcceptable")
            kind = {"Content-Type": "application/cwl+yaml"}
            return Reply(200, self.packages[name] + "\n", kind)
        if parts[1:] == ["execution"]:
            return self._execute(asked, name)
        if asked.method == "PUT":
            self.packages[name] = asked.body.decode()
            return Reply(204)
        if asked.method == "DELETE":
            del self.packages[name]
            return Reply(204)
        return Reply(200, self._about(name), ENGINE_HEADERS)

    def _deploy(self, asked: Asked, name: str) -> Reply:
        if asked.headers.get("content-type") != "application/cwl+yaml":
            return problem(415, "UnsupportedMediaType")
        if name in self.leftover:
            return problem(400, "WorkflowNotFound", PART_2 + "workflow-not-found", "file not found")
        where = {"Location": f"http://wrong.invalid/{self.location_user}/ogc-api/processes/{name}"}
        if name in self.packages:
            return Reply(409, problem(409, "DuplicatedProcess").body, where)
        yaml.safe_load(asked.body)
        self.packages[name] = asked.body.decode()
        return Reply(201, self._about(name), where)

    def _execute(self, asked: Asked, name: str) -> Reply:
        body = json.loads(asked.body)
        assert "id" not in body
        if "respond-async" not in asked.headers.get("prefer", ""):
            if name == "echo":
                return Reply(200, {"a": body["inputs"].get("a")})
            return problem(500, "None", detail="The synchronous mode is not allowed.")
        job_id = f"{len(self.jobs):08d}-e65a-11f1-860f-02fc00000001"
        self.jobs[job_id] = [{"jobID": job_id, "processID": name, **one} for one in self.script]
        running = {"jobID": job_id, "processID": name, "status": "running", "progress": 0}
        return Reply(201, running, {"Location": f"http://wrong.invalid/jobs/{job_id}"})

    def _jobs(self, asked: Asked, parts: list[str], query: dict[str, list[str]]) -> Reply:
        if not parts:
            found = [states[0] for states in self.jobs.values()]
            return Reply(200, {"jobs": found[: int(query.get("limit", ["1000"])[0])]})
        states = self.jobs.get(parts[0])
        if states is None:
            return problem(404, "NoSuchJob", NO_JOB)
        if asked.method == "DELETE":
            del self.jobs[parts[0]]
            return Reply(200, {"jobID": parts[0], "status": "dismissed"})
        if parts[1:] == ["results"]:
            if states[0]["status"] == "failed":
                return Reply(200, problem(200, "MissingParameterValue", detail="no <must>").body)
            return Reply(200, self.results)
        return Reply(200, states.pop(0) if len(states) > 1 else states[0])
