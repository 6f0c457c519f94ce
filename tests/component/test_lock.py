"""oapip_lock on a real API server."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_lock
from tests.harness import run_tasks
from tests.unit_params import params_of

Json = dict[str, Any]


@pytest.fixture
def admin(sandbox: Json) -> Kube:
    return Kube.connect(sandbox["clusters"][0]["admin_kubeconfig"])


@pytest.fixture
def given(sandbox: Json, admin: Kube) -> Iterator[Json]:
    name = f"lock-{secrets.token_hex(3)}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield {"kubeconfig": sandbox["clusters"][0]["kubeconfig"], "namespace": name}
    admin.delete(url_of("Lease", "default", f"oapip-{name}"))
    admin.delete(url_of("Namespace", name=name))


def run(given: Json, ctx: Context | None = None, **more: Any) -> Json:
    return oapip_lock.run(params_of(oapip_lock, {**given, **more}), ctx or Context())


def test_whole_life(given: Json, admin: Kube) -> None:
    path = url_of("Lease", "default", f"oapip-{given['namespace']}")
    assert run(given, Context(check_mode=True))["held"] is False
    assert admin.get(path) is None

    mine = run(given)
    assert mine["held"]
    assert mine["changes"] == []
    assert run(given, holder=mine["holder"])["held"]  # renewed
    with pytest.raises(OapipError, match=mine["holder"]):
        run(given)

    warned: list[str] = []
    run(given, Context(warn=warned.append), holder="somebody", state="released")
    assert "was not held by somebody" in warned[0]
    assert admin.get(path) is not None
    run(given, holder=mine["holder"], state="released")
    assert admin.get(path) is None


def test_a_silent_holder_loses_it(given: Json) -> None:
    first = run(given, duration=1)
    warned: list[str] = []
    second = run(given, Context(warn=warned.append), wait=10)
    assert second["taken_over_from"] == first["holder"]
    assert first["holder"] in warned[0]


def test_a_dead_holder_loses_it_at_once(given: Json) -> None:
    child = os.fork()
    if child == 0:
        threading.Event().wait(30)
        os._exit(0)
    first = run(given, pid=child)
    with pytest.raises(OapipError, match="holds it"):
        run(given, pid=os.getpid())
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert run(given, pid=os.getpid())["taken_over_from"] == first["holder"]


def test_of_many_at_once_one_wins(given: Json) -> None:
    won: list[str] = []
    lost: list[str] = []

    def take(name: str) -> None:
        try:
            won.append(run(given, holder=name)["holder"])
        except OapipError:
            lost.append(name)

    threads = [threading.Thread(target=take, args=(f"run-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7


def test_notes(given: Json, admin: Kube) -> None:
    mine = run(given)["holder"]
    record = {"probed": "abc", "proved": ""}
    path = url_of("Namespace", name=given["namespace"])
    dry = run(given, Context(check_mode=True), holder=mine, state="released", record=record)
    assert dry["recorded"] == {"probed": "abc"}
    before = admin.get(path)
    assert before is not None
    assert "annotations" not in before["metadata"]

    done = run(given, holder=mine, state="released", record=record)
    assert done["recorded"] == {"probed": "abc"}
    noted = admin.get(path)
    assert noted is not None
    assert noted["metadata"]["annotations"] == {"oapip.eoepca.org/probed": "abc"}
    again = run(given, holder=mine, state="released", record=record)
    assert again["recorded"] == {}
    after = admin.get(path)
    assert after is not None
    assert after["metadata"]["resourceVersion"] == noted["metadata"]["resourceVersion"]


def test_through_ansible(given: Json, admin: Kube, tmp_path: Path) -> None:
    """The lock is bound to the run: the next one takes it over without waiting."""
    module = "eoepca.oapip.oapip_lock"
    first = run_tasks(tmp_path, [{"name": "take", module: given}]).of("take")
    assert first.status == "ok"
    assert first.result["held"]
    lease = admin.get(url_of("Lease", "default", f"oapip-{given['namespace']}"))
    assert lease is not None
    assert "oapip.eoepca.org/process" in lease["metadata"]["annotations"]
    second = run_tasks(tmp_path, [{"name": "take", module: given}]).of("take")
    assert second.result["taken_over_from"] == first.result["holder"]
