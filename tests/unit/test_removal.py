"""What a removal takes away, and what it leaves because it is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _contents
from ansible_collections.eoepca.oapip.plugins.module_utils._charts import CHARTS
from ansible_collections.eoepca.oapip.plugins.module_utils._contents import Contents
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Release
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._release import (
    CREATED,
    MANAGED_BY,
    MANAGER,
    OWNER,
    Current,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._removal import made_here, plan_absent
from ansible_collections.eoepca.oapip.plugins.module_utils._values import MARK, Bucket, Settings

Json = dict[str, Any]
CHART = CHARTS["0.10.3"]
RELEASE = "zoo-project-dru"
SETTINGS = Settings(
    namespace="zoo",
    release=RELEASE,
    public_url="",
    shared_storage_class="",
    block_storage_class="",
    node_selector={},
    stage_out=Bucket("", "", "", ""),
    stage_in=Bucket("", "", "", ""),
    gateway_namespace="",
)
DATABASE = {"app": f"{RELEASE}-postgresql", "release": RELEASE}
BROKER = {
    "app.kubernetes.io/name": RELEASE,
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/component": "rabbitmq",
}
MANIFEST = f"""
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: {RELEASE}-postgresql}}
spec:
  selector: {{matchLabels: {{app: {RELEASE}-postgresql, release: {RELEASE}}}}}
  volumeClaimTemplates: [{{metadata: {{name: renamed}}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {RELEASE}-zookernel}}
"""


def thing(kind: str, name: str, version: str = "v1", **more: Any) -> Json:
    meta = {"name": name, "uid": f"{kind}/{name}", **more.pop("meta", {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **more}


def claim(name: str, labels: Mapping[str, str]) -> Json:
    return thing("PersistentVolumeClaim", name, meta={"labels": dict(labels)})


def helm(mark: bool = True, **fields: Any) -> Release:
    values: Json = {MARK: {}} if mark else {"iam": {}}
    base = Release(RELEASE, "zoo", 1, "deployed", RELEASE, "0.10.3", values, MANIFEST)
    return replace(base, **fields)


def current(
    *objects: Json,
    release: Release | None = None,
    owner: str | None = RELEASE,
    created: bool = True,
) -> Current:
    labels = {OWNER: owner} if owner else {}
    notes = {CREATED: "true"} if created else {}
    namespace = {"kind": "Namespace", "metadata": {"name": "zoo", "labels": labels}}
    namespace["metadata"]["annotations"] = notes  # type: ignore[index]
    keyed = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    return Current(namespace, keyed, [release] if release else [])


def planned(
    seen: Current, *held: Json, unknown: tuple[str, ...] = (), adopt: bool = False
) -> tuple[list[str], list[str]]:
    everything = [*seen.objects.values(), *held]
    kinds = {(one["apiVersion"].rpartition("/")[0], one["kind"]) for one in everything}
    contents = Contents(everything, unknown, kinds) if made_here(SETTINGS, seen) else None
    changes, kept = plan_absent(SETTINGS, CHART, seen, contents, adopt)
    assert {change.action for change in changes} <= {"delete"}
    return [f"{change.kind} {change.name}" for change in changes], kept


OURS = thing(
    "Secret", f"{RELEASE}-oapip-broker", meta={"labels": {OWNER: RELEASE, MANAGED_BY: MANAGER}}
)


# -- whose it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, RELEASE])
def test_a_release_of_somebody_else_is_not_removed_unless_adopted(owner: str | None) -> None:
    disk = claim(f"renamed-{RELEASE}-postgresql-0", DATABASE)
    theirs = current(disk, release=helm(mark=False), owner=owner, created=False)
    with pytest.raises(OapipError, match=r"not installed by this collection.*adopt"):
        planned(theirs)
    gone, kept = planned(theirs, adopt=True)
    assert gone == [f"Release {RELEASE}", f"PersistentVolumeClaim renamed-{RELEASE}-postgresql-0"]
    assert kept == ["Namespace zoo: it was there before"]


def test_what_argo_cd_manages_of_it_is_not_removed_unless_adopted() -> None:
    notes = {"argocd.argoproj.io/tracking-id": "a"}
    tracked = thing("Deployment", f"{RELEASE}-zookernel", "apps/v1", meta={"annotations": notes})
    seen = current(tracked, release=helm())
    with pytest.raises(OapipError, match=r"Argo CD manages Deployment .*adopt"):
        planned(seen)
    assert f"Release {RELEASE}" in planned(seen, adopt=True)[0]


def test_what_argo_cd_manages_beside_it_stands_in_no_removals_way() -> None:
    notes = {"argocd.argoproj.io/tracking-id": "a"}
    beside = thing("ConfigMap", "theirs", meta={"annotations": notes})
    gone, kept = planned(current(beside, release=helm()))
    assert gone == [f"Release {RELEASE}"]
    assert kept == ["Namespace zoo: it holds ConfigMap theirs, not made by us"]


def test_nothing_of_the_namespace_of_another_release_is_removed() -> None:
    other = {"labels": {OWNER: "other", MANAGED_BY: MANAGER}}
    seen = current(thing("Secret", "other-oapip-broker", meta=other), owner="other")
    assert planned(seen, adopt=True) == ([], ["Namespace zoo: it belongs to release other"])


@pytest.mark.parametrize("release", [None, helm(status="pending-install"), helm(status="failed")])
def test_what_a_killed_run_of_ours_left_is_removed(release: Release | None) -> None:
    gone, kept = planned(current(OURS, release=release))
    assert gone[-2:] == [f"Secret {RELEASE}-oapip-broker", "Namespace zoo"]
    assert kept == []


def test_the_absence_of_nothing_is_nothing_to_do() -> None:
    assert plan_absent(SETTINGS, CHART, Current(), None) == ([], [])
    stranger = current(thing("Pod", "theirs"), owner=None, created=False)
    assert planned(stranger) == ([], ["Namespace zoo: it was there before"])
    uninstalled = current(release=helm(mark=False, status="uninstalled"), created=False)
    assert planned(uninstalled)[0] == []


# -- claims --------------------------------------------------------------------------------------

LOOKALIKES = [
    claim(f"backup-{RELEASE}-postgresql-2025", {}),
    claim(f"backup-{RELEASE}-postgresql-2025-01", DATABASE),
    claim(f"renamed-{RELEASE}-postgresql-0", {"app": "another"}),
    claim(f"renamed-{RELEASE}-postgresql-0-old", DATABASE),
    claim(f"renamed-{RELEASE}-postgresql-2", {}),
    claim(f"data-{RELEASE}-redis-0", {"app": "redis"}),
]


@pytest.mark.parametrize("lookalike", LOOKALIKES, ids=lambda one: one["metadata"]["name"])
def test_a_claim_that_is_not_of_the_set_is_left(lookalike: Json) -> None:
    mine = claim(f"renamed-{RELEASE}-postgresql-1", DATABASE)
    gone, kept = planned(current(mine, lookalike, release=helm()))
    name = lookalike["metadata"]["name"]
    assert gone == [f"Release {RELEASE}", f"PersistentVolumeClaim {mine['metadata']['name']}"]
    assert kept == [f"Namespace zoo: it holds PersistentVolumeClaim {name}, not made by us"]


def test_claims_that_a_killed_removal_left_are_known_by_the_charts_names() -> None:
    left = [
        claim(f"data-{RELEASE}-rabbitmq-0", BROKER),
        claim(f"postgresql-data-{RELEASE}-postgresql-0", DATABASE),
    ]
    gone, kept = planned(current(*left))
    names = [f"PersistentVolumeClaim {one['metadata']['name']}" for one in left]
    assert (gone, kept) == ([*names, "Namespace zoo"], [])


def test_claims_are_left_where_nothing_says_that_the_engine_was_ours() -> None:
    left = claim(f"data-{RELEASE}-rabbitmq-0", BROKER)
    assert planned(current(left, owner=None, created=False))[0] == []


def test_claims_of_a_set_that_lives_outside_our_release_are_left() -> None:
    live = thing("StatefulSet", f"{RELEASE}-rabbitmq", "apps/v1")
    gone, _kept = planned(current(live, claim(f"data-{RELEASE}-rabbitmq-0", BROKER)))
    assert gone == []


# -- the namespace -------------------------------------------------------------------------------


def owned(kind: str, name: str, owner: Json, version: str = "v1") -> Json:
    meta, group = owner["metadata"], owner["apiVersion"]
    reference = {
        "apiVersion": group,
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
    }
    return thing(kind, name, version, meta={"ownerReferences": [reference]})


@pytest.mark.parametrize(
    "stranger",
    [
        thing("CronJob", "backup", "batch/v1"),
        thing("Job", "backup", "batch/v1"),
        thing("Ingress", "theirs", "networking.k8s.io/v1"),
        thing("DaemonSet", "agent", "apps/v1"),
        thing("Role", "theirs", "rbac.authorization.k8s.io/v1"),
        thing("Cluster", "database", "postgresql.cnpg.io/v1"),
        thing("ServiceAccount", "theirs"),
        thing("Pod", "theirs"),
        thing("Secret", "sh.helm.release.v1.other.v1", type="helm.sh/release.v1"),
        thing("Deployment", f"{RELEASE}-zookernel", "elsewhere.example/v1"),
    ],
    ids=lambda one: one["kind"],
)
def test_a_namespace_that_holds_something_of_others_is_kept(stranger: Json) -> None:
    gone, kept = planned(current(OURS, release=helm()), stranger)
    name = f"{stranger['kind']} {stranger['metadata']['name']}"
    assert kept == [f"Namespace zoo: it holds {name}, not made by us"]
    assert "Namespace zoo" not in gone


def test_what_goes_with_the_engine_and_what_every_namespace_has_keep_no_namespace() -> None:
    engine = thing("Deployment", f"{RELEASE}-zookernel", "apps/v1")
    replicas = owned("ReplicaSet", "zookernel-1", engine, "apps/v1")
    token = {"annotations": {"kubernetes.io/service-account.name": "default"}}
    held = [
        owned("Pod", "zookernel-1-a", replicas),
        replicas,
        owned("Pod", "orphan", thing("ReplicaSet", "gone", "apps/v1")),
        thing("Pod", "leaving", meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        thing("ServiceAccount", "default"),
        thing("ConfigMap", "kube-root-ca.crt"),
        thing("Secret", "default-token", type="kubernetes.io/service-account-token", meta=token),
        thing(
            "Secret",
            "sh.helm.release.v1.zoo.v1",
            type="helm.sh/release.v1",
            meta={"labels": {"name": RELEASE}},
        ),
    ]
    gone, kept = planned(current(OURS, engine, release=helm()), *held)
    assert kept == []
    assert gone[-1] == "Namespace zoo"


def test_a_namespace_that_is_going_already_is_waited_for() -> None:
    seen = current(OURS)
    seen.namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"  # type: ignore[index]
    assert planned(seen, thing("Job", "theirs", "batch/v1"))[0][-1] == "Namespace zoo"


def test_what_a_cluster_wide_object_owns_is_not_taken_for_an_orphan() -> None:
    kept = planned(current(OURS), owned("Lease", "theirs", thing("Node", "node-1")))[1]
    assert kept == ["Namespace zoo: it holds Lease theirs, not made by us"]


def test_a_namespace_is_kept_where_nobody_knows_whether_it_is_empty() -> None:
    kinds = tuple(f"kind{number}.example.org (403)" for number in range(7))
    gone, kept = planned(current(OURS), unknown=kinds)
    assert gone == [f"Secret {RELEASE}-oapip-broker"]
    (said,) = kept
    assert "kind0.example.org (403)" in said
    assert "2 more" in said


# -- reading it ----------------------------------------------------------------------------------


class Api(Kube):
    """An API server: path -> answer, a number is a status."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def request(self, method: str, path: str, *_args: Any, **_more: Any) -> Json:
        self.asked.append(path)
        answer = self.answers.get(path, 404)
        if isinstance(answer, int):
            raise OapipError(f"{method} {path}", "no", status=answer)
        return dict(answer)


def resource(plural: str, kind: str, verbs: str = "get list", namespaced: bool = True) -> Json:
    return {"name": plural, "kind": kind, "verbs": verbs.split(), "namespaced": namespaced}


def group(name: str, *versions: str) -> Json:
    known = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": known[::-1], "preferredVersion": known[0]}


def items(*names: str) -> Json:
    return {"items": [{"metadata": {"name": name}} for name in names], "metadata": {}}


@pytest.fixture
def api() -> Api:
    core = [
        resource("pods", "Pod"),
        resource("pods/log", "Pod"),
        resource("bindings", "Binding", "create"),
        resource("events", "Event"),
        resource("nodes", "Node", namespaced=False),
    ]
    return Api(
        {
            "/api/v1": {"resources": core},
            "/apis": {
                "groups": [
                    group("example.org", "v2", "v1"),
                    group("metrics.k8s.io", "v1"),
                    group("down.example.org", "v1"),
                ]
            },
            "/apis/example.org/v2": {"resources": [resource("things", "Thing")]},
            "/apis/example.org/v1": {
                "resources": [resource("things", "Thing"), resource("olds", "Old")]
            },
            "/apis/metrics.k8s.io/v1": {"resources": [resource("pods", "PodMetrics")]},
            "/apis/down.example.org/v1": 503,
            "/api/v1/namespaces/zoo/pods": items("one"),
            "/apis/example.org/v2/namespaces/zoo/things": items("two"),
            "/apis/example.org/v1/namespaces/zoo/olds": 403,
        }
    )


def test_every_kind_that_a_namespace_can_hold_is_listed_once(api: Api) -> None:
    seen = _contents.read(api, "zoo")
    found = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in seen.objects]
    assert found == [("v1", "Pod", "one"), ("example.org/v2", "Thing", "two")]
    assert seen.kinds == {("", "Pod"), ("example.org", "Thing")}
    assert seen.unknown == ["down.example.org/v1 (503)", "olds.example.org (403)"]
    assert len(api.asked) == len(set(api.asked))


@pytest.mark.parametrize("status", [401, None])
def test_a_server_that_does_not_know_us_or_is_gone_is_an_error(api: Api, status: Any) -> None:
    class Broken(Api):
        def request(self, method: str, path: str, *_args: Any, **_more: Any) -> Json:
            if path.endswith("pods"):
                raise OapipError(f"{method} {path}", "no", status=status)
            return super().request(method, path)

    with pytest.raises(OapipError):
        _contents.read(Broken(api.answers), "zoo")
