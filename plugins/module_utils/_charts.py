# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""What differs between the versions of the chart zoo-project-dru, as data.

Nothing else in the collection names a chart version. Names are templates of ``{release}`` and
``{fullname}`` (see :func:`names`). Source: https://github.com/ZOO-Project/charts, tags
``zoo-project-dru-<version>``.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError

CHART_NAME = "zoo-project-dru"
DEFAULT_VERSION = "0.10.3"

Path = t.Tuple[str, ...]
"""A place in the chart's values."""


@dataclass(frozen=True)
class Role:
    """The pods of one part: which labels they carry and which they must not have."""

    labels: t.Mapping[str, str]
    without: t.Tuple[str, ...] = ()


@dataclass(frozen=True)
class Door:
    """One NetworkPolicy: a part, who may reach it (``gateway`` or parts), and on which ports."""

    part: str
    peers: t.Tuple[str, ...]
    ports: t.Tuple[int, ...]


@dataclass(frozen=True)
class Chart:
    """One version of the chart."""

    version: str
    proven: bool
    """Tested end to end; others install on request only, with `caveat` as a warning."""
    caveat: str
    postgresql_major: int
    token_check: bool
    """The kernel itself verifies issuer and audience of a token that is present."""
    keys_from_secret: bool
    """``workflow.extraEnvFrom`` exists: storage keys need not stand in the manifest."""
    database_secret: bool
    """``global.postgresql.auth.existingSecret`` exists."""
    broker_auth: bool
    """``rabbitmq.auth`` is used, else guest/guest is fixed."""
    unprivileged: bool
    """The engine runs as uid 33 and binds port 80: needs the sysctl."""
    volume_size: str
    """For ``workflow.defaultVolumeSize``, in the unit this version takes (MiB, or a quantity)."""
    shared_claims: t.Tuple[Path, ...]
    block_claims: t.Tuple[Path, ...]
    parts: t.Mapping[str, Role]
    doors: t.Tuple[Door, ...]
    workloads: t.Tuple[t.Tuple[str, str], ...]
    """Kind and name of everything that must be ready."""
    fixed: t.Mapping[str, t.Any]
    """Values that are set whatever the user asks."""
    claims: t.Mapping[str, t.Tuple[str, ...]]
    """Names of the templates of claims, by the part whose StatefulSet has them."""
    pull_secrets_missing: t.Tuple[t.Tuple[str, str], ...] = ()
    """Workloads to which ``imagePullSecrets`` does not reach."""
    service: str = "{release}-service"
    service_port: str = "http"


_ENGINE_LABELS = {
    "app.kubernetes.io/name": CHART_NAME,
    "app.kubernetes.io/instance": "{release}",
}
_PARTS = {
    # RabbitMQ's pods carry the engine's labels too
    "zookernel": Role(_ENGINE_LABELS, without=("app.kubernetes.io/component",)),
    "zoofpm": Role(
        {
            "app.kubernetes.io/name": f"{CHART_NAME}-zoofpm",
            "app.kubernetes.io/instance": "{release}-zoofpm",
        }
    ),
    "kubeproxy": Role({"app.kubernetes.io/name": "{release}-kubeproxy"}),
    "postgresql": Role({"app": "{fullname}-postgresql", "release": "{release}"}),
    "rabbitmq": Role({**_ENGINE_LABELS, "app.kubernetes.io/component": "rabbitmq"}),
}
_DOORS = (
    Door("zookernel", ("gateway",), (80,)),
    Door("zoofpm", (), ()),
    Door("kubeproxy", ("zoofpm",), (8001,)),
    Door("postgresql", ("zookernel", "zoofpm"), (5432,)),
    Door("rabbitmq", ("zookernel", "zoofpm"), (5672, 15672)),
)
_WORKLOADS = (
    ("Deployment", "{release}-zookernel"),
    ("Deployment", "{release}-zoofpm"),
    ("Deployment", "{release}-kubeproxy"),
    ("StatefulSet", "{fullname}-postgresql"),
    ("StatefulSet", "{fullname}-rabbitmq"),
)
_SHARED = (
    ("persistence", "procServicesStorageClass"),
    ("persistence", "tmpStorageClass"),
    ("workflow", "storageClass"),
)

_V0_10_3 = Chart(
    version="0.10.3",
    proven=True,
    caveat="",
    postgresql_major=18,
    token_check=True,
    keys_from_secret=True,
    database_secret=True,
    broker_auth=True,
    unprivileged=True,
    volume_size="10190Mi",
    shared_claims=_SHARED,
    block_claims=(
        ("postgresql", "persistence", "storageClass"),
        ("rabbitmq", "persistence", "storageClass"),
    ),
    parts=_PARTS,
    doors=_DOORS,
    workloads=_WORKLOADS,
    fixed={"ingress": {"enabled": False}, "documentation": {"enabled": False}},
    claims={"postgresql": ("postgresql-data",), "rabbitmq": ("data",)},
    pull_secrets_missing=(("StatefulSet", "{fullname}-rabbitmq"),),
)

CHARTS: t.Mapping[str, Chart] = {
    chart.version: chart
    for chart in (
        _V0_10_3,
        replace(
            _V0_10_3,
            version="0.9.1",
            proven=False,
            caveat=(
                "chart 0.9.1 does not verify tokens itself, its browse service has a path "
                "traversal, and storage keys stand in plain text in the manifest"
            ),
            postgresql_major=16,
            token_check=False,
            keys_from_secret=False,
            unprivileged=False,
            volume_size="10190",
        ),
        replace(
            _V0_10_3,
            version="0.3.22",
            proven=False,
            caveat=(
                "chart 0.3.22 does not verify tokens itself, its browse service has a path "
                "traversal, storage keys and database passwords stand in plain text, and its "
                "database images have left their registry"
            ),
            postgresql_major=16,
            token_check=False,
            keys_from_secret=False,
            database_secret=False,
            broker_auth=False,
            unprivileged=False,
            volume_size="10190",
            block_claims=(
                ("postgresql", "primary", "persistence", "storageClass"),
                ("rabbitmq", "persistence", "storageClass"),
            ),
            claims={"postgresql": ("data",), "rabbitmq": ("data",)},
            parts={
                **_PARTS,
                "postgresql": Role(
                    {
                        "app.kubernetes.io/name": "postgresql",
                        "app.kubernetes.io/instance": "{release}",
                    }
                ),
                "rabbitmq": Role(
                    {
                        "app.kubernetes.io/name": "rabbitmq",
                        "app.kubernetes.io/instance": "{release}",
                    }
                ),
            },
            fixed={
                "ingress": {"enabled": False},
                "documentation": {"enabled": False},
                "global": {"security": {"allowInsecureImages": True}},
                "postgresql": {"image": {"repository": "bitnamilegacy/postgresql"}},
                "rabbitmq": {"image": {"repository": "bitnamilegacy/rabbitmq"}},
            },
        ),
    )
}


def names(release: str) -> t.Dict[str, str]:
    """The words that the templates of names take: the release and the chart's full name."""
    full = release if CHART_NAME in release else f"{release}-{CHART_NAME}"
    return {"release": release, "fullname": full[:63].rstrip("-")}


def numbers(version: str) -> t.Tuple[int, ...]:
    """The parts of a version, to compare by; letters after a dash are left out."""
    return tuple(
        int(part) if part.isdigit() else 0 for part in version.split("-", maxsplit=1)[0].split(".")
    )


def chart_of(version: str, allow_untested: bool = False) -> Chart:
    """What is known of a version; of an unknown one, what is known of the next older one.

    :raises OapipError: the version is unknown and `allow_untested` is false.
    """
    if version in CHARTS:
        return CHARTS[version]
    known = sorted(CHARTS, key=numbers)
    if not allow_untested:
        raise OapipError(
            f"choosing the chart version {version}",
            f"this collection knows {', '.join(known)}",
            "Set chart_version to one of these, or allow_untested_chart to true to try it.",
        )
    older = [item for item in known if numbers(item) <= numbers(version)] or known[:1]
    caveat = f"chart {version} is not known to this collection: it is handled like {older[-1]}"
    return replace(CHARTS[older[-1]], version=version, proven=False, caveat=caveat)


def refuse_jump(installed: str, wanted: str) -> None:
    """Stop before an upgrade that cannot be made in place.

    :raises OapipError: the database's data directory would not be readable, or the objects of the
        two versions do not fit each other.
    """
    before, after = chart_of(installed, True), chart_of(wanted, True)
    if numbers(installed)[:2] < (0, 8) <= numbers(wanted)[:2]:
        reason = "their StatefulSets have other immutable fields and other claims"
    elif before.postgresql_major != after.postgresql_major:
        reason = (
            f"PostgreSQL {after.postgresql_major} cannot read the data of "
            f"PostgreSQL {before.postgresql_major}"
        )
    else:
        return
    raise OapipError(
        f"upgrading chart {CHART_NAME} from {installed} to {wanted}",
        f"it cannot be done in place: {reason}",
        "Back up the database (pg_dump) and the deployed packages, run with state absent, install "
        "the new version, then restore or deploy the packages again.",
    )
