"""What a sandbox is made of (ports, passwords), and what it tells others about itself."""

from __future__ import annotations

import json
import secrets
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.keycloak.realm import REALM, TOKEN_CLIENT, USERS
from sandbox.paths import BIN, VENV, write_private

ALPHABET = string.ascii_letters + string.digits


def password(length: int = 24) -> str:
    """A random password that needs no quoting anywhere."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass
class Settings:
    """Chosen at the first start and kept while the state folder is there."""

    ports: dict[str, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    clusters: int = 1

    @classmethod
    def load(cls, path: Path) -> Settings:
        """The settings of that file; new ones when it is missing."""
        if not path.is_file():
            return cls()
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        write_private(path, json.dumps(vars(self), indent=2, sort_keys=True) + "\n")

    def secret(self, name: str) -> str:
        """A random password by name, made at its first use."""
        return self.secrets.setdefault(name, password())


def environment(record: Mapping[str, Any]) -> str:
    """The shell file a person or a script sources: everything about the first cluster."""
    cluster = record["clusters"][0]
    owner, other = USERS
    variables = {
        "KUBECONFIG": cluster["kubeconfig"],
        "OAPIP_URL": cluster["gateway_url"],
        "OAPIP_API_URL": f"{cluster['gateway_url']}/{owner}/ogc-api",
        "KEYCLOAK_URL": record["keycloak"]["url"],
        "KEYCLOAK_REALM": REALM,
        "KEYCLOAK_ADMIN_USER": record["keycloak"]["admin_user"],
        "KEYCLOAK_ADMIN_PASSWORD": record["keycloak"]["admin_password"],
        "S3_ENDPOINT": record["s3"]["endpoint"],
        "S3_ACCESS_KEY": record["s3"]["access_key"],
        "S3_SECRET_KEY": record["s3"]["secret_key"],
        "CA_FILE": record["ca_file"],
        "OAPIP_CA_PATH": record["ca_file"],
        "OAPIP_TOKEN_CLIENT": TOKEN_CLIENT,
        "OAPIP_USER": owner,
        "OAPIP_PASSWORD": record["users"][owner]["password"],
        "OAPIP_OTHER_USER": other,
        "OAPIP_OTHER_PASSWORD": record["users"][other]["password"],
    }
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in variables.items()]
    lines.append(f'export PATH={shlex.quote(f"{BIN}:{VENV}/bin")}":$PATH"')
    return "\n".join(lines) + "\n"
