"""The probe: how Pods are judged, and what a digest depends on."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _scratch
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store
from ansible_collections.eoepca.oapip.plugins.modules import oapip_probe
from tests.unit_params import params_of

Json = dict[str, Any]


def pods(*phases: str, state: Json | None = None) -> list[Json]:
    status: Json = {"containerStatuses": [{"state": state}]} if state else {}
    return [
        {"metadata": {"name": name}, "status": {"phase": phase, **status}}
        for name, phase in zip(_scratch.PODS, phases, strict=False)
    ]


@pytest.mark.parametrize(
    ("found", "simulated", "expected"),
    [
        ([], False, None),
        (pods("Succeeded"), False, None),
        (pods("Pending", "Running"), False, None),
        (pods("Running", "Running"), False, None),
        (pods("Succeeded", "Succeeded"), False, "done"),
        (pods("Running", "Running"), True, "simulated"),
        (pods("Succeeded", "Succeeded"), True, "simulated"),
        (pods("Pending", "Running"), True, None),
        (pods("Running", "Failed"), False, "failed"),
        (pods("Pending", state={"waiting": {"reason": "ImagePullBackOff"}}), False, "failed"),
        (pods("Pending", state={"waiting": {"reason": "ContainerCreating"}}), False, None),
        (pods("Failed", state={"terminated": {"exitCode": 3}}), False, "failed"),
    ],
)
def test_judge(found: list[Json], simulated: bool, expected: str | None) -> None:
    assert _scratch.judge(found, simulated)[0] == expected


def test_both_pods_hold_the_volume_and_wait_for_each_other() -> None:
    volume = _scratch.Volume("zoo-probe", "nfs", {"a": "b"}, "busybox")
    claim, one, two = volume.objects()
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod, own, other in ((one, "one", "two"), (two, "two", "one")):
        script = pod["spec"]["containers"][0]["command"][-1]
        assert f"> /data/{own}" in script
        assert f"cat /data/{other}" in script
        assert pod["spec"]["nodeSelector"] == {"a": "b"}


class Fake(Store):
    def __init__(self, there: bool, back: bytes | None = None) -> None:
        self.endpoint = "https://s3"
        self.there = there
        self.back = back
        self.calls: list[str] = []

    def has_bucket(self, name: str) -> bool:  # noqa: ARG002
        return self.there

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:  # noqa: ARG002
        assert key == _scratch.key_of("uid zoo")
        self.calls.append("put")
        self.body = body

    def get(self, bucket: str, key: str) -> bytes | None:  # noqa: ARG002
        self.calls.append("get")
        return self.body if self.back is None else self.back

    def delete(self, bucket: str, key: str) -> None:  # noqa: ARG002
        self.calls.append("delete")


def test_transfer() -> None:
    outcome = _scratch.Outcome()
    store = Fake(there=True)
    _scratch.transfer(store, "eoepca", "uid zoo", outcome)
    assert store.calls == ["put", "get", "delete"]
    assert outcome.proved
    assert not outcome.not_proved


def test_missing_bucket_is_noted() -> None:
    outcome = _scratch.Outcome()
    store = Fake(there=False)
    _scratch.transfer(store, "eoepca", "uid zoo", outcome)
    assert store.calls == []
    assert "does not exist yet" in outcome.not_proved[0]


def test_object_is_removed_after_a_failure() -> None:
    store = Fake(there=True, back=b"other")
    with pytest.raises(OapipError, match="other bytes"):
        _scratch.transfer(store, "eoepca", "uid zoo", _scratch.Outcome())
    assert store.calls[-1] == "delete"


def test_what_came_back_wrong_is_said_of_the_server_not_of_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Fake(there=True, back=b"other")
    monkeypatch.setattr(oapip_probe, "Store", lambda _entry: store)
    (finding,) = oapip_probe.transfer({"bucket": "eoepca"}, "uid zoo", _scratch.Outcome())
    assert finding.about == "stage_out_endpoint"
    assert "back from S3 at https://s3" in finding.message


def test_digest() -> None:
    entry = {"endpoint": "https://s3", "access_key": "a", "secret_key": "b", "bucket": "c"}
    given: Json = {"namespace": "zoo", "shared_storage_class": "nfs", "storage": [entry]}

    def value(**more: Any) -> str:
        return oapip_probe.digest(params_of(oapip_probe, {**given, **more}))

    assert value() == value(wait_timeout=5)
    assert value() == value(storage=[{**entry, "secret_key": "x"}])
    assert value() != value(shared_storage_class="other")
    assert value() != value(storage=[{**entry, "bucket": "x"}])
