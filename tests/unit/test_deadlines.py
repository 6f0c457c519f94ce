"""A wait on the cluster ends at its deadline, also where the API server says nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import kubernetes.client
import pytest
import urllib3

from ansible_collections.eoepca.oapip.plugins.module_utils import (
    _deploy,
    _http,
    _kube,
    _lease,
    _rollout,
    _scratch,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._helm import Helm
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, Listing, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._publish import Publisher
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Deadline
from tests.simulated_clock import Simulated

Json = dict[str, Any]
PATH = url_of("Pod", "zoo")
SLACK = 1.5  # seconds for a busy machine


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kube, "LAST_LOOK", 0.2)
    monkeypatch.setattr(_kube, "READ_SECONDS", 4.0)
    monkeypatch.setattr(_kube, "CONNECT_SECONDS", 4.0)


@pytest.fixture
def silent() -> Iterator[Kube]:
    """A server that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        settings = kubernetes.client.Configuration()
        settings.host = f"http://127.0.0.1:{server.getsockname()[1]}"
        kube = Kube(kubernetes.client.ApiClient(settings))
        yield kube
        kube.close()


def seconds_of(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


def failing(act: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with pytest.raises(OapipError, match=r"no answer from http://127"):
            act()

    return run


ACTS: dict[str, Callable[[Kube], object]] = {
    "get": lambda kube: kube.get(PATH),
    "list": lambda kube: kube.list(PATH),
    "delete": lambda kube: kube.delete(PATH),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_no_request_outlives_the_deadline(silent: Kube, act: Callable[[Kube], object]) -> None:
    bound = silent.until(Deadline(0.5))
    assert seconds_of(failing(lambda: act(bound))) < 0.7 + SLACK


def test_no_watch_outlives_the_deadline(silent: Kube) -> None:
    bound = silent.until(Deadline(0.5))
    assert seconds_of(lambda: list(bound.watch(PATH, "1", 2.0))) < 0.7 + SLACK


def test_a_look_at_the_very_end_is_still_a_look(silent: Kube) -> None:
    assert 0.1 < seconds_of(failing(lambda: silent.until(Deadline(0)).get(PATH))) < 0.2 + SLACK


class Sent(Kube):
    """Notes the limits of each attempt, which takes all of its time, and breaks each."""

    def __init__(self, clock: Simulated) -> None:
        self.host = "https://there"
        self.clock = clock
        self.limits: list[float] = []

    def _send(self, *_args: Any, read_seconds: float | None = None, **_more: Any) -> Any:
        timeout = self._timeout(read_seconds)
        limit = min(timeout.total, timeout._read)
        self.limits.append(limit)
        self.clock.pass_by(limit)
        raise urllib3.exceptions.ReadTimeoutError(None, "", "read timed out")  # type: ignore[arg-type]


def test_attempts_and_reads_share_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "pause", lambda *_args: 1.0)
    clock = Simulated()
    kube = Sent(clock)
    with pytest.raises(OapipError, match="no answer"):
        kube.until(Deadline(10, clock)).get(PATH)
    assert kube.limits == [4.0, 4.0]  # and a pause between: no third one would begin in time
    assert clock.time <= 10
    clock = Simulated()
    kube = Sent(clock)
    deadline = Deadline(10, clock)
    clock.pass_by(9)
    with pytest.raises(OapipError, match="no answer"):
        kube.until(deadline).get(PATH)
    assert kube.limits == [1.0]


# -- the waits -----------------------------------------------------------------------------------


def deployer(kube: Kube, wait_timeout: int) -> _deploy.Deployer:
    return _deploy.Deployer(kube, Helm("zoo", "zoo"), Context(), "zoo", wait_timeout)


class Deaf(Kube):
    """Takes a deletion and is silent from then on."""

    def __init__(self, silent: Kube) -> None:
        self._client = silent._client
        self.host = silent.host

    def delete(self, *_args: Any, **_more: Any) -> bool:
        return True


def test_the_wait_for_a_namespace_to_go(silent: Kube) -> None:
    gone = [Change("delete", "Namespace", "zoo")]
    taken = seconds_of(failing(lambda: deployer(Deaf(silent), 1).absent(gone)))
    assert taken < 1.2 + SLACK


def test_the_wait_for_a_rollout(silent: Kube) -> None:
    names = {("Deployment", "zoo")}
    assert seconds_of(failing(lambda: deployer(silent, 1).rollout(names))) < 1.2 + SLACK


def test_the_wait_for_the_controllers_word(silent: Kube) -> None:
    publisher = Publisher(silent, Context(), "zoo", {}, [])
    word = failing(lambda: publisher._word_on("ApisixRoute", "zoo", Deadline(1)))
    assert seconds_of(word) < 1.2 + SLACK


def test_the_wait_for_the_probes_pods(silent: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    class Writes(Deaf):
        def create(self, *_args: Any, **_more: Any) -> Json:
            return {}

    monkeypatch.setattr(_scratch, "_claim_namespace", lambda *_args: None)
    monkeypatch.setattr(_scratch, "_remove_namespace", lambda *_args: None)
    volume = _scratch.Volume("zoo", "shared", {}, "busybox")
    deadline = Deadline(1)
    share = failing(
        lambda: _scratch.share(Writes(silent), volume, deadline, _scratch.Outcome(), Context())
    )
    assert seconds_of(share) < 1.2 + SLACK


def test_the_wait_for_the_probes_namespace(silent: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scratch, "GONE_SECONDS", 1.0)
    taken = seconds_of(failing(lambda: _scratch._await_gone(silent, PATH)))
    assert taken < 1.2 + SLACK


HELD: Json = {
    "metadata": {"name": "lock", "resourceVersion": "1"},
    "spec": {
        "holderIdentity": "somebody",
        "renewTime": _lease.stamp(_lease.now()),
        "leaseDurationSeconds": 3600,
    },
}


def test_who_waits_for_a_lock_is_told_the_holder_though_the_last_look_fails(silent: Kube) -> None:
    class Once(Deaf):
        looks = 0

        def get(self, path: str, **query: str) -> Json | None:
            Once.looks += 1
            return HELD if Once.looks == 1 else super().get(path, **query)

    claim = _lease.Claim("default", "lock", "me", 60)

    def acquire() -> None:
        with pytest.raises(OapipError, match="somebody holds it"):
            _lease.acquire(Once(silent), claim, Deadline(1.5), Context())

    assert seconds_of(acquire) < 1.7 + SLACK
    assert Once.looks == 2


# -- the reason ----------------------------------------------------------------------------------


class Broken(Kube):
    """A Deployment whose pod cannot pull; silent once the reason is known."""

    def __init__(self, state: str) -> None:
        self.looks = 0
        self.state = state

    def list(self, path: str, *_args: Any, **_more: Any) -> list[Json]:
        if path.endswith("deployments"):
            self.looks += 1
            if self.looks > 1:
                raise OapipError("reading", "no answer")
            return [{"metadata": {"name": "zoo"}, "spec": {}, "status": {}}]
        return []

    def listing(self, *_args: Any, **_more: Any) -> Listing:
        waiting = {"waiting": {"reason": self.state, "message": "no such image"}}
        owner = [{"name": "zoo-1", "kind": "ReplicaSet"}]
        meta = {"name": "zoo-1-a", "ownerReferences": owner}
        status = {"containerStatuses": [{"name": "c", "image": "i", "state": waiting}]}
        return Listing([{"metadata": meta, "status": status}], "1")


@pytest.mark.parametrize(
    ("state", "seconds", "words"),
    [("InvalidImageName", 60, "InvalidImageName"), ("ImagePullBackOff", 0, "the time is up")],
)
def test_the_reason_of_a_failed_rollout_survives_a_server_that_is_gone(
    state: str, seconds: int, words: str
) -> None:
    deadline = Deadline(seconds, Simulated())
    names = {("Deployment", "zoo")}
    rollout = _rollout.Rollout(Broken(state), "zoo", names, deadline, lambda _line: None)
    with pytest.raises(OapipError, match=words) as failed:
        rollout.wait()
    assert failed.value.extra["workloads"] == [
        {"kind": "Deployment", "name": "zoo", "replicas": 1, "ready": 0}
    ]
