# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""From settings to the chart's values: pure, typed, the same values for the same settings."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.eoepca.oapip.plugins.module_utils._charts import Chart, Path, names
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import SECRET

Values = t.Dict[str, t.Any]

MARK = "oapip"
"""A key of our own inside the values: no template reads it, the release keeps it."""
CA_PATH = "/etc/oapip/ca.crt"
NOBODY = "https://oidc-off.invalid/realms/none"
"""The issuer with OIDC off, in place of the stranger in the chart's defaults: never resolves."""
SYSCTL = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
_SECRET_KEY = re.compile(r"(?i)(password|passwd|secret_?(access_?)?key|token|credential)")


@dataclass(frozen=True)
class Bucket:
    """Where the engine reads inputs from, or writes results to."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str = ""


@dataclass(frozen=True)
class Credentials:
    """What the parts of one release know each other by. Made once, then read back."""

    broker_user: str
    broker_password: str = field(repr=False)
    database_user: str
    database_password: str = field(repr=False)
    database_name: str


@dataclass(frozen=True)
class Settings:
    """What the user asks of a release."""

    namespace: str
    release: str
    public_url: str
    shared_storage_class: str
    block_storage_class: str
    node_selector: t.Mapping[str, str]
    stage_out: Bucket
    stage_in: Bucket
    gateway_namespace: str
    issuer: str = ""
    audience: str = ""
    token_required: bool = True
    ca_pem: str = ""
    pull_secrets: t.Tuple[str, ...] = ()
    images: t.Mapping[str, str] = field(default_factory=dict)
    annotations: t.Mapping[str, str] = field(default_factory=dict)
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)

    def name(self, part: str) -> str:
        """The name of an object of ours beside the chart's."""
        return f"{self.release}-oapip-{part}"


def quoted(value: t.Any) -> str:
    """A scalar that stays the string it is where a template prints it without quotes.

    A JSON string on one line is also a YAML double-quoted scalar (YAML 1.2.2 section 1.3).
    """
    return json.dumps(str(value), ensure_ascii=False)


def digest(data: t.Any) -> str:
    """SHA-256 of data as canonical JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def place(values: Values, path: Path, value: t.Any) -> None:
    """Put a value at a path, making the maps on the way."""
    for key in path[:-1]:
        values = values.setdefault(key, {})
    values[path[-1]] = value


def merged(base: t.Mapping[str, t.Any], over: t.Mapping[str, t.Any]) -> Values:
    """Two maps as Helm merges values: maps are joined, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, t.Mapping) and isinstance(value, t.Mapping)
        result[key] = merged(t.cast("Values", old), value) if both else value
    return result


def storage_keys(settings: Settings) -> t.Dict[str, str]:
    """The environment variables that carry keys; they belong into a Secret."""
    return {
        "STAGEIN_AWS_ACCESS_KEY_ID": settings.stage_in.access_key,
        "STAGEIN_AWS_SECRET_ACCESS_KEY": settings.stage_in.secret_key,
        "STAGEOUT_AWS_ACCESS_KEY_ID": settings.stage_out.access_key,
        "STAGEOUT_AWS_SECRET_ACCESS_KEY": settings.stage_out.secret_key,
    }


def storage_places(settings: Settings) -> t.Dict[str, str]:
    """The environment variables that say where the buckets are."""
    return {
        "STAGEIN_AWS_SERVICEURL": settings.stage_in.endpoint,
        "STAGEIN_AWS_REGION": settings.stage_in.region,
        "STAGEOUT_AWS_SERVICEURL": settings.stage_out.endpoint,
        "STAGEOUT_AWS_REGION": settings.stage_out.region,
        "STAGEOUT_OUTPUT": settings.stage_out.bucket,
    }


def build(settings: Settings, chart: Chart, credentials: Credentials) -> Values:
    """The values of a release. The user's own come last and win."""
    values: Values = merged({}, chart.fixed)
    place(values, ("ingress", "hosturl"), settings.public_url.rstrip("/"))
    for path in chart.shared_claims:
        place(values, path, settings.shared_storage_class)
    for path in chart.block_claims:
        place(values, path, settings.block_storage_class)
    _workflow(values, settings, chart)
    _identity(values, settings)
    _credentials(values, settings, chart, credentials)
    if settings.node_selector:
        values["nodeSelector"] = dict(settings.node_selector)
        place(values, ("workflow", "nodeSelector"), dict(settings.node_selector))
    if settings.pull_secrets:
        values["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
        secrets = [{"name": name} for name in settings.pull_secrets]
        place(values, ("workflow", "additionalImagePullSecrets"), secrets)
    if chart.unprivileged:
        place(values, ("zookernel", "podSecurityContext", "sysctls"), [dict(SYSCTL)])
    if settings.ca_pem:
        # Apache hands only named variables on: the kernel itself must set this one (main.cfg)
        place(values, ("zookernel", "env", "REQUESTS_CA_BUNDLE"), CA_PATH)
    values[MARK] = {"patches": patches(settings, chart)}
    if chart.database_secret:
        values[MARK]["database"] = {
            "username": credentials.database_user,
            "password": credentials.database_password,
            "database": credentials.database_name,
        }
    return merged(values, settings.extra)


def _workflow(values: Values, settings: Settings, chart: Chart) -> None:
    inputs = storage_places(settings)
    keys = storage_keys(settings)
    if chart.keys_from_secret:
        reference = {"secretRef": {"name": settings.name("storage")}}
        place(values, ("workflow", "extraEnvFrom"), [reference])
        # a changed Secret restarts nothing by itself
        annotation = {"oapip.eoepca.org/storage": digest(keys)[:16]}
        values["podAnnotations"] = annotation
    else:
        inputs.update(keys)
    place(values, ("workflow", "inputs"), {key: quoted(inputs[key]) for key in sorted(inputs)})
    place(values, ("workflow", "defaultVolumeSize"), chart.volume_size)


def _identity(values: Values, settings: Settings) -> None:
    issuer = settings.issuer.rstrip("/") or NOBODY
    values["iam"] = {
        "enabled": bool(settings.issuer) and settings.token_required,
        "issuer": issuer,
        "audience": settings.audience or "none",
        "openIdConnectUrl": f"{issuer}/.well-known/openid-configuration",
        "realm": issuer.rsplit("/", 1)[-1],
    }


def _credentials(
    values: Values, settings: Settings, chart: Chart, credentials: Credentials
) -> None:
    if chart.broker_auth:
        user, password = credentials.broker_user, credentials.broker_password
        place(values, ("rabbitmq", "auth"), {"username": user, "password": password})
    if chart.database_secret:
        secret = settings.name("database")
        place(values, ("global", "postgresql", "auth", "existingSecret"), secret)


def patches(settings: Settings, chart: Chart) -> t.Dict[str, t.Any]:
    """What the chart has no values for; a post-renderer does it (see `_postrender`)."""
    words = names(settings.release)
    result: t.Dict[str, t.Any] = {}
    if settings.ca_pem:
        mount = {"name": "oapip-ca", "mountPath": CA_PATH.rsplit("/", 1)[0], "readOnly": True}
        volume = {"name": "oapip-ca", "configMap": {"name": settings.name("ca")}}
        result["mounts"] = [
            {"kind": "Deployment", "name": f"{settings.release}-{part}", "container": part}
            | {"volume": volume, "mount": mount, "checksum": digest(settings.ca_pem)[:16]}
            for part in ("zookernel", "zoofpm")
        ]
    if settings.pull_secrets:
        result["pull_secrets"] = [
            {"kind": kind, "name": name.format(**words), "secrets": list(settings.pull_secrets)}
            for kind, name in chart.pull_secrets_missing
        ]
    if settings.images:
        result["images"] = dict(sorted(settings.images.items()))
    return result


def masked(values: t.Any, secrets: t.Collection[str] = ()) -> t.Any:
    """Values as they may be shown: what a key or the content says to be secret is hidden."""
    if isinstance(values, t.Mapping):
        return {
            key: SECRET
            if _SECRET_KEY.search(str(key)) and isinstance(value, (str, int)) and value != ""
            else masked(value, secrets)
            for key, value in values.items()
        }
    if isinstance(values, list):
        return [masked(item, secrets) for item in values]
    if isinstance(values, str) and any(secret in values for secret in secrets if secret):
        return SECRET
    return values


def own(settings: Settings, chart: Chart, credentials: Credentials) -> Values:
    """The values at whose paths nothing of the user's stands."""
    return _without(build(replace(settings, extra={}), chart, credentials), settings.extra)


def _without(values: t.Mapping[str, t.Any], other: t.Mapping[str, t.Any]) -> Values:
    left: Values = {}
    for key, value in values.items():
        if key not in other:
            left[key] = value
        elif isinstance(value, t.Mapping) and isinstance(other[key], t.Mapping):
            left[key] = _without(value, other[key])
    return left


def veiled(values: t.Any, mine: t.Any, twin: t.Any, new: str) -> t.Any:
    """Values with the user's own texts hidden: any of them may be a secret.

    :param mine: what :func:`own` returned; what stands at its paths is shown.
    :param twin: the other state of the same values, to tell what differs.
    :param new: stands for a text that is not the same in the other state.
    """
    if isinstance(values, t.Mapping):
        ours = mine if isinstance(mine, t.Mapping) else {}
        others = twin if isinstance(twin, t.Mapping) else {}
        return {
            key: value
            if key in ours and not isinstance(value, t.Mapping)
            else veiled(value, ours.get(key), others.get(key), new)
            for key, value in values.items()
        }
    if isinstance(values, list):
        rows = twin if isinstance(twin, list) and len(twin) == len(values) else [None] * len(values)
        return [veiled(value, None, row, new) for value, row in zip(values, rows)]
    if isinstance(values, str) and values:
        return SECRET if values == twin else new
    return values


def texts(values: t.Any, shortest: int = 8) -> t.Iterator[str]:
    """The texts in some values that are long enough to be a secret, in characters."""
    if isinstance(values, t.Mapping):
        for value in values.values():
            yield from texts(value, shortest)
    elif isinstance(values, list):
        for value in values:
            yield from texts(value, shortest)
    elif isinstance(values, str) and len(values) >= shortest:
        yield values
