#!/usr/bin/python
# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_endpoint_info
short_description: Prove on the wire who gets into an engine and who does not
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
description:
  - Sends requests to the public address of an engine, as users and as a stranger, and compares the
    answers with what
    is expected.
  - Paths are sent exactly as they are written, so that tricks with C(..), C(%2f) and C(;) reach
    the gateway.
  - With O(matrix) it makes the checks itself. Owners are let in, other users and strangers are
    not, whatever path,
    prefix or header they try.
  - In check mode only requests with the methods C(GET), C(HEAD) and C(OPTIONS) are sent.
extends_documentation_fragment:
  - eoepca.oapip._attributes.info
options:
  url:
    description:
      - Public root of the engine, for example V(https://zoo.example.org).
    type: str
    required: true
  checks:
    description:
      - Requests to send, and what is expected of their answers.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What is checked, in words.
        type: str
        required: true
      path:
        description: Target of the request, with its query, sent as it is.
        type: str
        required: true
      method:
        description: Method of the request.
        type: str
        default: GET
      headers:
        description: Headers to send.
        type: dict
        default: {}
      user:
        description: Name of one of O(users) whose token is sent; without it, none is.
        type: str
      expect:
        description: Statuses that are right.
        type: list
        elements: int
        required: true
      location_prefix:
        description: Where a redirect must lead to, this address or one below it.
        type: str
      forbid_headers:
        description: Headers that the answer must not have, whatever its status.
        type: list
        elements: str
        default: []
      contains:
        description: Text that the body must contain.
        type: str
      forbid_text:
        description: Texts that the body must not contain.
        type: list
        elements: str
        default: []
  matrix:
    description:
      - Makes the checks of who may enter which of two contexts, and every known way around.
    type: dict
    suboptions:
      own:
        description: Context of O(matrix.user), the first segment of its paths.
        type: str
        required: true
      other:
        description: A context that O(matrix.user) must not enter.
        type: str
        required: true
      user:
        description: Name of one of O(users), the owner of O(matrix.own).
        type: str
        required: true
      other_user:
        description: Name of one of O(users), the owner of O(matrix.other).
        type: str
      issuer:
        description: Address of the issuer; a stranger may be redirected there and nowhere else.
        type: str
        required: true
      bearer_only:
        description: Whether a stranger is refused with 401 instead of being sent to the issuer.
        type: bool
        default: true
      guard:
        description: Whether the routes refuse non-canonical paths and headers that choose a
          context with 400.
        type: bool
        default: true
  users:
    description:
      - Accounts in whose names requests are sent.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name for O(checks[].user) and O(matrix.user).
        type: str
        required: true
      username:
        description: Name to log in with; without it, O(users[].name).
        type: str
      password:
        description: Password of the account.
        type: str
      token:
        description: A token of the account, instead of its password.
        type: str
  token_url:
    description:
      - OAuth 2.0 token endpoint for the passwords of O(users).
    type: str
  client_id:
    description:
      - Client that asks for tokens with the password grant.
    type: str
  client_secret:
    description:
      - Secret of O(client_id).
    type: str
  fail_on_miss:
    description:
      - Whether the module fails when an answer is not what is expected.
    type: bool
    default: true
  assume_missing:
    description:
      - In check mode, take what does not answer yet for not set up yet, and return what would be
        proved.
    type: bool
    default: false
  validate_certs:
    description:
      - Whether the server's certificate is verified.
    type: bool
    default: true
  ca_path:
    description:
      - File with the PEM certificates of the authorities to trust for these servers.
      - Without it, the authorities of the system are trusted.
    type: path
  timeout:
    description:
      - Seconds that one request may take.
    type: int
    default: 30
requirements:
  - requests
seealso:
  - module: eoepca.oapip.keycloak_access_info
"""

EXAMPLES = r"""
- name: Prove that the landing page is open and the jobs are not
  eoepca.oapip.oapip_endpoint_info:
    url: https://zoo.example.org
    checks:
      - name: landing page
        path: /ogc-api/
        expect: [200]
        contains: links
      - name: jobs without a token
        path: /alice/ogc-api/jobs
        expect: [401]
        forbid_headers: [X-Powered-By]

- name: Prove who may enter which context
  eoepca.oapip.oapip_endpoint_info:
    url: https://zoo.example.org
    token_url: https://auth.example.org/realms/eoepca/protocol/openid-connect/token
    client_id: oapip-cli
    users:
      - {name: alice, password: "{{ alice_password }}"}
      - {name: bob, password: "{{ bob_password }}"}
    matrix:
      own: alice
      other: bob
      user: alice
      other_user: bob
      issuer: https://auth.example.org/realms/eoepca
"""

RETURN = r"""
checks:
  description: Every request that was sent, with what was expected and what came.
  returned: success, and on failure after the requests
  type: list
  elements: dict
  sample:
    - name: stranger, /ogc-api/jobs
      method: GET
      path: /alice/ogc-api/jobs
      user: ""
      expected: [401]
      got: 401
      ok: true
      why: ""
failed_checks:
  description: How many answers were not what is expected.
  returned: success, and on failure after the requests
  type: int
would_prove:
  description: Names of the checks that were not made, because check mode does not send them or
    nothing answers yet.
  returned: success
  type: list
  elements: str
assumed:
  description: What check mode took for granted because it is not there yet.
  returned: success
  type: list
  elements: str
"""

import typing as t

from ansible_collections.eoepca.oapip.plugins.module_utils import _http, _matrix, _ogc, _wire
from ansible_collections.eoepca.oapip.plugins.module_utils._argspec import tls
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import result

SPEC: ModuleSpec = {
    "argument_spec": {
        "url": {"type": "str", "required": True},
        "checks": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "path": {"type": "str", "required": True},
                "method": {"type": "str", "default": "GET"},
                "headers": {"type": "dict", "default": {}},
                "user": {"type": "str"},
                "expect": {"type": "list", "elements": "int", "required": True},
                "location_prefix": {"type": "str"},
                "forbid_headers": {"type": "list", "elements": "str", "default": []},
                "contains": {"type": "str"},
                "forbid_text": {"type": "list", "elements": "str", "default": []},
            },
        },
        "matrix": {
            "type": "dict",
            "options": {
                "own": {"type": "str", "required": True},
                "other": {"type": "str", "required": True},
                "user": {"type": "str", "required": True},
                "other_user": {"type": "str"},
                "issuer": {"type": "str", "required": True},
                "bearer_only": {"type": "bool", "default": True},
                "guard": {"type": "bool", "default": True},
            },
        },
        "users": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"type": "str", "required": True},
                "username": {"type": "str"},
                "password": {"type": "str", "no_log": True},
                "token": {"type": "str", "no_log": True},
            },
        },
        "token_url": {"type": "str", "no_log": False},
        "client_id": {"type": "str"},
        "client_secret": {"type": "str", "no_log": True},
        "fail_on_miss": {"type": "bool", "default": True},
        "assume_missing": {"type": "bool", "default": False},
        **tls(),
    },
    "required_one_of": [["checks", "matrix"]],
    "supports_check_mode": True,
}

READS = frozenset({"GET", "HEAD", "OPTIONS"})


def run(params: Params, ctx: Context) -> Result:
    """Send the requests and judge the answers."""
    wanted: t.List[t.Any] = list(params["checks"])
    if params["matrix"]:
        wanted += _matrix.generate(params["matrix"])
    unknown = {one["user"] for one in wanted if one.get("user")} - {
        one["name"] for one in params["users"]
    }
    if unknown:
        raise OapipError(
            "reading the checks", f"no such users: {', '.join(sorted(unknown))}", "Add to users."
        )
    skipped = [one["name"] for one in wanted if ctx.check_mode and one["method"] not in READS]
    sent = [one for one in wanted if not ctx.check_mode or one["method"] in READS]
    wire = _wire.Wire(
        params["url"], params["validate_certs"], params["ca_path"], float(params["timeout"])
    )
    lenient = ctx.check_mode and params["assume_missing"]
    absent = missing(wire, params["url"]) if lenient else []
    tokens: t.Dict[str, str] = {}
    if not absent:
        try:
            tokens = tokens_of(params, ctx, {one.get("user") for one in sent})
        except OapipError as error:
            if not (lenient and _ogc.not_there_yet(error)):
                raise
            absent = ["users"]
    if absent:
        names = [one["name"] for one in wanted]
        return result([], absent, checks=[], failed_checks=0, would_prove=names)
    verdicts = _wire.prove(wire, sent, tokens)
    missed = [one for one in verdicts if not one["ok"]]
    facts: Result = {"checks": verdicts, "failed_checks": len(missed), "would_prove": skipped}
    if lenient and missed:
        facts["would_prove"] = skipped + [one["name"] for one in missed]
        return result([], ["access rules"], **facts)
    if missed and params["fail_on_miss"]:
        raise OapipError(
            f"proving access to {params['url']}",
            f"{len(missed)} of {len(verdicts)} checks missed: {'; '.join(map(line, missed))}",
            cure(missed),
            extra={**facts, "changed": False},
        )
    return result([], **facts)


def cure(missed: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Return what to do: a server that is not well is another matter than an open door."""
    if all(one["got"] == 0 or one["got"] == 429 or one["got"] >= 500 for one in missed):
        return "No door was seen open: look at the gateway and the engine, then prove again."
    return "Close the engine's route until it is clear why."


def line(miss: t.Mapping[str, t.Any]) -> str:
    """Return a missed check in words."""
    who = f" as {miss['user']}" if miss["user"] else " without a token"
    return f"{miss['name']}: {miss['method']} {miss['path']}{who}: {miss['why']}"


def missing(wire: _wire.Wire, url: str) -> t.List[str]:
    """Return the server where nothing answers at its address yet, or a bare gateway."""
    answer = wire.send("GET", "/ogc-api/", {})
    return [f"server {url}"] if answer.status in (0, 404, 503) else []


def tokens_of(params: Params, ctx: Context, names: t.Set[t.Optional[str]]) -> t.Dict[str, str]:
    """Return a token for each account that is used."""
    http = _http.session(params["validate_certs"], params["ca_path"])
    tokens = {}
    for user in params["users"]:
        if user["name"] in names:
            account = {
                **params,
                "username": user["username"] or user["name"],
                "password": user["password"],
                "token": user["token"],
            }
            tokens[user["name"]] = _ogc.Tokens(account, ctx, http).current()
            if not tokens[user["name"]]:
                raise OapipError(
                    f"getting a token for {user['name']}",
                    "there is neither a token nor a token_url",
                    "Give token_url, client_id and the password.",
                )
    return tokens


def main() -> None:
    """Run as a module."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
