"""Generated options of keycloak_client and keycloak_protect: what the realm of a test has to hold.

Users, groups, roles, scopes and clients that they name are in the constants.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

NAMES = st.sampled_from(["alice", "bob", "team", "a.b", "o-brien", "u_1"])
USERS = st.lists(st.sampled_from(["alice", "bob", "carol", "Dave"]), max_size=3)


@st.composite
def raw_contexts(draw: st.DrawFn) -> list[Json]:
    found = []
    for name in draw(st.lists(NAMES, unique=True, max_size=4)):
        if draw(st.booleans()):
            found.append({"name": name, "uris": draw(uris_of(name))})
            continue
        users = draw(USERS)
        groups = draw(st.lists(st.sampled_from(["/g", "/g/h"]), max_size=2))
        roles = draw(st.lists(st.sampled_from(["r", "c/r"]), max_size=2))
        if not users and not groups and not roles:
            users = ["carol"]
        found.append(
            {
                "name": name,
                "mode": "shared",
                "users": users,
                "groups": groups,
                "roles": roles,
                "scopes": draw(st.lists(st.sampled_from(["GET", "POST"]), max_size=2)),
            }
        )
    return found


def uris_of(name: str) -> st.SearchStrategy[list[str] | None]:
    lists = st.lists(st.sampled_from([f"/{name}/*", f"/{name}", f"/{name}/x/*"]), max_size=2)
    return st.none() | lists


PROTECTIONS = st.fixed_dictionaries(
    {
        "memberships": st.sampled_from(["ensure", "exact", "unmanaged"]),
        "user_access": st.sampled_from(["group", "policy"]),
        "purge": st.booleans(),
        "adopt": st.booleans(),
        "default_access": st.sampled_from(["deny", "keep"]),
    }
)


def consistent(options: Json) -> Json:
    """Return options without what others rule out, and with what others need."""
    if options.get("service_account_roles"):
        options = {**options, "service_accounts": True}
    if "secret_rotation_id" in options:
        options = {key: value for key, value in options.items() if key != "secret"}
    return options


MAPPERS = st.builds(
    lambda name, kind, config, state: {
        "name": name,
        "type": kind,
        "config": config,
        "state": state,
    },
    st.sampled_from(["m", "n"]),
    st.sampled_from(["oidc-full-name-mapper", "oidc-hardcoded-claim-mapper"]),
    st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", True])),
    st.sampled_from(["present", "absent"]),
)
CLIENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["", "x"]),
        "redirect_uris": st.lists(st.sampled_from(["https://a/*", "https://b/*"]), max_size=3),
        "enabled": st.booleans(),
        "standard_flow": st.booleans(),
        "implicit_flow": st.booleans(),
        "authorization": st.just(True),
        "device_grant": st.booleans(),
        "pkce": st.sampled_from(["S256", "none"]),
        "attributes": st.dictionaries(
            st.sampled_from(["a", "b"]), st.sampled_from(["1", "", None])
        ),
        "attributes_mode": st.sampled_from(["merge", "exact"]),
        "secret": st.sampled_from(["s1", "s2"]),
        "secret_rotation_id": st.sampled_from(["r1", "r2"]),
        "mappers": st.lists(MAPPERS, max_size=2, unique_by=lambda one: str(one["name"])),
        "default_scopes": st.lists(
            st.sampled_from(["basic", "email", "service_account"]), max_size=3
        ),
        "optional_scopes": st.lists(st.sampled_from(["phone", "address"]), max_size=2),
        "service_account_roles": st.lists(st.sampled_from(["reader", "other/writer"]), max_size=2),
        "audience": st.lists(st.sampled_from(["engine", "other"]), max_size=2),
        "token_clients": st.lists(st.sampled_from(["cli", "web"]), max_size=2),
    },
).map(consistent)
