"""What was written to the servers between two moments, told by the servers' own logs.

    python tests/writes.py mark FILE             remember now
    python tests/writes.py since FILE --fail     list the writes since then; exit 1 if there are any

A write is a mutating request of the operator in a Kubernetes audit log (access reviews, dry runs
and Leases do not count), an admin event of Keycloak, or an S3 request that puts or deletes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

ROOT = Path(__file__).resolve().parents[1]
_VERBS = {"create", "update", "patch", "delete", "deletecollection"}
_S3_METHODS = {"PUT", "POST", "DELETE", "COPY"}
_S3_LINE = re.compile(
    r"^SeaweedFS_s3_request_total\{(?P<labels>[^}]*)\} (?P<count>[\d.e+]+)$", re.MULTILINE
)
_EVENTS = 1000  # admin events a request


@dataclass(frozen=True)
class Write:
    """One write: which server, what was done, to what, by whom, and the status when known."""

    server: str
    action: str
    target: str
    user: str = ""
    status: int = 0

    def line(self) -> str:
        """Return one readable line."""
        by = f" by {self.user}" if self.user else ""
        code = f" ({self.status})" if self.status else ""
        return f"{self.server}: {self.action} {self.target}{by}{code}"


class Servers:
    """The logs of a sandbox's servers."""

    def __init__(self, sandbox: Mapping[str, Any]) -> None:
        self._sandbox = sandbox
        self._session = requests.Session()
        self._session.verify = sandbox["ca_file"]
        self._session.trust_env = False  # a CA bundle of the environment would win

    def mark(self) -> dict[str, Any]:
        """Remember where every log stands; the answer can be stored as JSON."""
        return {
            "kubernetes": {
                cluster["name"]: Path(cluster["audit_log"]).stat().st_size
                for cluster in self._sandbox["clusters"]
            },
            "keycloak": self._newest_events(),
            "s3": self._s3_counts(),
        }

    def since(self, mark: Mapping[str, Any]) -> list[Write]:
        """Return the writes after `mark`, server by server, oldest first."""
        return [*self._kubernetes(mark), *self._keycloak(mark), *self._s3(mark)]

    def _kubernetes(self, mark: Mapping[str, Any]) -> Iterator[Write]:
        for cluster in self._sandbox["clusters"]:
            name = cluster["name"]
            log = Path(cluster["audit_log"])
            start = mark["kubernetes"].get(name, 0)
            if log.stat().st_size < start:
                raise RuntimeError(f"{log} was rotated since the mark: its writes cannot be told")
            operator = self._operator(cluster)
            with log.open("rb") as lines:
                lines.seek(start)
                events = (json.loads(line) for line in lines if line.endswith(b"\n"))
                for write in kubernetes_writes(events, operator):
                    yield Write(f"kubernetes {name}", **write)

    def _operator(self, cluster: Mapping[str, Any]) -> str:
        kubectl = self._sandbox["bin"]["kubectl"]
        command = [kubectl, "--kubeconfig", cluster["kubeconfig"], "auth", "whoami"]
        asked = subprocess.run(
            [*command, "-o", "jsonpath={.status.userInfo.username}"],
            capture_output=True,
            text=True,
            check=True,
        )
        return asked.stdout.strip()

    def _admin(self, path: str, **query: str | int) -> Any:
        keycloak = self._sandbox["keycloak"]
        token = self._session.post(
            f"{keycloak['url']}/realms/master/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": keycloak["admin_user"],
                "password": keycloak["admin_password"],
            },
            timeout=30,
        )
        token.raise_for_status()
        answer = self._session.get(
            f"{keycloak['url']}/admin/realms/{keycloak['realm']}/{path}",
            params=query,
            headers={"Authorization": f"Bearer {token.json()['access_token']}"},
            timeout=30,
        )
        answer.raise_for_status()
        return answer.json()

    def _newest_events(self) -> dict[str, Any]:
        """Return the time of the newest event and the digests of all events of that time."""
        events = self._admin("admin-events", max=50)
        newest = max((event["time"] for event in events), default=0)
        return {
            "time": newest,
            "seen": [_digest(event) for event in events if event["time"] == newest],
        }

    def _keycloak(self, mark: Mapping[str, Any]) -> list[Write]:
        after = mark["keycloak"]
        found: list[Write] = []
        first = 0
        while True:
            page = self._admin("admin-events", first=first, max=_EVENTS)
            for event in page:
                new = event["time"] > after["time"] or (
                    event["time"] == after["time"] and _digest(event) not in after["seen"]
                )
                if new:
                    action = f"{event['operationType'].lower()} {event.get('resourceType', '')}"
                    found.append(Write("keycloak", action, event.get("resourcePath", "")))
            # Newest come first: a page that ends before the mark is the last one of interest.
            if len(page) < _EVENTS or page[-1]["time"] < after["time"]:
                return found[::-1]
            first += _EVENTS

    def _s3_counts(self) -> dict[str, float]:
        url = self._sandbox["s3"].get("metrics_url")
        if not url:
            raise RuntimeError("sandbox.json names no s3.metrics_url: S3 writes cannot be told")
        answer = self._session.get(url, timeout=30)
        answer.raise_for_status()
        return s3_counts(answer.text)

    def _s3(self, mark: Mapping[str, Any]) -> Iterator[Write]:
        before = mark["s3"]
        for labels, count in sorted(self._s3_counts().items()):
            action, target = labels.split(" ", 1)
            # SeaweedFS forgets a bucket's counters when it deletes the bucket, and counts that.
            known = before.get(labels, 0)
            more = int(count - known if count >= known else count)
            yield from [Write("s3", action, target)] * more


def kubernetes_writes(
    events: Iterable[Mapping[str, Any]], operator: str
) -> Iterator[dict[str, Any]]:
    """Yield the fields of a `Write` for each write of `operator` in an audit.k8s.io/v1 log."""
    for event in events:
        if event["verb"] not in _VERBS or event["stage"] != "ResponseComplete":
            continue
        if event["user"]["username"] != operator:
            continue
        target = event.get("objectRef", {})
        resource = target.get("resource", "")
        if resource.endswith("reviews") or resource == "leases":
            continue
        if "All" in parse_qs(urlsplit(event["requestURI"]).query).get("dryRun", []):
            continue
        space = target.get("namespace", "") if resource != "namespaces" else ""
        parts = [space, target.get("name", "")]
        kind = "/".join(part for part in (resource, target.get("subresource", "")) if part)
        yield {
            "action": event["verb"],
            "target": f"{kind} {'/'.join(part for part in parts if part)}".strip(),
            "user": operator,
            "status": int(event.get("responseStatus", {}).get("code", 0)),
        }


def s3_counts(metrics: str) -> dict[str, float]:
    """Return `{'PUT bucket': count}` of mutating requests from SeaweedFS's Prometheus metrics."""
    counts: dict[str, float] = {}
    for found in _S3_LINE.finditer(metrics):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"]))
        if labels.get("type") in _S3_METHODS:
            key = f"{labels['type']} {labels.get('bucket') or 'no bucket'}"
            counts[key] = counts.get(key, 0) + float(found["count"])
    return counts


def load(path: Path = ROOT / ".sandbox" / "run" / "sandbox.json") -> Servers:
    """Return the servers of the sandbox that is up."""
    return Servers(json.loads(path.read_text()))


def _digest(event: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()


def main() -> int:
    """Return 1 for `since --fail` when something was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("command", choices=["mark", "since"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--fail", action="store_true", help="exit 1 when something was written")
    parser.add_argument("--json", action="store_true", help="a JSON list instead of lines")
    args = parser.parse_args()
    servers = load()
    if args.command == "mark":
        args.file.write_text(json.dumps(servers.mark()))
        return 0
    writes = servers.since(json.loads(args.file.read_text()))
    if args.json:
        print(json.dumps([asdict(write) for write in writes], indent=2))
    else:
        for write in writes:
            print(write.line())
        print(f"{len(writes)} writes")
    return 1 if args.fail and writes else 0


if __name__ == "__main__":
    sys.exit(main())
