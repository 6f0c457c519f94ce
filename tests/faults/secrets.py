"""Looks for the secrets of a sandbox wherever a run shows, writes, passes or leaves something.

    python -m tests.faults scan -- ansible-playbook -vvvv --diff site.yml

Looked through are the output, Ansible's log, temporary files while they are there and after, what
is new in the working directory, in /dev/shm and in the machine's folder for temporary files,
arguments and environments of all processes (sampled), reports, and all that lies readable on the
servers. Exit 1 if a secret is found where none is allowed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus

import yaml

from tests.faults.drift import CLIENT, RELEASE, Hands
from tests.faults.dump import record
from tests.faults.kill import kill_tree
from tests.faults.meanwhile import Meanwhile
from tests.faults.proxy import Proxy
from tests.faults.watch import Files, Processes, walk

AT_WORK = 0.3  # seconds for which a program has been at work when it is killed
SHORTEST = 8  # characters: what is shorter is found everywhere
PATTERNS = {
    "a token": re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}"),  # RFC 7519, compact
    "a signed URL": re.compile(rb"X-Amz-Signature=[0-9a-f]{16,}"),
}
BROKER = "broker password"
_ARGUMENTS = "spec.template.spec.initContainers[0].args[1]"

ALLOWED = frozenset(
    (BROKER, f"{kind} {RELEASE}-{name} {where}")
    for kind, name, where in (
        ("ConfigMap", "zoo-project-config", "data.main.cfg"),
        ("ConfigMap", "rabbitmq-config", "data.rabbitmq.conf"),
        ("Deployment", "zookernel", _ARGUMENTS),
        ("Deployment", "zoofpm", _ARGUMENTS),
        ("ReplicaSet", "zookernel-*", _ARGUMENTS),
        ("ReplicaSet", "zoofpm-*", _ARGUMENTS),
        ("Pod", "zookernel-*", "spec.initContainers[0].args[1]"),
        ("Pod", "zoofpm-*", "spec.initContainers[0].args[1]"),
        ("StatefulSet", "rabbitmq", "spec.template.spec.containers[0].env[1].value"),
        ("ControllerRevision", "rabbitmq-*", "data.spec.template.spec.containers[0].env[1].value"),
        ("Pod", "rabbitmq-0", "spec.containers[0].env[1].value"),
    )
)
"""What chart 0.10.3 itself puts into plain manifests; docs/security.md names it."""


@dataclass(frozen=True, order=True)
class Hit:
    """A secret, by its name, and where it was found."""

    secret: str
    place: str


class Needles:
    """Secrets by name, in every form in which they may show."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.secrets = dict(secrets)
        self._forms: dict[bytes, str] = {}
        for name, secret in secrets.items():
            if len(secret) < SHORTEST:
                raise ValueError(f"{name} is too short to be told from other words")
            self._forms |= dict.fromkeys(forms(secret), name)

    def found(self, data: bytes) -> set[str]:
        """Return the names of the secrets in some bytes."""
        told = {name for form, name in self._forms.items() if form in data}
        return told | {name for name, pattern in PATTERNS.items() if pattern.search(data)}


def forms(secret: str) -> set[bytes]:
    """Return a secret as it is, escaped for JSON, YAML, URLs and Python, and in base64 and hex.

    In base64 it looks different at each of three offsets inside a longer text; the ends, which
    depend on the neighbours, are left out.
    """
    raw = secret.encode()
    made = {raw, raw.hex().encode(), repr(secret)[1:-1].encode()}
    made |= {
        json.dumps(secret, ensure_ascii=ascii_only)[1:-1].encode() for ascii_only in (False, True)
    }
    made |= {json.dumps(json.dumps(secret))[3:-3].encode()}
    made |= {quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            whole = encode(b"\0" * offset + raw)
            made.add(whole[(0, 2, 3)[offset] : (len(raw) + offset) // 3 * 4])
    return {form for form in made if len(form) >= SHORTEST}


# -- which secrets there are -----------------------------------------------------------------------


def of_sandbox(sandbox: Mapping[str, Any]) -> dict[str, str]:
    """Return what is secret in a sandbox now, by name; some are made by a run, others only last."""
    found = {
        "administrator's password": sandbox["keycloak"]["admin_password"],
        "S3 secret key": sandbox["s3"]["secret_key"],
        "S3 access key": sandbox["s3"]["access_key"],
    }
    found |= {f"password of {name}": user["password"] for name, user in sandbox["users"].items()}
    found |= _lines("TLS key", Path(sandbox["tls"]["private_key"]).read_text())
    kubeconfig = yaml.safe_load(Path(sandbox["clusters"][0]["kubeconfig"]).read_text())
    user = kubeconfig["users"][0]["user"]
    if "token" in user:
        found["operator's token"] = user["token"]
    else:
        found |= _lines("operator's key", base64.b64decode(user["client-key-data"]).decode())
    hands = Hands(sandbox)
    for client in hands.keycloak("GET", "clients"):
        if client["clientId"].startswith("oapip") and client.get("secret"):
            found[f"secret of client {client['clientId']}"] = client["secret"]
    ours = {
        ("oapip-broker", "password"): BROKER,
        ("oapip-database", "password"): "database password",
        ("oidc", "session.secret"): "session secret",
    }
    listed = json.loads(hands.kubectl("get", "secrets", "-o", "json"))["items"]
    for secret in listed:
        for (name, entry), called in ours.items():
            if secret["metadata"]["name"] == f"{RELEASE}-{name}":
                found[called] = base64.b64decode(secret["data"][entry]).decode()
    return found


def _lines(name: str, pem: str) -> dict[str, str]:
    """Return the whole lines of a PEM file, each a secret: its parts may be wrapped otherwise."""
    text = [line for line in pem.splitlines() if line and not line.startswith("-")]
    longest = max(map(len, text))
    return {
        f"{name}, line {number}": line
        for number, line in enumerate(text, 1)
        if len(line) == longest
    }


# -- which secrets only pass -----------------------------------------------------------------------


class Ear(Proxy):
    """Stands before Keycloak and learns the passwords that pass.

    A run makes two users for its proof and removes them again; their password is nowhere else.
    """

    def __init__(self, sandbox: Mapping[str, Any], folder: Path) -> None:
        super().__init__(sandbox, "keycloak", folder)
        self.heard: dict[str, str] = {}

    def hear(self, line: str, body: bytes) -> None:
        """Keep the passwords in a request."""
        self.heard |= passwords(line, body)

    def proof(self) -> dict[str, str]:
        """Return the variables that lead a run's proof here."""
        return {"validation_keycloak": self.variables()["validation_keycloak"]}


def passwords(line: str, body: bytes) -> dict[str, str]:
    """Return the passwords in a request to Keycloak, by name: of a login, or given to a user."""
    if line.endswith("/token"):
        form = parse_qs(body.decode())
        return {
            f"password of {user}, who logged in": password
            for user in form.get("username", [])
            for password in form.get("password", [])
        }
    if re.search(r"/users(/[^/]+/reset-password)?$", line) and body:
        told = json.loads(body)
        user = told.get("username") or line.split("/")[-2]
        given = told.get("credentials", [told])
        return {f"password given to {user}": one["value"] for one in given if "value" in one}
    return {}


# -- what lies readable on the servers -------------------------------------------------------------


def on_servers(sandbox: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each text in what the servers show, with its place; Secrets without their data."""
    hands = Hands(sandbox)
    kinds = hands.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name").split()
    listed = ",".join(sorted(kind for kind in kinds if not kind.startswith("pods.metrics")))
    items = json.loads(hands.kubectl("get", listed, "-o", "json", "--show-managed-fields"))["items"]
    wide = "namespaces,clusterrolebindings,persistentvolumes"
    items += json.loads(hands.kubectl("get", wide, "-o", "json", "--show-managed-fields"))["items"]
    leases = ("get", "leases", "-A", "-o", "json", "--show-managed-fields")
    items += json.loads(hands.kubectl(*leases))["items"]
    for item in items:
        shown = {k: v for k, v in item.items() if (item["kind"], k) != ("Secret", "data")}
        for path, text in leaves(shown):
            yield f"{item['kind']} {_stem(item)} {path}", text
    for path, text in leaves(_stored(hands)):
        yield f"keycloak {path}", text


def _stem(item: Mapping[str, Any]) -> str:
    """Return an object's name without what a controller made up."""
    meta = item["metadata"]
    owners = [owner["kind"] for owner in meta.get("ownerReferences", [])]
    if "ReplicaSet" in owners:
        return re.sub(r"-[0-9a-z]+-[0-9a-z]+$", "-*", meta["name"])
    if item["kind"] in ("ReplicaSet", "ControllerRevision"):
        return re.sub(r"-[0-9a-z]+$", "-*", meta["name"])
    return str(meta["name"])


def _stored(hands: Hands) -> dict[str, Any]:
    """Return what Keycloak shows of what we make there, without the client's secret itself."""
    clients = [one for one in hands.keycloak("GET", "clients") if "oapip" in one["clientId"]]
    stored: dict[str, Any] = {
        "clients": [{k: v for k, v in one.items() if k != "secret"} for one in clients],
        "scopes": hands.keycloak("GET", "client-scopes"),
        "groups": hands.keycloak("GET", "groups", q="", briefRepresentation="false"),
        "users": hands.keycloak("GET", "users", briefRepresentation="false"),
    }
    if any(one["clientId"] == CLIENT for one in clients):
        stored["authorization"] = hands.authz("GET", "settings")
    return stored


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of everything in a document, its keys too."""
    if isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            yield where, str(key)
            yield from leaves(item, where)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, str(value)


# -- one run ---------------------------------------------------------------------------------------


@dataclass
class Scan:
    """What a run let be seen."""

    code: int
    output: str
    hits: set[Hit] = field(default_factory=set)
    samples: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    work: float = 0.0
    processes: int = 0
    files: int = 0
    places: int = 0
    secrets: int = 0
    left: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the figures."""
        return (
            f"{self.secrets} secrets looked for in {self.places} places: {self.samples} samples of "
            f"{self.processes} processes in {self.seconds:.1f} s ({self.longest * 1000:.0f} ms at "
            f"most between two), {self.files} temporary files, {len(self.left)} left behind"
        )


class Killer(Meanwhile):
    """Kills a process with all that it started, soon after a program is seen at work in it."""

    def __init__(self, pid: int, words: Sequence[str]) -> None:
        super().__init__()
        self._pid = pid
        self._words = {word.encode() for word in words}
        self._seen = threading.Event()

    def told(self, arguments: bytes) -> None:
        """Take notice of the arguments of a program."""
        programs = {Path(os.fsdecode(word)).name.encode() for word in arguments.split(b"\0")}
        if self._words and self._words <= programs:
            self._seen.set()

    def go(self) -> None:
        """Wait for the program."""
        while not self.over.is_set():
            if self._seen.wait(0.1):
                self.over.wait(AT_WORK)
                kill_tree(self._pid)
                return


class Scanner:
    """Runs commands and looks for secrets."""

    def __init__(
        self, sandbox: Mapping[str, Any], planted: Mapping[str, str] | None = None
    ) -> None:
        self._sandbox = sandbox
        self._known = {**of_sandbox(sandbox), **(planted or {})}

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        reports: Path | None = None,
        environment: Mapping[str, str] | None = None,
        ear: Ear | None = None,
        killed_in: Sequence[str] = (),
        timeout: float = 600,
    ) -> Scan:
        """Run a command with homes and temporary folders of its own below `folder`.

        What `ear` hears meanwhile is looked for too. With `killed_in` the command and all that it
        started are killed while a program works that has these words among its arguments.
        """
        home, log = folder / "home", folder / "ansible.log"
        temporary = [folder / name for name in ("tmp", "local", "remote")]
        for made in (home, *temporary):
            made.mkdir(parents=True)
        env = {
            **os.environ,
            "HOME": str(home),
            "TMPDIR": str(temporary[0]),
            "ANSIBLE_LOCAL_TEMP": str(temporary[1]),
            "ANSIBLE_REMOTE_TEMP": str(temporary[2]),
            "ANSIBLE_LOG_PATH": str(log),
            "ANSIBLE_NOCOLOR": "1",
            **(environment or {}),
        }
        files = Files(folder, [Path.cwd()], [Path("/dev/shm"), Path(tempfile.gettempdir())])
        # umask of a careless user: what is to be closed must be closed on purpose
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o022,
        )
        killer = Killer(process.pid, killed_in)
        try:
            with Processes(process.pid, killer.told) as processes, files, killer:
                output = process.communicate(timeout=timeout)[0]
        finally:
            process.kill()
        scan = Scan(process.returncode, output.decode(errors="replace"))
        scan.samples, scan.seconds = processes.samples, processes.seconds
        scan.longest, scan.work = processes.longest, processes.work
        scan.processes, scan.files = len(processes.seen), len(files.found)
        left = [path for place in (home, *temporary) for path, _ in walk(place)]
        scan.left = [str(path.relative_to(folder)) for path in left]
        if ear:
            self._known |= ear.heard
        left += files.new()
        self._search(scan, self._seen(output, log, processes, files, left, reports))
        return scan

    def servers(self) -> Scan:
        """Look through what the servers show now."""
        scan = Scan(0, "")
        self._search(scan, ((place, text.encode()) for place, text in on_servers(self._sandbox)))
        return scan

    def _search(self, scan: Scan, seen: Iterable[tuple[str, bytes]]) -> None:
        self._known |= of_sandbox(self._sandbox)
        needles = Needles(self._known)
        scan.secrets = len(self._known)
        for place, data in seen:
            scan.places += 1
            scan.hits |= {Hit(name, place) for name in needles.found(data)}

    def _seen(
        self,
        output: bytes,
        log: Path,
        processes: Processes,
        files: Files,
        left: Sequence[Path],
        reports: Path | None,
    ) -> Iterator[tuple[str, bytes]]:
        yield "output", output
        yield "log", log.read_bytes() if log.exists() else b""
        for shown in processes.seen.values():
            for arguments, environment in shown.items():
                program = Path(arguments.split(b"\0")[0].decode(errors="replace")).name
                yield f"arguments of {program}", arguments
                yield f"environment of {program}", environment
        for path, data in files.open.items():
            if path != log:  # whose mode is Ansible's; what is in it was looked through
                yield f"file that others may read {path.name}", data
        for path in left:
            with contextlib.suppress(OSError):
                yield f"file left behind {path.name}", path.read_bytes()
        for path in sorted(reports.rglob("*")) if reports else []:
            yield f"report {path.name}", path.read_bytes()


# -- the command line ------------------------------------------------------------------------------


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `scan`."""
    parser = commands.add_parser(
        "scan",
        help="run a command and look for the sandbox's secrets wherever it shows or leaves them",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("command", nargs="+", help="the command, after --")
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    scanner = Scanner(record())
    with tempfile.TemporaryDirectory() as folder:
        scan = scanner.run(args.command, Path(folder), args.reports)
    after = scanner.servers()
    print(scan.output[-2000:])
    print(scan.line(), *scan.left[:40], sep="\n  ")
    print(f"{after.places} texts on the servers")
    forbidden = sorted({*scan.hits, *(hit for hit in after.hits if not allowed(hit))})
    for hit in forbidden:
        print(f"found: {hit.secret} in {hit.place}")
    print(f"{len(forbidden)} where none is allowed; the command ended with {scan.code}")
    return 1 if forbidden else 0


def allowed(hit: Hit) -> bool:
    """Whether the chart itself puts this secret there."""
    return (hit.secret, hit.place) in ALLOWED
