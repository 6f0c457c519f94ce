# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that say which S3 endpoint and which keys."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment."""

    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - URL of the S3 endpoint, for example V(https://s3.example.org).
    type: str
    required: true
  region:
    description:
      - Name of the region.
    type: str
    default: us-east-1
  access_key:
    description:
      - Access key ID.
    type: str
    required: true
  secret_key:
    description:
      - Secret access key.
    type: str
    required: true
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
  - boto3 >= 1.40
"""
