"""The counting of writes, on samples of the servers' own logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.writes import kubernetes_writes, s3_counts


def _event(verb: str = "patch", resource: str = "secrets", **more: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "verb": verb,
        "stage": "ResponseComplete",
        "user": {"username": "operator"},
        "requestURI": f"/api/v1/namespaces/n/{resource}/x",
        "objectRef": {"resource": resource, "namespace": "n", "name": "x"},
        "responseStatus": {"code": 200},
    }
    return {**event, **more}


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete", "deletecollection"])
def test_a_mutating_verb_is_a_write(verb: str) -> None:
    (write,) = kubernetes_writes([_event(verb)], "operator")
    assert write == {"action": verb, "target": "secrets n/x", "user": "operator", "status": 200}


def test_a_refused_write_counts_too() -> None:
    (write,) = kubernetes_writes([_event(responseStatus={"code": 403})], "operator")
    assert write["status"] == 403


@pytest.mark.parametrize(
    "event",
    [
        _event("get"),
        _event("list"),
        _event("watch"),
        _event(stage="RequestReceived"),
        _event(user={"username": "system:kube-scheduler"}),
        _event("create", "selfsubjectaccessreviews"),
        _event("create", "selfsubjectrulesreviews"),
        _event("update", "leases"),
        _event(requestURI="/api/v1/namespaces/n/secrets/x?fieldManager=f&dryRun=All"),
    ],
    ids=lambda event: f"{event['verb']}-{event['objectRef']['resource']}-{event['stage']}",
)
def test_what_is_no_write(event: dict[str, Any]) -> None:
    assert not list(kubernetes_writes([event], "operator"))


def test_s3_counts_only_what_mutates() -> None:
    metrics = """
# TYPE SeaweedFS_s3_request_total counter
SeaweedFS_s3_request_total{bucket="eoepca",code="200",type="PUT"} 3
SeaweedFS_s3_request_total{bucket="eoepca",code="403",type="PUT"} 1
SeaweedFS_s3_request_total{bucket="eoepca",code="200",type="GET"} 9
SeaweedFS_s3_request_total{bucket="",code="200",type="LIST"} 2
SeaweedFS_s3_request_total{bucket="eoepca",code="204",type="DELETE"} 1
"""
    assert s3_counts(metrics) == {"PUT eoepca": 4, "DELETE eoepca": 1}
