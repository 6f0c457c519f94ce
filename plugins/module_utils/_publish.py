# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Carrying out the plan of a route: rehearse, apply, wait for the controller, probe, undo."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _doors, _route
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import (
    Kube,
    Obj,
    api_version,
    url_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    Params,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._route import Key, Route
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline, poll

NO_STATUS = (
    "Check that the controller runs, that it serves the class {0} (kubectl get ingressclass {0}) "
    "and, with controller 2.x, that a GatewayProxy exists: it ignores other objects silently."
)
NO_CRD = "Install the APISIX ingress controller with its CustomResourceDefinitions."
FOREIGN = "It exists and is not of this module: delete it, or choose another name."
NOT_OURS = "this run did not change the route, so it stands"
UNDO_SECONDS = 15.0
GRACE_SECONDS = 10.0
"""A controller may see the route before its Secret, and refuse it for a moment."""


def observe(kube: Kube, namespace: str, name: str) -> t.Dict[Key, Obj]:
    """Return the objects that bear the label of the route."""
    found: t.Dict[Key, Obj] = {}
    for kind in _route.KINDS:
        labels = f"{_route.MANAGED_BY}={_route.MANAGER},{_route.ROUTE_LABEL}={name}"
        for obj in kube.list(url_of(kind, namespace), label_selector=labels):
            obj.update(kind=kind, apiVersion=api_version(kind))  # items of a list do not say it
            found[_route.key_of(obj)] = obj
    return found


class Publisher:
    """One plan on one cluster.

    :param current: the objects as :func:`observe` saw them.
    """

    def __init__(
        self,
        kube: Kube,
        ctx: Context,
        namespace: str,
        current: t.Mapping[Key, Obj],
        changes: t.Sequence[Change],
    ) -> None:
        self.kube = kube
        self.ctx = ctx
        self.namespace = namespace
        self.current = current
        self.changes = changes

    # ------------------------------------------------------------------ before and during

    def rehearse(self, route: t.Optional[Route], namespace_exists: bool) -> t.List[str]:
        """Let the server check what is to be written, without writing; return what is assumed.

        :raises OapipError: it would refuse. In a real run also: a parent is missing.
        """
        assumed: t.List[str] = []
        if route and route.tls_mode == "existing":
            path = url_of("Secret", self.namespace, route.tls_name)
            if not namespace_exists or self.kube.get(path) is None:
                assumed.append(f"Secret {route.tls_name}")
        if assumed and not self.ctx.check_mode:
            raise OapipError(
                f"publishing {route.name if route else ''}",
                f"{assumed[0]} does not exist in namespace {self.namespace}",
                "Create it, or give certificate and private_key with tls mode supplied.",
            )
        for change in self.changes:
            if not namespace_exists or change.action == "delete":
                continue
            try:
                self._write(change, dry_run=True)
            except OapipError as error:
                if error.status != 404 or not self.ctx.check_mode:
                    raise
                assumed.append(f"CustomResourceDefinition of {change.kind}")
        return assumed

    def apply(self) -> None:
        """Carry out the plan in its order."""
        for change in self.changes:
            self.ctx.say(f"{change.kind} {change.name}: {change.action}")
            if change.action == "delete":
                uid = change.payload["metadata"].get("uid")
                self.kube.delete(url_of(change.kind, self.namespace, change.name), uid=uid)
            else:
                self._write(change)

    def _write(self, change: Change, dry_run: bool = False) -> Obj:
        query = {"fieldManager": _route.MANAGER, **({"dryRun": "All"} if dry_run else {})}
        path = url_of(change.kind, self.namespace)
        wanted = _filled(change.payload) if dry_run else change.payload
        try:
            if change.action == "create":
                return self.kube.request("POST", path, wanted, query)
            seen = self.current[change.kind, change.name]
            return self._replace(f"{path}/{change.name}", seen, wanted, query)
        except OapipError as error:
            if error.status == 404:
                error.hint = NO_CRD
            elif error.status == 409 and change.action == "create":
                error.hint = FOREIGN
            raise

    def _replace(
        self, path: str, seen: Obj, wanted: Obj, query: t.Mapping[str, str], again: int = 5
    ) -> Obj:
        """PUT what is wanted over what was seen.

        The controller writes the status whenever it likes: a conflict with such a write, told by
        the same generation, is tried again on the newer version. Any other conflict is an error.
        """
        try:
            return self.kube.request("PUT", path, _route.merged(seen, wanted), query)
        except OapipError as error:
            now = self.kube.get(path) if error.status == 409 and again else None
            generation = seen["metadata"].get("generation")
            if now is None or generation is None or now["metadata"]["generation"] != generation:
                raise
        return self._replace(path, now, wanted, query, again - 1)

    # ------------------------------------------------------------------ after

    def prove(
        self, route: Route, closed: t.Sequence[_doors.Door], url: str, params: Params
    ) -> None:
        """Wait for the controller's word, then knock; undo what turns out to be open.

        :raises OapipError: the controller refuses or is silent, or a stranger gets through.
        """
        doing = f"publishing {route.name} at {route.host}"
        silent = self._await_controller(route, params["wait_timeout"], doing)
        if not closed and route.oidc:
            self.ctx.warn(f"{doing}: not probed, so nothing says that strangers are locked out")
        if closed:
            stranger = _doors.Stranger(
                url, params["validate_certs"], params["ca_path"], params["probe_address"]
            )
            issuer = route.oidc.issuer if route.oidc else ""
            # a silent controller may still have published something: one look tells
            seconds = 0.0 if silent else float(params["wait_timeout"])
            report = _doors.probe(stranger, closed, issuer, Deadline(seconds))
            if report.breaches:
                self._close(route, stranger, closed, issuer, report.breaches)
            if not silent and not report.ready:
                raise self._unproved(route, url, report)
        if silent:
            raise silent

    def _await_controller(self, route: Route, seconds: float, doing: str) -> t.Optional[OapipError]:
        """Return the failure of the wait, None when the controller has accepted everything."""
        if route.gateway != "apisix":
            return None
        keys = [("ApisixRoute", route.name)]
        if route.tls_mode != "none":
            keys.insert(0, ("ApisixTls", route.name))
        touched = {(change.kind, change.name) for change in self.changes}
        for kind, name in keys:
            seen = self.current.get((kind, name))
            if seen and (kind, name) not in touched and _route.settled(seen)[0]:
                continue
            good, words = self._word_on(kind, name, Deadline(seconds))
            if good is None:
                hint = NO_STATUS.format(route.ingress_class)
                return OapipError(doing, f"no word from the controller on {kind} {name}", hint)
            if good is False:
                hint = f"kubectl -n {self.namespace} describe {kind.lower()} {name} says more."
                return OapipError(doing, f"the controller refuses {kind} {name}: {words}", hint)
        return None

    def _word_on(self, kind: str, name: str, deadline: Deadline) -> t.Tuple[t.Optional[bool], str]:
        told = ""
        kube = self.kube.until(deadline)

        def look() -> t.Tuple[bool, t.Tuple[t.Optional[bool], str]]:
            nonlocal told
            obj = kube.get(url_of(kind, self.namespace, name)) or {"metadata": {}}
            good, words = _route.settled(obj)
            if good is not True and words != told:
                told = words
                self.ctx.say(f"{kind} {name}: waiting for the controller: {words}")
            hopeless = "InvalidSpec" in words and deadline.elapsed > GRACE_SECONDS
            return good is True or hopeless, (good, words)

        return poll(look, deadline, smallest=0.25, largest=5.0)[1]

    def _close(
        self,
        route: Route,
        stranger: _doors.Stranger,
        closed: t.Sequence[_doors.Door],
        issuer: str,
        breaches: t.Sequence[str],
    ) -> t.NoReturn:
        """Undo this run's change of the route, look whether that helped, and fail."""
        done = self._undo(route)
        left: t.Sequence[str] = breaches
        deadline = Deadline(UNDO_SECONDS)
        while done and left and not deadline.over:
            deadline.sleep(0.5)
            left = _doors.probe(stranger, closed, issuer, Deadline(0)).breaches
        outcome = done or NOT_OURS
        after = "the doors are STILL OPEN" if left else "the doors are closed again"
        hint = (
            "Look for plugins that the gateway does not load, and for another route of this host."
        )
        if left:
            hint = (
                "Look for another route of this host. To take the engine off the net: "
                f"kubectl -n {self.namespace} delete apisixroute {route.name}"
            )
        raise OapipError(
            f"knocking as a stranger at {route.host}",
            f"{len(breaches)} doors are open ({'; '.join(breaches[:5])}); {outcome}; {after}",
            hint,
            extra={"breaches": list(breaches), "closed_again": not left},
        )

    def _unproved(self, route: Route, url: str, report: _doors.Report) -> OapipError:
        """Undo this run's change too: an engine that nobody is proved to be kept out of."""
        outcome = self._undo(route) or NOT_OURS
        if report.absent:
            reason = f"the gateway answers 404 to everything at {url}"
            hint = "Check that the host name leads to this cluster's gateway."
        else:
            some = "; ".join(report.unsure[:3])
            reason = f"no verdict on {len(report.unsure)} of the doors at {url} ({some})"
            hint = "Check probe_url, its name resolution, ca_path, the gateway's log and Keycloak."
        return OapipError(f"knocking as a stranger at {route.host}", f"{reason}; {outcome}", hint)

    def _undo(self, route: Route) -> str:
        key = ("ApisixRoute", route.name)
        action = {(c.kind, c.name): c.action for c in self.changes}.get(key)
        path = url_of(*key[:1], self.namespace, route.name)
        if action == "create":
            self.kube.delete(path)
            return "the route was deleted again"
        if action == "update":
            now = self.kube.get(path)
            old = self.current[key]
            if now is not None:
                meta = {**old["metadata"], "resourceVersion": now["metadata"]["resourceVersion"]}
                meta.pop("managedFields", None)
                self.kube.replace({**old, "metadata": meta})
            return "the route was put back as it was"
        return ""


def _filled(obj: Obj) -> Obj:
    """Return the object with something in place of what is not known before the real run."""
    made = json.loads(json.dumps(obj))
    for part, filler in ((made.get("data"), ""), (made["metadata"].get("annotations"), "unknown")):
        for name, value in (part or {}).items():
            part[name] = filler if value is None else value
    return t.cast("Obj", made)
