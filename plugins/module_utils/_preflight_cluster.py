# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is looked at on the cluster before a run: reads and access reviews, nothing else."""

from __future__ import annotations

import functools
import re
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _certificates,
    _helm,
    _rights,
    _route,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._findings import (
    Check,
    Findings,
    fail,
    ok,
    warn,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Obj, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params

OLDEST = (1, 25)
"""Kubernetes version from which server-side apply and all the APIs used here are stable."""

MARK = "oapip.eoepca.org/"
"""Prefix of what a run notes on the engine's namespace."""

ROUTES = {
    "ApisixRoute": "/apis/apisix.apache.org/v2/apisixroutes",
    "Ingress": "/apis/networking.k8s.io/v1/ingresses",
    "HTTPRoute": "/apis/gateway.networking.k8s.io/v1/httproutes",
}
ONE_WRITER = frozenset(
    {
        "cinder.csi.openstack.org",
        "csi.hetzner.cloud",
        "disk.csi.azure.com",
        "dobs.csi.digitalocean.com",
        "ebs.csi.aws.com",
        "kubernetes.io/aws-ebs",
        "kubernetes.io/azure-disk",
        "kubernetes.io/cinder",
        "kubernetes.io/gce-pd",
        "local.csi.openebs.io",
        "openebs.io/local",
        "pd.csi.storage.gke.io",
        "rancher.io/local-path",
        "rbd.csi.ceph.com",
        "topolvm.io",
    }
)
"""Provisioners whose volumes only one node can write to."""

RIGHTS_CURE = (
    "Bind the ClusterRole of docs/operator-clusterrole.yaml to the user of the kubeconfig, "
    "or use another user."
)


class Cluster:
    """The checks of one cluster, and the facts they come upon.

    :param params: the options of oapip_cluster_info.
    """

    def __init__(self, kube: Kube, params: Params) -> None:
        self.kube = kube
        self.params = params
        self.facts: t.Dict[str, t.Any] = {}
        self.refused: t.List[_rights.Asked] = []

    def reach(self) -> Findings:
        """Reach the API server and see which cluster it is; nothing else is worth asking before."""
        version = self.kube.request("GET", "/version")
        self.facts["version"] = version.get("gitVersion", "")
        system = self.kube.get(url_of("Namespace", name="kube-system")) or {"metadata": {}}
        uid = str(system["metadata"].get("uid", ""))
        self.facts["uid"] = uid
        found = ok("API server", f"{self.kube.host} answers and accepts the credentials")
        numbers = tuple(int(n) for n in re.findall(r"\d+", self.facts["version"])[:2])
        if numbers < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            found += fail(
                "Kubernetes version",
                f"{self.facts['version']} is too old",
                "kubeconfig",
                f"Upgrade the cluster to {wanted} or newer.",
            )
        else:
            found += ok("Kubernetes version", self.facts["version"])
        wish = self.params.get("cluster_uid")
        if wish and wish != uid:
            return found + fail(
                "cluster identity",
                f"this is the cluster with UID {uid}, not {wish}",
                "cluster_uid",
                "Give the kubeconfig and context of the right cluster, or correct the UID: kubectl "
                "get namespace kube-system -o jsonpath={.metadata.uid}",
            )
        return found + (ok("cluster identity", uid) if wish else [])

    def checks(self) -> t.Dict[str, Check]:
        """Return the checks that a reachable cluster allows, by name."""
        made: t.Dict[str, Check] = {
            "rights": self.rights,
            "namespace": self.namespace,
            "storage classes": self.storage_classes,
            "nodes": self.nodes,
            "gateway": self.gateway,
            "release": self.release,
        }
        if self.params.get("host"):
            for kind in ROUTES:
                made[f"{kind} objects"] = functools.partial(self.routes, kind)
        if (self.params.get("tls") or {}).get("mode") == "existing":
            made["TLS"] = self.tls_secret
        return {name: functools.partial(self._unless_refused, one) for name, one in made.items()}

    def _unless_refused(self, check: Check) -> Findings:
        """Leave a 403 to the check of the rights: it has one cause, however many reads it stops."""
        try:
            return check()
        except OapipError as error:
            asked = right_of(error.path) if error.status == 403 else None
            if asked is None:
                raise
            self.refused.append(asked)
            return []

    def refusals(self) -> Findings:
        """Return the finding on reads that were refused and that the rights' check did not name."""
        if not self.refused:
            return []
        refused = dict.fromkeys(self.refused)
        return fail("rights", f"missing: {_rights.phrase(refused)}", "rights", RIGHTS_CURE)

    # ------------------------------------------------------------------ checks

    def rights(self) -> Findings:
        namespace, gateway = self.params["namespace"], self.params["gateway"]
        inside = (*_rights.NAMESPACED, *_rights.GATEWAY[gateway])
        everywhere = _rights.rules_of(self.kube)
        missing = _rights.missing(self.kube, everywhere, inside, namespace)
        lock = self.params["lock_namespace"]
        missing += _rights.missing(self.kube, everywhere, _rights.LOCK, lock)
        missing += _rights.missing(self.kube, everywhere, _rights.CLUSTER)
        binding = _rights.missing(self.kube, everywhere, _rights.BINDING)
        if binding and not self._binding_is_there():
            missing += binding
        if not missing:
            return ok("rights", "all that a run needs")
        # one finding for all: reads that were refused are told with it
        self.refused = [*missing, *self.refused]
        return []

    def _binding_is_there(self) -> bool:
        name = f"{self.params['release_name']}-processing"
        try:
            return self.kube.get(url_of("ClusterRoleBinding", name=name)) is not None
        except OapipError as error:
            if error.status != 403:
                raise
            return False

    def namespace(self) -> Findings:
        name = self.params["namespace"]
        found = self.kube.get(url_of("Namespace", name=name))
        self.facts["namespace_exists"] = found is not None
        self.facts["namespace_annotations"] = {}
        if found is None:
            return ok("namespace", f"{name} will be created", "namespace")
        self.facts["namespace_annotations"] = found["metadata"].get("annotations") or {}
        if (found.get("status") or {}).get("phase") == "Terminating":
            cure = f"Wait for it, or look what holds it: kubectl describe namespace {name}."
            return fail("namespace", f"{name} is being deleted", "namespace", cure)
        labels = found["metadata"].get("labels") or {}
        if labels.get("pod-security.kubernetes.io/enforce") == "restricted":
            cure = "Label it pod-security.kubernetes.io/enforce=baseline."
            said = f"{name} enforces the Pod security level restricted, which the chart cannot meet"
            return fail("namespace", said, "namespace", cure)
        return ok("namespace", f"{name} exists", "namespace")

    def storage_classes(self) -> Findings:
        classes = {o["metadata"]["name"]: o for o in self.kube.list(url_of("StorageClass"))}
        self.facts["storage_classes"] = {
            name: str(obj.get("provisioner", "")) for name, obj in sorted(classes.items())
        }
        known = ", ".join(sorted(classes)) or "none"
        found: Findings = []
        for about in ("shared_storage_class", "block_storage_class"):
            name = self.params.get(about)
            if not name:
                continue
            if name not in classes:
                said = f"the cluster has no storage class {name!r} (it has: {known})"
                found += fail("storage class", said, about, "Name one of these, or create it.")
            elif about.startswith("shared") and classes[name].get("provisioner") in ONE_WRITER:
                said = f"volumes of {name} can be written to from one node only"
                cure = "Name a class whose volumes are ReadWriteMany, such as NFS or CephFS."
                found += warn("storage class", said, about, cure)
            else:
                found += ok("storage class", f"{name} exists", about)
        return found

    def nodes(self) -> Findings:
        wish: t.Dict[str, str] = self.params.get("node_selector") or {}
        nodes = self.kube.list(url_of("Node"))
        self.facts["nodes"] = [
            {
                "name": node["metadata"]["name"],
                "ready": is_ready(node),
                "version": ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion"),
                "simulated": is_simulated(node),
            }
            for node in nodes
        ]
        said = ", ".join(f"{key}={value}" for key, value in wish.items()) or "no selector"
        fit = [n for n in nodes if wish.items() <= (n["metadata"].get("labels") or {}).items()]
        ready = [node for node in fit if is_ready(node)]
        if not fit:
            cure = f"Label a node (kubectl label node <name> {said.replace(', ', ' ')}), or correct"
            cure += " the selector."
            return fail("nodes", f"no node matches {said}", "node_selector", cure)
        if not ready:
            cure = "Look at kubectl describe node, or choose other nodes."
            said = f"no node that matches {said} is ready for Pods"
            return fail("nodes", said, "node_selector", cure)
        return ok("nodes", f"{len(ready)} of {len(nodes)} nodes match {said}", "node_selector")

    def gateway(self) -> Findings:
        """The class, and for APISIX the kinds and what its controller 2.x wants beside them."""
        name, kind = self.params["ingress_class"], self.params["gateway"]
        kinds = self._kinds("apisix.apache.org/v2")
        flavour = "none"
        if "ApisixRoute" in kinds:
            newer = "GatewayProxy" in self._kinds("apisix.apache.org/v1alpha1")
            flavour = "2.x" if newer else "1.8"
        self.facts["apisix_controller"] = flavour
        classes = {o["metadata"]["name"]: o for o in self.kube.list(url_of("IngressClass"))}
        self.facts["ingress_classes"] = sorted(classes)
        found: Findings = []
        wanted = {"ApisixRoute", "ApisixTls"} if kind == "apisix" else set()
        lacking = sorted(wanted - kinds)
        if lacking:
            cure = "Install the APISIX ingress controller, or choose another gateway."
            said = f"the cluster does not know the kinds {', '.join(lacking)}"
            found += fail("gateway", said, "gateway", cure)
        if name not in classes:
            known = ", ".join(sorted(classes)) or "none"
            said = f"the cluster has no IngressClass {name!r} (it has: {known})"
            found += fail("gateway", said, "ingress_class", "Name one of these, or install it.")
        elif flavour == "2.x" and kind == "apisix":
            proxy = (classes[name].get("spec") or {}).get("parameters") or {}
            if proxy.get("kind") != "GatewayProxy":
                said = f"IngressClass {name} names no GatewayProxy, so controller 2.x ignores it"
                cure = "Set spec.parameters of the class to a GatewayProxy."
                found += warn("gateway", said, "ingress_class", cure)
        return found or ok("gateway", f"{kind}, controller {flavour}, class {name}", "gateway")

    def _kinds(self, group_version: str) -> t.Set[str]:
        answer = self.kube.get(f"/apis/{group_version}") or {}
        return {str(resource["kind"]) for resource in answer.get("resources") or ()}

    def release(self) -> Findings:
        namespace, name = self.params["namespace"], self.params["release_name"]
        path = url_of("Secret", namespace)
        secrets = self.kube.list(path, label_selector=f"owner=helm,name={name}")
        known = _helm.revisions(secrets, name)
        if not known:
            self.facts["release"] = {"status": "absent"}
            return ok("release", f"{name} is not installed")
        newest = known[0]
        self.facts["release"] = {
            "status": newest.status,
            "chart": newest.chart,
            "version": newest.version,
            "revision": newest.revision,
        }
        said = f"{name} is {newest.status}: {newest.chart} {newest.version}"
        if newest.pending:
            cure = f"If no other run is at work: helm -n {namespace} rollback {name}."
            return warn("release", said, "", cure)
        return ok("release", said)

    def routes(self, kind: str) -> Findings:
        """Objects of others that would answer for our host, or lead to our Service."""
        host, namespace = self.params["host"], self.params["namespace"]
        service = self.params.get("service_name") or f"{self.params['release_name']}-service"
        found: Findings = []
        for obj in self.kube.list(ROUTES[kind]):
            meta = obj["metadata"]
            if is_ours(obj, namespace, self.params["release_name"]):
                continue
            name = f"{kind} {meta.get('namespace')}/{meta['name']}"
            hosts, backends = aims(kind, obj)
            cure = f"Delete it (kubectl -n {meta.get('namespace')} delete {kind.lower()} "
            cure += f"{meta['name']}), or choose another host."
            if (namespace, service) in backends:
                said = f"{name} leads to the Service {service} past our route"
                found += fail("other routes", said, "host", cure)
            elif host in hosts:
                found += fail("other routes", f"{name} serves the host {host} too", "host", cure)
            elif not hosts or any(covers(pattern, host) for pattern in hosts):
                said = f"{name} matches every host, or a pattern that takes in {host}"
                found += warn(
                    "other routes", said, "host", "See that its paths are not the engine's."
                )
        return found or ok("other routes", f"no other {kind} for {host}", "host")

    def tls_secret(self) -> Findings:
        """The Secret with the certificate of our host."""
        name = self.params["tls"].get("secret_name") or ""
        namespace, host = self.params["namespace"], self.params.get("host") or ""
        obj = self.kube.get(url_of("Secret", namespace, name)) if name else None
        if obj is None:
            cure = f"Create it: kubectl -n {namespace} create secret tls {name} --cert --key; "
            cure += "or supply certificate and key as variables."
            said = f"there is no Secret {name!r} in namespace {namespace}"
            return fail("TLS", said, "tls_secret", cure)
        data = obj.get("data") or {}
        pem = _route.decode(data.get("tls.crt") or data.get("cert"))
        key = _route.decode(data.get("tls.key") or data.get("key"))
        return _certificates.check(pem or "", key or "", host, "tls_secret", "tls_secret")


# ---------------------------------------------------------------------- pure


def is_ready(node: Obj) -> bool:
    """Whether Pods can be placed on a node."""
    if (node.get("spec") or {}).get("unschedulable"):
        return False
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_simulated(node: Obj) -> bool:
    """Whether kwok plays the node: its Pods are shown running, nothing is mounted or run."""
    return "kwok.x-k8s.io/node" in (node["metadata"].get("annotations") or {})


def is_ours(obj: Obj, namespace: str, route: str) -> bool:
    """Whether oapip_route made this very object."""
    labels = obj["metadata"].get("labels") or {}
    mine = {_route.MANAGED_BY: _route.MANAGER, _route.ROUTE_LABEL: route}
    return obj["metadata"].get("namespace") == namespace and mine.items() <= labels.items()


def covers(pattern: str, host: str) -> bool:
    """Whether a host pattern with a leading ``*.`` takes in a host."""
    return pattern.startswith("*") and host.endswith(pattern.lstrip("*"))


def aims(kind: str, obj: Obj) -> t.Tuple[t.Set[str], t.Set[t.Tuple[str, str]]]:
    """Return the hosts of a route object (none: all hosts) and its Services with namespace."""
    spec, here = obj.get("spec") or {}, str(obj["metadata"].get("namespace"))
    hosts: t.Set[str] = set()
    services: t.Set[t.Tuple[str, str]] = set()
    if kind == "ApisixRoute":
        for rule in spec.get("http") or ():
            hosts.update((rule.get("match") or {}).get("hosts") or ())
            services.update((here, str(b.get("serviceName"))) for b in rule.get("backends") or ())
    elif kind == "Ingress":
        backends = [spec.get("defaultBackend") or {}]
        for rule in spec.get("rules") or ():
            hosts.update([rule["host"]] if rule.get("host") else [])
            paths = (rule.get("http") or {}).get("paths") or ()
            backends += [path.get("backend") or {} for path in paths]
        services.update((here, str((b.get("service") or {}).get("name"))) for b in backends)
    else:
        hosts.update(spec.get("hostnames") or ())
        for rule in spec.get("rules") or ():
            for ref in rule.get("backendRefs") or ():
                services.add((str(ref.get("namespace") or here), str(ref.get("name"))))
    return hosts, services


def right_of(path: str) -> t.Optional[_rights.Asked]:
    """Return the right that a refused read of a path would have needed."""
    parts = [part for part in path.split("?", maxsplit=1)[0].split("/") if part]
    if parts[:1] == ["api"]:
        group, rest = "", parts[2:]
    elif parts[:1] == ["apis"]:
        group, rest = parts[1], parts[3:]
    else:
        return None
    if len(rest) > 2 and rest[0] == "namespaces":
        rest = rest[2:]
    if not rest:
        return None
    return ("get" if len(rest) > 1 else "list", group, rest[0], "")
