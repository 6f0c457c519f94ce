"""All that the product manages or may leave behind on the servers, so that two states compare.

    python -m tests.faults dump --out before.json
    python -m tests.faults diff before.json after.json

Left out is what servers choose (identifiers, times, addresses, status) and the order of sets. A
secret that a run makes at random is there as its name, wherever it occurs, so a client secret that
is not the one of Keycloak shows; every other secret is there as a digest. Of two clean first runs
the dumps are equal. With `exact`, to compare one deployment before and after, what is random is
told by its digest too.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import requests
import yaml

from tests.harness import ROOT

Dump = dict[str, dict[str, Any]]

OURS = "oapip.eoepca.org/"
NAMESPACE = "processing"

# What controllers make out of other objects, and what every namespace has.
_DERIVED = {"Event", "Endpoints", "EndpointSlice", "ControllerRevision", "ReplicaSet"}
_EVERYWHERE = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
_CLUSTER_KINDS = {
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": "ClusterRole",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": "ClusterRoleBinding",
}
_CHOSEN = {  # by the server
    "metadata": {
        *("uid", "resourceVersion", "generation", "namespace", "name"),
        *("creationTimestamp", "deletionGracePeriodSeconds", "managedFields"),
    },
    "Service": {
        *("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"),
    },
    "PersistentVolumeClaim": {"volumeName"},
}
_CHOSEN_ANNOTATIONS = re.compile(
    r"deployment\.kubernetes\.io/revision$|pv\.kubernetes\.io/|volume\.(beta\.)?kubernetes\.io/"
)
_OF_A_USER = {
    *("enabled", "email", "emailVerified", "firstName", "lastName"),
    *("attributes", "requiredActions"),
}
_KEYCLOAK_OWN = {
    *("account", "account-console", "admin-cli", "broker"),
    *("realm-management", "security-admin-console"),
}
# What a run makes at random, and the digests over it.
_GENERATED_KEYS = {"password", "session.secret", "load_definition.json"}
_GENERATED_DIGESTS = {
    *("checksum/rabbitmq-config", "checksum/rabbitmq-definitions"),
    *("checksum/cm-zoo-project-config", f"{OURS}secrets-digest", f"{OURS}proved"),
}
# A part of an object's key or a name that is another one each time.
_RANDOM = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{16,}\b"
)


def dump(sandbox: Mapping[str, Any], cluster: str | None = None, *, exact: bool = False) -> Dump:
    """Return the state of one cluster (by default the first), of the realm and of S3.

    The keys are `<server>: <kind> <name>`, the values plain data.

    :raises requests.HTTPError: a server refuses to tell.
    """
    row = next(c for c in sandbox["clusters"] if cluster in (None, c["name"]))
    found: Dump = {}
    for part in (_kubernetes(row), _keycloak(sandbox), _s3(sandbox)):
        for name, state in part:
            if name in found:
                raise RuntimeError(f"two objects are called {name}")
            found[name] = state
    veiled: Dump = _veiled(found, _generated(found), exact)
    return veiled


def realm_dump(sandbox: Mapping[str, Any], name: str) -> Dump:
    """Return the state of one realm of the sandbox's Keycloak, like :func:`dump`."""
    keycloak = {**sandbox["keycloak"], "realm": name}
    found = dict(_keycloak({**sandbox, "keycloak": keycloak}))
    veiled: Dump = _veiled(found, _generated(found), exact=False)
    return veiled


def holder(sandbox: Mapping[str, Any], cluster: str | None = None) -> str:
    """Return who holds the lock of a cluster; nothing where nobody does."""
    row = next(c for c in sandbox["clusters"] if cluster in (None, c["name"]))
    with tempfile.TemporaryDirectory() as folder:
        get = _api(row["admin_kubeconfig"], Path(folder))
        path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/oapip-{NAMESPACE}"
        lease = get(path) or {"spec": {}}
    return str(lease["spec"].get("holderIdentity", ""))


def difference(one: Any, other: Any, path: str = "") -> list[str]:
    """Return a line for each leaf that differs: where, and what it is in the first and second."""
    if isinstance(one, dict) and isinstance(other, dict):
        lines = []
        for key in sorted({*one, *other}):
            where = f"{path} / {key}" if path else str(key)
            if key not in other:
                lines.append(f"{where}: only in the first: {_short(one[key])}")
            elif key not in one:
                lines.append(f"{where}: only in the second: {_short(other[key])}")
            else:
                lines += difference(one[key], other[key], where)
        return lines
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for number, (a, b) in enumerate(zip(one, other, strict=True))
            for line in difference(a, b, f"{path}[{number}]")
        ]
    return [] if one == other else [f"{path}: {_short(one)} != {_short(other)}"]


def facts(state: Any, path: str = "") -> set[str]:
    """Return a line for each leaf: where, and what it is; the order of lists is none of it."""
    if isinstance(state, dict) and state:
        return {line for key, item in state.items() for line in facts(item, f"{path} / {key}")}
    if isinstance(state, list) and state:
        return {line for item in state for line in facts(item, f"{path}[]")}
    return {f"{path}: {json.dumps(state)}"}


def merged(base: Any, *others: Any) -> set[str]:
    """Return the facts of a state after several changes to it, each known from its own end."""
    before, after = facts(base), [facts(other) for other in others]
    return before.intersection(*after).union(*(own - before for own in after))


def _generated(found: Dump) -> dict[str, str]:
    """Return the values that a run made at random, each with a name."""
    named: dict[str, str] = {}
    for name, state in found.items():
        _, _, what = name.partition(": ")
        if name.startswith("keycloak: client ") and state.get("secret"):
            named[state["secret"]] = f"secret of {what}"
        for key, value in state.get("data", {}).items():
            if what.startswith("Secret ") and key in _GENERATED_KEYS and value:
                named[value.text] = f"{key} of {what}"
    longest_first = sorted(named, key=len, reverse=True)  # one may be a part of another
    return {secret: named[secret] for secret in longest_first}


def _veiled(value: Any, named: Mapping[str, str], exact: bool, key: str = "") -> Any:
    """Return data without readable secrets."""
    if isinstance(value, dict):
        return {k: _veiled(item, named, exact, k) for k, item in value.items()}
    if isinstance(value, list):
        return [_veiled(item, named, exact) for item in value]
    if key in _GENERATED_DIGESTS and not exact:
        return "<digest>"
    if not isinstance(value, str | _Secret):
        return value
    text = value.text if isinstance(value, _Secret) else value
    for secret, name in named.items():
        text = text.replace(secret, f"<{_digest(secret) if exact else name}>")
    if isinstance(value, _Secret) and not re.fullmatch("<[^<>]+>", text):
        return _digest(text)
    return text


@dataclass(frozen=True)
class _Secret:
    """A value that is not to be shown."""

    text: str


def record() -> dict[str, Any]:
    """Return what the sandbox that is up recorded."""
    loaded: dict[str, Any] = json.loads((ROOT / ".sandbox" / "run" / "sandbox.json").read_text())
    return loaded


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `dump` and `diff`."""
    taken = commands.add_parser("dump", help="the state of all servers, normalised, as JSON")
    taken.add_argument("--cluster", help="name of a cluster of the sandbox (default: the first)")
    taken.add_argument("--exact", action="store_true", help="tell random values apart")
    taken.add_argument("--out", type=Path, help="file to write instead of the output")
    taken.set_defaults(run=_run_dump)
    compared = commands.add_parser("diff", help="how two dumps differ; exit 1 if they do")
    compared.add_argument("one", type=Path)
    compared.add_argument("other", type=Path)
    compared.set_defaults(run=_run_diff)


def _run_dump(args: argparse.Namespace) -> int:
    text = json.dumps(dump(record(), args.cluster, exact=args.exact), indent=2, sort_keys=True)
    if args.out:
        args.out.write_text(text + "\n")
    else:
        print(text)
    return 0


def _run_diff(args: argparse.Namespace) -> int:
    lines = difference(json.loads(args.one.read_text()), json.loads(args.other.read_text()))
    print("\n".join(lines) or "no difference")
    return 1 if lines else 0


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else text[:200] + "…"


def _digest(value: str) -> str:
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:16]}"


# -- Kubernetes ------------------------------------------------------------------------------------


def _kubernetes(cluster: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as folder:
        get = _api(cluster["admin_kubeconfig"], Path(folder))
        for part in (_namespace, _releases, _cluster_wide):
            for name, state in part(get):
                yield f"{cluster['name']}: {name}", state


def _namespace(get: Callable[[str], Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    namespace = get(f"/api/v1/namespaces/{NAMESPACE}")
    if namespace:
        yield f"Namespace {NAMESPACE}", _plain({**namespace, "kind": "Namespace"})
    for path, kind in _resources(get):
        for item in (get(path) or {"items": []})["items"]:
            item["kind"] = kind
            if not _is_derived(item) and item.get("type") != "helm.sh/release.v1":
                yield f"{kind} {_RANDOM.sub('*', item['metadata']['name'])}", _plain(item)


def _cluster_wide(get: Callable[[str], Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in get("/api/v1/namespaces")["items"]:
        if item["metadata"]["name"] != NAMESPACE and _belongs(item):
            yield f"Namespace {item['metadata']['name']}", _plain({**item, "kind": "Namespace"})
    for path, kind in _CLUSTER_KINDS.items():
        for item in get(path)["items"]:
            if _belongs(item):
                yield f"{kind} {item['metadata']['name']}", _plain({**item, "kind": kind})
    for lease in get("/apis/coordination.k8s.io/v1/leases")["items"]:
        if lease["metadata"]["name"].startswith("oapip-"):
            yield f"Lease {lease['metadata']['name']}", {"held": True}
    for volume in get("/api/v1/persistentvolumes")["items"]:
        claim, phase = volume["spec"].get("claimRef", {}), volume["status"].get("phase")
        if claim.get("namespace") == NAMESPACE and phase != "Bound":
            yield f"PersistentVolume of {claim['name']}", {"phase": phase}


def _api(kubeconfig: str, folder: Path) -> Callable[[str], Any]:
    """Return a way to GET paths of the API server; the answer of a 404 is None."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    server = config["clusters"][0]["cluster"]
    user = config["users"][0]["user"]
    session = requests.Session()
    session.trust_env = False
    session.verify = server.get("certificate-authority") or _file(
        folder / "ca", server["certificate-authority-data"]
    )
    if "token" in user:
        session.headers["Authorization"] = f"Bearer {user['token']}"
    else:
        session.cert = (
            user.get("client-certificate")
            or _file(folder / "crt", user["client-certificate-data"]),
            user.get("client-key") or _file(folder / "key", user["client-key-data"]),
        )

    def get(path: str) -> Any:
        answer = session.get(server["server"] + path, timeout=30)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()

    return get


def _file(path: Path, data: str) -> str:
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(data))
    return str(path)


def _resources(get: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """Yield path and kind of every kind of object that can lie in the namespace."""
    groups = [g["preferredVersion"]["groupVersion"] for g in get("/apis")["groups"]]
    for version in ["v1", *groups]:
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        for row in (get(root) or {"resources": []})["resources"]:
            if row["namespaced"] and "list" in row["verbs"] and row["kind"] not in _DERIVED:
                yield f"{root}/namespaces/{NAMESPACE}/{row['name']}", row["kind"]


def _is_derived(item: Mapping[str, Any]) -> bool:
    owners = item["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") for owner in owners) or (
        (item["kind"], item["metadata"]["name"]) in _EVERYWHERE
    )


def _belongs(item: Mapping[str, Any]) -> bool:
    """Whether an object without a namespace is the release's or names our namespace."""
    meta = item["metadata"]
    marks = {**meta.get("annotations", {}), **meta.get("labels", {})}
    return (
        marks.get("meta.helm.sh/release-namespace") == NAMESPACE
        or marks.get("app.kubernetes.io/managed-by") == "eoepca.oapip"
        or any(mark.startswith(OURS) for mark in marks)
        or any(subject.get("namespace") == NAMESPACE for subject in item.get("subjects") or [])
    )


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what the server chose, its secrets not readable."""
    kind = item["kind"]
    meta = {k: v for k, v in item["metadata"].items() if k not in _CHOSEN["metadata"]}
    for owner in meta.get("ownerReferences", []):
        owner.pop("uid")
    meta["annotations"] = {
        key: value
        for key, value in meta.get("annotations", {}).items()
        if not _CHOSEN_ANNOTATIONS.search(key)
    }
    kept = {k: v for k, v in item.items() if k not in ("metadata", "status", "apiVersion", "kind")}
    if isinstance(kept.get("spec"), dict):
        kept["spec"] = {k: v for k, v in kept["spec"].items() if k not in _CHOSEN.get(kind, ())}
    if kind == "Secret":
        kept["data"] = {
            key: _Secret(base64.b64decode(value).decode("utf-8", "replace"))
            for key, value in item.get("data", {}).items()
        }
    return {"metadata": meta, **kept}


def _releases(get: Callable[[str], Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the newest record of each Helm release, and whether an older one is unfinished."""
    secrets = get(f"/api/v1/namespaces/{NAMESPACE}/secrets?labelSelector=owner%3Dhelm")
    records: dict[str, list[dict[str, Any]]] = {}
    for secret in (secrets or {}).get("items", []):
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        record = json.loads(gzip.decompress(packed))
        records.setdefault(record["name"], []).append(record)
    for name, found in sorted(records.items()):
        *older, newest = sorted(found, key=lambda record: int(record["version"]))
        chart = newest["chart"]["metadata"]
        yield (
            f"Release {name}",
            {
                "chart": f"{chart['name']} {chart['version']}",
                "status": newest["info"]["status"],
                "values": newest.get("config"),
                "unfinished": [r["info"]["status"] for r in older if "pend" in r["info"]["status"]],
            },
        )


# -- Keycloak --------------------------------------------------------------------------------------


def _keycloak(sandbox: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    get = _realm(sandbox)
    names = {client["id"]: client["clientId"] for client in get("clients")}
    for client in get("clients"):
        if client["clientId"] in _KEYCLOAK_OWN:
            continue
        path = f"clients/{client['id']}"
        state = _nameless(client, names)
        state.pop("clientId", None)
        if client.get("authorizationServicesEnabled"):
            settings = get(f"{path}/authz/resource-server/settings")
            state["authorization"] = _authorization(_nameless(settings, names))
        if client.get("serviceAccountsEnabled"):
            account = get(f"{path}/service-account-user")
            state["roles"] = _nameless(get(f"users/{account['id']}/role-mappings"), names)
        yield f"keycloak: client {client['clientId']}", state
    for scope in get("client-scopes"):
        state = _nameless(scope, names)
        yield f"keycloak: client scope {state.pop('name')}", state
    yield from _groups(get, names, "groups")
    for user in get("users?max=1000&briefRepresentation=false"):
        state = _nameless(user, names)
        held = {key: value for key, value in state.items() if key in _OF_A_USER}
        held["groups"] = sorted(group["path"] for group in get(f"users/{user['id']}/groups"))
        held["roles"] = _nameless(get(f"users/{user['id']}/role-mappings"), names)
        yield f"keycloak: user {user['username']}", held
    for row in ("default-default-client-scopes", "default-optional-client-scopes"):
        yield f"keycloak: {row}", {"names": sorted(scope["name"] for scope in get(row))}


def _realm(sandbox: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a way to GET paths of the realm as its administrator, the answers whole."""
    keycloak = sandbox["keycloak"]
    session = requests.Session()
    session.verify = sandbox["ca_file"]
    session.trust_env = False
    token = session.post(
        f"{keycloak['url']}/realms/master/protocol/openid-connect/token",
        data={
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": keycloak["admin_user"],
            "password": keycloak["admin_password"],
        },
        timeout=30,
    )
    token.raise_for_status()
    session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def get(path: str) -> Any:
        url = f"{keycloak['url']}/admin/realms/{quote(keycloak['realm'])}/{path}"
        answer = session.get(url, timeout=30)
        answer.raise_for_status()
        return answer.json()

    return get


def _groups(
    get: Callable[[str], Any], names: Mapping[str, str], path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for group in get(f"{path}?briefRepresentation=false&max=1000"):
        members = get(f"groups/{group['id']}/members?max=1000")
        state = {key: group.get(key) for key in ("attributes", "realmRoles", "clientRoles")}
        state["members"] = sorted(member["username"] for member in members)
        yield f"keycloak: group {group['path']}", _nameless(state, names)
        if group.get("subGroupCount"):
            yield from _groups(get, names, f"groups/{group['id']}/children")


def _authorization(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with everything under its name; lists in strings are sets."""
    for policy in settings.get("policies", []):
        # a PUT leaves the empty text where an import leaves nothing
        config = {key: value for key, value in policy.get("config", {}).items() if value != ""}
        policy["config"] = config
        for key, value in config.items():
            if isinstance(value, str) and value.startswith("["):
                config[key] = sorted(json.loads(value), key=json.dumps)
    return {
        key: {row["name"]: row for row in value} if _is_named(value) else value
        for key, value in settings.items()
    }


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, dict) and "name" in x for x in value)


def _nameless(value: Any, names: Mapping[str, str]) -> Any:
    """Return data of Keycloak without identifiers and times; lists are sets there."""
    if isinstance(value, dict):
        return {
            key: _nameless(item, names)
            for key, item in value.items()
            if key not in ("id", "_id", "containerId", "createdTimestamp", "notBefore", "access")
            and key != "client.secret.creation.time"
        }
    if isinstance(value, list):
        items = [_nameless(item, names) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return names.get(value, value) if isinstance(value, str) else value


# -- S3 --------------------------------------------------------------------------------------------


def _s3(sandbox: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    store = sandbox["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        region_name=store["region"],
        aws_access_key_id=store["access_key"],
        aws_secret_access_key=store["secret_key"],
        verify=sandbox["ca_file"],
    )
    for bucket in client.list_buckets()["Buckets"]:
        name = bucket["Name"]
        keys: Counter[str] = Counter()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            keys.update(_top(entry["Key"]) for entry in page.get("Contents", []))
        yield f"s3: bucket {name}", dict(keys)


def _top(key: str) -> str:
    """Return the folder that an object is in, or its name: what is below bears the job's name."""
    folder, slash, _ = key.partition("/")
    return f"{folder}/*" if slash else _RANDOM.sub("*", key)
