# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Who can reach what: checks, and Keycloak's own decision on each.

Two ways to a decision, that share nothing: the admin look-up and evaluation (no token needed), and
what APISIX's authz-keycloak asks with the user's token (`_keycloak_gateway`). An empty answer is
never read as a permit: a decision needs a result for the very resource that was asked about.

API: ``authz/resource-server/resource``, ``policy/evaluate``
"""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import dataclass, field
from urllib.parse import unquote

from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak import Json, Keycloak
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import Access
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_gateway import Bearer, Gateway
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

ALLOW, DENY = "allow", "deny"
FULL_MATRIX = 10
"""Up to so many contexts everybody is tried on everything; beyond, on the next context only."""


@dataclass(frozen=True)
class Check:
    """One question: may ``user`` (None: nobody in particular) use ``path``."""

    user: t.Optional[str]
    path: str
    expect: str
    scope: str = ""


@dataclass
class Decision:
    """One answer."""

    check: Check
    decision: str
    method: str
    path: str
    resources: t.List[str] = field(default_factory=list)
    policies: t.List[str] = field(default_factory=list)
    reason: str = ""

    @property
    def mismatch(self) -> bool:
        """Whether the decision is not the expected one."""
        return self.decision != self.check.expect

    def as_dict(self) -> Json:
        """The entry of the returned ``decisions``."""
        return {
            "user": self.check.user,
            "path": self.check.path,
            "asked": self.path,
            "scope": self.check.scope,
            "expect": self.check.expect,
            "decision": self.decision,
            "method": self.method,
            "resources": self.resources,
            "policies": self.policies,
            "reason": self.reason,
            "mismatch": self.mismatch,
        }


def normalise(path: str) -> str:
    """Return the path that the gateway asks Keycloak about: nginx's decoded, normalised ``$uri``.

    The query is dropped, escapes are decoded once, slashes merged, dot segments resolved. A path
    that climbs out of the root stays at the root (nginx answers 400 there).
    """
    decoded = unquote(path.split("?", 1)[0].split("#", 1)[0])
    merged = re.sub(r"/{2,}", "/", f"/{decoded}")
    resolved = posixpath.normpath(merged)
    ends_open = merged.endswith(("/", "/.", "/.."))
    return resolved if resolved == "/" or not ends_open else f"{resolved}/"


def matrix(contexts: t.Sequence[Access]) -> t.List[Check]:
    """Return the checks that follow from contexts: owners are allowed, all others are not.

    Users who may get in through groups or roles are not known here: a context that has some is only
    asked about its own users and about nobody.
    """
    users = sorted({user for context in contexts for user in context.users})
    checks: t.List[Check] = []
    for number, context in enumerate(contexts):
        paths = [f"{uri[:-1]}ogc-api" if uri.endswith("/*") else uri for uri in context.uris]
        if len(contexts) <= FULL_MATRIX:
            others = users
        else:
            others = list(contexts[(number + 1) % len(contexts)].users)
        if context.groups or context.roles:
            others = []
        for path in paths:
            checks += [Check(user, path, ALLOW) for user in context.users]
            checks += [Check(user, path, DENY) for user in others if user not in context.users]
            checks.append(Check(None, path, DENY))
    return checks


class Judge:
    """Asks for decisions about one client, remembering what it has looked up.

    :param gateway: asks where there is a token.
    """

    def __init__(self, kc: Keycloak, client_id: str, gateway: t.Optional[Gateway] = None) -> None:
        client = kc.client(client_id)
        if client is None or not client.get("authorizationServicesEnabled"):
            raise OapipError(
                f"evaluating access to client {client_id}",
                f"realm {kc.realm} has no client of that name with authorization services",
                "Settle it with keycloak_client and authorization: true first.",
            )
        self.kc = kc
        self.client_id = client_id
        self.gateway = gateway
        self.authz = ("clients", client["id"], "authz", "resource-server")
        self.settings = kc.request("GET", *self.authz, doing="reading the resource server")
        self.users: t.Dict[str, t.Optional[str]] = {}  # their ids
        self._resources: t.Dict[str, t.List[Json]] = {}

    def prepare(self, checks: t.Sequence[Check]) -> None:
        """Look up users and paths, a few at a time.

        :raises OapipError: users that the realm lacks, whom Keycloak would judge as anonymous, and
            scopes that the client lacks, but in check mode, where they may be still to come.
        """
        names = sorted({check.user for check in checks if check.user})
        found = self.kc.each(self.kc.user, names)
        self.users.update({name: user["id"] if user else None for name, user in found})
        missing = [name for name in names if not self.users[name]]
        if missing:
            raise OapipError(
                f"evaluating access to client {self.client_id}",
                f"realm {self.kc.realm} has no user {', '.join(missing)}",
                "Correct the checks.",
            )
        self._check_scopes({check.scope for check in checks if check.scope})
        paths = sorted({normalise(check.path) for check in checks})
        self._resources.update(self.kc.each(self._resources_at, paths))
        if self.gateway:
            self.gateway.prepare(paths)

    def _check_scopes(self, scopes: t.Set[str]) -> None:
        if not scopes or self.kc.ctx.check_mode:
            return
        query = {"first": 0, "max": -1}
        doing = f"reading the scopes of client {self.client_id}"
        listed = self.kc.request("GET", *self.authz, "scope", query=query, doing=doing) or []
        known = {str(one["name"]) for one in listed}
        if scopes - known:
            raise OapipError(
                f"evaluating access to client {self.client_id}",
                f"it has no authorization scope {', '.join(sorted(scopes - known))}; "
                f"it has {', '.join(sorted(known)) or 'none'}",
                "Correct the checks.",
            )

    def _resources_at(self, path: str) -> t.List[Json]:
        # max=-1, as the match is otherwise sought among the first 100 resources only
        query = {"uri": path, "matchingUri": "true", "deep": "false", "first": 0, "max": -1}
        found = self.kc.request(
            "GET", *self.authz, "resource", query=query, doing=f"looking for what protects {path}"
        )
        return list(found or [])

    def decide(self, check: Check, token: t.Optional[Bearer] = None) -> Decision:
        """Return the decision on a check: by the token where there is one, else by evaluation."""
        path = normalise(check.path)
        resources = self._resources[path]
        names = {str(one["_id"]): str(one["name"]) for one in resources}
        answer = Decision(check, DENY, "admin", path, [*names.values()])
        if check.user is None:
            answer.method, answer.reason = "none", "without a token the gateway refuses"
            return answer
        if token and self.gateway:
            granted, answer.reason, found = self.gateway.decide(path, check.scope, token)
            answer.method, answer.decision = "token", ALLOW if granted else DENY
            answer.resources = [names.get(one, one) for one in found]
            return answer
        if not resources:
            if self.settings.get("policyEnforcementMode") != "ENFORCING":
                answer.decision = ALLOW
            mode = self.settings.get("policyEnforcementMode")
            answer.reason = f"no resource has this path, the mode is {mode}"
            return answer
        for one in resources:  # any of them that permits is enough
            self._by_evaluation(answer, one, str(self.users[check.user]))
            if answer.decision == ALLOW:
                break
        return answer

    def _by_evaluation(self, answer: Decision, resource: Json, user: str) -> None:
        asked: Json = {"_id": resource["_id"], "name": resource["name"]}
        if answer.check.scope:
            asked["scopes"] = [{"name": answer.check.scope}]
        body = {
            "userId": user,
            "clientId": self.authz[1],
            "resources": [asked],
            "roleIds": [],
            "entitlements": False,
            "context": {"attributes": {}},
        }
        doing = f"evaluating {answer.path} for {answer.check.user}"
        said = self.kc.request("POST", *self.authz, "policy", "evaluate", body=body, doing=doing)
        results = [
            one
            for one in (said or {}).get("results") or []
            if (one.get("resource") or {}).get("_id") == resource["_id"]
        ]
        if not results:
            answer.reason = "Keycloak has no permission for this resource"
            return
        granted = all(one.get("status") == "PERMIT" for one in results)
        if answer.check.scope:
            allowed = {scope["name"] for one in results for scope in one.get("allowedScopes") or []}
            granted = granted and answer.check.scope in allowed
        answer.decision = ALLOW if granted else DENY
        answer.policies = sorted(_policies(results))


def _policies(results: t.Sequence[Json]) -> t.Set[str]:
    """Return permissions and policies that took part, with what each said."""
    found: t.Set[str] = set()
    for result in results:
        for permission in result.get("policies") or []:
            for one in [permission, *(permission.get("associatedPolicies") or [])]:
                name = (one.get("policy") or {}).get("name")
                if name:
                    found.add(f"{name}: {one.get('status')}")
    return found
