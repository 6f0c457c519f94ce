"""What unit and component tests share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".sandbox" / "collections"


def _make_importable() -> None:
    """Make `ansible_collections.eoepca.oapip` this checkout, whatever its folder is called."""
    link = COLLECTIONS / "ansible_collections" / "eoepca" / "oapip"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)
    for folder in (str(COLLECTIONS), str(ROOT)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


_make_importable()

from sandbox.paths import RECORD  # noqa: E402 - found only now

# how fast examples are made says nothing on a busy machine
settings.register_profile("oapip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("oapip")


@pytest.fixture(scope="session")
def sandbox() -> dict[str, Any]:
    """Return what the sandbox recorded: ports, URLs, credentials, paths."""
    if not RECORD.exists():
        pytest.fail("no sandbox is up: run `make demo` first")
    recorded: dict[str, Any] = json.loads(RECORD.read_text())
    return recorded


@pytest.fixture
def admin(sandbox: dict[str, Any]) -> requests.Session:
    """Return a session with a fresh token of Keycloak's administrator (they last a minute)."""
    keycloak = sandbox["keycloak"]
    session = requests.Session()
    session.verify = sandbox["ca_file"]
    session.trust_env = False  # a CA bundle of the environment would win
    answer = session.post(
        f"{keycloak['url']}/realms/master/protocol/openid-connect/token",
        data={
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": keycloak["admin_user"],
            "password": keycloak["admin_password"],
        },
        timeout=30,
    )
    answer.raise_for_status()
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return session
