# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What is looked at beside the cluster before a run: Keycloak, object storage, helm, the chart."""

from __future__ import annotations

import functools
import tarfile
import typing as t
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _charts,
    _deps,
    _helm,
    _keycloak,
    _s3,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._findings import (
    Check,
    Findings,
    fail,
    from_error,
    ok,
    warn,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._keycloak_contexts import (
    Access,
    contexts_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    OapipError,
    Params,
)

HELM_SECONDS = 60

# ---------------------------------------------------------------------- Keycloak


def keycloak(params: Params, ctx: Context) -> Findings:
    """Reach Keycloak, log in, and resolve every name that a run will use."""
    contexts: t.List[Access] = []
    faults: Findings = []
    try:
        contexts = contexts_of(params["contexts"], params["client_id"] or "")
    except OapipError as error:
        faults = fail("contexts", error.reason, "contexts", "Correct the names.")
    return faults + _keycloak_names(params, contexts, ctx)


def _keycloak_names(params: Params, contexts: t.Sequence[Access], ctx: Context) -> Findings:
    options: Params = params["keycloak"]
    try:
        server = _keycloak.connect(options, ctx)
        state = server.token_probe()
    except OapipError as error:
        return from_error("Keycloak", error, blame_keycloak(error))
    missing = state["missing"]
    if missing:
        said = f"the account lacks the roles {', '.join(missing)} for realm {options['realm']}"
        return fail("Keycloak", said, "keycloak_admin_user", "Grant them, or use another account.")
    found = ok("Keycloak", f"realm {options['realm']} at {options['server_url']}", "keycloak_url")
    names = users_of(contexts, params["new_users"])
    groups = sorted({group for context in contexts for group in context.groups})
    roles = sorted({role for context in contexts for role in context.roles})
    clients = list(dict.fromkeys(params["token_clients"]))
    try:
        strange = [name for name in names if name not in state["users"]]
        known = dict.fromkeys(names, True)
        known.update(server.each(server.user_exists, strange))
        found += _absent("user", "contexts", list(known.items()))
        there = server.each(functools.partial(_has_group, server), groups)
        found += _absent("group", "contexts", there)
        there = [(name, role is not None) for name, role in server.each(server.role, roles)]
        found += _absent("role", "contexts", there)
        there = [
            (name, name in state["clients"] or server.client(name) is not None) for name in clients
        ]
        found += _absent("client", "token_clients", there)
    except OapipError as error:
        found += from_error("Keycloak", error, blame_keycloak(error))
    return found


def _has_group(server: _keycloak.Keycloak, path: str) -> bool:
    segments = ("group-by-path", *path.strip("/").split("/"))
    doing = f"looking for group {path}"
    return server.request("GET", *segments, doing=doing, absent=True) is not None


def _absent(kind: str, about: str, there: t.Sequence[t.Tuple[str, bool]]) -> Findings:
    lacking = [name for name, exists in there if not exists]
    if not lacking:
        names = ", ".join(name for name, _exists in there[:5])
        more = f" and {len(there) - 5} more" if len(there) > 5 else ""
        return ok("Keycloak", f"{kind} {names}{more}: found", about) if there else []
    verb = "does" if len(lacking) == 1 else "do"
    plural = "" if len(lacking) == 1 else "s"
    said = f"the {kind}{plural} {', '.join(lacking)} {verb} not exist in the realm"
    return fail("Keycloak", said, about, "Create what is missing, or correct the name.")


def users_of(contexts: t.Sequence[Access], new: t.Sequence[str] = ()) -> t.List[str]:
    """Return the users that the contexts name, without those that the run makes."""
    coming = {name.lower() for name in new}
    names = dict.fromkeys(user for context in contexts for user in context.users)
    return [name for name in names if name not in coming]


def blame_keycloak(error: OapipError) -> str:
    """Return which setting an error of Keycloak speaks against."""
    if error.status is None:
        return "keycloak_admin_password" if "no password" in error.reason else "keycloak_url"
    if "Realm" in error.reason or ("/admin/realms/" in error.path and error.status == 404):
        return "keycloak_realm"
    if error.status == 403:
        return "keycloak_admin_user"
    return "keycloak_admin_password" if error.status in (400, 401) else "keycloak_url"


# ---------------------------------------------------------------------- object storage


def stores(params: Params) -> t.Dict[str, Check]:
    """Return a check for every store; the same store with the same keys is asked once."""
    checks: t.Dict[str, Check] = {}
    seen: t.Set[t.Tuple[str, str, str]] = set()
    for entry in params["storage"]:
        identity = (entry["endpoint"], entry["access_key"], entry["secret_key"])
        if identity in seen and not entry.get("bucket"):
            continue
        seen.add(identity)
        name = f"object storage ({entry['role'].replace('_', '-')})"
        checks[f"{name} {len(checks)}"] = functools.partial(store, name, entry)
    return checks


def store(name: str, entry: Params) -> Findings:
    """Reach a store with the keys of the engine, reading only."""
    role, bucket = entry["role"], entry.get("bucket")
    try:
        client = _s3.Store(entry)
        try:
            buckets = client.check_access()
            there = bucket in buckets
        except OapipError as error:
            # a key for one bucket may well not list them all
            if "AccessDenied" not in error.reason or not bucket:
                raise
            there = client.has_bucket(bucket)
    except OapipError as error:
        if "AccessDenied" in error.reason and not bucket:
            return ok(name, f"{entry['endpoint']} knows the key", f"{role}_endpoint")
        return from_error(name, error, f"{role}_{blame_store(error)}")
    if not bucket:
        return ok(name, f"{entry['endpoint']} accepts the keys", f"{role}_endpoint")
    state = "exists" if there else "will be created"
    return ok(
        name, f"{entry['endpoint']} accepts the keys; bucket {bucket} {state}", f"{role}_bucket"
    )


def blame_store(error: OapipError) -> str:
    """Return which setting an error of a store speaks against."""
    if error.status is None:
        return "endpoint"
    return "access_key" if "InvalidAccessKeyId" in error.reason else "secret_key"


# ---------------------------------------------------------------------- helm and the chart


def helm_and_chart(params: Params, ctx: Context) -> Findings:
    """Find helm, then the chart, as oapip_release will."""
    helm = _helm.Helm(
        params["release_name"],
        params["namespace"],
        params["helm_binary"],
        timeout=HELM_SECONDS,
        cache=ctx.cache,
    )
    found: Findings = []
    usable = True
    try:
        version = helm.version()
        found += ok("helm", ".".join(map(str, version)), "helm_binary")
    except OapipError as error:
        usable = False
        found += from_error("helm", error, "helm_binary")
    if params.get("chart_ref"):
        found += chart(params, helm if usable else None)
    return found


def chart(params: Params, helm: t.Optional[_helm.Helm]) -> Findings:
    """Find the chart and compare its name and version with what is wanted."""
    ref, wish = params["chart_ref"], params["chart_version"]
    try:
        about = local_chart(ref)
        if about is None:
            if helm is None:
                return []  # said already: without helm nobody can tell
            about = _remote_chart(params, helm)
    except OapipError as error:
        return from_error("chart", error, "chart_ref")
    name, version = str(about.get("name", "")), str(about.get("version", ""))
    if name != _charts.CHART_NAME:
        said = f"{ref} is the chart {name or '(no name)'}, not {_charts.CHART_NAME}"
        return fail("chart", said, "chart_ref", f"Give the chart {_charts.CHART_NAME}.")
    if wish and version != wish:
        said = f"{ref} is version {version}, not {wish}"
        return fail(
            "chart", said, "chart_version", "Give the chart of this version, or its number."
        )
    try:
        known = _charts.chart_of(version, bool(params["allow_untested_chart"]))
    except OapipError as error:
        return from_error("chart", error, "chart_version")
    if known.caveat:
        return warn("chart", known.caveat, "chart_version", "Prefer a version without a caveat.")
    return ok("chart", f"{name} {version}", "chart_version")


def local_chart(ref: str) -> t.Optional[Params]:
    """Return ``Chart.yaml`` of a folder or archive on disk; None where ``ref`` is no path.

    :raises OapipError: it is a path, and there is no chart.
    """
    path = Path(ref).expanduser()
    if not path.exists():
        if ref.startswith(("/", ".", "~")) or ref.endswith(".tgz"):
            hint = "Correct the path, or give the name of a chart in a repository."
            raise OapipError(f"looking for the chart {ref}", "there is no such file", hint)
        return None
    doing = f"reading the chart {ref}"
    hint = "Give the folder of the chart, or the archive that helm package made of it."
    try:
        file = path / "Chart.yaml"
        text = file.read_text(encoding="utf-8") if path.is_dir() else _packed(path)
        _deps.require("PyYAML")
        parsed = _deps.yaml.safe_load(text)
    except (OSError, KeyError, UnicodeDecodeError, tarfile.TarError):
        raise OapipError(doing, "there is no Chart.yaml in it", hint) from None
    except _deps.yaml.YAMLError:
        raise OapipError(doing, "its Chart.yaml is no YAML", hint) from None
    return dict(parsed) if isinstance(parsed, dict) else {}


def _packed(path: Path) -> str:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.count("/") == 1 and member.name.endswith("/Chart.yaml"):
                stream = archive.extractfile(member)
                if stream is not None:
                    return stream.read().decode()
    raise KeyError("Chart.yaml")


def _remote_chart(params: Params, helm: _helm.Helm) -> Params:
    """Ask helm for ``Chart.yaml`` of a chart in a repository or registry."""
    arguments = ["show", "chart", params["chart_ref"]]
    if params["chart_version"]:
        arguments += ["--version", params["chart_version"]]
    if params.get("chart_repo") and not params["chart_ref"].startswith("oci://"):
        arguments += ["--repo", params["chart_repo"]]
    text = helm._call(arguments, f"looking for the chart {params['chart_ref']}")
    parsed = _deps.yaml.safe_load(text)
    return dict(parsed) if isinstance(parsed, dict) else {}
