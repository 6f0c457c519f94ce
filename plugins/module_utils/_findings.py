# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What a check found: one line of a report that names the variable to change and the cure."""

from __future__ import annotations

import concurrent.futures
import typing as t
from dataclasses import dataclass

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, unexpected

OK = "ok"
WARN = "warn"
FAIL = "fail"
PARALLEL = 12

VARIABLES: t.Dict[str, str] = {
    "kubeconfig": "oapip_kubeconfig",
    "cluster_uid": "oapip_cluster_uid",
    "namespace": "oapip_namespace",
    "rights": "oapip_kubeconfig",
    "shared_storage_class": "oapip_shared_storage_class",
    "block_storage_class": "oapip_block_storage_class",
    "node_selector": "oapip_node_selector",
    "gateway": "oapip_gateway",
    "ingress_class": "oapip_ingress_class",
    "host": "oapip_host",
    "tls_secret": "oapip_tls_secret",
    "tls_certificate": "oapip_tls_certificate",
    "tls_private_key": "oapip_tls_private_key",
    "helm_binary": "oapip_helm_binary",
    "chart_ref": "oapip_chart_ref",
    "chart_version": "oapip_chart_version",
    "keycloak_url": "oapip_keycloak_url",
    "keycloak_realm": "oapip_keycloak_realm",
    "keycloak_admin_user": "oapip_keycloak_admin_user",
    "keycloak_admin_password": "oapip_keycloak_admin_password",
    "contexts": "oapip_contexts",
    "token_clients": "oapip_token_clients",
    "stage_out_endpoint": "oapip_s3_endpoint",
    "stage_out_access_key": "oapip_s3_access_key",
    "stage_out_secret_key": "oapip_s3_secret_key",
    "stage_out_bucket": "oapip_s3_bucket",
    "stage_in_endpoint": "oapip_stagein_s3_endpoint",
    "stage_in_access_key": "oapip_stagein_s3_access_key",
    "stage_in_secret_key": "oapip_stagein_s3_secret_key",
}
"""The variable of the inventory that stands behind what a check looks at."""


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    :param level: ok, warn or fail.
    :param check: what was looked at, in a word or two.
    :param about: key of :data:`VARIABLES`; empty where no variable helps.
    """

    level: str
    check: str
    message: str
    about: str = ""
    cure: str = ""

    def as_dict(self, variables: t.Mapping[str, str]) -> t.Dict[str, str]:
        return {
            "level": self.level,
            "check": self.check,
            "message": self.message,
            "variable": variables.get(self.about, ""),
            "cure": self.cure,
        }

    def line(self, variables: t.Mapping[str, str]) -> str:
        """The finding in one line: what, which variable, what to do."""
        variable = variables.get(self.about, "")
        where = f" [{variable}]" if variable else ""
        return f"{self.check}{where}: {self.message.rstrip('.')}. {self.cure}".rstrip()


Findings = t.List[Finding]
Check = t.Callable[[], Findings]


def ok(check: str, message: str, about: str = "") -> Findings:
    return [Finding(OK, check, message, about)]


def warn(check: str, message: str, about: str = "", cure: str = "") -> Findings:
    return [Finding(WARN, check, message, about, cure)]


def fail(check: str, message: str, about: str = "", cure: str = "") -> Findings:
    return [Finding(FAIL, check, message, about, cure)]


def from_error(check: str, error: OapipError, about: str = "") -> Findings:
    """Return the finding of a check that could not be made."""
    return fail(check, f"{error.doing}{error.answered}: {error.reason}", about, error.hint)


def gather(checks: t.Mapping[str, Check]) -> Findings:
    """Run the checks side by side; none that breaks hides another. In the order given."""

    def one(item: t.Tuple[str, Check]) -> Findings:
        name, check = item
        try:
            return check()
        except OapipError as error:
            return from_error(name, error)
        except Exception as error:  # a defect of ours must not cost the other findings
            return fail(name, unexpected(error))

    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        found = [finding for findings in pool.map(one, checks.items()) for finding in findings]
    return list(dict.fromkeys(found))


def summary(findings: t.Sequence[Finding], variables: t.Mapping[str, str]) -> str:
    """Return the message of a failed preflight: every failed check with its cure, a line each."""
    failed = [finding for finding in findings if finding.level == FAIL]
    head = "1 thing has" if len(failed) == 1 else f"{len(failed)} things have"
    lines = [f"- {finding.line(variables)}" for finding in failed]
    return "\n".join([f"{head} to be mended before anything is changed:", *lines])
