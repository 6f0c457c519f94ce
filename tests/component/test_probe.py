"""oapip_probe on the sandbox: everything it makes is removed again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _scratch
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store
from ansible_collections.eoepca.oapip.plugins.modules import oapip_probe
from tests.unit_params import params_of
from tests.writes import Servers

Json = dict[str, Any]


@pytest.fixture
def admin(sandbox: Json) -> Kube:
    return Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])


@pytest.fixture
def store(sandbox: Json) -> Iterator[Json]:
    s3 = sandbox["s3"]
    entry = {
        "endpoint": s3["endpoint"],
        "access_key": s3["access_key"],
        "secret_key": s3["secret_key"],
        "ca_path": sandbox["ca_file"],
        "bucket": f"probe-{secrets.token_hex(3)}",
    }
    yield entry
    client = Store(entry)
    if client.has_bucket(entry["bucket"]):
        client.empty_and_delete(entry["bucket"])


@pytest.fixture
def given(sandbox: Json, store: Json) -> Json:
    return {
        "kubeconfig": sandbox["clusters"][0]["kubeconfig"],
        "namespace": f"test-{secrets.token_hex(3)}",
        "shared_storage_class": "shared",
        "node_selector": {"eoepca.org/processing": "true"},
        "storage": [store],
        "wait_timeout": 60,
    }


def run(given: Json, check: bool = False, **more: Any) -> Json:
    return oapip_probe.run(params_of(oapip_probe, {**given, **more}), Context(check_mode=check))


def scratch(admin: Kube, given: Json) -> Json | None:
    return admin.get(url_of("Namespace", name=f"{given['namespace']}-probe"))


def test_proves_and_leaves_nothing(given: Json, store: Json, admin: Kube) -> None:
    client = Store(store)
    client.create_bucket(store["bucket"])
    told = run(given)
    assert told["changed"] is False
    assert any(store["bucket"] in text for text in told["proved"])
    assert any("not proved here" in text for text in told["not_proved"])  # kwok mounts nothing
    assert scratch(admin, given) is None
    assert list(client.objects(store["bucket"])) == []


def test_known_digest_and_check_mode_write_nothing(given: Json, sandbox: Json) -> None:
    servers = Servers(sandbox)
    mark = servers.mark()
    value = run(given, check=True)["digest"]
    again = run(given, known_digest=value)
    assert again["skipped_by_digest"]
    assert again["proved"] == []
    assert [w for w in servers.since(mark) if given["namespace"] in w.line()] == []


def test_both_failures_are_told_and_all_is_removed(given: Json, store: Json, admin: Kube) -> None:
    wrong = {**store, "secret_key": "wrong-on-purpose"}
    with pytest.raises(OapipError) as caught:
        run(given, shared_storage_class="nix", storage=[wrong], wait_timeout=3)
    text = str(caught.value)
    assert "oapip_shared_storage_class" in text
    assert '"nix" not found' in text  # the cluster's own words
    assert "oapip_s3_secret_key" in text
    assert "wrong-on-purpose" not in text
    assert scratch(admin, given) is None


def test_left_overs_of_a_killed_probe_are_removed(given: Json, admin: Kube) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "eoepca.oapip",
        "app.kubernetes.io/component": "probe",
    }
    name = f"{given['namespace']}-probe"
    meta = {"name": name, "labels": labels}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    run(given, storage=[])
    assert scratch(admin, given) is None


def test_absent_removes_what_a_killed_probe_left(given: Json, store: Json, admin: Kube) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "eoepca.oapip",
        "app.kubernetes.io/component": "probe",
    }
    meta = {"name": f"{given['namespace']}-probe", "labels": labels}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    client, uid = Store(store), oapip_probe.owner_of(admin, given["namespace"])
    client.create_bucket(store["bucket"])
    client.put(store["bucket"], _scratch.key_of(uid), b"left", "text/plain")
    client.put(store["bucket"], "oapip-probe-of-another", b"kept", "text/plain")
    planned = run(given, check=True, state="absent")
    done = run(given, state="absent")
    assert planned["changes"] == done["changes"]
    assert [change["kind"] for change in done["changes"]] == ["Namespace", "Object"]
    assert scratch(admin, given) is None
    left = [entry["Key"] for entry in client.objects(store["bucket"])]
    assert left == ["oapip-probe-of-another"]
    assert run(given, state="absent")["changes"] == []


def test_a_namespace_of_somebody_else_stays(given: Json, admin: Kube) -> None:
    name = f"{given['namespace']}-probe"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        with pytest.raises(OapipError, match="not the probe's"):
            run(given, storage=[])
        assert scratch(admin, given) is not None
    finally:
        admin.delete(url_of("Namespace", name=name))
