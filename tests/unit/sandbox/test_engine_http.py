"""The engine stand-in over HTTP: quirk by quirk, with its settings in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.engine import flavours
from tests.unit.sandbox.engine_double import CWL, HOST, SERVICE, Client, Issuer, running

Story = Callable[[Client], Awaitable[None]]
Play = Callable[[Story], None]
OLD = flavours.flavour_of("zoo-project-dru-0.3.22", "")
ASYNC = "respond-async;return=representation"


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Run a story against a fresh engine."""

    def run(story: Story, issuer: Issuer | None = None) -> None:
        async def go() -> None:
            async with running(tmp_path, issuer) as client:
                await story(client)

        asyncio.run(go())

    return run


def test_unknown_service_is_503(play: Play) -> None:
    async def story(engine: Client) -> None:
        assert (await engine("GET", "/", service="other/x-service")).status == 503

    play(story)


def test_landing_and_static_pages(play: Play) -> None:
    async def story(engine: Client) -> None:
        got = await engine("GET", "/alice/ogc-api/")
        assert got.json["links"][0]["href"] == f"{HOST}/alice/ogc-api/"
        assert got.headers["X-Powered-By"] == "ZOO-Project-DRU"
        assert got.headers["X-Also-Also-Also-Powered-By"] == "dru.securityOut"
        assert "Access-Control-Allow-Origin" in got.headers
        assert "Link" in got.headers
        bare = await engine("GET", "/alice/ogc-api")
        assert (bare.status, "X-Powered-By" in bare.headers) == (404, False)
        assert bare.headers["Content-Type"].startswith("text/html")
        assert (await engine("GET", "/")).status == 200
        assert (await engine("GET", "/swagger-ui/oapip/")).status == 200
        moved = await engine("GET", "/ogc-api/api.html")
        assert moved.headers["Location"] == f"{HOST}/swagger-ui/oapip/"
        assert (await engine("GET", "/ogc-api/api")).json["openapi"] == "3.0.3"
        classes = (await engine("GET", "/ogc-api/conformance")).json["conformsTo"]
        assert any(uri.endswith("ogcapi-processes-1/2.0/conf/oas") for uri in classes)
        assert (await engine("GET", "/ogc-api/foo")).status == 400
        assert (await engine("HEAD", "/ogc-api/processes")).status == 200
        assert (await engine("OPTIONS", "/ogc-api/processes")).status == 200

    play(story)


def test_deploy_read_replace_undeploy(play: Play) -> None:
    async def story(engine: Client) -> None:
        made = await engine.deploy()
        assert made.status == 201
        assert made.headers["Location"] == f"{HOST}/alice/ogc-api/processes/hello"
        assert made.json["version"] == "1.2.3"
        assert made.json["links"][0]["href"].endswith("/hello/execution")
        again = await engine.deploy()
        assert (again.status, again.json["title"]) == (409, "DuplicatedProcess")
        assert again.headers["Location"] == made.headers["Location"]
        got = await engine("GET", "/alice/ogc-api/processes/hello")
        assert set(got.json["inputs"]) == {"must", "maybe", "zero"}
        assert got.json["inputs"]["maybe"]["schema"]["nullable"]
        put = await engine(
            "PUT",
            "/alice/ogc-api/processes/hello",
            CWL.replace("Hello doc", "New"),
            Content_Type="application/cwl+yaml; charset=utf-8",
        )
        assert (put.status, put.text, "Location" in put.headers) == (204, "", True)
        assert (await engine("GET", "/alice/ogc-api/processes/hello")).json["description"] == "New"
        gone = await engine("DELETE", "/alice/ogc-api/processes/hello")
        assert (gone.status, "Location" in gone.headers) == (204, False)
        last = await engine("GET", "/alice/ogc-api/processes/hello")
        assert last.json["detail"].startswith("Unable to parse the ZCFG file: hello.zcfg")
        assert (await engine("DELETE", "/alice/ogc-api/processes/hello")).status == 404

    play(story)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("text/yaml", CWL, 415),
        ("application/cwl+json", CWL, 415),
        ("application/cwl", CWL, 201),
        ("application/cwl", "class: CommandLineTool", 400),
        ("application/json", {"executionUnit": {"value": CWL}}, 201),
        ("application/json", {"executionUnit": [{"value": CWL}]}, 201),
        ("application/json", {"executionUnit": [{"unit": CWL}]}, 400),
        ("application/json", {"processDescription": {}, "executionUnit": {"value": CWL}}, 400),
    ],
)
def test_deploy_bodies(play: Play, kind: str, body: object, status: int) -> None:
    async def story(engine: Client) -> None:
        got = await engine("POST", "/alice/ogc-api/processes", body, Content_Type=kind)
        assert got.status == status
        if status == 400:
            assert got.json["detail"] == "file not found"

    play(story)


def test_workflow_is_chosen_by_w(play: Play) -> None:
    async def story(engine: Client) -> None:
        two = CWL + CWL.partition("$graph:\n")[2].replace("id: hello", "id: other")
        assert (await engine.deploy(text=two)).json["id"] == "hello"
        assert (await engine.deploy(text=two, query="?w=other")).json["id"] == "other"
        assert (await engine.deploy(text=two, query="?w=none")).status == 400
        wrong = await engine(
            "PUT", "/alice/ogc-api/processes/hello", two.replace("id: hello", "id: gone"),
            Content_Type="application/cwl",
        )  # fmt: skip
        assert wrong.status == 400

    play(story)


def test_package_wants_accept_and_adds_one_newline(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()
        path = "/alice/ogc-api/processes/hello/package"
        for accept in ("*/*", "application/json", ""):
            got = await engine("GET", path, **({"Accept": accept} if accept else {}))
            assert (got.status, got.json["title"]) == (406, "NotAcceptable")
        for accept in ("application/cwl", "application/cwl+yaml"):
            got = await engine("GET", path, Accept=accept)
            assert got.text == CWL + "\n"
            assert got.headers["Content-Type"] == accept
        built = await engine("GET", path, Accept="application/ogcapppkg+json")
        assert built.headers["Content-Type"] == "application/cwl+json"
        assert built.json["executionUnit"]["value"]["cwlVersion"] == "v1.2"
        static = await engine("GET", "/alice/ogc-api/processes/echo/package", Accept="*/*")
        assert (static.status, static.json["title"]) == (404, "ImmutableProcess")

    play(story)


def test_stale_files(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()
        path = "/alice/ogc-api/processes/hello"
        new = {"executionUnit": {"value": CWL.replace("Hello doc", "New")}}
        assert (await engine("PUT", path, new, Content_Type="application/json")).status == 204
        stale = await engine("GET", path + "/package", Accept="application/cwl")
        assert "Hello doc" in stale.text
        assert (await engine("DELETE", path, Content_Type="application/json")).status == 204
        assert (await engine("GET", path)).status == 404
        assert (await engine("DELETE", path)).status == 204
        assert (await engine("DELETE", path)).status == 404
        await engine("POST", "/alice/ogc-api/processes", new, Content_Type="application/json")
        html = await engine("GET", path + "/package", Accept="application/cwl")
        assert (html.status, html.headers["Content-Type"][:9]) == (500, "text/html")
        whole = await engine("GET", path + "/package", Accept="application/ogcapppkg+json")
        assert whole.json == new

    play(story)


def test_rows_lost_files_left(play: Play, tmp_path: Path) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()

    play(story)
    next(tmp_path.glob("state/*/db.json")).unlink()

    async def after(engine: Client) -> None:
        path = "/alice/ogc-api/processes/hello"
        assert (await engine("GET", path)).status == 404
        assert (await engine.deploy()).status == 400
        assert (await engine("GET", path)).status == 200
        put = await engine("PUT", path, CWL, Content_Type="application/cwl+yaml")
        assert put.status == 204
        assert (await engine("DELETE", path)).status == 204

    play(after)


@pytest.mark.parametrize("name", ["run", "Process", "is", "a"])
def test_hidden_ids(play: Play, name: str) -> None:
    async def story(engine: Client) -> None:
        made = await engine.deploy(text=CWL.replace("id: hello", f"id: {name}"))
        assert (made.status, made.headers["Content-Type"][:9]) == (500, "text/html")
        got = await engine("GET", f"/alice/ogc-api/processes/{name}")
        assert (got.status, got.json) == (200, {})
        listed = (await engine("GET", "/alice/ogc-api/processes")).json
        assert [p["id"] for p in listed["processes"]] == ["echo"]
        assert listed["numberTotal"] == 2
        assert (await engine("DELETE", f"/alice/ogc-api/processes/{name}")).status == 204

    play(story)


def test_lists_are_per_user_and_page_badly(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy("alice")
        await engine.deploy("alice", CWL.replace("id: hello", "id: water"))
        await engine("POST", "/ogc-api/processes", CWL.replace("id: hello", "id: shared"),
                     Content_Type="application/cwl")  # fmt: skip

        async def names(query: str = "", user: str = "alice") -> list[str]:
            got = await engine("GET", f"/{user}/ogc-api/processes{query}")
            return sorted(p["id"] for p in got.json["processes"])

        assert await names() == ["echo", "hello", "shared", "water"]
        assert await names(user="bob") == ["echo", "shared"]
        assert await names("?limit=2") == ["echo", "hello", "shared", "water"]
        assert await names("?limit=1") == ["echo"]
        assert await names("?limit=1&skip=1") == ["hello", "shared", "water"]
        assert await names("?limit=abc") == []
        assert (await engine("DELETE", "/bob/ogc-api/processes/shared")).status == 403
        assert (await engine("DELETE", "/bob/ogc-api/processes/echo")).status == 403
        copy = await engine("PUT", "/bob/ogc-api/processes/shared",
                            CWL.replace("id: hello", "id: shared"),
                            Content_Type="application/cwl")  # fmt: skip
        assert copy.status == 204
        assert await names(user="bob") == ["echo", "shared", "shared"]

    play(story)


def test_percent_corrupts_the_list(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy(text=CWL.replace("Hello doc", "50% off"))
        first = await engine("GET", "/alice/ogc-api/processes")
        assert "50% off" not in first.text
        assert first.text != (await engine("GET", "/alice/ogc-api/processes")).text
        await engine.deploy(text=CWL.replace("Hello doc", "'%s'").replace("id: hello", "id: crash"))
        assert (await engine("GET", "/alice/ogc-api/processes")).status == 500
        got = await engine(
            "GET", "/alice/ogc-api/processes/crash/package", Accept="application/cwl"
        )
        assert (got.status, "%s" in got.text) == (200, True)

    play(story)


def test_methods_that_are_refused(play: Play) -> None:
    async def story(engine: Client) -> None:
        for method, path in (("POST", "jobs"), ("DELETE", "jobs"), ("DELETE", "processes")):
            got = await engine(method, f"/alice/ogc-api/{path}")
            assert (got.status, got.json["title"]) == (405, "InvalidMethod")
        assert (await engine("PUT", "/alice/ogc-api/processes")).status == 500
        assert (await engine("PATCH", "/alice/ogc-api/processes/echo")).status == 200

    play(story)


def test_execution_errors(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()
        path = "/alice/ogc-api/processes/{}/execution"
        got = await engine("POST", path.format("hello"), {"inputs": {}}, Prefer="respond-sync")
        assert (got.status, got.reason, got.json["title"]) == (500, "Not Implemented", "None")
        assert (await engine("POST", path.format("nope"), {}, Prefer=ASYNC)).status == 404
        assert (await engine("POST", path.format("hello"), "", Prefer=ASYNC)).status == 400
        broken = await engine("POST", path.format("hello"), "{", Prefer=ASYNC)
        assert broken.json["detail"].startswith("ZOO-Kernel cannot parse your POST data: ")
        echo = await engine(
            "POST", path.format("echo"), {"inputs": {"a": "x"}, "response": "document"}
        )
        assert (echo.status, echo.json) == (200, {"a": "x"})
        other = await engine("POST", path.format("hello"), {"id": "echo", "inputs": {"a": "y"}})
        assert other.text == "y"
        bad = {"inputs": {"a": "x"}, "outputs": {"b": {}}}
        assert (await engine("POST", path.format("echo"), bad)).status == 400
        engine.double.settings = replace(engine.double.settings, broker_ready=False)
        down = await engine("POST", path.format("hello"), {"inputs": {}}, Prefer=ASYNC)
        assert (down.status, down.json["title"]) == (500, "InternalError")

    play(story)


async def _finished(engine: Client, job_id: str) -> dict[str, Any]:
    for _ in range(100):
        got: dict[str, Any] = (await engine("GET", f"/alice/ogc-api/jobs/{job_id}")).json
        if got["status"] != "running":
            return got
        await asyncio.sleep(0.05)
    raise AssertionError(got)


def test_failed_job_answers_200(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()
        path = "/alice/ogc-api/processes/hello/execution"
        made = await engine("POST", path, {"inputs": {"maybe": "x"}}, Prefer=ASYNC)
        assert made.status == 201
        assert made.headers["Preference-Applied"] == ASYNC
        job_id = made.json["jobID"]
        assert made.json["id"] == job_id
        assert made.json["status"] == "running"
        assert made.headers["Location"] == f"{HOST}/alice/ogc-api/jobs/{job_id}"
        status = await _finished(engine, job_id)
        assert status["status"] == "failed"
        assert status["message"] == "ZOO-Kernel accepted to run your service!"
        assert "progress" not in status
        results = await engine("GET", f"/alice/ogc-api/jobs/{job_id}/results")
        assert (results.status, results.json["title"]) == (200, "MissingParameterValue")
        assert results.json["detail"].startswith("The <must> argument")
        bob = await engine("GET", f"/bob/ogc-api/jobs/{job_id}/results")
        assert bob.status == 200
        assert (await engine("GET", "/bob/ogc-api/jobs")).json["jobs"] == []
        gone = await engine("DELETE", f"/alice/ogc-api/jobs/{job_id}")
        assert (gone.status, gone.json["status"]) == (200, "dismissed")
        for method, tail in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            again = await engine(method, f"/alice/ogc-api/jobs/{job_id}{tail}")
            assert (again.status, again.json["title"]) == (404, "NoSuchJob")

    play(story)


def test_a_job_waits_for_its_worker_and_a_restart_fails_it(play: Play) -> None:
    seen: list[str] = []

    async def story(engine: Client) -> None:
        await engine.deploy()
        engine.double.settings = replace(engine.double.settings, worker_ready=False)
        path = "/alice/ogc-api/processes/hello/execution"
        made = await engine("POST", path, {"inputs": {"must": "x", "zero": 1}}, Prefer=ASYNC)
        seen.append(made.json["jobID"])
        got = await engine("GET", f"/alice/ogc-api/jobs/{seen[0]}")
        assert (got.json["status"], got.json["progress"]) == ("running", 0)
        early = await engine("GET", f"/alice/ogc-api/jobs/{seen[0]}/results")
        assert (early.status, early.json["title"]) == (404, "ResultNotReady")

    play(story)

    async def after(engine: Client) -> None:
        got = await engine("GET", f"/alice/ogc-api/jobs/{seen[0]}")
        assert got.json["status"] == "failed"
        assert got.json["message"].startswith("Unable to run the Service.")

    play(after)


def test_job_filters(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy()
        run = "/alice/ogc-api/processes/{}/execution"
        for name in ("echo", "echo", "hello"):
            made = await engine("POST", run.format(name), {"inputs": {"a": "x"}}, Prefer=ASYNC)
            await _finished(engine, made.json["jobID"])

        async def count(query: str) -> int:
            return len((await engine("GET", f"/alice/ogc-api/jobs?{query}")).json["jobs"])

        assert await count("") == 3
        assert await count("processID=echo") == 2
        assert await count("processid=hello&status=failed") == 1
        assert await count("status=successful") == 2
        assert await count("minDuration=100") == 0
        assert await count("maxDuration=100") == 3
        assert await count("type=process") == 3
        assert await count("datetime=2000-01-01T00:00:00Z/..") == 3
        assert await count("datetime=../2000-01-01T00:00:00Z") == 0
        assert await count("limit=2") == 2
        assert await count("limit=2&skip=2") == 1
        got = await engine("GET", "/alice/ogc-api/jobs?limit=1&skip=1")
        assert [link["rel"] for link in got.json["links"]] == ["self", "prev", "next"]
        bad = await engine("GET", "/alice/ogc-api/jobs?minDuration=x")
        assert (bad.status, bad.json["title"]) == (500, "InvalidQueryParameterValue")

    play(story)


def test_results_by_output_only_in_newer_kernels(play: Play) -> None:
    async def story(engine: Client) -> None:
        run = "/alice/ogc-api/processes/echo/execution"
        made = await engine("POST", run, {"inputs": {"a": "x"}}, Prefer=ASYNC)
        results = f"/alice/ogc-api/jobs/{made.json['jobID']}/results"
        assert (await engine("GET", results)).json == {"a": "x"}
        assert (await engine("GET", results + "/a")).json == "x"
        assert (await engine("GET", results + "/b")).json["title"] == "NoSuchOutput"
        engine.double.settings = replace(engine.double.settings, flavour=OLD)
        assert (await engine("GET", results + "/b")).json == {"a": "x"}
        assert "id" not in (await engine("GET", results.removesuffix("/results"))).json
        assert (await engine("HEAD", "/alice/ogc-api/")).status == 500

    play(story)


def test_database_down(play: Play) -> None:
    async def story(engine: Client) -> None:
        engine.double.settings = replace(engine.double.settings, database_ready=False)
        got = await engine("GET", "/alice/ogc-api/processes")
        assert (got.status, "SIGSEGV" in got.text) == (500, True)
        assert (await engine("GET", "/alice/ogc-api/")).status == 200

    play(story)


def test_doors_stand_open(play: Play) -> None:
    async def story(engine: Client) -> None:
        await engine.deploy("bob")
        wps = await engine("GET", "/ogc-api?service=WPS&request=GetCapabilities")
        assert (wps.status, "<ows:Identifier>echo" in wps.text) == (200, True)
        assert (await engine("GET", "/swagger-ui/ogc-api/processes")).status == 200
        for name in ("Services_Namespace", "X_Services_Namespace"):
            got = await engine("GET", "/alice/ogc-api/processes/hello", **{name: "bob"})
            assert got.json["links"][0]["href"].startswith(f"{HOST}/bob/")
        assert (await engine("GET", "/alice/ogc-api/processes/hello")).status == 404
        assert (await engine("GET", "/alice/temp/..%2f..%2fdb.json")).status != 200

    play(story)


ISSUER = Issuer()
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.parametrize(
    ("token", "secured", "status"),
    [
        (None, False, 200),
        (None, True, 401),
        ("Bearer abc", False, 200),
        ("Bearer abc", True, 403),
        (ISSUER.token(preferred_username="carol"), True, 200),
        (ISSUER.token(aud="account"), False, 401),
        (ISSUER.token(iss="https://elsewhere"), False, 401),
        (ISSUER.token(exp=1), False, 401),
        (ISSUER.token(kid="k2"), False, 401),
        (ISSUER.token(key=STRANGER), False, 401),
        ("Bearer a.b.c", False, 401),
    ],
)
def test_token_check(tmp_path: Path, token: str | None, secured: bool, status: int) -> None:
    async def go() -> None:
        async with running(tmp_path, ISSUER) as engine:
            engine.double.settings = replace(
                engine.double.settings, secured=secured, token_env=ISSUER.env
            )
            headers = {"Authorization": token} if token else {}
            got = await engine("GET", "/alice/ogc-api/processes", **headers)
            assert got.status == status
            if status == 401 and token:
                assert got.json["detail"] == "Invalid JWT token (jwt.securityIn)."
            assert (
                await engine("GET", "/ogc-api?request=GetCapabilities", **headers)
            ).status == 200

    asyncio.run(go())


def test_token_wins_over_prefix_and_header_over_token(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path, ISSUER) as engine:
            engine.double.settings = replace(engine.double.settings, token_env=ISSUER.env)
            token = ISSUER.token(preferred_username="carol")
            made = await engine("POST", "/alice/ogc-api/processes", CWL,
                                Content_Type="application/cwl", Authorization=token)  # fmt: skip
            assert made.headers["Location"] == f"{HOST}/carol/ogc-api/processes/hello"
            path = "/alice/ogc-api/processes/hello"
            assert (await engine("GET", path)).status == 404
            assert (await engine("GET", path, X_Http_Authorization=token)).status == 200
            moved = await engine("GET", path, Authorization=token, Services_Namespace="bob")
            assert moved.status == 404

    asyncio.run(go())


def test_without_an_issuer_every_token_is_refused(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(tmp_path, ISSUER) as engine:
            got = await engine("GET", f"/{SERVICE}/ogc-api/jobs", Authorization=ISSUER.token())
            assert got.status == 401

    asyncio.run(go())
