# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What the operator must be allowed to do on the cluster, and how the cluster is asked.

One SelfSubjectRulesReview answers for the whole cluster: it is asked in a namespace that cannot be,
where no RoleBinding adds rules. Only what is wanting there is asked in the namespace itself.
API: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj, url_of

NOWHERE = "no_such_namespace"
"""No namespace can have this name: underscores are not allowed."""

READ = ("get", "list")
WRITE = ("get", "list", "create", "patch", "delete")


@dataclass(frozen=True)
class Right:
    """Verbs on resources of one API group; ``name`` where one object is meant."""

    verbs: t.Tuple[str, ...]
    group: str
    resources: t.Tuple[str, ...]
    name: str = ""


NAMESPACED = (
    Right((*WRITE, "update"), "", ("secrets",)),
    Right(WRITE, "", ("configmaps", "services", "serviceaccounts", "persistentvolumeclaims")),
    Right(("get", "list", "create", "delete"), "", ("pods",)),
    Right(("get",), "", ("pods/log",)),
    Right(("list",), "", ("events",)),
    Right((*WRITE, "watch"), "apps", ("deployments", "statefulsets")),
    Right(("list",), "apps", ("replicasets",)),
    Right(("list",), "discovery.k8s.io", ("endpointslices",)),
    Right(WRITE, "networking.k8s.io", ("networkpolicies",)),
)
GATEWAY = {
    "apisix": (
        Right((*WRITE, "update"), "apisix.apache.org", ("apisixroutes", "apisixtlses")),
        Right(READ, "networking.k8s.io", ("ingresses",)),
    ),
    "ingress": (Right((*WRITE, "update"), "networking.k8s.io", ("ingresses",)),),
}
LOCK = (Right(("get", "create", "update", "delete"), "coordination.k8s.io", ("leases",)),)
CLUSTER = (Right(("get", "create", "patch", "delete"), "", ("namespaces",)),)
BINDING = (
    Right(
        ("get", "create", "patch", "delete"), "rbac.authorization.k8s.io", ("clusterrolebindings",)
    ),
    Right(("bind",), "rbac.authorization.k8s.io", ("clusterroles",), "cluster-admin"),
)
"""For the chart's own ClusterRoleBinding; not needed where an administrator made it."""

Asked = t.Tuple[str, str, str, str]
"""Verb, group, resource, name."""


def each(rights: t.Iterable[Right]) -> t.List[Asked]:
    """Return the rights one by one."""
    return [
        (verb, right.group, resource, right.name)
        for right in rights
        for resource in right.resources
        for verb in right.verbs
    ]


def granted(asked: Asked, rules: t.Sequence[Obj]) -> bool:
    """Whether some ``resourceRules`` of a SelfSubjectRulesReview grant a right."""
    verb, group, resource, name = asked

    def has(values: t.Optional[t.Sequence[str]], *wanted: str) -> bool:
        return any(value in ("*", *wanted) for value in values or ())

    return any(
        has(rule.get("verbs"), verb)
        and has(rule.get("apiGroups"), group)
        and has(rule.get("resources"), resource, f"*/{resource.partition('/')[2] or '-'}")
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in rules
    )


def allowed(kube: Kube, asked: Asked, namespace: str = "") -> bool:
    """Ask the cluster about one right."""
    verb, group, resource, name = asked
    main, _slash, sub = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": main, "subresource": sub, "name": name}
    if namespace:
        attributes["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    answer = kube.request("POST", url_of("SelfSubjectAccessReview"), review, repeat=True)
    return bool((answer.get("status") or {}).get("allowed"))


@dataclass(frozen=True)
class Rules:
    """What a SelfSubjectRulesReview tells; where it is incomplete, other things may be allowed."""

    rules: t.Sequence[Obj]
    complete: bool


def rules_of(kube: Kube, namespace: str = NOWHERE) -> Rules:
    """Ask for all rules of our user in a namespace, or for those of the whole cluster alone."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = kube.request("POST", url_of("SelfSubjectRulesReview"), review, repeat=True)
    status = answer.get("status") or {}
    return Rules(status.get("resourceRules") or [], not status.get("incomplete"))


def missing(
    kube: Kube, everywhere: Rules, rights: t.Iterable[Right], namespace: str = ""
) -> t.List[Asked]:
    """Return the rights that are wanting in a namespace, or on the whole cluster.

    :param everywhere: the rules of the whole cluster.
    """
    rules = everywhere
    wanting = [asked for asked in each(rights) if not granted(asked, rules.rules)]
    if wanting and namespace:
        rules = rules_of(kube, namespace)
        wanting = [asked for asked in wanting if not granted(asked, rules.rules)]
    if rules.complete:
        return wanting
    # an authorizer that cannot list its rules may still say yes
    return [asked for asked in wanting if not allowed(kube, asked, namespace)]


def phrase(missing: t.Iterable[Asked]) -> str:
    """Return rights as ``get, create on namespaces; bind on clusterroles.../cluster-admin``."""
    by_target: t.Dict[str, t.List[str]] = {}
    for verb, group, resource, name in missing:
        target = f"{resource}.{group}" if group else resource
        by_target.setdefault(f"{target}/{name}" if name else target, []).append(verb)
    by_verbs: t.Dict[str, t.List[str]] = {}
    for target, verbs in by_target.items():
        by_verbs.setdefault(", ".join(dict.fromkeys(verbs)), []).append(target)
    return "; ".join(f"{verbs} on {', '.join(targets)}" for verbs, targets in by_verbs.items())
