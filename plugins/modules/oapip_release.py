#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine on its cluster: namespace, NetworkPolicies, Secrets, Helm release, rollout."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_release
short_description: Deploy an OGC API Processes engine as a Helm release
description:
  - Settles a namespace, the NetworkPolicies and Secrets of the engine, and then its Helm release,
    in this order, so that nothing is open before it is closed.
  - Watches the rollout and ends early on what cannot recover, such as an image that cannot be
    pulled. An upgrade that fails is rolled back; a first installation that fails is left for
    inspection and taken up again by the next run.
  - A release is changed only when its chart, version or values differ from what it records. Objects
    that somebody changed are brought back to the release's recorded manifest without rendering the
    chart again, because rendering makes new RabbitMQ definitions and restarts the broker.
  - Passwords of the database and the broker are made once and read back later.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._attributes.cluster
  - eoepca.oapip._kube
requirements:
  - helm 3.14 or newer, or 4
  - PyYAML
options:
  namespace:
    description:
      - Namespace of the engine. It is created when missing.
    type: str
    default: processing
  release_name:
    description:
      - Name of the Helm release. The chart's ClusterRoleBinding has this name too, so it is unique
        in a cluster.
    type: str
    default: zoo-project-dru
  state:
    description:
      - V(present) deploys, upgrades or repairs the release.
      - V(absent) removes the release with its volumes, and the namespace when this module made it
        and nothing else is in it, of whatever kind. A namespace stays, too, where the user may not
        list all kinds that could be in it. What stays is named in RV(kept).
      - A release that this collection did not install is not removed without O(adopt).
    type: str
    choices: [present, absent]
    default: present
  chart_ref:
    description:
      - The chart; a name in O(chart_repo), a reference beginning with C(oci://), or the path of a
        directory or archive.
    type: str
    default: zoo-project-dru
  chart_repo:
    description:
      - URL of the chart repository. Not used for a path or an OCI reference.
    type: str
    default: https://zoo-project.github.io/charts/
  chart_version:
    description:
      - Version of the chart.
    type: str
    default: 0.10.3
  allow_untested_chart:
    description:
      - Whether a version that the collection does not know may be installed.
    type: bool
    default: false
  values:
    description:
      - Values for the chart, merged over those of this module.
    type: dict
    default: {}
  public_url:
    description:
      - URL under which users reach the engine, without a path.
      - Required when O(state=present).
    type: str
  shared_storage_class:
    description:
      - Storage class of the volumes that several pods write to (ReadWriteMany).
      - Required when O(state=present).
    type: str
  block_storage_class:
    description:
      - Storage class of the database and the broker (ReadWriteOnce).
      - Required when O(state=present).
    type: str
  node_selector:
    description:
      - Labels of the nodes that run the engine and its jobs.
    type: dict
    default: {}
  stage_out:
    description:
      - S3 store that results are written to.
      - Required when O(state=present).
    type: dict
    suboptions: &store
      endpoint:
        description:
          - URL of the S3 endpoint.
        type: str
        required: true
      region:
        description:
          - Region of the bucket.
        type: str
        default: us-east-1
      access_key:
        description:
          - Access key.
        type: str
        required: true
      secret_key:
        description:
          - Secret key.
        type: str
        required: true
      bucket:
        description:
          - Name of the bucket.
        type: str
  stage_in:
    description:
      - S3 store that inputs are read from. Without it, O(stage_out).
    type: dict
    suboptions: *store
  oidc:
    description:
      - Tokens that the engine accepts. Without it, OIDC is off.
    type: dict
    suboptions:
      issuer:
        description:
          - Issuer as it stands in the tokens, for example
            V(https://iam.example.org/realms/eoepca).
        type: str
        required: true
      audience:
        description:
          - Audience that the tokens must name, the client's id.
        type: str
        required: true
      token_required:
        description:
          - Whether the engine refuses requests without a token; one that comes is checked anyway.
          - V(false) is needed where a context is shared, as the gateway takes the token away after
            the decision. Then the gateway and the NetworkPolicies alone protect the engine.
        type: bool
        default: true
  ca_path:
    description:
      - PEM file on the host that runs this task, with the authorities that the engine shall trust.
        It is mounted into the engine's pods and replaces the authorities of the image.
    type: path
  gateway_namespace:
    description:
      - Namespace of the gateway. Only pods of this namespace may reach the engine.
    type: str
    default: ingress-apisix
  image_pull_secrets:
    description:
      - Names of Secrets with credentials of image registries, in O(namespace).
    type: list
    elements: str
    default: []
  images:
    description:
      - Images to use in place of others, as a map from the name in the chart to the name wanted.
        For images that the chart has no values for.
    type: dict
    default: {}
  annotations:
    description:
      - Further annotations of the namespace.
    type: dict
    default: {}
  helm_binary:
    description:
      - Name or path of the helm program.
    type: str
    default: helm
  wait_timeout:
    description:
      - Seconds that Helm, and then the rollout, may take.
    type: int
    default: 600
  recover:
    description:
      - Whether a release that an interrupted run left pending is rolled back, or uninstalled when
        it was never deployed, before it is settled. Set it only when no other run is at work.
    type: bool
    default: false
  locked:
    description:
      - Whether this run holds the lock of M(eoepca.oapip.oapip_lock). Then no other run is at work,
        and a pending release that this collection made was left by one that died. It is recovered
        as with O(recover=true); one that somebody else made is not.
    type: bool
    default: false
  adopt:
    description:
      - Whether a release is taken over that was installed by other means, or that Argo CD or Flux
        manages. With O(state=absent), whether such a release is removed with its volumes.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: The engine runs
  eoepca.oapip.oapip_release:
    namespace: processing
    public_url: https://zoo.example.org
    shared_storage_class: nfs
    block_storage_class: standard
    node_selector:
      kubernetes.io/os: linux
    stage_out:
      endpoint: https://s3.example.org
      access_key: "{{ oapip_s3_access_key }}"
      secret_key: "{{ oapip_s3_secret_key }}"
      bucket: eoepca
    oidc:
      issuer: https://iam.example.org/realms/eoepca
      audience: oapip-engine

- name: The engine is gone, with its volumes
  eoepca.oapip.oapip_release:
    namespace: processing
    state: absent
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode, in this order.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(create), V(update) or V(delete).
      type: str
    kind:
      description: Kind of the object; V(Release) for the Helm release as a whole.
      type: str
    name:
      description: Name of the object.
      type: str
    fields:
      description: Fields that an update touches.
      type: list
      elements: str
assumed:
  description: Parents that are missing and that check mode took as made.
  returned: success
  type: list
  elements: str
release:
  description: The release after the run; in check mode what is there, with the digest wanted.
  returned: when O(state=present)
  type: dict
  contains:
    chart:
      description: Name and version of the chart.
      type: str
    digest:
      description: Digest of chart, version and values.
      type: str
    revision:
      description: Revision of the release; 0 when there is none yet.
      type: int
    status:
      description: Status as Helm records it.
      type: str
workloads:
  description: Deployments and StatefulSets of the release, with the replicas wanted and ready.
  returned: when O(state=present)
  type: list
  elements: dict
kept:
  description: What was not removed, and why.
  returned: when O(state=absent)
  type: list
  elements: str
"""

import json
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _contents
from ansible_collections.eoepca.oapip.plugins.module_utils import _release as release
from ansible_collections.eoepca.oapip.plugins.module_utils import _removal as removal
from ansible_collections.eoepca.oapip.plugins.module_utils._charts import (
    DEFAULT_VERSION,
    chart_of,
    refuse_jump,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._deploy import (
    Deployer,
    make_credentials,
    observe,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Helm, locate
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import GENERATED, result
from ansible_collections.eoepca.oapip.plugins.module_utils._rollout import summary
from ansible_collections.eoepca.oapip.plugins.module_utils._values import (
    Bucket,
    Settings,
    build,
    texts,
)


def _store() -> t.Dict[str, t.Any]:
    options = {
        "endpoint": {"type": "str", "required": True},
        "region": {"type": "str", "default": "us-east-1"},
        "access_key": {"type": "str", "required": True, "no_log": False},
        "secret_key": {"type": "str", "required": True, "no_log": True},
        "bucket": {"type": "str"},
    }
    return {"type": "dict", "options": options}


SPEC: ModuleSpec = {
    "argument_spec": {
        **_argspec.kube(),
        "namespace": {"type": "str", "default": "processing"},
        "release_name": {"type": "str", "default": "zoo-project-dru"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "chart_ref": {"type": "str", "default": "zoo-project-dru"},
        "chart_repo": {"type": "str", "default": "https://zoo-project.github.io/charts/"},
        "chart_version": {"type": "str", "default": DEFAULT_VERSION},
        "allow_untested_chart": {"type": "bool", "default": False},
        "values": {"type": "dict", "default": {}},
        "public_url": {"type": "str"},
        "shared_storage_class": {"type": "str"},
        "block_storage_class": {"type": "str"},
        "node_selector": {"type": "dict", "default": {}},
        "stage_out": _store(),
        "stage_in": _store(),
        "oidc": {
            "type": "dict",
            "options": {
                "issuer": {"type": "str", "required": True},
                "audience": {"type": "str", "required": True},
                "token_required": {"type": "bool", "default": True},
            },
        },
        "ca_path": {"type": "path"},
        "gateway_namespace": {"type": "str", "default": "ingress-apisix"},
        "image_pull_secrets": {
            "type": "list",
            "elements": "str",
            "default": [],
            "no_log": False,
        },
        "images": {"type": "dict", "default": {}},
        "annotations": {"type": "dict", "default": {}},
        "helm_binary": {"type": "str", "default": "helm"},
        "wait_timeout": {"type": "int", "default": 600},
        "recover": {"type": "bool", "default": False},
        "locked": {"type": "bool", "default": False},
        "adopt": {"type": "bool", "default": False},
    },
    "required_if": [
        [
            "state",
            "present",
            ["public_url", "shared_storage_class", "block_storage_class", "stage_out"],
        ]
    ],
    "supports_check_mode": True,
}


def _bucket(store: t.Optional[t.Mapping[str, t.Any]], ctx: Context) -> Bucket:
    store = store or {}
    return Bucket(
        endpoint=store.get("endpoint") or "",
        region=store.get("region") or "",
        access_key=store.get("access_key") or "",
        secret_key=ctx.secret(store.get("secret_key") or ""),
        bucket=store.get("bucket") or "",
    )


def _settings(params: Params, ctx: Context) -> Settings:
    return Settings(
        namespace=params["namespace"],
        release=params["release_name"],
        public_url=params["public_url"] or "",
        shared_storage_class=params["shared_storage_class"] or "",
        block_storage_class=params["block_storage_class"] or "",
        node_selector={str(k): str(v) for k, v in params["node_selector"].items()},
        stage_out=_bucket(params["stage_out"], ctx),
        stage_in=_bucket(params["stage_in"] or params["stage_out"], ctx),
        gateway_namespace=params["gateway_namespace"],
        **(params["oidc"] or {}),
        ca_pem=_ca(params["ca_path"]),
        pull_secrets=tuple(params["image_pull_secrets"]),
        images={str(k): str(v) for k, v in params["images"].items()},
        annotations={str(k): str(v) for k, v in params["annotations"].items()},
        extra=params["values"],
    )


def _ca(path: t.Optional[str]) -> str:
    if not path:
        return ""
    doing, hint = f"reading ca_path {path}", "Give a PEM file with certificates."
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise OapipError(doing, str(error), hint) from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise OapipError(doing, "it holds no certificate", hint)
    return text


def _present(
    params: Params, ctx: Context, settings: Settings, kube: Kube, deployer: Deployer
) -> Result:
    version = params["chart_version"]
    ref, repo, chart_name = locate(params["chart_ref"], params["chart_repo"], version)
    chart = chart_of(version, params["allow_untested_chart"])
    if chart.caveat:
        ctx.warn(f"{chart.caveat}; the version proved by this collection is {DEFAULT_VERSION}")
    current = observe(kube, settings.namespace, settings.release)
    release.refuse_foreign(settings, current, params["adopt"])
    if current.release:
        release.refuse_pending(settings, current.release, params["recover"], params["locked"])
        refuse_jump(current.release.version, chart.version)
    known = release.known_credentials(settings, current)
    credentials = release.with_values(known or make_credentials(ctx), settings.extra)
    for secret in (credentials.broker_password, credentials.database_password):
        if known and len(secret) > 8:
            ctx.secret(secret)
    values = json.loads(json.dumps(build(settings, chart, credentials)))
    desired = release.Desired(settings, chart, chart_name, values, credentials)
    changes = release.plan_present(desired, current, fresh=known is None)
    if not ctx.check_mode:
        deployer.present(changes, desired, current, ref, repo)
        if changes:
            current = observe(kube, settings.namespace, settings.release)
    state = release.release_state(chart_name, chart.version, values, ())
    facts = {
        "chart": state["chart"],
        "digest": state["digest"] if known or not ctx.check_mode else GENERATED,
        "revision": current.release.revision if current.release else 0,
        "status": current.release.status if current.release else "absent",
    }
    return result(changes, release=facts, workloads=summary(release.workloads(current)))


def run(params: Params, ctx: Context) -> Result:
    """Settle the release, or remove it."""
    settings = _settings(params, ctx)
    kube = Kube.connect(params["kubeconfig"], params["kube_context"])
    helm = Helm(
        settings.release,
        settings.namespace,
        params["helm_binary"],
        params["kubeconfig"],
        params["kube_context"],
        params["wait_timeout"],
        ctx.secrets,
        kube.host,
        tuple(texts(params["values"])),
        ctx.cache,
    )
    deployer = Deployer(kube, helm, ctx, settings.namespace, params["wait_timeout"])
    try:
        if params["state"] == "present":
            return _present(params, ctx, settings, kube, deployer)
        current = observe(kube, settings.namespace, settings.release)
        version = current.release.version if current.release else DEFAULT_VERSION
        chart = chart_of(version, allow_untested=True)
        held = None
        if removal.made_here(settings, current):
            held = _contents.read(kube, settings.namespace)
        changes, kept = removal.plan_absent(settings, chart, current, held, params["adopt"])
        if not ctx.check_mode:
            deployer.absent(changes)
        return result(changes, kept=kept)
    finally:
        kube.close()


def main() -> None:
    """Run as a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
