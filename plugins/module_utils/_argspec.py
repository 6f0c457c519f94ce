# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Option groups that several modules share; the doc fragments of the same names document them."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.parameters import env_fallback

Options = t.Dict[str, t.Dict[str, t.Any]]


def env(*names: str) -> t.Dict[str, t.Any]:
    """Return the part of an option's spec that lets it fall back to environment variables."""
    return {"fallback": (env_fallback, list(names))}


def tls() -> Options:
    """Options of every HTTPS client."""
    return {
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "timeout": {"type": "int", "default": 30},
    }


def kube() -> Options:
    """Options that say which cluster."""
    return {
        "kubeconfig": {"type": "path", **env("KUBECONFIG")},
        "kube_context": {"type": "str"},
    }


def keycloak() -> Options:
    """Options that say which Keycloak, which realm, and who logs in."""
    return {
        "server_url": {"type": "str", "required": True},
        "realm": {"type": "str", "required": True},
        "auth_realm": {"type": "str", "default": "master"},
        "auth_client_id": {"type": "str", "default": "admin-cli"},
        "auth_client_secret": {"type": "str", "no_log": True, **env("KEYCLOAK_CLIENT_SECRET")},
        "auth_username": {"type": "str", **env("KEYCLOAK_ADMIN_USER")},
        "auth_password": {"type": "str", "no_log": True, **env("KEYCLOAK_ADMIN_PASSWORD")},
        **tls(),
    }


def s3() -> Options:
    """Options that say which S3 endpoint and which keys."""
    return {
        "endpoint": {"type": "str", "required": True},
        "region": {"type": "str", "default": "us-east-1"},
        "access_key": {"type": "str", "required": True, "no_log": False},
        "secret_key": {"type": "str", "required": True, "no_log": True},
        **tls(),
    }


def ogc() -> Options:
    """Options that say which OGC API Processes server, and who asks."""
    return {
        "url": {"type": "str", "required": True, **env("OAPIP_API_URL")},
        "token": {"type": "str", "no_log": True},  # or _ogc.token_of_environment
        "token_url": {"type": "str", "no_log": False},
        "client_id": {"type": "str"},
        "client_secret": {"type": "str", "no_log": True},
        "username": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        **tls(),
        "ca_path": {"type": "path", **env("OAPIP_CA_PATH")},
    }
