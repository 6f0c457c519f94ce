"""The release, pure: values, quoting, charts, plan, drift, post-renderer, Helm's Secrets."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.eoepca.oapip.plugins.module_utils import _deploy, _postrender
from ansible_collections.eoepca.oapip.plugins.module_utils import _release as release
from ansible_collections.eoepca.oapip.plugins.module_utils import _removal as removal
from ansible_collections.eoepca.oapip.plugins.module_utils._charts import (
    CHARTS,
    chart_of,
    names,
    refuse_jump,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._contents import Contents
from ansible_collections.eoepca.oapip.plugins.module_utils._drift import (
    additions,
    comparable,
    drift,
    pruning,
    quantity,
    scaled,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import (
    Helm,
    Release,
    decode,
    documents,
    locate,
    revisions,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._rollout import container_trouble, ready
from ansible_collections.eoepca.oapip.plugins.module_utils._values import (
    MARK,
    NOBODY,
    Bucket,
    Credentials,
    Settings,
    build,
    masked,
    merged,
    quoted,
    storage_keys,
)

CHART = CHARTS["0.10.3"]
KNOWN = Credentials("zoo", "brokerpassword", "zoo", "databasepassword", "zoo")
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
WORD = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


def settings_of(**fields: Any) -> Settings:
    base: dict[str, Any] = {
        "namespace": "zoo",
        "release": "zoo-project-dru",
        "public_url": "https://zoo.example.org",
        "shared_storage_class": "shared",
        "block_storage_class": "standard",
        "node_selector": {},
        "stage_out": Bucket("https://s3", "eu", "OUTKEY", "out-secret", "eoepca"),
        "stage_in": Bucket("https://s3", "eu", "INKEY", "in-secret"),
        "gateway_namespace": "ingress-apisix",
    }
    return Settings(**{**base, **fields})


SETTINGS = st.builds(
    settings_of,
    node_selector=st.dictionaries(WORD, WORD, max_size=2),
    annotations=st.dictionaries(WORD, TEXT, max_size=2),
    issuer=st.sampled_from(["", "https://k.example.org/realms/e"]),
    ca_pem=st.sampled_from(["", "-----BEGIN CERTIFICATE-----\nA\n"]),
    gateway_namespace=WORD,
    pull_secrets=st.lists(WORD, unique=True, max_size=2).map(tuple),
    stage_out=st.builds(Bucket, TEXT, TEXT, TEXT, st.text("abc", min_size=3), TEXT),
    extra=st.dictionaries(WORD, st.integers() | st.booleans() | TEXT, max_size=2),
)


def desired_of(settings: Settings) -> release.Desired:
    values = json.loads(json.dumps(build(settings, CHART, KNOWN)))
    return release.Desired(settings, CHART, "zoo-project-dru", values, KNOWN)


def applied(
    changes: list[Any], desired: release.Desired, current: release.Current
) -> release.Current:
    """What the API server and Helm would make of a plan."""
    namespace, objects, releases = current.namespace, dict(current.objects), list(current.releases)
    for change in changes:
        key = (change.kind, change.name)
        if change.kind == "Release":
            number = len(releases) + 1
            done = Release(
                change.name,
                desired.settings.namespace,
                number,
                "deployed",
                desired.chart_name,
                desired.chart.version,
                desired.values,
                "",
            )
            releases.insert(0, done)
        elif change.action == "delete":
            objects.pop(key)
        else:
            live = copy.deepcopy(change.payload)
            live["metadata"]["managedFields"] = [_owned(live)]
            if change.kind == "Namespace":
                namespace = live
            else:
                objects[key] = live
    return release.Current(namespace, objects, releases)


def _owned(obj: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        f"f:{name}": {f"f:{key}": {} for key in obj["metadata"].get(name) or {}}
        for name in ("labels", "annotations")
    }
    return {
        "manager": "eoepca.oapip",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": fields},
    }


# -- plan ----------------------------------------------------------------------------------------


@given(SETTINGS, SETTINGS)
def test_an_applied_plan_leaves_nothing_to_do(first: Settings, second: Settings) -> None:
    current = release.Current()
    for settings in (first, second):
        desired = desired_of(settings)
        changes = release.plan_present(desired, current, fresh=not current.releases)
        current = applied(changes, desired, current)
        assert release.plan_present(desired, current, fresh=False) == []


@given(SETTINGS, SETTINGS)
def test_a_plan_never_shows_a_secret(first: Settings, second: Settings) -> None:
    current = release.Current()
    for settings in (first, second):
        marked = replace(
            settings, stage_out=replace(settings.stage_out, secret_key="VERYSECRET0123456789")
        )
        desired = desired_of(marked)
        changes = release.plan_present(desired, current, fresh=False)
        shown = json.dumps([[change.before, change.after, change.name] for change in changes])
        for secret in ("VERYSECRET0123456789", KNOWN.broker_password, KNOWN.database_password):
            assert secret not in shown
            assert base64.b64encode(secret.encode()).decode() not in shown
        current = applied(changes, desired, current)


def test_nothing_runs_before_it_is_closed() -> None:
    changes = release.plan_present(desired_of(settings_of()), release.Current(), fresh=True)
    kinds = [change.kind for change in changes]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "Release"
    assert kinds.index("Secret") > kinds.index("NetworkPolicy") > 0
    assert {change.action for change in changes} == {"create"}


def test_a_changed_key_changes_the_secret_and_restarts_by_a_new_release() -> None:
    desired = desired_of(settings_of())
    current = applied(
        release.plan_present(desired, release.Current(), fresh=True), desired, release.Current()
    )
    store = replace(desired.settings.stage_out, secret_key="other")
    changes = release.plan_present(desired_of(settings_of(stage_out=store)), current, fresh=False)
    assert [(change.kind, change.fields) for change in changes] == [
        ("Secret", ["data.STAGEOUT_AWS_SECRET_ACCESS_KEY"]),
        ("Release", ["digest", "values.podAnnotations.oapip.eoepca.org/storage"]),
    ]


def test_what_is_no_longer_wanted_is_deleted_last() -> None:
    desired = desired_of(settings_of(ca_pem="-----BEGIN CERTIFICATE-----"))
    current = applied(
        release.plan_present(desired, release.Current(), fresh=True), desired, release.Current()
    )
    changes = release.plan_present(desired_of(settings_of()), current, fresh=False)
    assert [(change.action, change.kind) for change in changes] == [
        ("update", "Release"),
        ("delete", "ConfigMap"),
    ]


def test_an_annotation_taken_out_of_the_options_is_taken_off_the_namespace() -> None:
    desired = desired_of(settings_of(annotations={"team": "eo"}))
    current = applied(
        release.plan_present(desired, release.Current(), fresh=True), desired, release.Current()
    )
    (change,) = release.plan_present(desired_of(settings_of()), current, fresh=False)
    assert (change.kind, change.fields) == ("Namespace", ["annotations.team"])


def test_a_namespace_that_was_there_is_neither_claimed_nor_deleted() -> None:
    there = {"kind": "Namespace", "metadata": {"name": "zoo", "labels": {"a": "b"}}}
    desired, current = desired_of(settings_of()), release.Current(there)
    changes = release.plan_present(desired, current, fresh=True)
    wanted = changes[0].payload["metadata"]
    assert wanted["labels"] == {release.OWNER: "zoo-project-dru"}
    removed, kept = removal.plan_absent(
        desired.settings, CHART, applied(changes, desired, release.Current(there)), None
    )
    assert "Namespace" not in [change.kind for change in removed]
    assert kept == ["Namespace zoo: it was there before"]


def test_all_that_a_plan_makes_is_removed_again() -> None:
    desired, current = deployed()
    contents = Contents([*current.objects.values()])
    removed, kept = removal.plan_absent(desired.settings, CHART, current, contents)
    assert {(change.kind, change.name) for change in removed} == {
        ("Release", "zoo-project-dru"),
        ("Namespace", "zoo"),
        *current.objects,
    }
    assert kept == []


def deployed() -> tuple[release.Desired, release.Current]:
    desired = desired_of(settings_of())
    changes = release.plan_present(desired, release.Current(), fresh=True)
    return desired, applied(changes, desired, release.Current())


def test_credentials_are_read_back_from_the_release_then_from_our_secrets() -> None:
    desired, current = deployed()
    assert release.known_credentials(desired.settings, release.Current()) is None
    assert release.known_credentials(desired.settings, current) == KNOWN
    no_secrets = release.Current(current.namespace, {}, current.releases)
    assert release.known_credentials(desired.settings, no_secrets) == KNOWN
    no_release = release.Current(current.namespace, current.objects, [])
    assert release.known_credentials(desired.settings, no_release) == KNOWN


def test_an_adopted_release_keeps_the_credentials_it_was_installed_with() -> None:
    auth = {"username": "u", "password": "p", "database": "d"}
    values = {"rabbitmq": {"auth": auth}, "global": {"postgresql": {"auth": auth}}}
    current = release.Current(objects={}, releases=[release_of(values=values)])
    known = release.known_credentials(settings_of(), current)
    assert known == Credentials("u", "p", "u", "p", "d")
    bare = release.Current(objects={}, releases=[release_of(values={"global": None})])
    known = release.known_credentials(settings_of(), bare)
    assert known == Credentials("zoo", "CHANGEME", "zoo", "zoo", "zoo")


@pytest.mark.parametrize("part", ["broker", "database"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_password_changed_in_our_secret_is_put_back(part: str, gone: bool) -> None:
    desired, current = deployed()
    key = ("Secret", desired.settings.name(part))
    objects = dict(current.objects)
    if gone:
        del objects[key]
    else:
        data = {**objects[key]["data"], "password": "c3RyYW5nZXI="}
        objects[key] = {**objects[key], "data": data}
    current = replace(current, objects=objects)
    known = release.known_credentials(desired.settings, current)
    assert known == KNOWN
    (change,) = release.plan_present(desired, current, fresh=False)
    assert (change.kind, change.name) == key
    assert change.fields == ([] if gone else ["data.password"])


@pytest.mark.parametrize("part", ["broker", "database"])
def test_a_secret_that_is_no_text_is_put_back(part: str) -> None:
    desired, current = deployed()
    key = ("Secret", desired.settings.name(part))
    objects = dict(current.objects)
    objects[key] = {**objects[key], "data": {**objects[key]["data"], "password": "//4="}}
    current = replace(current, objects=objects)
    assert release.known_credentials(desired.settings, current) == KNOWN
    (change,) = release.plan_present(desired, current, fresh=False)
    assert ((change.kind, change.name), change.fields) == (key, ["data.password"])
    # nothing else tells what it was: both are made anew, not taken from the chart's defaults
    unfinished = release.Current(current.namespace, objects, [])
    assert release.known_credentials(desired.settings, unfinished) is None


def test_the_users_password_of_the_broker_is_the_one_in_our_secret() -> None:
    given = {"rabbitmq": {"auth": {"password": "theirs"}}}
    assert release.with_values(KNOWN, given).broker_password == "theirs"
    assert release.with_values(KNOWN, {"rabbitmq": None}) == KNOWN


# -- refusals ------------------------------------------------------------------------------------


def release_of(**fields: Any) -> Release:
    base = Release("zoo-project-dru", "zoo", 3, "deployed", "zoo-project-dru", "0.10.3", {}, "")
    return replace(base, **fields)


def test_a_release_of_somebody_else_is_refused_unless_adopted() -> None:
    there = {"kind": "Namespace", "metadata": {"name": "zoo"}}
    current = release.Current(there, {}, [release_of(values={"iam": {}})])
    with pytest.raises(OapipError, match=r"not installed by this collection.*adopt"):
        release.refuse_foreign(settings_of(), current, adopt=False)
    release.refuse_foreign(settings_of(), current, adopt=True)


def test_argo_cd_is_named() -> None:
    workload = {
        "kind": "Deployment",
        "metadata": {"name": "x", "annotations": {"argocd.argoproj.io/tracking-id": "a"}},
    }
    current = release.Current({"metadata": {"name": "zoo"}}, {("Deployment", "x"): workload})
    with pytest.raises(OapipError, match="Argo CD manages Deployment x"):
        release.refuse_foreign(settings_of(), current, adopt=False)


def test_one_namespace_holds_one_release() -> None:
    there = {"metadata": {"name": "zoo", "labels": {release.OWNER: "other"}}}
    with pytest.raises(OapipError, match="belongs to release other"):
        release.refuse_foreign(settings_of(), release.Current(there), adopt=True)


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-install", "uninstalling"])
def test_a_pending_release_is_refused_with_the_command(status: str) -> None:
    with pytest.raises(OapipError, match=f"is {status}.*recover.*helm (rollback|uninstall)"):
        release.refuse_pending(settings_of(), release_of(status=status), recover=False)
    release.refuse_pending(settings_of(), release_of(status=status), recover=True)


@pytest.mark.parametrize("status", ["pending-upgrade", "pending-install", "uninstalling"])
def test_who_holds_the_lock_recovers_what_a_run_of_ours_left(status: str) -> None:
    ours, theirs = release_of(status=status, values={MARK: {}}), release_of(status=status)
    release.refuse_pending(settings_of(), ours, recover=False, locked=True)
    with pytest.raises(OapipError, match=f"is {status}"):
        release.refuse_pending(settings_of(), theirs, recover=False, locked=True)
    with pytest.raises(OapipError, match=f"is {status}"):
        release.refuse_pending(settings_of(), ours, recover=False)


# -- values --------------------------------------------------------------------------------------


@given(TEXT)
def test_a_quoted_scalar_survives_yaml(text: str) -> None:
    """The chart prints `value: {{ $v }}`."""
    assert yaml.safe_load(f"value: {quoted(text)}") == {"value": text}


@pytest.mark.parametrize("text", ["true", "123", "y", "a: b", "*x", "a #b", "1e3", "", "0x1", "~"])
def test_the_scalars_that_broke_the_chart(text: str) -> None:
    assert yaml.safe_load(f"value: {quoted(text)}") == {"value": text}


def test_keys_are_in_no_value_and_places_are() -> None:
    settings = settings_of()
    values = build(settings, CHART, KNOWN)
    text = json.dumps(values)
    assert not [key for key in storage_keys(settings).values() if key in text]
    # the database's stands in no value that a template prints, only in our own note of it
    assert values.pop(MARK)["database"]["password"] == KNOWN.database_password
    assert KNOWN.database_password not in json.dumps(values)
    assert values["workflow"]["inputs"]["STAGEOUT_OUTPUT"] == '"eoepca"'
    assert values["workflow"]["extraEnvFrom"] == [
        {"secretRef": {"name": "zoo-project-dru-oapip-storage"}}
    ]


def test_what_must_always_be_set_is() -> None:
    values = build(settings_of(), CHART, KNOWN)
    assert values["iam"]["enabled"] is False
    assert values["iam"]["issuer"] == NOBODY
    assert values["workflow"]["defaultVolumeSize"] != "10Mi"
    assert values["zookernel"]["podSecurityContext"]["sysctls"][0]["value"] == "0"
    assert values["persistence"] == {
        "procServicesStorageClass": "shared",
        "tmpStorageClass": "shared",
    }
    assert values["workflow"]["storageClass"] == "shared"
    assert values["postgresql"]["persistence"]["storageClass"] == "standard"
    assert values["rabbitmq"]["persistence"]["storageClass"] == "standard"


def test_oidc_sets_issuer_audience_and_their_followers() -> None:
    issuer = "https://iam.example.org/realms/eoepca"
    values = build(settings_of(issuer=issuer, audience="oapip"), CHART, KNOWN)
    assert values["iam"] == {
        "enabled": True,
        "issuer": issuer,
        "audience": "oapip",
        "openIdConnectUrl": f"{issuer}/.well-known/openid-configuration",
        "realm": "eoepca",
    }


def test_a_shared_context_comes_without_a_token_and_other_tokens_are_still_checked() -> None:
    issuer = "https://iam.example.org/realms/eoepca"
    told = settings_of(issuer=issuer, audience="oapip", token_required=False)
    asked = replace(told, token_required=True)
    values, before = build(told, CHART, KNOWN)["iam"], build(asked, CHART, KNOWN)["iam"]
    assert values == {**before, "enabled": False}
    assert (before["issuer"], before["audience"]) == (issuer, "oapip")


def test_the_users_values_win() -> None:
    extra = {"workflow": {"defaultMaxRam": "9"}, "rabbitmq": {"replicas": 3}}
    values = build(settings_of(extra=extra), CHART, KNOWN)
    assert values["workflow"]["defaultMaxRam"] == "9"
    assert values["workflow"]["storageClass"] == "shared"
    assert merged({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}) == {
        "a": {"b": 1, "d": 2},
        "c": [2],
    }


def test_passwords_are_letters_and_digits_and_begin_with_a_letter() -> None:
    made = {_deploy.password() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]{31}", item) for item in made)


def test_masking_looks_at_keys_and_at_contents() -> None:
    shown = masked({"auth": {"password": "p", "username": "u"}, "a": ["x-in-secret-y"]}, ["secret"])
    assert shown == {"auth": {"password": "<secret>", "username": "u"}, "a": ["<secret>"]}


# -- charts --------------------------------------------------------------------------------------


def test_a_text_among_the_users_values_is_never_shown_and_its_change_is() -> None:
    given = {"zoofpm": {"note": "a-secret", "replicaCount": 2}, "iam": {"realm": "another-secret"}}
    desired = desired_of(settings_of(extra=given))
    (made,) = release.release_change(desired, release.Current(), fresh=False)
    assert made.after is not None
    shown = made.after["values"]
    assert shown["zoofpm"] == {"note": "<new secret>", "replicaCount": 2}
    assert shown["iam"]["realm"] == "<new secret>"
    assert shown["ingress"] == {"enabled": False, "hosturl": "https://zoo.example.org"}
    there = release.Current(releases=[release_of(values=desired.values)])
    given = {**given, "zoofpm": {"note": "b-secret", "replicaCount": 2, "notes": ["c-secret"]}}
    (change,) = release.release_change(desired_of(settings_of(extra=given)), there, fresh=False)
    assert change.fields == ["digest", "values.zoofpm.note", "values.zoofpm.notes"]
    assert "-secret" not in repr(change)


def test_an_unknown_version_is_refused_unless_allowed() -> None:
    with pytest.raises(OapipError, match="allow_untested_chart"):
        chart_of("0.10.4")
    tried = chart_of("0.10.4", allow_untested=True)
    assert tried.version == "0.10.4"
    assert not tried.proven
    assert tried.keys_from_secret
    assert not chart_of("0.9.7", allow_untested=True).token_check


def test_only_one_version_is_proven() -> None:
    assert [chart.version for chart in CHARTS.values() if chart.proven] == ["0.10.3"]
    assert all(chart.caveat for chart in CHARTS.values() if not chart.proven)


@pytest.mark.parametrize(("before", "after"), [("0.3.22", "0.9.1"), ("0.9.1", "0.10.3")])
def test_jumps_that_would_lose_the_database_are_refused(before: str, after: str) -> None:
    with pytest.raises(OapipError, match="cannot be done in place"):
        refuse_jump(before, after)
    refuse_jump(after, after)


def test_the_chart_joins_names_as_helm_does() -> None:
    assert names("zoo-project-dru-2")["fullname"] == "zoo-project-dru-2"
    assert names("engine")["fullname"] == "engine-zoo-project-dru"


def test_the_engines_policy_leaves_the_broker_out() -> None:
    spec = release.policy(settings_of(), CHART, "zookernel")["spec"]
    assert spec["podSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "DoesNotExist"}
    ]
    assert spec["ingress"][0]["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-apisix"}}}
    ]
    assert "ingress" not in release.policy(settings_of(), CHART, "zoofpm")["spec"]


# -- drift ---------------------------------------------------------------------------------------


POD = "spec.template.spec.containers[zoofpm]"


@pytest.mark.parametrize(
    "path",
    [
        f"{POD}.resources.limits.memory",
        f"{POD}.resources.requests.nvidia.com/gpu",
        f"{POD}.env[RAM].valueFrom.resourceFieldRef.divisor",
        "spec.template.spec.volumes[tmp].emptyDir.sizeLimit",
        "spec.volumeClaimTemplates[data].spec.resources.requests.storage",
        "spec.hard.pods",
        "spec.limits[Container].max.cpu",
    ],
)
@pytest.mark.parametrize(
    ("live", "wanted"), [("1", "1000m"), ("1Gi", "1024Mi"), ("500m", "0.5"), ("1k", 1000)]
)
def test_a_quantity_said_otherwise_is_no_drift(path: str, live: Any, wanted: Any) -> None:
    assert list(drift(live, wanted, path)) == []
    assert list(drift("7", wanted, path)) == [(path, "7", wanted)]


@pytest.mark.parametrize(("live", "wanted"), [(80, "80"), (None, ""), (None, None), (1000, "1e3")])
def test_the_same_said_otherwise_is_no_drift(live: Any, wanted: Any) -> None:
    assert list(drift(live, wanted)) == []


@pytest.mark.parametrize(("live", "wanted"), [("1", "2"), (True, "1"), ("a", "b"), (1, False)])
def test_another_value_is_drift(live: Any, wanted: Any) -> None:
    assert list(drift(live, wanted, "x")) == [("x", live, wanted)]


@pytest.mark.parametrize(
    "path", [f"{POD}.env[X].value", "metadata.labels.version", "data.storage", "spec.storage"]
)
@pytest.mark.parametrize(
    ("live", "wanted"), [("0.10", "0.1"), ("1000", "1k"), ("5432.0", "5432"), ("1Gi", "1024Mi")]
)
def test_texts_are_the_same_only_to_the_letter(path: str, live: str, wanted: str) -> None:
    assert list(drift(live, wanted, path)) == [(path, live, wanted)]


# -- what somebody added -------------------------------------------------------------------------

MADE: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "zoofpm"},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {"name": "zoofpm", "env": [{"name": "A", "value": "1"}]},
                    {"name": "bare"},
                ],
                "volumes": [{"name": "tmp"}],
            }
        }
    },
}


def grown(manager: str | None, **lists: Any) -> dict[str, Any]:
    """MADE as it lives, with more in lists of its pod or, as bare_env, of its second container."""
    live = copy.deepcopy(MADE)
    pod = live["spec"]["template"]["spec"]
    owned: dict[str, Any] = {}
    for name, item in lists.items():
        part, target, fields = name, pod, owned
        if name.startswith("bare_"):
            part, target = name[5:], pod["containers"][1]
            fields = owned.setdefault("f:containers", {}).setdefault('k:{"name":"bare"}', {})
        target.setdefault(part, []).append(item)
        key = "mountPath" if part == "volumeMounts" else "name"
        fields.setdefault(f"f:{part}", {})[f'k:{{"{key}":"{item[key]}"}}'] = {".": {}}
    fields = {"f:spec": {"f:template": {"f:spec": owned}}}
    entries = [{"manager": "other", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    entries += [{"manager": manager, "fieldsV1": fields}] if manager else []
    live["metadata"]["managedFields"] = entries
    return live


ADDED: list[tuple[str, Any, str]] = [
    ("bare_env", {"name": "FOO", "value": "bar"}, "containers[bare].env[FOO]"),
    ("bare_volumeMounts", {"mountPath": "/x", "name": "t"}, "containers[bare].volumeMounts[/x]"),
    ("containers", {"name": "miner", "image": "x"}, "containers[miner]"),
    ("initContainers", {"name": "first", "image": "x"}, "initContainers[first]"),
    ("volumes", {"name": "more", "emptyDir": {}}, "volumes[more]"),
]


@pytest.mark.parametrize(("part", "item", "path"), ADDED, ids=[row[0] for row in ADDED])
def test_what_somebody_added_to_a_pod_is_drift_and_is_taken_away(
    part: str, item: Any, path: str
) -> None:
    live = grown("kubectl-set", **{part: item})
    assert list(drift(live, MADE)) == []
    found = list(additions(live, MADE))
    assert found == [(f"spec.template.spec.{path}", "added by kubectl-set", None)]
    patch = pruning(live, MADE)
    assert patch is not None
    key = "mountPath" if part == "bare_volumeMounts" else "name"
    gone = {key: item[key], "$patch": "delete"}
    pod: dict[str, Any] = {part: [gone]}
    if part.startswith("bare_"):
        pod = {"containers": [{"name": "bare", part[5:]: [gone]}]}
    assert patch == {"spec": {"template": {"spec": pod}}}


def test_one_patch_takes_all_away_that_was_added() -> None:
    lists = {part: item for part, item, _path in ADDED}
    patch = pruning(grown("kubectl-edit", **lists), MADE)
    assert patch is not None
    pod = patch["spec"]["template"]["spec"]
    assert {name: len(rows) for name, rows in pod.items()} == {
        "containers": 2,
        "initContainers": 1,
        "volumes": 1,
    }
    bare = next(row for row in pod["containers"] if row["name"] == "bare")
    assert {name: len(rows) for name, rows in bare.items() if name != "name"} == {
        "env": 1,
        "volumeMounts": 1,
    }


@pytest.mark.parametrize("manager", ["helm", "eoepca.oapip", "Reloader"])
def test_what_came_with_the_chart_or_a_known_tool_is_no_drift(manager: str) -> None:
    live = grown(manager, **{part: item for part, item, _path in ADDED})
    assert list(additions(live, MADE)) == []
    assert pruning(live, MADE) is None


def test_an_addition_that_nobody_owns_is_a_webhooks_and_would_come_back() -> None:
    live = grown(None, bare_env={"name": "FOO", "value": "bar"})
    assert list(additions(live, MADE)) == []


@pytest.mark.parametrize("kind", ["Service", "ConfigMap"])
def test_only_pods_are_looked_through_for_additions(kind: str) -> None:
    live = {"kind": kind, "metadata": {"name": "x"}, "spec": {"ports": [{"name": "y"}]}}
    assert list(additions(live, {**live, "spec": {}})) == []


def test_an_added_variable_is_a_change_without_its_value() -> None:
    desired, current = deployed()
    manifest = "---\n" + json.dumps({**MADE, "apiVersion": "apps/v1"})
    live = grown("kubectl-set", bare_env={"name": "FOO", "value": "hush"})
    live["spec"]["replicas"] = 1
    done = replace(current.releases[0], manifest=manifest)
    objects = {**current.objects, ("Deployment", "zoofpm"): live}
    now = replace(current, objects=objects, releases=[done])
    (change,) = release.plan_present(desired, now, fresh=False)
    assert change.fields == ["spec.template.spec.containers[bare].env[FOO]"]
    assert "hush" not in json.dumps([change.before, change.after])


# -- more or other entries -----------------------------------------------------------------------


def test_what_others_add_is_no_drift_and_what_they_change_is() -> None:
    wanted = {"spec": {"env": [{"name": "A", "value": "1"}]}}
    added = {"spec": {"env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}, "x": 1}
    changed = {"spec": {"env": [{"name": "A", "value": "9"}]}}
    assert list(drift(added, wanted)) == []
    assert list(drift(changed, wanted)) == [("spec.env[A].value", "9", "1")]


def test_one_more_key_of_a_selector_selects_something_else() -> None:
    wanted = {"spec": {"selector": {"app": "zoo"}}}
    live = {"spec": {"selector": {"app": "zoo", "more": "yes"}}}
    assert list(drift(live, wanted)) == [
        ("spec.selector", live["spec"]["selector"], wanted["spec"]["selector"])
    ]


def test_one_more_subject_of_a_binding_lets_somebody_in() -> None:
    wanted = {"subjects": [{"kind": "ServiceAccount", "name": "zoo"}]}
    live = {"subjects": [*wanted["subjects"], {"kind": "User", "name": "stranger"}]}
    assert list(drift(live, wanted)) == [("subjects", live["subjects"], wanted["subjects"])]


def scaled_by(replicas: int, manager: str) -> dict[str, Any]:
    entry = {"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    meta = {"name": "zoofpm", "managedFields": [entry]}
    return {"kind": "Deployment", "metadata": meta, "spec": {"replicas": replicas}}


@pytest.mark.parametrize("spec", [{}, {"replicas": 1}])
def test_a_workload_scaled_by_hand_is_drift_and_one_that_is_autoscaled_is_not(
    spec: dict[str, Any],
) -> None:
    manifest = {"kind": "Deployment", "metadata": {"name": "zoofpm"}, "spec": spec}
    manual = scaled_by(0, "kubectl")
    found = list(drift(manual, comparable(scaled(manifest, manual))))
    assert found == [("spec.replicas", 0, 1)]
    auto = scaled_by(3, "kube-controller-manager")
    assert list(drift(auto, comparable(scaled(manifest, auto)))) == []


def test_a_secrets_plain_data_is_compared_as_stored() -> None:
    manifest = {"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
    assert comparable(manifest)["data"] == {"a": "Yg=="}


@given(st.integers(0, 10**9), st.sampled_from(["", "m", "k", "Ki", "Mi", "Gi", "M"]))
def test_quantities_are_numbers(number: int, unit: str) -> None:
    assert quantity(f"{number}{unit}") is not None


# -- Helm's Secrets and the manifest -------------------------------------------------------------


def secret_of(number: int, status: str = "deployed", name: str = "zoo") -> dict[str, Any]:
    body = {
        "name": name,
        "namespace": "ns",
        "version": number,
        "info": {"status": status, "last_deployed": "2026-01-01T00:00:00Z"},
        "chart": {"metadata": {"name": "zoo-project-dru", "version": "0.10.3"}},
        "config": {"a": 1},
        "manifest": "---\nkind: Service\nmetadata: {name: s}\n---\n# nothing\n",
    }
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(body).encode())))
    return {
        "type": "helm.sh/release.v1",
        "metadata": {"name": f"sh.helm.release.v1.{name}.v{number}", "labels": {"name": name}},
        "data": {"release": packed.decode()},
    }


def test_the_newest_revision_comes_first_and_others_are_left_out() -> None:
    found = revisions([secret_of(2), secret_of(10, "failed"), secret_of(3, name="other")], "zoo")
    assert [(item.revision, item.status) for item in found] == [(10, "failed"), (2, "deployed")]
    assert found[0].values == {"a": 1}
    assert [obj["kind"] for obj in found[0].objects] == ["Service"]


def test_a_chart_is_read_from_a_directory_and_from_an_archive(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "Chart.yaml").write_text("name: zoo-project-dru\nversion: 0.10.3\n")
    archive = tmp_path / "zoo.tgz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "zoo", "zoo")
    for path in (str(tmp_path / "zoo"), str(archive)):
        assert locate(path, "https://repo", "0.10.3") == (path, None, "zoo-project-dru")
        with pytest.raises(OapipError, match=r"it is version 0\.10\.3, not 0\.9\.1"):
            locate(path, None, "0.9.1")
    assert locate("zoo", "https://repo", "1") == ("zoo", "https://repo", "zoo")
    assert locate("oci://r/a/zoo", "https://repo", "1") == ("oci://r/a/zoo", None, "zoo")


def test_a_broken_release_secret_is_named() -> None:
    broken = secret_of(1)
    broken["data"]["release"] = "AAAA"
    with pytest.raises(OapipError, match=r"sh\.helm\.release\.v1\.zoo\.v1"):
        decode(broken)


MANIFEST = """\
---
# Source: a
kind: ConfigMap
metadata: {name: odd}
data: {text: "kind: Deployment stays text"}
---
kind: Deployment
metadata:
  name: zoo-project-dru-zookernel
spec:
  template:
    spec:
      initContainers:
        - {name: init, image: "curl:1"}
      containers:
        - {name: zookernel, image: "zoo:1"}
---
kind: StatefulSet
metadata:
  name: zoo-project-dru-rabbitmq
spec:
  template:
    spec:
      containers:
        - {name: rabbitmq, image: "rabbit:1"}
"""


def test_the_post_renderer_adds_what_the_chart_has_no_values_for() -> None:
    settings = settings_of(ca_pem="pem", pull_secrets=("reg",), images={"curl:1": "mirror/curl:1"})
    patches = build(settings, CHART, KNOWN)[MARK]["patches"]
    rendered = _postrender.rendered(MANIFEST, patches)
    odd, kernel, broker = documents(rendered)
    assert odd == documents(MANIFEST)[0]
    pod = kernel["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["image"] == "mirror/curl:1"
    assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == "/etc/oapip"
    assert pod["volumes"][0]["configMap"] == {"name": "zoo-project-dru-oapip-ca"}
    assert broker["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "reg"}]
    env = build(settings, CHART, KNOWN)["zookernel"]["env"]
    assert env == {"REQUESTS_CA_BUNDLE": "/etc/oapip/ca.crt"}


# -- rollout -------------------------------------------------------------------------------------


def workload(kind: str = "Deployment", **status: Any) -> dict[str, Any]:
    base = {
        "observedGeneration": 2,
        "replicas": 1,
        "updatedReplicas": 1,
        "readyReplicas": 1,
    }
    return {
        "kind": kind,
        "metadata": {"generation": 2},
        "spec": {"replicas": 1},
        "status": {**base, **status},
    }


def test_readiness_waits_for_the_newest_template() -> None:
    assert ready(workload())
    assert not ready(workload(observedGeneration=1))
    assert not ready(workload(updatedReplicas=0))
    assert not ready(workload(readyReplicas=0))
    assert not ready(
        workload("StatefulSet", currentRevision="a", updateRevision="b", updatedReplicas=0)
    )
    assert ready(
        workload("StatefulSet", currentRevision="a", updateRevision="a", updatedReplicas=0)
    )
    assert not ready(None)


def test_a_waiting_container_tells_its_name_image_and_message() -> None:
    pod = {
        "metadata": {"name": "p"},
        "status": {
            "containerStatuses": [
                {
                    "name": "c",
                    "image": "i:1",
                    "state": {
                        "waiting": {"reason": "ImagePullBackOff", "message": "no such image"}
                    },
                }
            ]
        },
    }
    (trouble,) = container_trouble(pod)
    assert trouble.reason == "ImagePullBackOff"
    assert trouble.subject == "Pod p"
    assert trouble.message == "container c, image i:1: no such image"


@pytest.mark.parametrize("secret", ["hush", 'h"u\\s&h<é', "h" * 900])
def test_helm_tells_no_secret_however_its_templates_print_it(tmp_path: Path, secret: str) -> None:
    in_go = json.dumps(secret, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c")
    encoded = base64.b64encode(secret.encode()).decode()
    said = tmp_path / "said"
    said.write_text(f"Error: {secret} {in_go} {json.dumps(secret, ensure_ascii=False)} {encoded}")
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\ncat {said} >&2\nexit 1\n")
    program.chmod(0o700)
    at = ("zoo", "here", str(program))
    for helm in (Helm(*at, hide=[secret]), Helm(*at, hide_too=[secret])):
        with pytest.raises(OapipError) as caught:
            helm.uninstall()
        assert '<secret> "<secret>" "<secret>" <secret>' in str(caught.value)


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        (
            'Error: Patch "https://api/x": read tcp 1->2: read: connection reset by peer',
            "run again",
        ),
        ("Error: server-side apply failed for object a/b: InternalError", "run again"),
        (
            'Error: an error on the server ("<html><body>Sorry</body></html>") has prevented it',
            "a page that is not Kubernetes.*run again",
        ),
        ("Error: the server is currently unable to handle the request (get x)", "run again"),
        ("Error: execution error at (zoo/templates/x.yaml:1:1): no host", "chart and the values"),
    ],
)
def test_a_failure_of_helm_names_the_server_and_whose_it_is(
    tmp_path: Path, said: str, cure: str
) -> None:
    program = tmp_path / "helm"
    program.write_text(f"#!/bin/sh\necho '{said} hush' >&2\nexit 1\n")
    program.chmod(0o700)
    helm = Helm("zoo", "here", str(program), hide=["hush"], server="https://api:6443")
    with pytest.raises(OapipError, match=cure) as caught:
        helm.uninstall()
    told = str(caught.value)
    assert "uninstalling Helm release zoo over the Kubernetes API at https://api:6443: " in told
    assert "hush" not in told
    assert "<html" not in told


def test_an_upgrade_takes_away_what_was_added_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Helm keeps what others own: the next run would find it."""
    patched: list[Any] = []
    live = {**grown("kubectl-set", bare_env={"name": "FOO", "value": "x"}), "kind": None}

    class Cluster(Kube):
        def __init__(self) -> None:
            pass

        def get(self, *_args: Any, **_query: Any) -> Any:
            return {name: part for name, part in live.items() if name != "kind"}

        def patch(self, path: str, body: Any, *_how: Any, **how: Any) -> Any:
            patched.append((path, body, how))
            return {}

    class Program(Helm):
        def upgrade(self, *_args: Any) -> None:
            pass

    made = json.dumps({**MADE, "apiVersion": "apps/v1"})
    desired, current = deployed()
    deployer = _deploy.Deployer(Cluster(), Program("zoo", "zoo"), Context(), "zoo", 5)
    monkeypatch.setattr(deployer, "_newest", lambda: replace(current.releases[0], manifest=made))
    monkeypatch.setattr(deployer, "rollout", lambda _names: {})
    deployer.present([Change("update", "Release", "zoo")], desired, current, "chart", None)
    ((path, body, how),) = patched
    assert path == "/apis/apps/v1/namespaces/zoo/deployments/zoofpm"
    assert how == {"strategic": True}
    assert "FOO" in json.dumps(body)
