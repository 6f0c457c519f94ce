# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From a kubeconfig to a client of the API server that leaves no key behind.

The kubernetes library writes the keys and certificates that stand in a kubeconfig to temporary
files, and deletes them when Python exits. Ansible's workers do not exit that way, nor does a
process that is killed: so they are read at once, into memory, and deleted.
"""

from __future__ import annotations

import contextlib
import threading
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _deps
from ansible_collections.eoepca.oapip.plugins.module_utils._http import root_cause
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

try:
    from urllib3.util import ssl_
except ImportError:  # comes with kubernetes; require() names what is missing
    ssl_ = None  # type: ignore[assignment]

_ONE_THREAD = threading.Lock()


def client(kubeconfig: t.Optional[str], context: t.Optional[str]) -> t.Any:
    """Load the configuration as kubectl does; without any, the one of the pod we run in.

    :raises OapipError: there is none, or it cannot be read.
    """
    _deps.require("kubernetes")
    kubernetes: t.Any = _deps.kubernetes
    settings = kubernetes.client.Configuration()
    failure = kubernetes.config.ConfigException
    broken = (failure, OSError, TypeError, ValueError, _deps.yaml.YAMLError)
    doing = f"loading the kubeconfig {kubeconfig or '(default)'}"
    if context:
        doing += f", context {context}"
    with _temporary_files():
        try:
            kubernetes.config.load_kube_config(
                config_file=kubeconfig,
                context=context,
                client_configuration=settings,
                persist_config=False,
            )
        except broken as error:
            if kubeconfig or context:
                hint = "Check the options kubeconfig and kube_context."
                raise OapipError(doing, root_cause(error), hint) from None
            try:
                kubernetes.config.load_incluster_config(client_configuration=settings)
            except failure:
                hint = "Set the option kubeconfig or the environment variable KUBECONFIG."
                raise OapipError(doing, root_cause(error), hint) from None
        made = kubernetes.client.ApiClient(settings)
        try:
            _read_keys(made.rest_client.pool_manager.connection_pool_kw)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            hint = "Check the key and the certificates in it."
            raise OapipError(doing, root_cause(error), hint) from None
        return made


@contextlib.contextmanager
def _temporary_files() -> t.Iterator[None]:
    """Delete what the library writes; it keeps one list of its files for all threads."""
    with _ONE_THREAD:
        try:
            yield
        finally:
            _deps.kubernetes.config.kube_config._cleanup_temp_files()


def _read_keys(pool: t.Dict[str, t.Any]) -> None:
    """Put the files that a pool of connections would read for each connection into a context."""
    context = ssl_.create_urllib3_context(cert_reqs=pool.get("cert_reqs"))
    authorities = pool.pop("ca_certs", None)
    if authorities:
        context.load_verify_locations(authorities)
    else:
        context.load_default_certs()
    certificate, key = pool.pop("cert_file", None), pool.pop("key_file", None)
    if certificate:
        context.load_cert_chain(certificate, key)
    pool["ssl_context"] = context
