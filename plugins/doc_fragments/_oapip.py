# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which OGC API Processes server, and who asks."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Base URL of the API (its landing page), with the context where the server has contexts,
        for example V(https://zoo.example.org/alice/ogc-api).
      - Falls back to the environment variable E(OAPIP_API_URL).
    type: str
    required: true
  token:
    description:
      - Bearer token to send.
      - Without it and without O(token_url), the environment variable E(OAPIP_TOKEN) is read.
    type: str
  token_url:
    description:
      - OAuth 2.0 token endpoint, where tokens are fetched and renewed.
      - With O(client_id) and O(client_secret) by the client credentials grant, with O(client_id),
        O(username) and O(password) by the password grant (for tests).
    type: str
  client_id:
    description:
      - Client that asks for tokens at O(token_url).
    type: str
  client_secret:
    description:
      - Secret of O(client_id).
    type: str
  username:
    description:
      - User of the password grant.
    type: str
  password:
    description:
      - Password of O(username).
    type: str
  validate_certs:
    description:
      - Whether the server's certificate is verified.
    type: bool
    default: true
  ca_path:
    description:
      - File with the PEM certificates of the authorities to trust for this server.
      - Falls back to the environment variable E(OAPIP_CA_PATH).
      - Without it, the authorities that Python's libraries bring are trusted.
    type: path
  timeout:
    description:
      - Seconds that one request may take.
    type: int
    default: 30
requirements:
  - requests
"""
