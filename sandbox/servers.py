"""The whole sandbox: which servers there are, how they come up, go down, and what they record."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox import fetch, pki
from sandbox.control_plane.cluster import Cluster
from sandbox.errors import SandboxError
from sandbox.keycloak import realm
from sandbox.keycloak import server as keycloak
from sandbox.paths import (
    BIN,
    ENV_FILE,
    LOGS,
    RECORD,
    RUN,
    SOCKET_PATH_MAX,
    STATE,
    VENV,
    write_private,
)
from sandbox.ports import Ports, is_free
from sandbox.progress import Progress
from sandbox.record import Settings, environment
from sandbox.storage import server as storage
from sandbox.supervise import Program, Supervisor

ADMIN = "admin"
STAND_INS = ("gateway", "engine")


class Sandbox:
    """The servers of one state folder."""

    def __init__(self, clusters: int | None = None) -> None:
        RUN.mkdir(parents=True, exist_ok=True, mode=0o700)
        RUN.chmod(0o700)
        self.supervisor = Supervisor(RUN, LOGS)
        self.settings = Settings.load(RUN / "settings.json")
        self.settings.clusters = clusters or self.settings.clusters
        self.ports = Ports(self.settings.ports)
        self.authority = pki.Authority(RUN / "pki", "eoepca.oapip sandbox")
        self.ca_file = self.authority.pair.certificate
        self.clusters = [
            Cluster(name, RUN / name, self.authority, self.ports)
            for name in (f"sandbox-{n}" for n in range(1, self.settings.clusters + 1))
        ]

    # --- what there is ------------------------------------------------------------------------

    @property
    def keycloak_url(self) -> str:
        return f"https://localhost:{self.ports('keycloak')}"

    @property
    def s3_url(self) -> str:
        return f"https://localhost:{self.ports('s3')}"

    def gateway_url(self, cluster: Cluster) -> str:
        return f"https://localhost:{cluster.port('gateway')}"

    def engine_socket(self, cluster: Cluster) -> Path:
        return cluster.folder / "engine.sock"

    def programs(self) -> list[Program]:
        """Every server's program, stand-ins that are not there left out."""
        tls = self.authority.server("server")
        weed = VENV / "bin/weed"
        programs = [
            keycloak.program(RUN / "keycloak", fetch.java_home(fetch.keycloak_version())),
            storage.program(weed, RUN / "storage", self.ports, tls),
        ]
        for cluster in self.clusters:
            programs += cluster.programs()
            programs += self._stand_ins(cluster)
        return programs

    def _stand_ins(self, cluster: Cluster) -> list[Program]:
        default = pki.self_signed(RUN / "pki", "no-certificate")
        commands: dict[str, list[str | Path]] = {
            "gateway": [
                f"--kubeconfig={cluster.kubeconfig('sandbox-gateway')}",
                f"--port={cluster.port('gateway')}",
                f"--ca-file={self.ca_file}",
                f"--engine-socket={self.engine_socket(cluster)}",
                f"--default-cert={default.certificate}",
                f"--default-key={default.key}",
                f"--controller={os.environ.get('APISIX_CONTROLLER') or '2'}",
            ],
            "engine": [
                f"--kubeconfig={cluster.kubeconfig('sandbox-engine')}",
                f"--socket={self.engine_socket(cluster)}",
                f"--state={cluster.folder / 'engine'}",
                f"--ca-file={self.ca_file}",
            ],
        }
        python = [sys.executable, "-m"]
        return [
            Program(
                cluster.program_name(part),
                [*python, f"sandbox.{part}", *command],
                {"PYTHONUNBUFFERED": "1"},
                reads=sorted((Path(__file__).parent / part).rglob("*.py")),
            )
            for part, command in commands.items()
            if _is_there(part)
        ]

    # --- up -----------------------------------------------------------------------------------

    def up(self, progress: Progress) -> None:
        """Bring up what is not up; the same again changes nothing."""
        if not self.supervisor.is_running() and (taken := self.ports.forget_taken()):
            print(f"  ports taken by other programs meanwhile, new ones picked: {', '.join(taken)}")
        _check_socket_paths([self.engine_socket(cluster) for cluster in self.clusters])
        with progress.step("configuration and certificates"):
            self._configure()
        with progress.step("supervisor"):
            self.supervisor.ensure(self.programs())
        steps: dict[str, Callable[[], None]] = {
            "Keycloak and its realm": self._keycloak_up,
            "object storage": self._storage_up,
        }
        for cluster in self.clusters:
            steps[f"control plane {cluster.name}"] = lambda c=cluster: c.up(self.supervisor)  # type: ignore[misc]
        _in_parallel(progress, steps)
        record = self.record()
        write_private(RECORD, json.dumps(record, indent=2) + "\n")
        write_private(ENV_FILE, environment(record))
        with progress.step("gateway and engine (stand-ins)"):
            self._stand_ins_up()

    def _configure(self) -> None:
        tls = self.authority.server("server")
        self.authority.server("engine-route")
        storage.configure(RUN / "storage", *self._s3_keys())
        keycloak.configure(
            RUN / "keycloak",
            fetch.keycloak_folder(fetch.keycloak_version()),
            self.ports("keycloak"),
            self.ports("keycloak-management"),
            tls,
            {"user": ADMIN, "password": self.settings.secret("keycloak-admin")},
            fetch.keycloak_version(),
        )
        for cluster in self.clusters:
            cluster.configure()
        self.programs()  # picks every port
        for user in realm.USERS:
            self.settings.secret(user)
        self.settings.save(RUN / "settings.json")

    def _s3_keys(self) -> tuple[str, str]:
        return self.settings.secret("s3-access"), self.settings.secret("s3-secret")

    def _keycloak_up(self) -> None:
        self.supervisor.start("keycloak")
        management = f"https://localhost:{self.ports('keycloak-management')}"
        self.supervisor.wait("keycloak", lambda: realm.is_ready(management, self.ca_file), 240)
        password = self.settings.secret("keycloak-admin")
        admin = realm.Admin(self.keycloak_url, ADMIN, password, self.ca_file)
        realm.ensure(admin, {user: self.settings.secret(user) for user in realm.USERS})

    def _storage_up(self) -> None:
        self.supervisor.start("storage")
        self.supervisor.wait("storage", lambda: storage.is_ready(self.s3_url, self.ca_file), 60)

    def _stand_ins_up(self) -> None:
        for cluster in self.clusters:
            for part in filter(_is_there, STAND_INS):
                name = cluster.program_name(part)
                self.supervisor.start(name)
                ready = self._engine_listens if part == "engine" else self._gateway_listens
                self.supervisor.wait(name, lambda c=cluster, r=ready: r(c), 60)  # type: ignore[misc]

    def _gateway_listens(self, cluster: Cluster) -> bool:
        return not is_free(cluster.port("gateway"))

    def _engine_listens(self, cluster: Cluster) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.engine_socket(cluster))) == 0

    # --- what others read ---------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """The content of sandbox.json."""
        access_key, secret_key = self._s3_keys()
        route = self.authority.server("engine-route")
        return {
            "ca_file": str(self.ca_file),
            "keycloak": {
                "url": self.keycloak_url,
                "realm": realm.REALM,
                "issuer": f"{self.keycloak_url}/realms/{realm.REALM}",
                "admin_user": ADMIN,
                "admin_password": self.settings.secret("keycloak-admin"),
            },
            "s3": {
                "endpoint": self.s3_url,
                "region": storage.REGION,
                "access_key": access_key,
                "secret_key": secret_key,
                "metrics_url": f"http://127.0.0.1:{self.ports('s3-metrics')}/metrics",
            },
            "users": {user: {"password": self.settings.secret(user)} for user in realm.USERS},
            "token_client": realm.TOKEN_CLIENT,
            "tls": {"certificate": str(route.certificate), "private_key": str(route.key)},
            "clusters": [
                {
                    "name": cluster.name,
                    "uid": cluster.uid(),
                    "server": cluster.server,
                    "kubeconfig": str(cluster.kubeconfig("oapip-operator")),
                    "admin_kubeconfig": str(cluster.kubeconfig("sandbox-admin")),
                    "gateway_url": self.gateway_url(cluster),
                    "https_port": cluster.port("gateway"),
                    "engine_socket": str(self.engine_socket(cluster)),
                    "audit_log": str(cluster.audit_log),
                }
                for cluster in self.clusters
            ],
            "bin": {tool: str(BIN / tool) for tool in ("helm", "kubectl")},
            "logs": str(LOGS),
        }

    # --- down ---------------------------------------------------------------------------------

    def down(self, progress: Progress, *, clean: bool = False) -> None:
        """Stop every server and wait until it is gone; `clean` also forgets all data."""
        RECORD.unlink(missing_ok=True)
        if self.supervisor.is_running():
            with progress.step("stopping every server"):
                self.supervisor.shutdown(["storage", *self._storage_programs()])
        for socket_file in storage.leftovers(self.ports):
            socket_file.unlink(missing_ok=True)
        if clean:
            shutil.rmtree(RUN)
            shutil.rmtree(LOGS, ignore_errors=True)
            ENV_FILE.unlink(missing_ok=True)

    def _storage_programs(self) -> list[str]:
        return [n for n in self.supervisor.states() if n.endswith(("-etcd", "-apiserver"))]


def _is_there(part: str) -> bool:
    return importlib.util.find_spec(f"sandbox.{part}.__main__") is not None


def _check_socket_paths(paths: list[Path]) -> None:
    for path in paths:
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            message = f"{STATE} is too deep a folder for Unix sockets ({path} is longer than"
            raise SandboxError(f"{message} {SOCKET_PATH_MAX} bytes): use a shorter path")


def _in_parallel(progress: Progress, steps: dict[str, Callable[[], None]]) -> None:
    def timed(name: str, action: Callable[[], None]) -> None:
        with progress.step(name):
            action()

    with ThreadPoolExecutor(len(steps)) as pool:
        futures = [pool.submit(timed, name, action) for name, action in steps.items()]
    for future in futures:
        future.result()
