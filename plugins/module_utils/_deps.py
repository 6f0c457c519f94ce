# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The libraries this collection needs beyond ansible-core, imported once and guarded.

Importing a module of the collection never fails; using a missing library does, with the cure.
"""

from __future__ import annotations

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

MISSING: t.Dict[str, str] = {}
"""Import error by library name."""

try:
    import requests
except ImportError as error:
    requests = None  # type: ignore[assignment]
    MISSING["requests"] = str(error)

try:
    import yaml
except ImportError as error:
    yaml = None  # type: ignore[assignment]
    MISSING["PyYAML"] = str(error)

try:
    import kubernetes.client
    import kubernetes.config
except ImportError as error:
    kubernetes = None
    MISSING["kubernetes"] = str(error)

try:
    import keycloak
except ImportError as error:
    keycloak = None
    MISSING["python-keycloak"] = str(error)

try:
    import boto3
    import botocore
except ImportError as error:
    boto3 = botocore = None
    MISSING["boto3"] = str(error)


def require(*names: str) -> None:
    """Fail, naming every library of ``names`` that cannot be imported and how to get it."""
    missing = [name for name in names if name in MISSING]
    if missing:
        raise OapipError(
            "loading the Python libraries of eoepca.oapip",
            "; ".join(f"{name}: {MISSING[name]}" for name in missing),
            f"Install them for the Python that runs Ansible: pip install {' '.join(missing)}",
        )
