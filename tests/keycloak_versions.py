"""Keycloak's modules on other versions of Keycloak than the sandbox's, one server at a time.

    python -m tests.keycloak_versions                  all
    python -m tests.keycloak_versions 26.4.7           one
    python -m tests.keycloak_versions --lifespan 3     the sandbox's version, with tokens of 3 s
                                                       (26.4.7 has these anyway)

Each server is a real one from Maven Central, with a state folder of its own, gone afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import fetch, pki
from sandbox.errors import SandboxError, explain
from sandbox.keycloak import realm, server
from sandbox.paths import ROOT, write_private
from sandbox.ports import Ports
from sandbox.progress import Progress
from sandbox.record import password
from sandbox.servers import ADMIN
from sandbox.supervise import Supervisor

WHOLE = sorted(str(path) for path in (ROOT / "tests" / "component").glob("test_keycloak_*.py"))
MAIN = (
    "life or let_in or lets_nobody_in or survive or bite or cannot_hold or cannot_be_closed"
    " or many_contexts"
)
#: Tests by version: 26.4 makes default objects, 24.0 has the older groups API.
VERSIONS = {"26.4.7": WHOLE, "24.0.5": [*WHOLE, "-k", MAIN]}
#: Seconds that a token lives, of the admin or a user: every call sees it expire.
LIFESPANS = {"26.4.7": 3}


@contextmanager
def running(version: str, lifespan: int | None, progress: Progress) -> Iterator[Path]:
    """Run a Keycloak of this version; yield a state folder whose record tells about it."""
    artifact = fetch.keycloak(version)
    if not artifact.is_ready():
        with progress.step(f"Keycloak {version} from Maven"):
            artifact.ensure()
    with tempfile.TemporaryDirectory(prefix="keycloak-") as name:
        state = Path(name)
        supervisor = Supervisor(state / "run", state / "logs")
        with progress.step(f"Keycloak {version}"):
            record = _start(version, state, supervisor)
            if lifespan:
                _shorten(record, lifespan)
            whole = {"ca_file": record["ca_file"], "keycloak": {**record, "lifespan": lifespan}}
            write_private(state / "run" / "sandbox.json", json.dumps(whole))
        try:
            yield state
        finally:
            supervisor.shutdown([])


def _start(version: str, state: Path, supervisor: Supervisor) -> dict[str, str]:
    run = state / "run"
    run.mkdir()
    ports = Ports({})
    port, management = ports("keycloak"), ports("keycloak-management")
    authority = pki.Authority(run / "pki", "eoepca.oapip tests")
    admin = {"user": ADMIN, "password": password()}
    distribution = fetch.keycloak_folder(version)
    tls = authority.server("server")
    server.configure(run / "kc", distribution, port, management, tls, admin, version)
    # before 26 the first administrator came from the environment only
    login = {"KEYCLOAK_ADMIN": admin["user"], "KEYCLOAK_ADMIN_PASSWORD": admin["password"]}
    supervisor.ensure([server.program(run / "kc", fetch.java_home(version), login)])
    supervisor.start("keycloak")
    ca_file, url = authority.pair.certificate, f"https://localhost:{port}"
    health = url if server.parsed(version) < (25,) else f"https://localhost:{management}"
    supervisor.wait("keycloak", lambda: realm.is_ready(health, ca_file), 240)
    return {
        "url": url,
        "realm": "master",
        "admin_user": ADMIN,
        "admin_password": admin["password"],
        "ca_file": str(ca_file),
    }


def _shorten(record: dict[str, str], seconds: int) -> None:
    """Let the administrator's tokens end after a few seconds; the tests do so in their realms."""
    login = (record["url"], record["admin_user"], record["admin_password"])
    admin = realm.Admin(*login, Path(record["ca_file"]))
    admin.call("PUT", "/realms/master", {"accessTokenLifespan": seconds})


def main() -> int:
    """Return 1 when the tests of a version fail."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("version", nargs="*", help=f"of {', '.join(VERSIONS)}")
    parser.add_argument("--lifespan", type=int, help="seconds that a token lives")
    options = parser.parse_args()
    newest = fetch.keycloak_version()
    chosen = options.version or ([newest] if options.lifespan else [*VERSIONS])
    failed: list[str] = []
    try:
        with Progress() as progress:
            for version in chosen:
                lifespan = options.lifespan or LIFESPANS.get(version)
                with running(version, lifespan, progress) as state:
                    pytest = [sys.executable, "-m", "pytest", "-q", *VERSIONS.get(version, WHOLE)]
                    env = {**os.environ, "OAPIP_SANDBOX": str(state)}
                    if subprocess.run(pytest, cwd=ROOT, env=env, check=False).returncode:
                        failed.append(version)
    except SandboxError as error:
        print(explain(error), file=sys.stderr)
        return 1
    print(f"Keycloak {', '.join(chosen)}: " + (f"failed: {', '.join(failed)}" if failed else "ok"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
