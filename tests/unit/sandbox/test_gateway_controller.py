"""eoepca-guide.md section 5: what becomes of objects, and what their status says."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.gateway.crs import _same
from sandbox.gateway.translate import insert
from tests.unit.sandbox.gateway_bench import Bench, rule, run, secret, serverless

ACCEPTED = {
    "type": "Accepted",
    "status": "True",
    "observedGeneration": 1,
    "reason": "Accepted",
    "message": "",
}
SYNCED = {
    "type": "ResourcesAvailable",
    "status": "True",
    "observedGeneration": 1,
    "reason": "ResourcesSynced",
    "message": "Sync Successfully",
}


def test_a_secret_beats_the_config_and_dots_nest() -> None:
    config: dict[str, Any] = {"client_id": "written", "session": "text", "realm": "r"}
    insert(config, "client_id", "secret")
    insert(config, "session.secret", "s")
    insert(config, "", "ignored")
    assert config == {"client_id": "secret", "session": {"secret": "s"}, "realm": "r"}


def test_accepted_and_the_dotted_secret() -> None:
    async def scenario(bench: Bench) -> None:
        data = {"client_id": "engine", "client_secret": "s", "session.secret": "0" * 16}
        bench.objects["secrets"]["processing", "engine-client"] = secret(data)
        bench.route(rule("all", "/*", plugins=[bench.openid(bearer_only=False)]))
        assert bench.condition() == ACCEPTED
        assert (await bench.ask("/x")).status == 302

    run(scenario)


def test_controller_2_publishes_nothing_without_the_secret() -> None:
    async def scenario(bench: Bench) -> None:
        del bench.objects["secrets"]["processing", "engine-client"]
        bench.route(rule("open", "/open"), rule("all", "/*", plugins=[bench.openid()]))
        condition = bench.condition()
        assert (condition["status"], condition["reason"]) == ("False", "InvalidSpec")
        assert "processing/engine-client" in condition["message"]
        assert (await bench.ask("/open")).status == 404
        assert (await bench.ask("/x")).status == 404

    run(scenario)


def test_controller_2_keeps_what_it_published_when_the_secret_goes() -> None:
    async def scenario(bench: Bench) -> None:
        bench.route(rule("all", "/*", plugins=[bench.openid()]))
        del bench.objects["secrets"]["processing", "engine-client"]
        bench.publish()
        assert bench.condition()["status"] == "False"
        assert (await bench.ask("/x", bench.bearer())).status == 200

    run(scenario)


def test_controller_18_fails_open() -> None:
    async def scenario(bench: Bench) -> None:
        kept = bench.objects["secrets"].pop(("processing", "engine-client"))
        cors = {"name": "cors", "enable": True, "config": {"max_age": 7}}
        bench.route(rule("all", "/*", plugins=[cors, bench.openid(), bench.authz()]))
        assert bench.condition() == SYNCED
        reply = await bench.ask("/bob/x")
        assert (reply.status, reply.headers["access-control-max-age"]) == (200, "7")
        bench.objects["secrets"]["processing", "engine-client"] = kept
        bench.publish()
        assert (await bench.ask("/bob/x")).status == 200, "1.8 does not watch Secrets"
        route = bench.objects["apisixroutes"]["processing", "engine"]
        route["metadata"]["annotations"] = {"digest": "1"}
        bench.publish()
        assert (await bench.ask("/bob/x")).status == 401

    run(scenario, "1.8")


def test_controller_18_ignores_the_secret_of_a_plugin_without_config() -> None:
    async def scenario(bench: Bench) -> None:
        whole = {"client_id": "engine", "discovery": f"{bench.keycloak}/uma2-configuration"}
        bench.objects["secrets"]["processing", "engine-client"] = secret(whole)
        bare = {"name": "authz-keycloak", "enable": True, "secretRef": "engine-client"}
        bench.route(rule("all", "/*", plugins=[bare]))
        assert bench.condition()["reason"] == "ResourceSyncAborted"
        assert (await bench.ask("/x")).status == 404

    run(scenario, "1.8")


def test_without_a_class_2_is_silent_and_18_serves() -> None:
    async def silent(bench: Bench) -> None:
        bench.route(rule("all", "/*"), ingressClassName=None)
        assert bench.published.statuses == []
        assert (await bench.ask("/x")).status == 404
        classes = bench.objects["ingressclasses"]["", "apisix"]["metadata"]
        classes["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
        bench.publish()
        assert (await bench.ask("/x")).status == 200
        bench.route(rule("all", "/*"), ingressClassName="nginx")
        assert bench.published.statuses == []
        assert (await bench.ask("/x")).status == 404

    async def served(bench: Bench) -> None:
        bench.route(rule("all", "/*"), ingressClassName=None)
        assert bench.condition() == SYNCED
        assert (await bench.ask("/x")).status == 200

    run(silent)
    run(served, "1.8")


def test_no_session_secret_and_a_wider_route_answers() -> None:
    async def scenario(bench: Bench) -> None:
        protected = rule("protected", "/alice/*", plugins=[bench.openid(bearer_only=False)])
        bench.route(protected)
        condition = bench.condition()
        assert (condition["status"], condition["reason"]) == ("False", "SyncFailed")
        assert 'property "session.secret" is required' in condition["message"]
        assert (await bench.ask("/alice/x")).status == 404
        bench.route(protected, rule("wide", "/*"))
        assert (await bench.ask("/alice/x")).status == 200

    run(scenario)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ({"name": "nosuch", "config": {}}, "unknown plugin"),
        (serverless({"functions": ["return 1"]}), "only accept Lua function"),
        (serverless({"functions": []}), "functions"),
        ({"name": "authz-keycloak", "config": {"client_id": "x"}}, "allOf 1 failed"),
        ({"name": "openid-connect", "config": {"discovery": "http://x"}}, "client_id"),
        ({"name": "cors", "config": {"allow_credential": True}}, "allow_credential"),
        ({"name": "proxy-rewrite", "config": {}}, "at least 1 properties"),
        ({"name": "proxy-rewrite", "config": {"header": {}}}, "forbidden, found header"),
        ({"name": "openid-connect", "config": {"session": {"secret": 5}}}, "openid-connect"),
        ({"name": "cors", "config": {"_meta": "x"}}, "cors"),
    ],
)
def test_schema_refusals_drop_the_rule_alone(plugin: dict[str, Any], message: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.route(rule("bad", "/bad", plugins=[plugin]), rule("good", "/good"))
        assert message in bench.condition()["message"]
        assert (await bench.ask("/bad")).status == 404
        assert (await bench.ask("/good")).status == 200

    run(scenario)


def test_plugin_config_by_name() -> None:
    async def scenario(bench: Bench) -> None:
        named = rule("all", "/*", plugin_config_name="shared")
        bench.route(named)
        assert bench.condition()["message"].endswith("ApisixPluginConfig: processing/shared")
        assert (await bench.ask("/x")).status == 404
        config = {"plugins": [bench.openid()], "ingressClassName": "apisix"}
        bench.objects["apisixpluginconfigs"]["processing", "shared"] = {
            "metadata": {"name": "shared", "generation": 1},
            "spec": config,
        }
        bench.publish()
        assert bench.condition() == bench.condition("apisixpluginconfigs") == ACCEPTED
        assert (await bench.ask("/x")).status == 401

    run(scenario)


def test_expressions_narrow_a_rule() -> None:
    async def scenario(bench: Bench) -> None:
        path = {"subject": {"scope": "Path"}, "op": "RegexMatch", "value": "^/docs/(a|b)"}
        bench.route(rule("docs", "/*", match={"exprs": [path]}))
        assert (await bench.ask("/docs/a")).status == 200
        assert (await bench.ask("/docs/c")).status == 404
        bench.route(rule("docs", "/*", match={"exprs": [path | {"op": "Nosuch"}]}))
        assert bench.condition()["reason"] == "InvalidSpec"

    run(scenario)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"endpoints": []}, 503),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}]}, 503),
        ({"ports": None}, 503),
        ({"ports": [{"name": "other", "port": 1}]}, 503),
        ({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}}]}, 200),
    ],
)
def test_only_ready_endpoints_on_the_port_count(change: dict[str, Any], status: int) -> None:
    async def scenario(bench: Bench) -> None:
        bench.objects["endpointslices"]["processing", "engine-1"] |= change
        bench.route(rule("all", "/*"))
        assert (await bench.ask("/x")).status == status

    run(scenario)


def test_services_ports_and_engines_that_are_not_there() -> None:
    async def scenario(bench: Bench) -> None:
        slice_ = bench.objects["endpointslices"]["processing", "engine-1"]
        slice_["ports"].append({"name": "admin", "port": 81})
        for port, status in ((80, 200), ("http", 200), (81, 502), (82, 503), ("nosuch", 503)):
            backend = {"serviceName": "engine", "servicePort": port}
            bench.route(rule("all", "/*", backends=[backend]))
            assert (await bench.ask("/x")).status == status
        await bench.stop_engine()
        bench.route(rule("all", "/*"))
        assert (await bench.ask("/x")).status == 502
        del bench.objects["services"]["processing", "engine"]
        bench.publish()
        assert (await bench.ask("/x")).status == 503
        assert bench.condition() == ACCEPTED, "status says nothing about endpoints"

    run(scenario)


def test_plain_ingress_is_open() -> None:
    async def scenario(bench: Bench) -> None:
        backend = {"service": {"name": "engine", "port": {"name": "http"}}}
        paths = [{"path": "/ogc", "pathType": "Prefix", "backend": backend}]
        bench.objects["ingresses"]["processing", "open"] = {
            "kind": "Ingress",
            "metadata": {"name": "open"},
            "spec": {
                "ingressClassName": "apisix",
                "rules": [{"host": "engine.example", "http": {"paths": paths}}],
            },
        }
        bench.publish()
        assert [s.resource for s in bench.published.statuses] == ["ingresses"]
        for target, status in (("/ogc", 200), ("/ogc/x", 200), ("/ogcx", 404)):
            assert (await bench.ask(target)).status == status
        assert (await bench.ask("/ogc", ("Host", "other"))).status == 404

    run(scenario)


def test_status_is_written_only_when_it_differs() -> None:
    known = {"conditions": [ACCEPTED | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert _same(known, {"conditions": [ACCEPTED]})
    assert not _same(known, {"conditions": [ACCEPTED | {"observedGeneration": 2}]})
    assert not _same({}, {"conditions": [ACCEPTED]})
    balancer = {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}
    assert _same(balancer, balancer)
    assert not _same({"loadBalancer": {}}, balancer)
