# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which Keycloak, which realm, and who logs in."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment."""

    DOCUMENTATION = r"""
options:
  server_url:
    description:
      - Base URL of the Keycloak server, for example V(https://auth.example.org), with the path
        where it has one (C(--http-relative-path)).
    type: str
    required: true
  realm:
    description:
      - Name of the realm to work in (C(/admin/realms/{realm})).
    type: str
    required: true
  auth_realm:
    description:
      - Name of the realm that knows the account that logs in
        (C(POST /realms/{auth_realm}/protocol/openid-connect/token)).
    type: str
    default: master
  auth_client_id:
    description:
      - Client that logs in (C(client_id)), with the password grant (C(grant_type=password)) or,
        when O(auth_client_secret) is given without O(auth_username), with the client credentials
        grant (C(grant_type=client_credentials)).
    type: str
    default: admin-cli
  auth_client_secret:
    description:
      - Secret of O(auth_client_id) (C(client_secret)).
      - Falls back to the environment variable E(KEYCLOAK_CLIENT_SECRET).
    type: str
  auth_username:
    description:
      - Name of the administrator (C(username)).
      - Falls back to the environment variable E(KEYCLOAK_ADMIN_USER).
    type: str
  auth_password:
    description:
      - Password of the administrator (C(password)).
      - Falls back to the environment variable E(KEYCLOAK_ADMIN_PASSWORD).
    type: str
  validate_certs:
    description:
      - Whether the server's certificate is verified.
    type: bool
    default: true
  ca_path:
    description:
      - File with the PEM certificates of the authorities to trust for this server.
      - Without it, the authorities that Python's libraries bring are trusted.
    type: path
  timeout:
    description:
      - Seconds that one request may take.
    type: int
    default: 30
requirements:
  - python-keycloak >= 7.1
"""
