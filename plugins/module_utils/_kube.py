# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one transport to a Kubernetes API server.

Everything is a path: ``url_of(kind, namespace, name)`` builds it from one table, without discovery.

    kube = Kube.connect(kubeconfig=None, context=None)
    kube.get(url_of("Secret", "zoo", "s3"))         # dict, or None when the answer is 404
    kube.list(url_of("Pod", "zoo"), label_selector="app=x")  # [] when the kind is not installed
    kube.listing(path).resource_version             # list with the version a watch starts from
    kube.apply(obj, dry_run=True)                   # server-side apply, manager "eoepca.oapip"
    kube.create(obj); kube.replace(obj)             # replace honours metadata.resourceVersion
    kube.patch(path, {"metadata": {...}})           # JSON merge patch
    kube.delete(path)                               # False when it was not there
    for event in kube.watch(path, resource_version=v, seconds=60): event.type, event.object
    kube.request("POST", path, body)                   # anything else, decoded JSON
    kube.until(deadline).get(path)                     # for waits: no request outlives the deadline

Only 404 means absent. Every other failure is an `OapipError` with the act, the object, the status
(None when no answer came) and the server's own message. What is the same when it is sent twice (all
but POST) is repeated on 429, 5xx and broken connections; POST only where the server says that it
did nothing (see `_http.Attempts`).

An apply takes away what an earlier apply of ours set and this one does not: whoever adds a single
label or annotation to an object that another module applies uses `patch`.

API: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import copy
import json
import typing as t
from urllib.parse import quote, urlencode

from ansible_collections.eoepca.oapip.plugins.module_utils import _kubeconfig
from ansible_collections.eoepca.oapip.plugins.module_utils._http import (
    TRANSIENT,
    Attempts,
    root_cause,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline

try:
    import urllib3
except ImportError:  # comes with kubernetes; require() names what is missing
    urllib3 = None  # type: ignore[assignment]

Obj = t.Dict[str, t.Any]  # a Kubernetes object as decoded JSON

FIELD_MANAGER = "eoepca.oapip"
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
LAST_LOOK = 2.0
"""Seconds that a request may take which begins at the end of its deadline."""
PAGE = 500
PASSING = TRANSIENT | {500}
"""Statuses that may pass by themselves: a webhook that is not up yet is told as 500."""


class Kind(t.NamedTuple):
    """Where the objects of a kind live: API prefix, plural, and whether in a namespace."""

    prefix: str
    plural: str
    namespaced: bool = True


_ROWS = (
    ("api/v1", False, "Namespace=namespaces Node=nodes PersistentVolume=persistentvolumes"),
    ("api/v1", True, "ConfigMap=configmaps Secret=secrets Service=services Pod=pods Event=events"),
    ("api/v1", True, "ServiceAccount=serviceaccounts ResourceQuota=resourcequotas"),
    ("api/v1", True, "PersistentVolumeClaim=persistentvolumeclaims LimitRange=limitranges"),
    ("apis/apps/v1", True, "Deployment=deployments StatefulSet=statefulsets"),
    ("apis/apps/v1", True, "ReplicaSet=replicasets DaemonSet=daemonsets"),
    ("apis/batch/v1", True, "Job=jobs CronJob=cronjobs"),
    ("apis/networking.k8s.io/v1", True, "NetworkPolicy=networkpolicies Ingress=ingresses"),
    ("apis/networking.k8s.io/v1", False, "IngressClass=ingressclasses"),
    ("apis/storage.k8s.io/v1", False, "StorageClass=storageclasses"),
    ("apis/coordination.k8s.io/v1", True, "Lease=leases"),
    ("apis/discovery.k8s.io/v1", True, "EndpointSlice=endpointslices"),
    ("apis/rbac.authorization.k8s.io/v1", True, "Role=roles RoleBinding=rolebindings"),
    ("apis/rbac.authorization.k8s.io/v1", False, "ClusterRole=clusterroles"),
    ("apis/rbac.authorization.k8s.io/v1", False, "ClusterRoleBinding=clusterrolebindings"),
    ("apis/authorization.k8s.io/v1", False, "SelfSubjectAccessReview=selfsubjectaccessreviews"),
    ("apis/authorization.k8s.io/v1", False, "SelfSubjectRulesReview=selfsubjectrulesreviews"),
    ("apis/apiextensions.k8s.io/v1", False, "CustomResourceDefinition=customresourcedefinitions"),
    ("apis/apisix.apache.org/v2", True, "ApisixRoute=apisixroutes ApisixTls=apisixtlses"),
    ("apis/apisix.apache.org/v2", True, "ApisixPluginConfig=apisixpluginconfigs"),
    ("apis/apisix.apache.org/v2", True, "ApisixUpstream=apisixupstreams"),
    ("apis/cert-manager.io/v1", True, "Certificate=certificates Issuer=issuers"),
    ("apis/cert-manager.io/v1", False, "ClusterIssuer=clusterissuers"),
)
KINDS: t.Dict[str, Kind] = {
    kind: Kind(prefix, plural, namespaced)
    for prefix, namespaced, pairs in _ROWS
    for kind, plural in (pair.split("=") for pair in pairs.split())
}


def api_version(kind: str) -> str:
    """``v1`` or ``group/version`` of a kind in the table."""
    return KINDS[kind].prefix.split("/", 1)[1]


def url_of(kind: str, namespace: t.Optional[str] = None, name: t.Optional[str] = None) -> str:
    """The path of one object, or of a collection (all namespaces when none is given)."""
    row = KINDS[kind]
    parts = [row.prefix]
    if row.namespaced and namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(row.plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/" + "/".join(parts)


def url_for(obj: t.Mapping[str, t.Any], namespace: t.Optional[str] = None) -> str:
    """The path of an object from its own kind, namespace (else the one given) and name."""
    kind, meta = str(obj["kind"]), obj["metadata"]
    row = KINDS.get(kind)
    if row is None or row.prefix.split("/", 1)[1] != obj.get("apiVersion"):
        raise OapipError(
            f"finding the API path of {kind} {meta.get('name')}",
            f"{obj.get('apiVersion')} {kind} is not a kind that this collection handles",
        )
    return url_of(kind, meta.get("namespace") or namespace, meta["name"])


class Listing(t.NamedTuple):
    items: t.List[Obj]
    resource_version: str


class Event(t.NamedTuple):
    """One line of a watch. The type is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Obj


class Kube:
    """Requests to one API server over one connection pool."""

    _deadline: t.Optional[Deadline] = None

    def __init__(self, client: t.Any) -> None:
        self._client = client
        self.host: str = client.configuration.host.rstrip("/")

    @classmethod
    def connect(cls, kubeconfig: t.Optional[str] = None, context: t.Optional[str] = None) -> Kube:
        """Load the configuration as kubectl does; without any, the one of the pod we run in."""
        return cls(_kubeconfig.client(kubeconfig, context))

    def until(self, deadline: Deadline) -> Kube:
        """The same server and pool, where no request or its repetition outlives a deadline."""
        bound = copy.copy(self)
        bound._deadline = deadline
        return bound

    def close(self) -> None:
        self._client.rest_client.pool_manager.clear()

    # -- reads ---------------------------------------------------------------------------------

    def get(self, path: str, **query: str) -> t.Optional[Obj]:
        """One object, or None when the server answers 404."""
        try:
            return self.request("GET", path, query=query)
        except OapipError as error:
            if error.status == 404:
                return None
            raise

    def listing(self, path: str, label_selector: str = "", field_selector: str = "") -> Listing:
        """A collection, page by page, with the version from which a watch can go on."""
        items: t.List[Obj] = []
        query = {"limit": str(PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            page = self.get(path, **query)
            if page is None:
                return Listing([], "")
            items += page.get("items") or []
            following = page["metadata"].get("continue")
            if not following:
                return Listing(items, str(page["metadata"].get("resourceVersion", "")))
            query["continue"] = following

    def list(self, path: str, label_selector: str = "", field_selector: str = "") -> t.List[Obj]:
        """The items of a collection; empty too when its kind is not installed (404)."""
        return self.listing(path, label_selector, field_selector).items

    def watch(
        self,
        path: str,
        resource_version: str,
        seconds: float,
        label_selector: str = "",
        field_selector: str = "",
    ) -> t.Iterator[Event]:
        """Changes as they come, for at most `seconds`; ends early when the server closes.

        Raises `OapipError` with status 410 when the version is too old: list again, then go on.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, int(seconds))),
            "allowWatchBookmarks": "true",
        }
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        answer = None
        try:
            answer = self._send("GET", path, query, None, "", read_seconds=seconds + 5)
            if answer.status >= 400:
                raise self._failure("GET", path, answer.status, answer.read(decode_content=True))
            rest = b""
            for chunk in answer.stream(65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        code = int(event["object"].get("code", 0))
                        raise self._failure("GET", path, code, json.dumps(event["object"]).encode())
                    yield Event(event["type"], event["object"])
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError):
            return  # a watch that breaks has simply ended: the caller lists and goes on
        finally:
            if answer is not None:
                answer.close()

    # -- writes --------------------------------------------------------------------------------

    def apply(
        self,
        obj: t.Mapping[str, t.Any],
        namespace: t.Optional[str] = None,
        dry_run: bool = False,
        force: bool = True,
        manager: str = FIELD_MANAGER,
    ) -> Obj:
        """Server-side apply; with `dry_run` the server says what would be, and writes nothing."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        body = {key: value for key, value in obj.items() if key != "status"}
        kind = "application/apply-patch+yaml"  # JSON is YAML
        return self.request("PATCH", url_for(obj, namespace), body, query, kind)

    def create(self, obj: t.Mapping[str, t.Any], namespace: t.Optional[str] = None) -> Obj:
        """POST; an object that exists already is an OapipError with reason AlreadyExists."""
        path = url_for(obj, namespace).rsplit("/", 1)[0]
        return self.request("POST", path, obj, {"fieldManager": FIELD_MANAGER})

    def replace(self, obj: t.Mapping[str, t.Any], namespace: t.Optional[str] = None) -> Obj:
        """PUT; with metadata.resourceVersion set, a change in between is an OapipError 409."""
        query = {"fieldManager": FIELD_MANAGER}
        return self.request("PUT", url_for(obj, namespace), obj, query)

    def patch(
        self,
        path: str,
        body: t.Mapping[str, t.Any],
        dry_run: bool = False,
        strategic: bool = False,
    ) -> Obj:
        """JSON merge patch (RFC 7396): null removes a key.

        With `strategic` a strategic merge patch, which kinds of Kubernetes itself understand:
        ``$patch: delete`` removes an item of a list.
        """
        query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry_run else {})}
        kind = "strategic-merge-patch" if strategic else "merge-patch"
        return self.request("PATCH", path, body, query, f"application/{kind}+json")

    def delete(
        self, path: str, propagation: str = "Background", uid: t.Optional[str] = None
    ) -> bool:
        """Delete one object; with `uid` only if it is still that very object. False when absent."""
        body: Obj = {"propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self.request("DELETE", path, body)
        except OapipError as error:
            if error.status == 404:
                return False
            raise
        return True

    # -- the one way out -----------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        body: t.Optional[t.Mapping[str, t.Any]] = None,
        query: t.Optional[t.Mapping[str, str]] = None,
        content_type: str = "application/json",
        repeat: bool = False,
    ) -> Obj:
        """Send one request, repeated as the module's docstring says, and decode the answer.

        With `repeat` also a POST is: one that stores nothing, like a review.
        """
        harmless = repeat or method != "POST" or "dryRun" in (query or {})
        attempts = Attempts(harmless, transient=PASSING, within=self._deadline)
        while True:
            try:
                answer = self._send(method, path, query, body, content_type)
                data = answer.read(decode_content=True)
                answer.release_conn()
            except urllib3.exceptions.HTTPError as error:
                if _hopeless(error) or not attempts.again():
                    raise self._unreachable(method, path, error) from None
                continue
            if answer.status < 400:
                return self._decoded(method, path, answer.status, data)
            if not attempts.again(
                answer.status, answer.headers.get("Retry-After"), answer.headers.get("Date")
            ):
                raise self._failure(method, path, answer.status, data)

    def _unreachable(self, method: str, path: str, error: BaseException) -> OapipError:
        hint = "Check that the API server is up and reachable from here, and the kubeconfig's CA."
        reason = f"no answer from {self.host}: {root_cause(error)}"
        return OapipError(_doing(method, path), reason, hint, path=path)

    def _decoded(self, method: str, path: str, status: int, data: bytes) -> Obj:
        try:
            return dict(json.loads(data)) if data else {}
        except (ValueError, TypeError):
            doing, reason = _doing(method, path), "the answer is no JSON object"
            hint = "Is there a proxy or login page in between?"
            raise OapipError(doing, reason, hint, status, path, server=self.host) from None

    def _failure(self, method: str, path: str, status: int, data: bytes) -> OapipError:
        """The server's own words: a Status object's message, never a raw page."""
        try:
            said = str(json.loads(data)["message"])
        except (ValueError, TypeError, KeyError):
            said = "the answer is not a Kubernetes Status (a proxy in between?)"
        hint = _HINTS.get(status, "")
        return OapipError(_doing(method, path), said, hint, status, path, server=self.host)

    def _send(
        self,
        method: str,
        path: str,
        query: t.Optional[t.Mapping[str, str]],
        body: t.Optional[t.Mapping[str, t.Any]],
        content_type: str,
        read_seconds: t.Optional[float] = None,
    ) -> t.Any:
        headers = {"Accept": "application/json", "User-Agent": "eoepca.oapip"}
        for setting in self._client.configuration.auth_settings().values():
            if setting and setting["in"] == "header" and setting["value"]:
                headers[setting["key"]] = setting["value"]
        if body is not None:
            headers["Content-Type"] = content_type
        return self._client.rest_client.pool_manager.request(
            method,
            f"{self.host}{path}{'?' + urlencode(query) if query else ''}",
            body=None if body is None else json.dumps(body).encode(),
            headers=headers,
            timeout=self._timeout(read_seconds),
            retries=False,
            preload_content=False,
        )

    def _timeout(self, read_seconds: t.Optional[float]) -> t.Any:
        connect, read = CONNECT_SECONDS, READ_SECONDS if read_seconds is None else read_seconds
        left = None if self._deadline is None else max(self._deadline.left, LAST_LOOK)
        return urllib3.Timeout(total=left, connect=connect, read=read)


_ACTS = {"GET": "reading", "POST": "creating", "PATCH": "applying", "PUT": "replacing"}
_HINTS = {
    401: "The credentials in the kubeconfig were not accepted: renew them.",
    403: "Grant the missing permission (docs/operator-clusterrole.yaml) or use another user.",
    409: "Somebody else changed it at the same time: run again.",
}


def _doing(method: str, path: str) -> str:
    return f"{_ACTS.get(method, 'deleting')} {path} of the Kubernetes API"


def _hopeless(error: BaseException) -> bool:
    """Whether no repetition helps: a certificate that is not trusted, a name that is wrong."""
    return isinstance(error, (urllib3.exceptions.SSLError, urllib3.exceptions.LocationValueError))
