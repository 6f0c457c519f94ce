#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that can be known to go wrong before a run, at once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_cluster_info
short_description: Check a cluster, Keycloak, object storage and chart before a deployment
description:
  - Looks at everything an OGC API Processes engine needs and returns every finding at once, each
    with
    the variable to change and the cure. Checks that do not depend on each other run side by side,
    so
    that one dead server hides nothing.
  - It reads only. Keys are tried by listing buckets, rights by asking the cluster.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes.info
  - eoepca.oapip._attributes.cluster
  - eoepca.oapip._kube
options:
  cluster_uid:
    description:
      - UID of the namespace C(kube-system). Another cluster than this one is a failure.
    type: str
  namespace:
    description:
      - Namespace of the engine.
    type: str
    required: true
  lock_namespace:
    description:
      - Namespace of the lease that keeps two runs apart.
    type: str
    default: default
  release_name:
    description:
      - Name of the Helm release.
    type: str
    default: zoo-project-dru
  service_name:
    description:
      - Service of the engine; by default O(release_name) followed by C(-service).
    type: str
  chart_ref:
    description:
      - Chart to install, as a folder or archive on disk, an C(oci://) address or a name in
        O(chart_repo).
      - Without it, the chart is not checked.
    type: str
  chart_repo:
    description:
      - URL of the chart repository.
    type: str
  chart_version:
    description:
      - Version of the chart.
    type: str
  allow_untested_chart:
    description:
      - Whether a version that this collection does not know is accepted.
    type: bool
    default: false
  helm_binary:
    description:
      - Name or path of the helm program.
    type: str
    default: helm
  shared_storage_class:
    description:
      - Storage class whose volumes several nodes write to.
    type: str
  block_storage_class:
    description:
      - Storage class of the database and the broker.
    type: str
  node_selector:
    description:
      - Labels that at least one ready node must have.
    type: dict
  host:
    description:
      - Public host name of the engine. Another route object for it is a failure.
    type: str
  gateway:
    description:
      - Kind of route that will be made.
    type: str
    choices: [apisix, ingress]
    default: apisix
  ingress_class:
    description:
      - Class of the route.
    type: str
    default: apisix
  tls:
    description:
      - Where the certificate for O(host) comes from.
    type: dict
    suboptions:
      mode:
        description:
          - V(existing) looks at the Secret, V(supplied) at the texts, V(none) at nothing.
        type: str
        choices: [existing, supplied, none]
        default: none
      secret_name:
        description:
          - Name of the Secret.
        type: str
      certificate:
        description:
          - PEM text of the certificate and its chain.
        type: str
      private_key:
        description:
          - PEM text of the private key.
        type: str
  keycloak:
    description:
      - How to reach Keycloak. Without it, Keycloak is not checked.
    type: dict
    suboptions:
      server_url:
        description:
          - Base URL of the Keycloak server.
        type: str
        required: true
      realm:
        description:
          - Name of the realm.
        type: str
        required: true
      auth_realm:
        description:
          - Name of the realm that knows the account that logs in.
        type: str
        default: master
      auth_client_id:
        description:
          - Client that logs in.
        type: str
        default: admin-cli
      auth_client_secret:
        description:
          - Secret of O(keycloak.auth_client_id).
          - Falls back to the environment variable E(KEYCLOAK_CLIENT_SECRET).
        type: str
      auth_username:
        description:
          - Name of the administrator.
          - Falls back to the environment variable E(KEYCLOAK_ADMIN_USER).
        type: str
      auth_password:
        description:
          - Password of the administrator.
          - Falls back to the environment variable E(KEYCLOAK_ADMIN_PASSWORD).
        type: str
      validate_certs:
        description:
          - Whether the server's certificate is verified.
        type: bool
        default: true
      ca_path:
        description:
          - File with the PEM certificates of the authorities to trust.
        type: path
      timeout:
        description:
          - Seconds that one request may take.
        type: int
        default: 30
  client_id:
    description:
      - Client of the engine; it may be missing, as the run creates it.
    type: str
  contexts:
    description:
      - Contexts of the engine. The users, groups and roles they name have to exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name of the context, the first segment of its paths. A personal one belongs to the user
            of this name.
        type: str
        required: true
      mode:
        description:
          - Whether the context belongs to one user or to several.
        type: str
        choices: [personal, shared]
        default: personal
      users:
        description:
          - Users that may use the context.
        type: list
        elements: str
      groups:
        description:
          - Paths of Keycloak groups whose members may use the context.
        type: list
        elements: str
      roles:
        description:
          - Realm roles, or client roles as C(<client>/<role>), whose holders may use the context.
        type: list
        elements: str
  new_users:
    description:
      - Users that the run creates, so that they may be missing.
    type: list
    elements: str
    default: []
  token_clients:
    description:
      - Clients whose tokens the engine is to accept. They have to exist.
    type: list
    elements: str
    default: []
  storage:
    description:
      - Object stores of the engine.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description:
          - What the store is for.
        type: str
        choices: [stage_out, stage_in]
        default: stage_out
      endpoint:
        description:
          - URL of the S3 endpoint.
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
      bucket:
        description:
          - Bucket that the engine uses. It may be missing, as the run creates it.
        type: str
      validate_certs:
        description:
          - Whether the server's certificate is verified.
        type: bool
        default: true
      ca_path:
        description:
          - File with the PEM certificates of the authorities to trust.
        type: path
      timeout:
        description:
          - Seconds that one request may take.
        type: int
        default: 30
  variables:
    description:
      - Names of variables to put into the findings instead of the collection's own, by what they
        set.
      - The keys are those of RV(variables).
    type: dict
    default: {}
  fail_on_findings:
    description:
      - Whether the module fails when a finding has the level V(fail).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Stop here when something is missing
  eoepca.oapip.oapip_cluster_info:
    kubeconfig: /etc/oapip/site-1.kubeconfig
    cluster_uid: 3f0c1f0e-5f0a-4f43-9c0b-6d2c7d0b7a11
    namespace: processing
    chart_ref: zoo-project-dru
    chart_repo: https://zoo-project.github.io/charts/
    chart_version: 0.10.3
    shared_storage_class: nfs
    block_storage_class: ebs
    host: zoo.example.org
    tls:
      mode: existing
      secret_name: zoo-tls
    keycloak:
      server_url: https://auth.example.org
      realm: eoepca
      auth_username: "{{ oapip_keycloak_admin_user }}"
      auth_password: "{{ oapip_keycloak_admin_password }}"
    contexts:
      - name: alice
    storage:
      - endpoint: https://s3.example.org
        access_key: "{{ oapip_s3_access_key }}"
        secret_key: "{{ oapip_s3_secret_key }}"
        bucket: eoepca

- name: Look without stopping
  eoepca.oapip.oapip_cluster_info:
    namespace: processing
    fail_on_findings: false
  register: cluster
"""

RETURN = r"""
findings:
  description: What the checks found, also when the module fails.
  returned: always
  type: list
  elements: dict
  contains:
    level:
      description: V(ok), V(warn) or V(fail).
      type: str
    check:
      description: What was looked at.
      type: str
    message:
      description: What was found.
      type: str
    variable:
      description: Variable of the inventory that stands behind it; empty where there is none.
      type: str
    cure:
      description: What to do.
      type: str
  sample:
    - level: fail
      check: storage class
      message: "the cluster has no storage class 'nfs' (it has: standard)"
      variable: oapip_shared_storage_class
      cure: Name one of these, or create it.
facts:
  description: What the cluster told about itself; a part that could not be read is missing.
  returned: always
  type: dict
  contains:
    uid:
      description: UID of the namespace C(kube-system).
      type: str
    version:
      description: Version of Kubernetes.
      type: str
    nodes:
      description: Nodes with name, readiness, version, and whether kwok simulates them.
      type: list
      elements: dict
    storage_classes:
      description: Provisioner by storage class.
      type: dict
    ingress_classes:
      description: Names of the ingress classes.
      type: list
      elements: str
    apisix_controller:
      description: V(2.x), V(1.8) or V(none), by the kinds that the cluster knows.
      type: str
    namespace_exists:
      description: Whether the engine's namespace is there.
      type: bool
    namespace_annotations:
      description: Annotations of the engine's namespace.
      type: dict
    release:
      description: Status, chart, version and revision of the Helm release.
      type: dict
record:
  description: What earlier runs noted on the namespace, such as C(probed) and C(proved).
  returned: always
  type: dict
  sample: {probed: 6f1c, proved: 91ab}
variables:
  description: Variables of the inventory by what they set, as used in RV(findings).
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: success
  type: list
  elements: dict
assumed:
  description: Always empty.
  returned: success
  type: list
  elements: str
"""

import functools
import threading
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _argspec,
    _certificates,
    _findings,
    _plan,
    _preflight_cluster,
    _preflight_services,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._findings import Findings
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)

_TLS: _argspec.Options = {
    "mode": {"type": "str", "choices": ["existing", "supplied", "none"], "default": "none"},
    "secret_name": {"type": "str", "no_log": False},
    "certificate": {"type": "str"},
    "private_key": {"type": "str", "no_log": True},
}
_CONTEXT: _argspec.Options = {
    "name": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["personal", "shared"], "default": "personal"},
    "users": {"type": "list", "elements": "str"},
    "groups": {"type": "list", "elements": "str"},
    "roles": {"type": "list", "elements": "str"},
}
_STORE: _argspec.Options = {
    "role": {"type": "str", "choices": ["stage_out", "stage_in"], "default": "stage_out"},
    **_argspec.s3(),
    "bucket": {"type": "str"},
}
SPEC = ModuleSpec(
    argument_spec={
        **_argspec.kube(),
        "cluster_uid": {"type": "str"},
        "namespace": {"type": "str", "required": True},
        "lock_namespace": {"type": "str", "default": "default"},
        "release_name": {"type": "str", "default": "zoo-project-dru"},
        "service_name": {"type": "str"},
        "chart_ref": {"type": "str"},
        "chart_repo": {"type": "str"},
        "chart_version": {"type": "str"},
        "allow_untested_chart": {"type": "bool", "default": False},
        "helm_binary": {"type": "str", "default": "helm"},
        "shared_storage_class": {"type": "str"},
        "block_storage_class": {"type": "str"},
        "node_selector": {"type": "dict"},
        "host": {"type": "str"},
        "gateway": {"type": "str", "choices": ["apisix", "ingress"], "default": "apisix"},
        "ingress_class": {"type": "str", "default": "apisix"},
        "tls": {"type": "dict", "options": _TLS},
        "keycloak": {"type": "dict", "options": _argspec.keycloak(), "no_log": False},
        "client_id": {"type": "str"},
        "contexts": {"type": "list", "elements": "dict", "options": _CONTEXT, "default": []},
        "new_users": {"type": "list", "elements": "str", "default": []},
        "token_clients": {"type": "list", "elements": "str", "default": [], "no_log": False},
        "storage": {"type": "list", "elements": "dict", "options": _STORE, "default": []},
        "variables": {"type": "dict", "default": {}},
        "fail_on_findings": {"type": "bool", "default": True},
    },
    supports_check_mode=True,
)


def cluster_checks(params: Params, facts: t.Dict[str, t.Any]) -> Findings:
    """Reach the cluster, then look at everything on it side by side."""
    try:
        kube = Kube.connect(params["kubeconfig"], params["kube_context"])
        cluster = _preflight_cluster.Cluster(kube, params)
        found = cluster.reach()
    except OapipError as error:
        return _findings.from_error("API server", error, "kubeconfig")
    found += _findings.gather(cluster.checks())
    found += cluster.refusals()
    facts.update(cluster.facts)
    return found


def supplied_certificate(params: Params) -> Findings:
    """Judge the certificate and key that the run would put into a Secret."""
    tls = params["tls"]
    return _certificates.check(
        tls.get("certificate") or "", tls.get("private_key") or "", params.get("host") or ""
    )


def run(params: Params, ctx: Context) -> Result:
    """Look at everything and tell."""
    facts: t.Dict[str, t.Any] = {}
    checks: t.Dict[str, _findings.Check] = {
        "cluster": functools.partial(cluster_checks, params, facts),
        **_preflight_services.stores(params),
        "helm": functools.partial(_preflight_services.helm_and_chart, params, ctx),
    }
    if params["keycloak"]:
        checks["Keycloak"] = functools.partial(_preflight_services.keycloak, params, ctx)
    if (params["tls"] or {}).get("mode") == "supplied":
        checks["TLS"] = functools.partial(supplied_certificate, params)
    # a server that is down is asked again for a while: say so meanwhile
    hint = threading.Timer(10, ctx.say, ["preflight: still waiting for an answer"])
    hint.daemon = True
    hint.start()
    try:
        findings = _findings.gather(checks)
    finally:
        hint.cancel()
    variables = {**_findings.VARIABLES, **params["variables"]}
    annotations: t.Dict[str, str] = facts.get("namespace_annotations") or {}
    mark = _preflight_cluster.MARK
    told: t.Dict[str, t.Any] = {
        "findings": [finding.as_dict(variables) for finding in findings],
        "facts": facts,
        "record": {k[len(mark) :]: v for k, v in annotations.items() if k.startswith(mark)},
        "variables": variables,
    }
    if params["fail_on_findings"] and any(f.level == _findings.FAIL for f in findings):
        # what is well would bury what is not
        bad = [finding for finding in told["findings"] if finding["level"] != _findings.OK]
        raise PreflightError(_findings.summary(findings, variables), {"findings": bad})
    for finding in findings:
        if finding.level == _findings.WARN:
            ctx.warn(finding.line(variables))
    return _plan.result([], **told)


class PreflightError(OapipError):
    """The failure of a preflight: its message is a list, not a sentence."""

    def __init__(self, message: str, told: Result) -> None:
        self.message = message
        super().__init__("checking what a run needs", message, extra=told)

    def text(self) -> str:
        return self.message


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
