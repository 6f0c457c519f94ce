"""The engine stand-in's pure parts: paths, printf, packages, settings, images."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.engine import answers, flavours, packages, settings
from sandbox.engine.images import commands_of
from sandbox.engine.paths import BadPathError, Door, Route, clean, route


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/alice/ogc-api/", Route(Door.API, "/", "", "alice")),
        ("/alice/ogc-api", Route(Door.STATIC, "/alice/ogc-api")),
        ("/ogc-api/processes?limit=1", Route(Door.API, "/processes", "limit=1")),
        ("/ogc-api?service=WPS&request=GetCapabilities",
         Route(Door.WPS, "", "service=WPS&request=GetCapabilities")),
        ("/ogc-api/?service=WPS", Route(Door.API, "/", "service=WPS")),
        ("/swagger-ui/ogc-api/processes", Route(Door.API, "/processes", "", "swagger-ui")),
        ("/ogc-api/api/ogc-api/jobs", Route(Door.API, "/jobs", "", "ogc-api/api")),
        ("/conformance/ogc-api/jobs", Route(Door.API, "/jobs", "", "conformance")),
        ("/bob/..%2falice/ogc-api/jobs", Route(Door.API, "/jobs", "", "alice")),
        ("/bob/%2e%2e/alice/ogc-api/jobs", Route(Door.API, "/jobs", "", "alice")),
        ("//alice//ogc-api/jobs", Route(Door.API, "/jobs", "", "alice")),
        ("/alice%2fogc-api/jobs", Route(Door.API, "/jobs", "", "alice")),
        ("/bob/..;/alice/ogc-api/jobs", Route(Door.API, "/jobs", "", "bob/..;/alice")),
        ("/bob/%252e%252e/alice/ogc-api/jobs", Route(Door.API, "/jobs", "", "bob/%2e%2e/alice")),
        ("/alice/ogc-api/processes%252f%252e%252e%252fjobs", Route(Door.API, "/jobs", "", "alice")),
        ("/alice/ogc-api/jobs%00", Route(Door.BAD)),
        ("/alice/ogc-api/jobs%zz", Route(Door.BAD)),
        ("/../../ogc-api/jobs", Route(Door.BAD)),
        ("/alice/temp/j/job.log", Route(Door.BROWSE, "j/job.log", "", "alice")),
        ("/alice/ogc-api/processes.html", Route(Door.HTML, "/processes.html", "", "alice")),
        ("/alice/ogc-api/api.html", Route(Door.API, "/api.html", "", "alice")),
        ("/cgi-bin/zoo_loader.cgi?/jobs&limit=1", Route(Door.API, "/jobs", "limit=1")),
        ("/cgi-bin/zoo_loader.cgi?service=WPS", Route(Door.WPS, "", "service=WPS")),
        ("/swagger-ui/oapip/", Route(Door.STATIC, "/swagger-ui/oapip/")),
    ],
)  # fmt: skip
def test_doors(target: str, expected: Route) -> None:
    assert route(target) == expected


def test_old_prefix_is_a_word() -> None:
    assert route("/a-b/ogc-api/jobs", any_prefix=False).door is Door.STATIC
    assert route("/ab/ogc-api/jobs", any_prefix=False).namespace == "ab"


@given(st.lists(st.sampled_from(["a", "..", ".", "", "b%2fc", "%2e%2e", "d;x"]), max_size=8))
def test_clean_leaves_no_dots_and_is_stable(parts: list[str]) -> None:
    try:
        path = clean("/" + "/".join(parts))
    except BadPathError:
        return
    assert not {"..", "."} & set(path.split("/"))
    assert "//" not in path
    assert clean(path) == path


def test_printf_corrupts_and_differs_each_time() -> None:
    first, second = answers.printf('"50% off"'), answers.printf('"50% off"')
    assert "% o" not in first
    assert first != second
    assert first.startswith('"50')
    assert first.endswith('ff"')
    assert answers.printf('100%%, 5%"') == '100%, 5%"'
    assert answers.printf("no sign") == "no sign"


@pytest.mark.parametrize("text", ["100%s", "%n", "%5s", "20% sure"])
def test_printf_crashes(text: str) -> None:
    got = answers.document({"title": text})
    assert (got.status, json.loads(got.body)["title"]) == (500, "NoApplicableCode")
    assert "SIGSEGV" in got.body


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("NoSuchProcess", 404, "Not Found"),
        ("ResultNotReady", 404, "Not Found"),
        ("WorkflowNotFound", 400, "Bad request"),
        ("None", 500, "Not Implemented"),
        ("InvalidQueryParameterValue", 500, "Not Implemented"),
    ],
)
def test_errors_have_three_members(code: str, status: int, reason: str) -> None:
    got = answers.exception(code, "why")
    assert (got.status, got.reason) == (status, reason)
    assert set(json.loads(got.body)) == {"title", "type", "detail"}
    assert got.content_type == "application/json;charset=UTF-8"


def _package(head: str = "", node: str = "") -> packages.Package:
    text = f"cwlVersion: v1.0\n{head}\n$graph:\n- class: Workflow\n  id: w\n  {node}\n"
    return packages.read_package(text + "  inputs: []\n  outputs: []\n  steps: []\n")


@pytest.mark.parametrize(
    ("head", "node", "version"),
    [
        ("", "", "unknown"),
        ("$namespaces: {s: 'https://schema.org/'}\ns:softwareVersion: '1.0'", "", "1.0.0.0"),
        ("$namespaces: {s: 'https://schema.org/'}\ns:softwareVersion: 1.10", "", "1.1.0.0"),
        ("$namespaces: {s: 'https://schema.org/'}\ns:version: 1.2.3", "", "1.2.3"),
        ("$namespaces: {s: 'http://schema.org/'}\ns:softwareVersion: 1.2.3", "", "unknown"),
        ("$namespaces: {s: 'https://schema.org/'}\ns:softwareVersion: 1.2.3",
         "s:softwareVersion: 4.5.6", "4.5.6"),
    ],
)  # fmt: skip
def test_versions(head: str, node: str, version: str) -> None:
    assert packages.version(_package(head, node)) == version


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "just text",
        "{cwlVersion: v1.2, class: CommandLineTool, baseCommand: ls, inputs: [], outputs: []}",
        "{cwlVersion: v1.2, $graph: [{class: Workflow, id: w, inputs: [], outputs: []}]}",
    ],
)
def test_undeployable(text: str) -> None:
    with pytest.raises(packages.PackageError):
        packages.read_package(text)


def test_falsy_defaults_are_lost() -> None:
    text = (
        "{cwlVersion: v1.2, class: Workflow, id: w, outputs: [], steps: [], inputs: "
        "{zero: {type: int, default: 0}, one: {type: int, default: 1}, opt: 'string?'}}"
    )
    assert packages.required(packages.read_package(text)) == ["zero"]


@pytest.mark.parametrize(
    "image",
    ["eoepca/convert", "eoepca/convert:1.0", "mirror.example.org:5000/x/eoepca/convert:1@sha256:0"],
)
def test_offered_images(image: str) -> None:
    folder = commands_of(image)
    assert folder is not None
    assert (folder / "convert.sh").stat().st_mode & 0o111
    assert commands_of("eoepca/other:latest") is None
    assert commands_of("noteoepca/convert") is None


def _deployment(containers: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": containers, "volumes": volumes}}}
    return {
        "metadata": {"labels": {"helm.sh/chart": "zoo-project-dru-0.10.3"}},
        "spec": spec,
        "status": {"readyReplicas": 1},
    }


def _secret(**data: str) -> dict[str, Any]:
    return {"data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}


def _objects(main: str = "", oas: str = "") -> dict[tuple[str, str], dict[str, Any]]:
    return {
        ("ConfigMap", "r-zoo-project-config"): {"data": {"main.cfg": main, "oas.cfg": oas}},
        ("ConfigMap", "ca"): {"data": {"ca.crt": "PEM"}},
        ("Secret", "s3"): _secret(STAGEOUT_OUTPUT="bucket"),
    }


KERNEL = {
    "name": "zookernel",
    "env": [{"name": "ZOO_KEYCLOAK_ISSUER", "value": "https://i"}],
    "volumeMounts": [{"name": "ca", "mountPath": "/etc/ca/x.pem", "subPath": "ca.crt"}],
}
VOLUMES = [{"name": "ca", "configMap": {"name": "ca"}}]


def test_settings_come_from_objects() -> None:
    worker = {
        "name": "zoofpm",
        "envFrom": [{"secretRef": {"name": "s3"}}],
        "env": [{"name": "STAGEOUT_AWS_REGION", "value": "r1"}],
    }
    got = settings.build(
        "k",
        _deployment([KERNEL], VOLUMES),
        _deployment([worker], []),
        _objects(
            "[env]\nREQUESTS_CA_BUNDLE=/etc/ca/x.pem\n[pod_env_vars]\nA=1",
            "[openapi]\nrootUrl=https://h/ogc-api\n[osecurity]\nrealm=eoepca\n",
        ),
        release="r",
    )
    assert got.host_url == "https://h"
    assert got.secured
    assert got.ca_pem == "PEM"
    assert got.token_env["ZOO_KEYCLOAK_ISSUER"] == "https://i"
    assert got.worker_env == {"STAGEOUT_OUTPUT": "bucket", "STAGEOUT_AWS_REGION": "r1"}
    assert got.pod_env == {"A": "1"}
    assert got.worker_ready


def test_a_bundle_in_the_containers_env_does_not_reach_the_kernel() -> None:
    kernel = {**KERNEL, "env": [{"name": "REQUESTS_CA_BUNDLE", "value": "/etc/ca/x.pem"}]}
    got = settings.build("k", _deployment([kernel], VOLUMES), None, _objects(), release="r")
    assert (got.ca_pem, got.ca_missing) == (None, False)


def test_a_bundle_nothing_mounts() -> None:
    main = "[env]\nREQUESTS_CA_BUNDLE=/elsewhere.pem\n"
    got = settings.build("k", _deployment([KERNEL], VOLUMES), None, _objects(main), release="r")
    assert (got.ca_pem, got.ca_missing) == (None, True)


def test_a_missing_secret_keeps_the_worker_from_starting() -> None:
    worker = {"name": "zoofpm", "envFrom": [{"secretRef": {"name": "gone"}}]}
    got = settings.build(
        "k", _deployment([KERNEL], []), _deployment([worker], []), _objects(), release="r"
    )
    assert not got.worker_ready


@pytest.mark.parametrize(
    ("label", "image", "chart"),
    [
        ("zoo-project-dru-0.9.1", "", "0.9.1"),
        ("", "zooproject/zoo-project:dru-228b32857abc", "0.3.22"),
        ("zoo-project-dru-9.9.9", "x:latest", "0.10.3"),
    ],
)
def test_flavours(label: str, image: str, chart: str) -> None:
    assert flavours.flavour_of(label, image).chart == chart
