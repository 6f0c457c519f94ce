"""What the engine does other than one would think, each by name, and what the modules make of it.

Every test first shows the quirk on the wire, so that it fails where the stand-in does not have it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from ansible_collections.eoepca.oapip.plugins.module_utils import _process
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.modules import (
    oapip_job,
    oapip_job_info,
    oapip_process,
    oapip_process_info,
)
from tests import ogc_double
from tests.engine_stand import CWL, OTHER, Stand, call, engine, running
from tests.unit.sandbox.engine_double import Issuer

__all__ = ["engine"]

YAML = "application/cwl+yaml"
JSON = "application/json"
SLEEPER = "processes/sleeper"
JOB: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 60}}


def raw(
    engine: Stand, method: str, path: str, body: str | None = None, **headers: str
) -> requests.Response:
    """Send a request as another client would."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(
        method, f"{engine.url}/{path}", data=body, headers=sent, timeout=20, allow_redirects=False
    )


def by_value(text: str) -> str:
    """A package as JSON, with the CWL in it."""
    return json.dumps({"executionUnit": {"value": text, "mediaType": YAML}})


def package_of(engine: Stand) -> str:
    (about,) = call(oapip_process_info, engine, process_id="sleeper", package=True)["processes"]
    package: str = about["package"]
    return package


def converges(engine: Stand, text: str, *writes: str) -> None:
    """Deploy, with these writes, and once more without any."""
    before = len(engine.writes())
    call(oapip_process, engine, content=text)
    made = [line.replace("/alice/ogc-api/processes", "") for line in engine.writes()[before:]]
    assert made == list(writes)
    assert not call(oapip_process, engine, content=text)["changed"]
    assert len(engine.writes()) == before + len(writes)
    assert package_of(engine) == text


# Packages


def test_406_package(engine: Stand) -> None:
    """/package is 406 for all that asks as clients do."""
    call(oapip_process, engine, content=CWL)
    for accept in ("*/*", JSON):
        assert raw(engine, "GET", f"{SLEEPER}/package", Accept=accept).status_code == 406
    assert package_of(engine) == CWL


@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_extra_newline(engine: Stand, ending: str) -> None:
    """/package adds a newline, whatever the package ends with."""
    text = CWL.rstrip("\n") + ending
    converges(engine, text, "POST ")
    assert raw(engine, "GET", f"{SLEEPER}/package", Accept=YAML).text == text + "\n"


def test_stale_cwl(engine: Stand) -> None:
    """After a PUT as JSON, /package goes on to show the older CWL: the process is another one."""
    call(oapip_process, engine, content=CWL)
    assert raw(engine, "PUT", SLEEPER, by_value(OTHER), Content_Type=JSON).ok
    assert raw(engine, "GET", f"{SLEEPER}/package", Accept=YAML).text == CWL + "\n"
    assert raw(engine, "GET", SLEEPER).json()["title"] == "two"
    converges(engine, CWL, "PUT /sleeper", "DELETE /sleeper", "POST ")
    assert raw(engine, "GET", SLEEPER).json()["title"] == "one"


def test_stale_json(engine: Stand) -> None:
    """A PUT as CWL leaves the JSON of a deployment before it."""
    assert raw(engine, "POST", "processes", by_value(OTHER), Content_Type=JSON).status_code == 201
    converges(engine, CWL, "PUT /sleeper", "DELETE /sleeper", "POST ")
    stored = raw(engine, "GET", f"{SLEEPER}/package", Accept="application/ogcapppkg+json")
    assert "ogcapppkg" not in stored.headers["Content-Type"]


def test_html_500_for_a_package_deployed_as_json(engine: Stand) -> None:
    assert raw(engine, "POST", "processes", by_value(CWL), Content_Type=JSON).status_code == 201
    page = raw(engine, "GET", f"{SLEEPER}/package", Accept=YAML)
    assert (page.status_code, page.headers["Content-Type"][:9]) == (500, "text/html")
    assert not call(oapip_process, engine, content=CWL)["changed"]
    assert package_of(engine) == CWL


def test_delete_with_a_content_type_leaves_half(engine: Stand) -> None:
    call(oapip_process, engine, content=CWL)
    assert raw(engine, "DELETE", SLEEPER, Content_Type=JSON).status_code == 204
    assert raw(engine, "DELETE", SLEEPER).status_code == 204
    call(oapip_process, engine, content=CWL)
    assert call(oapip_process, engine, process_id="sleeper", state="absent")["changed"]
    assert raw(engine, "DELETE", SLEEPER).status_code == 404


def test_left_over_directory(tmp_path: Path) -> None:
    """The database is new, the volume is not: POST is 400 and yet inserts the old code."""
    stand = Stand()
    with running(stand, tmp_path):
        call(oapip_process, stand, content=OTHER)
    for database in tmp_path.glob("state/*/db.json"):
        database.unlink()
    with running(stand, tmp_path):
        converges(stand, CWL, "POST ", "DELETE /sleeper", "POST ")
        assert raw(stand, "GET", SLEEPER).json()["title"] == "one"


def test_409_race(engine: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody deploys between our look and our write."""
    look = _process.observe

    def late(*arguments: Any, **more: Any) -> _process.Current:
        seen = look(*arguments, **more)
        monkeypatch.setattr(_process, "observe", look)
        assert raw(engine, "POST", "processes", OTHER, Content_Type=YAML).status_code == 201
        return seen

    monkeypatch.setattr(_process, "observe", late)
    call(oapip_process, engine, content=CWL)
    assert [line.split()[0] for line in engine.writes()] == ["POST", "POST", "PUT"]
    assert package_of(engine) == CWL


def test_file_not_found_is_all_it_says(engine: Stand) -> None:
    broken = CWL.replace(", out: [out]}", "}")
    refused = raw(engine, "POST", "processes", broken, Content_Type=YAML)
    assert (refused.status_code, refused.json()["detail"]) == (400, "file not found")
    with pytest.raises(OapipError, match=r"file not found.*zoo-project-dru-zookernel"):
        call(oapip_process, engine, content=broken)


def test_references_are_fetched_once_for_ever(engine: Stand) -> None:
    """So the controller fetches them, each time."""
    texts = [CWL]

    def serve(asked: ogc_double.Asked) -> ogc_double.Reply:
        return ogc_double.Reply(200, texts[-1], {"Content-Type": "text/plain"})

    with ogc_double.serving(serve) as double:
        href = json.dumps({"executionUnit": {"href": f"{double.url}/a.cwl", "type": YAML}})
        assert raw(engine, "POST", "processes", href, Content_Type=JSON).status_code == 201
        texts.append(OTHER)
        assert raw(engine, "PUT", SLEEPER, href, Content_Type=JSON).status_code == 204
        assert raw(engine, "GET", SLEEPER).json()["title"] == "one"
        call(oapip_process, engine, src=f"{double.url}/a.cwl")
        assert raw(engine, "GET", SLEEPER).json()["title"] == "two"
        assert not call(oapip_process, engine, src=f"{double.url}/a.cwl")["changed"]


# Processes


def test_hidden_ids(engine: Stand) -> None:
    """An id that is part of a name of the engine's own is stored, hidden, and described as {}."""
    hidden = CWL.replace("id: sleeper", "id: run")
    with pytest.raises(OapipError, match="engine would hide it"):
        call(oapip_process, engine, content=hidden)
    assert engine.writes() == []
    assert raw(engine, "POST", "processes", hidden, Content_Type=YAML).status_code == 500
    assert raw(engine, "GET", "processes/run").json() == {}
    with pytest.raises(OapipError, match="hides a process of this id"):
        call(oapip_process_info, engine, process_id="run")
    with pytest.raises(OapipError, match="hides a process of this id"):
        call(oapip_process, engine, process_id="run", state="absent")
    before = len(engine.writes())
    call(oapip_process, engine, process_id="run", state="absent", force=True)
    assert engine.writes()[before:] == ["DELETE /alice/ogc-api/processes/run"]
    assert raw(engine, "DELETE", "processes/run").status_code == 404


def test_html_500(engine: Stand) -> None:
    """A deployment that the web server ends with a page: no JSON, and the row is there."""
    dotted = CWL.replace("id: sleeper", "id: a.b.c")
    page = raw(engine, "POST", "processes", dotted, Content_Type=YAML)
    assert (page.status_code, page.headers["Content-Type"][:9]) == (500, "text/html")
    with pytest.raises(OapipError, match="which the engine breaks"):
        call(oapip_process, engine, content=dotted)


def test_sigsegv_body(engine: Stand) -> None:
    """Without its database the kernel crashes: that is neither absence nor a server to come."""
    stand_by = engine.source.settings
    engine.source.settings = replace(stand_by, database_ready=False)
    crash = raw(engine, "GET", "processes")
    assert crash.status_code == 500
    assert "SIGSEGV" in crash.json()["detail"]
    for check in (False, True):
        for module, given in (
            (oapip_process, {"content": CWL}),
            (oapip_process, {"process_id": "sleeper", "state": "absent"}),
            (oapip_process_info, {}),
            (oapip_job_info, {}),
            (oapip_job, JOB),
        ):
            with pytest.raises(OapipError, match=r"HTTP 500.*SIGSEGV.*zookernel"):
                call(module, engine, check, **given)
    assert engine.writes() == []


def test_percent_in_a_text(engine: Stand) -> None:
    """A '%s' crashes the whole list; we warn before, and compare packages, not descriptions."""
    lines: list[str] = []
    text = CWL.replace("label: one", "label: 50% off")
    call(oapip_process, engine, warn=lines.append, content=text)
    assert re.search("'%'", lines[0])
    assert raw(engine, "GET", SLEEPER).json()["title"] != "50% off"
    assert not call(oapip_process, engine, content=text)["changed"]
    with pytest.raises(OapipError, match=r"reading process sleeper.*SIGSEGV.* holds a '%'"):
        call(oapip_process, engine, content=text.replace("50% off", "'%s'"))
    assert raw(engine, "GET", "processes").status_code == 500
    with pytest.raises(OapipError, match="SIGSEGV"):
        call(oapip_process_info, engine)
    assert call(oapip_process, engine, process_id="sleeper", state="absent", force=True)["changed"]
    assert call(oapip_process_info, engine)["processes"]


def test_limit_and_skip(engine: Stand) -> None:
    """They are broken for deployed processes, so a list is asked for whole."""
    for name in ("one", "two", "three"):
        call(oapip_process, engine, content=CWL.replace("id: sleeper", f"id: {name}"))
    assert len(raw(engine, "GET", "processes?limit=2").json()["processes"]) == 4
    assert raw(engine, "GET", "processes?skip=2").json()["processes"] == []
    found = call(oapip_process_info, engine)["processes"]
    assert {one["id"] for one in found} == {"echo", "one", "two", "three"}


def test_built_in_processes(engine: Stand) -> None:
    with pytest.raises(OapipError, match="it is immutable"):
        call(oapip_process, engine, process_id="echo", state="absent")
    assert engine.writes() == []


def test_shared_processes(engine: Stand) -> None:
    """One of the anonymous context shows as mutable in every other, where nobody can remove it."""
    anonymous = engine.url.replace("/alice/", "/")
    made = requests.post(
        f"{anonymous}/processes", data=CWL, headers={"Content-Type": YAML}, timeout=20
    )
    assert made.status_code == 201
    assert not call(oapip_process, engine, content=CWL)["changed"]
    with pytest.raises(OapipError, match=r"undeploying process sleeper.*403.*ImmutableProcess"):
        call(oapip_process, engine, process_id="sleeper", state="absent")


# Where answers point to, and who acts


def test_wrong_hosturl(engine: Stand, tmp_path: Path) -> None:
    """Every link names a host that nobody answers at; none is followed."""
    made = raw(engine, "POST", "processes", CWL, Content_Type=YAML)
    assert made.headers["Location"].startswith("http://wrong.invalid/")
    lines: list[str] = []
    call(oapip_process, engine, warn=lines.append, content=OTHER)
    job = call(oapip_job, engine, process_id="echo", inputs={"a": "hello"})
    assert job["job_results"] == {"a": "hello"}
    assert "wrong.invalid" in json.dumps(job["job"]["links"])
    assert call(oapip_job, engine, job_id=job["job_id"], state="dismissed")["changed"]
    assert call(oapip_process, engine, process_id="sleeper", state="absent")["changed"]
    assert lines == []


@contextmanager
def tokens(engine: Stand, folder: Path) -> Iterator[Callable[[str], str]]:
    """Let an issuer sign tokens that the engine trusts, and run another stand-in with it."""
    issuer = Issuer()
    stand = Stand(fetch_keys=issuer.keys)
    stand.source.settings = replace(engine.source.settings, token_env=issuer.env)
    with running(stand, folder):
        engine.url, engine.asked = stand.url, stand.asked
        yield lambda name: issuer.token(preferred_username=name).removeprefix("Bearer ")


def test_username_over_prefix(engine: Stand, tmp_path: Path) -> None:
    """Carol's token on alice's path acts as carol."""
    with tokens(engine, tmp_path / "tokens") as token_of:
        lines: list[str] = []
        call(oapip_process, engine, warn=lines.append, content=CWL, token=token_of("carol"))
        assert len(lines) == 1
        assert lines[0].startswith("the server worked in the context carol, not in alice of url")
        assert raw(engine, "GET", SLEEPER).status_code == 404
        call(oapip_process, engine, warn=lines.append, content=CWL, token=token_of("alice"))
        assert len(lines) == 1


def test_dead_links(engine: Stand, tmp_path: Path) -> None:
    """A service account's name has a hyphen: 0.3.22 makes links that its web server refuses."""
    with tokens(engine, tmp_path / "tokens") as token_of:
        token = token_of("service-account-ci")
        made = raw(
            engine, "POST", "processes", CWL, Content_Type=YAML, Authorization="Bearer " + token
        )
        path = made.headers["Location"].removeprefix("http://wrong.invalid")
        assert path.startswith("/service-account-ci/")
        there = requests.get(
            engine.url.removesuffix("/alice/ogc-api") + path,
            headers={"Authorization": "Bearer " + token},
            timeout=20,
        )
        old = engine.source.settings.flavour.chart == "0.3.22"
        assert (there.status_code == 404) is old
        assert not call(oapip_process, engine, content=CWL, token=token)["changed"]
        job = call(oapip_job, engine, process_id="echo", inputs={"a": "x"}, token=token)
        assert job["job"]["status"] == "successful"


def test_html_404(engine: Stand) -> None:
    """A path that the web server does not know is its page, not an absence: an error about url."""
    urls = [engine.url.replace("ogc-api", "ogc")]
    if engine.source.settings.flavour.chart == "0.3.22":
        urls.append(engine.url.replace("alice", "a-b"))
    for url in urls:
        page = requests.get(f"{url}/processes/x", timeout=20)
        assert (page.status_code, page.headers["Content-Type"][:9]) == (404, "text/html")
        given: dict[str, Any] = {"url": url, "process_id": "x", "state": "absent"}
        with pytest.raises(OapipError, match=r"404.*Check url"):
            call(oapip_process, engine, **given)
        assert call(oapip_process, engine, check=True, **given)["assumed"] == [f"server {url}"]


# Jobs


def test_200_exception_results(engine: Stand) -> None:
    """Results of a failed job are 200, and the only place of the reason."""
    call(
        oapip_process,
        engine,
        content=CWL.replace("seconds: int", "seconds: {type: int, default: 0}"),
    )
    body = json.dumps({"inputs": {}})
    made = raw(engine, "POST", f"{SLEEPER}/execution", body, Prefer="respond-async").json()
    with pytest.raises(OapipError, match="it failed: MissingParameterValue: The <seconds> ") as e:
        call(oapip_job, engine, job_id=made["jobID"])
    answer = raw(engine, "GET", f"jobs/{made['jobID']}/results")
    assert answer.status_code == 200
    assert answer.json()["title"] == "MissingParameterValue"
    told = e.value.as_result()
    assert "accepted to run" in told["job"]["message"]
    assert "accepted to run" not in told["reason"]
    info = call(oapip_job_info, engine, job_id=made["jobID"], results=True)
    assert (info["jobs"][0]["status"], info["job_results"]) == ("failed", None)


def test_logs_of_a_failed_job_have_dead_links(engine: Stand) -> None:
    """The links to them name the wrong host; the files lie beside the API."""
    call(oapip_process, engine, content=CWL.replace("[sleep]", "[sleep, no-such-duration]"))
    with pytest.raises(OapipError, match="it failed: ") as caught:
        call(oapip_job, engine, **JOB, wait_timeout=60)
    told = caught.value.as_result()
    (link,) = [link["href"] for link in told["job"]["links"] if link["rel"] == "related"]
    assert link.startswith("http://wrong.invalid/alice/temp/")
    (tail,) = told["log_tails"]
    root = engine.url.removesuffix("/ogc-api")
    assert tail["url"] == link.replace("http://wrong.invalid/alice", root) == told["logs"][0]
    assert "no-such-duration" in "".join(tail["lines"])
    assert tail["lines"][-1] in told["msg"]


def test_wrong_inputs_fail_late(engine: Stand) -> None:
    """The engine accepts any input; we do not."""
    call(oapip_process, engine, content=CWL)
    body = json.dumps({"inputs": {"secnds": "x"}})
    made = raw(engine, "POST", f"{SLEEPER}/execution", body, Prefer="respond-async")
    assert made.status_code == 201
    before = len(engine.writes())
    with pytest.raises(OapipError, match=r"secnds: .*did you mean seconds\?"):
        call(oapip_job, engine, process_id="sleeper", inputs={"secnds": "x"})
    assert len(engine.writes()) == before


def test_sync_is_for_built_in_processes(engine: Stand) -> None:
    call(oapip_process, engine, content=CWL)
    body = json.dumps({"inputs": {"seconds": 0}})
    assert raw(engine, "POST", f"{SLEEPER}/execution", body).status_code == 500
    given: dict[str, Any] = {"process_id": "sleeper", "inputs": {"seconds": 0}}
    with pytest.raises(OapipError, match="cannot run synchronously"):
        call(oapip_job, engine, **given, mode="sync")
    made = call(oapip_job, engine, process_id="echo", inputs={"a": "hello"}, mode="sync")
    assert made["job_results"] == {"a": "hello"}


def test_job_that_never_ends(engine: Stand) -> None:
    """Without its broker the old kernel accepts jobs that nobody ever runs; the new one says so."""
    call(oapip_process, engine, content=CWL)
    engine.source.settings = replace(engine.source.settings, broker_ready=False)
    if engine.source.settings.flavour.reports_broker:
        with pytest.raises(OapipError, match="failed to send message through AMQP"):
            call(oapip_job, engine, **JOB)
        return
    with pytest.raises(OapipError, match=r"not over after 2 s \(last: running 0 %\)") as caught:
        call(oapip_job, engine, **JOB, wait_timeout=2)
    job_id = caught.value.extra["job_id"]
    assert f"job_id={job_id}" in caught.value.hint
    with pytest.raises(OapipError, match="It was dismissed"):
        call(oapip_job, engine, job_id=job_id, wait_timeout=1, dismiss_on_timeout=True)
    assert raw(engine, "GET", f"jobs/{job_id}").status_code == 404


def test_vanished_job(engine: Stand) -> None:
    """Dismissed by another while we wait: 404, not a job that is `dismissed`."""
    call(oapip_process, engine, content=CWL)
    job_id = call(oapip_job, engine, **JOB, state="started")["job_id"]
    later = threading.Timer(1.0, lambda: raw(engine, "DELETE", f"jobs/{job_id}"))
    later.start()
    with pytest.raises(OapipError, match="dismissed by somebody else, or the server lost it") as e:
        call(oapip_job, engine, job_id=job_id, wait_timeout=30)
    assert e.value.extra["job_id"] == job_id
    assert raw(engine, "GET", f"jobs/{job_id}").status_code == 404


def test_dismissing_a_finished_job_destroys_its_results(engine: Stand) -> None:
    """So it is a change each time there is one, and no change afterwards."""
    job_id = call(oapip_job, engine, process_id="echo", inputs={"a": "x"})["job_id"]
    for changed in (True, False):
        dry = call(oapip_job, engine, check=True, job_id=job_id, state="dismissed")
        real = call(oapip_job, engine, job_id=job_id, state="dismissed")
        assert dry["changed"] is real["changed"] is changed
    assert raw(engine, "GET", f"jobs/{job_id}/results").status_code == 404


def test_the_next_page_forgets_the_filters(engine: Stand) -> None:
    for _ in range(5):
        call(oapip_job, engine, process_id="echo", inputs={"a": "x"})
    call(oapip_process, engine, content=CWL)
    job_id = call(oapip_job, engine, **JOB, state="started")["job_id"]
    page = raw(engine, "GET", "jobs?processID=echo&limit=2").json()
    (following,) = [link["href"] for link in page["links"] if link["rel"] == "next"]
    assert "processID" not in following
    found = call(oapip_job_info, engine, status=["running", "successful"], limit=4)["jobs"]
    assert len(found) == 4
    echoes = call(oapip_job_info, engine, process_id="echo")["jobs"]
    assert len(echoes) == 5
    raw(engine, "DELETE", f"jobs/{job_id}")
