"""Who gets the lock."""

from __future__ import annotations

import dataclasses
import datetime
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils import _lease
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube
from ansible_collections.eoepca.oapip.plugins.module_utils._lease import Claim
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._wait import Clock, Deadline
from ansible_collections.eoepca.oapip.plugins.modules import oapip_lock
from ansible_collections.eoepca.oapip.plugins.plugin_utils import _in_process

Json = dict[str, Any]
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
MINE = Claim("default", "oapip-zoo", "me@here:1", 60)
OTHER = dataclasses.replace(MINE, holder="you@there:2")


def lease(claim: Claim = OTHER, age: float = 0, **spec: Any) -> Json:
    made = _lease.wanted(None, claim, NOW - datetime.timedelta(seconds=age))
    made["metadata"].update(resourceVersion="5", uid="u")
    made["spec"].update(spec)
    return made


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, "free"),
        (lease(holderIdentity=""), "free"),
        (lease(MINE), "ours"),
        (lease(MINE, age=999), "ours"),
        (lease(age=59), "held"),
        (lease(age=60), "expired"),
        (lease(renewTime="nonsense"), "expired"),
    ],
)
def test_judge(found: Json | None, state: str) -> None:
    assert _lease.judge(found, MINE, NOW) == state


def test_dead_holder_on_this_machine() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        theirs = _lease.process_of(child.pid)
        mine = dataclasses.replace(MINE, process=_lease.process_of(os.getpid()))
        found = lease(dataclasses.replace(OTHER, process=theirs))
        assert _lease.judge(found, mine, NOW) == "held"
        found["spec"]["renewTime"] = _lease.stamp(NOW - datetime.timedelta(days=1))
        assert _lease.judge(found, mine, NOW) == "held"  # it runs, however long it was silent
        assert _lease.judge(found, MINE, NOW) == "expired"
        found = lease(dataclasses.replace(OTHER, process=theirs))
    assert _lease.judge(found, mine, NOW) == "dead"
    assert _lease.judge(found, MINE, NOW) == "held"  # nobody who cannot tell


@pytest.mark.parametrize(
    ("noted", "mine", "alive"),
    [
        ("m/boot1/1/7", "m/boot2/9/9", False),
        ("other/boot1/1/7", "m/boot2/9/9", None),
        ("", "m/boot2/9/9", None),
        ("m/boot2/1/7", "", None),
        ("m/boot2/x/7", "m/boot2/9/9", False),
    ],
)
def test_machines_and_boots(noted: str, mine: str, alive: bool | None) -> None:
    assert _lease.is_alive(noted, mine) is alive


def test_renewal_keeps_the_beginning() -> None:
    old = lease(MINE, age=30)
    new = _lease.wanted(old, MINE, NOW)
    assert new["spec"]["acquireTime"] == old["spec"]["acquireTime"]
    assert new["spec"]["renewTime"] == _lease.stamp(NOW)
    assert new["metadata"]["resourceVersion"] == "5"
    assert new["spec"]["leaseTransitions"] == old["spec"]["leaseTransitions"]
    taken = _lease.wanted(lease(age=99), MINE, NOW)
    assert taken["spec"]["leaseTransitions"] == 2


class Fake(Kube):
    """Answers in turn; the last one stays. Writes conflict as often as said."""

    def __init__(self, *answers: Json | None, conflicts: int = 0) -> None:
        self.answers = list(answers)
        self.conflicts = conflicts
        self.written: list[Json] = []

    def get(self, path: str, **query: str) -> Json | None:  # noqa: ARG002
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def close(self) -> None:
        pass

    def create(self, obj: Any, namespace: str | None = None) -> Json:  # noqa: ARG002
        return self.replace(obj)

    def replace(self, obj: Any, namespace: str | None = None) -> Json:  # noqa: ARG002
        if self.conflicts:
            self.conflicts -= 1
            raise OapipError("replacing", "changed", status=409)
        self.written.append(obj)
        return dict(obj)


def deadline(seconds: float) -> Deadline:
    passed = [0.0]

    def sleep(pause: float) -> None:
        passed[0] += max(pause, 0.01)

    return Deadline(seconds, Clock(lambda: passed[0], sleep))


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lease, "now", lambda: NOW)


def test_waits_and_says_for_whom() -> None:
    said: list[str] = []
    kube = Fake(lease(), lease(), None)
    taken, loser = _lease.acquire(kube, MINE, deadline(60), Context(progress=said.append))
    assert taken["spec"]["holderIdentity"] == MINE.holder
    assert loser is None
    assert len(said) == 1
    assert OTHER.holder in said[0]


def test_gives_up_and_says_for_whom() -> None:
    with pytest.raises(OapipError, match="you@there:2 since 2026-11-22") as caught:
        _lease.acquire(Fake(lease()), MINE, deadline(0), Context())
    assert caught.value.extra["held_by"] == OTHER.holder
    assert "holder" not in caught.value.extra  # whoever gives `lock.holder` back must not free it


def test_a_namespace_that_is_not_there_is_told() -> None:
    class Nowhere(Fake):
        def create(self, obj: Any, namespace: str | None = None) -> Json:  # noqa: ARG002
            raise OapipError("creating", 'namespaces "typo" not found', status=404)

    with pytest.raises(OapipError, match=r"not found.*lock_namespace"):
        _lease.acquire(Nowhere(None), MINE, deadline(0), Context())


class Cluster(Fake):
    """A namespace with notes, and a kube-system."""

    def __init__(self, refused: bool = False, **notes: str) -> None:
        marked = {oapip_lock.MARK + key: value for key, value in notes.items()}
        super().__init__({"metadata": {"uid": "u-1", "annotations": marked}})
        self.host = "https://there"
        self.refused = refused
        self.patches: list[Any] = []

    def get(self, path: str, **query: str) -> Json | None:
        if self.refused:
            raise OapipError("reading", "forbidden", status=403)
        return super().get(path, **query)

    def patch(self, path: str, body: Any, *_how: Any, **_more: Any) -> Json:  # noqa: ARG002
        self.patches.append(body["metadata"]["annotations"])
        return {}


def test_a_note_is_forgotten_once() -> None:
    there = Cluster(proved="a", probed="b")
    assert oapip_lock.note(there, "zoo", {"probed": "b"}, Context(), ["proved"]) == {"proved": ""}
    assert there.patches == [{"oapip.eoepca.org/proved": None}]
    gone = Cluster(probed="b")
    assert oapip_lock.note(gone, "zoo", {"probed": "b"}, Context(), ["proved"]) == {}
    assert gone.patches == []


def test_another_cluster_is_refused() -> None:
    assert oapip_lock.uid_of(Cluster(), None) == oapip_lock.uid_of(Cluster(), "u-1") == "u-1"
    with pytest.raises(OapipError, match="UID u-1, not u-2"):
        oapip_lock.uid_of(Cluster(), "u-2")
    assert oapip_lock.uid_of(Cluster(refused=True), None) == ""
    with pytest.raises(OapipError, match="forbidden"):
        oapip_lock.uid_of(Cluster(refused=True), "u-1")


def test_takes_over_with_a_warning() -> None:
    warned: list[str] = []
    kube = Fake(lease(age=99))
    _taken, loser = _lease.acquire(kube, MINE, deadline(0), Context(warn=warned.append))
    assert loser == OTHER.holder
    assert OTHER.holder in warned[0]


def test_looks_again_after_a_conflict() -> None:
    kube = Fake(None, lease(), conflicts=1)
    with pytest.raises(OapipError, match="holds it"):
        _lease.acquire(kube, MINE, deadline(0), Context())
    assert kube.written == []


def test_dry_run_writes_nothing() -> None:
    for found in (None, lease(), lease(age=99)):
        kube = Fake(found)
        _lease.acquire(kube, MINE, deadline(0), Context(check_mode=True))
        assert kube.written == []


def test_only_our_own_is_given_back() -> None:
    assert not _lease.release(Fake(lease()), MINE, Context())
    assert not _lease.release(Fake(None), MINE, Context())


def test_renewing_keeps_the_process_and_refuses_what_was_lost() -> None:
    bound = dataclasses.replace(MINE, process="m/boot/1/7")
    kube = Fake(lease(bound, age=30))
    _lease.renew(kube, MINE)
    (written,) = kube.written
    assert written["spec"]["renewTime"] == _lease.stamp(NOW)
    assert written["metadata"]["annotations"] == {_lease.PROCESS: "m/boot/1/7"}
    for found in (lease(), None):
        lost = Fake(found)
        with pytest.raises(_lease.LostError, match="it was lost"):
            _lease.renew(lost, MINE)
        assert lost.written == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Fake:
    kube = Fake(lease())
    monkeypatch.setattr(Kube, "connect", lambda *_: kube)
    return kube


def held(taken: float, **more: Any) -> Json:
    where = {"namespace": "default", "name": "oapip-zoo", "seconds": 60, "taken": taken}
    reach = {"kubeconfig": None, "kube_context": None}
    return {"held": True, "holder": MINE.holder, "lease": {**where, **reach}, **more}


def test_a_task_long_after_the_lock_renews_it(asked: Fake) -> None:
    asked.answers = [lease(MINE)]
    _in_process.keep_lock(held(time.time() - 61))
    assert len(asked.written) == 1


@pytest.mark.parametrize("lock", [None, {"skipped": True}, {"held": False}])
def test_a_task_without_a_lock_asks_nobody(asked: Fake, lock: Any) -> None:
    _in_process.keep_lock(lock)
    assert asked.written == []


def test_a_task_soon_after_the_lock_asks_nobody(asked: Fake) -> None:
    _in_process.keep_lock(held(time.time()))
    assert asked.written == []


def test_a_task_of_a_run_that_lost_its_lock_does_not_begin(asked: Fake) -> None:
    with pytest.raises(OapipError, match=OTHER.holder):
        _in_process.keep_lock(held(time.time() - 61))
    assert asked.written == []


def test_a_server_that_cannot_be_asked_stops_no_task(
    asked: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, **_query: str) -> None:
        raise OapipError("reading", f"no answer for {path}")

    monkeypatch.setattr(asked, "get", refuse)
    _in_process.keep_lock(held(time.time() - 61))
