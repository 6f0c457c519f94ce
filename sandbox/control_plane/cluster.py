"""One cluster: etcd, kube-apiserver, controller-manager, scheduler and kwok."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from sandbox import local_http
from sandbox.control_plane import kubeconfig
from sandbox.errors import SandboxError
from sandbox.paths import BIN, ROOT
from sandbox.pki import LOOPBACK, Authority, Pair, signing_key
from sandbox.ports import Ports
from sandbox.supervise import Program, Supervisor

HERE = Path(__file__).parent
SERVICE_NETWORK = "10.96.0.0/16"
API_HOSTS = (*LOOPBACK, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1")
MASTERS = "system:masters"
ISSUER = "https://kubernetes.default.svc"

#: User name to group; a kubeconfig is written for each.
USERS = {
    "oapip-operator": None,
    "sandbox-admin": MASTERS,
    "sandbox-kwok": MASTERS,
    "sandbox-gateway": MASTERS,
    "sandbox-engine": MASTERS,
    "system:kube-controller-manager": None,
    "system:kube-scheduler": None,
}


@dataclass(frozen=True)
class Cluster:
    """Where one cluster keeps its files, and on which ports it listens."""

    name: str
    folder: Path
    authority: Authority
    ports: Ports

    def port(self, name: str) -> int:
        return self.ports(f"{self.name}-{name}")

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.port('apiserver')}"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"

    def program_name(self, part: str) -> str:
        return f"{self.name}-{part}"

    def configure(self) -> None:
        """Write kubeconfigs and keys."""
        (self.folder / "etcd").mkdir(parents=True, exist_ok=True, mode=0o700)
        signing_key(self.folder / "service-accounts.key")
        for user, group in USERS.items():
            pair = self.authority.client(user, group)
            path = self.kubeconfig(user)
            ca = self.authority.pair.certificate
            kubeconfig.write(path, self.name, self.server, ca, user, pair)

    def programs(self) -> list[Program]:
        """The five servers."""
        own = Authority(self.folder / "etcd-pki", f"{self.name} etcd")
        commands = {
            "etcd": self._etcd(own.server("server")),
            "apiserver": self._apiserver(own.pair.certificate, own.client("apiserver")),
            "controller-manager": self._controller_manager(),
            "scheduler": self._scheduler(),
            "kwok": self._kwok(),
        }
        configuration = {
            "apiserver": [HERE / "audit-policy.yaml"],
            "kwok": [HERE / "kwok-stages.yaml"],
        }
        return [
            Program(
                self.program_name(part),
                command,
                storage=part in ("etcd", "apiserver"),
                reads=configuration.get(part, ()),
            )
            for part, command in commands.items()
        ]

    def _etcd(self, tls: Pair) -> list[str | Path]:
        client = f"https://127.0.0.1:{self.port('etcd')}"
        peer = f"https://127.0.0.1:{self.port('etcd-peer')}"
        ca = self.folder / "etcd-pki/ca.crt"
        return [
            BIN / "etcd",
            "--name=sandbox",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=sandbox={peer}",
            *(f"--{prefix}cert-file={tls.certificate}" for prefix in ("", "peer-")),
            *(f"--{prefix}key-file={tls.key}" for prefix in ("", "peer-")),
            *(f"--{prefix}trusted-ca-file={ca}" for prefix in ("", "peer-")),
            *(f"--{prefix}client-cert-auth" for prefix in ("", "peer-")),
            "--unsafe-no-fsync",
            "--auto-compaction-retention=1h",
            "--log-level=warn",
        ]

    def _apiserver(self, etcd_ca: Path, etcd_client: Pair) -> list[str | Path]:
        tls = self.authority.server("apiserver", API_HOSTS)
        accounts = self.folder / "service-accounts.key"
        return [
            BIN / "kube-apiserver",
            f"--etcd-servers=https://127.0.0.1:{self.port('etcd')}",
            f"--etcd-cafile={etcd_ca}",
            f"--etcd-certfile={etcd_client.certificate}",
            f"--etcd-keyfile={etcd_client.key}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.port('apiserver')}",
            f"--tls-cert-file={tls.certificate}",
            f"--tls-private-key-file={tls.key}",
            f"--client-ca-file={self.authority.pair.certificate}",
            "--authorization-mode=RBAC",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={accounts}",
            f"--service-account-signing-key-file={accounts}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            f"--audit-policy-file={HERE / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=1",
            "--profiling=false",
        ]

    def _connection(self, user: str) -> list[str]:
        path = self.kubeconfig(user)
        names = "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"
        return [f"--{name}={path}" for name in names]

    def _controller_manager(self) -> list[str | Path]:
        return [
            BIN / "kube-controller-manager",
            *self._connection("system:kube-controller-manager"),
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.authority.pair.certificate}",
            "--profiling=false",
        ]

    def _scheduler(self) -> list[str | Path]:
        connection = self._connection("system:kube-scheduler")
        return [BIN / "kube-scheduler", *connection, "--leader-elect=false", "--secure-port=0"]

    def _kwok(self) -> list[str | Path]:
        return [
            BIN / "kwok",
            f"--kubeconfig={self.kubeconfig('sandbox-kwok')}",
            f"--config={HERE / 'kwok-stages.yaml'}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-ip=127.0.0.1",
            "--cidr=10.0.0.1/24",
            "--node-lease-duration-seconds=40",
            f"--server-address=127.0.0.1:{self.port('kwok')}",
        ]

    # --- bringing it up ---------------------------------------------------------------------

    def get(self, path: str) -> requests.Response:
        """GET from the API server as administrator."""
        pair = self.authority.client("sandbox-admin", MASTERS)
        certificate = str(pair.certificate), str(pair.key)
        with local_http.session(self.authority.pair.certificate, certificate) as client:
            return client.get(self.server + path, timeout=5)

    def answers(self, path: str) -> bool:
        try:
            return self.get(path).status_code == 200
        except requests.RequestException:
            return False

    def up(self, supervisor: Supervisor) -> None:
        """Start the servers in order and install what every cluster has."""
        name = self.program_name
        supervisor.start(name("etcd"), name("apiserver"))
        supervisor.wait(name("apiserver"), lambda: self.answers("/readyz"), 90)
        supervisor.start(*(name(part) for part in ("controller-manager", "scheduler", "kwok")))
        self.apply(*self._manifests())
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        supervisor.wait(name("controller-manager"), lambda: self.answers(account), 60)
        supervisor.wait(name("kwok"), self._nodes_ready, 60)
        supervisor.wait(name("apiserver"), self._resources_served, 30)

    def _manifests(self) -> list[dict[str, Any]]:
        files = sorted((HERE / "manifests").glob("*.yaml"))
        documents: list[dict[str, Any]] = []
        for file in [ROOT / "docs/operator-clusterrole.yaml", *files]:
            for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                documents += document["items"] if document["kind"] == "List" else [document]
        return documents

    def apply(self, *documents: dict[str, Any]) -> None:
        """Server-side apply, as administrator."""
        options = ["--server-side", "--force-conflicts", "--field-manager=sandbox", "-f", "-"]
        connection = f"--kubeconfig={self.kubeconfig('sandbox-admin')}"
        done = subprocess.run(
            [BIN / "kubectl", connection, "apply", *options],
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SandboxError(f"{self.name}: kubectl apply failed: {done.stderr.strip()[-1000:]}")

    def _nodes_ready(self) -> bool:
        nodes = self.get("/api/v1/nodes").json()["items"]
        conditions = [c for node in nodes for c in node.get("status", {}).get("conditions", [])]
        ready = [c for c in conditions if c["type"] == "Ready" and c["status"] == "True"]
        return len(nodes) == len(ready) > 0

    def _resources_served(self) -> bool:
        return self.answers("/apis/apisix.apache.org/v2/apisixroutes?limit=1")

    def uid(self) -> str:
        """The cluster's identity: the UID of its namespace kube-system."""
        return str(self.get("/api/v1/namespaces/kube-system").json()["metadata"]["uid"])
