# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The libraries this collection needs beyond ansible-core, imported once and guarded.

Importing a module of the collection never fails; using a missing library does, with the cure.
"""

from __future__ import annotations

import importlib
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

MISSING: t.Dict[str, str] = {}
"""Import error by distribution name."""


def _load(distribution: str, *modules: str) -> t.Any:
    """Import modules and return the package they are in, or None where one is missing."""
    try:
        for module in modules:
            importlib.import_module(module)
        return importlib.import_module(modules[0].partition(".")[0])
    except ImportError as error:
        MISSING[distribution] = str(error)
        return None


requests: t.Any = _load("requests", "requests")
yaml: t.Any = _load("PyYAML", "yaml")
kubernetes: t.Any = _load("kubernetes", "kubernetes.client", "kubernetes.config")
# httpx, of which python-keycloak makes a client, loads httpcore only then: in every worker anew
keycloak: t.Any = _load("python-keycloak", "keycloak", "httpcore")
# the core of boto3: nothing is used of what boto3 puts around it
botocore: t.Any = _load(
    "boto3", "botocore.session", "botocore.config", "botocore.exceptions", "botocore.parsers"
)


def require(*names: str) -> None:
    """Fail, naming every library of ``names`` that cannot be imported and how to get it."""
    missing = [name for name in names if name in MISSING]
    if missing:
        raise OapipError(
            "loading the Python libraries of eoepca.oapip",
            "; ".join(f"{name}: {MISSING[name]}" for name in missing),
            f"Install them for the Python that runs Ansible: pip install {' '.join(missing)}",
        )
