"""Each module's no-op task, in Ansible's worker and as a child process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.bench.measure import Budget, CommandError
from tests.harness import ROOT, TaskResult, run_tasks
from tests.keycloak_realm import options_for

Json = dict[str, Any]
RATIO = 0.25
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[!_]*.py"))


def cases(sandbox: Mapping[str, Any], folder: Path) -> dict[str, Json]:
    """Return parameters for each module with which it finds nothing to do."""
    cluster, store = sandbox["clusters"][0], sandbox["s3"]
    kube = {"kubeconfig": cluster["kubeconfig"], "namespace": "nowhere"}
    keycloak = options_for(sandbox, sandbox["keycloak"]["realm"])
    s3 = {name: store[name] for name in ("endpoint", "region", "access_key", "secret_key")}
    s3["ca_path"] = sandbox["ca_file"]
    api = {"url": f"{cluster['gateway_url']}/alice/ogc-api", "ca_path": sandbox["ca_file"]}
    user = {**api, "token": _token(sandbox)}
    strangers = {"name": "a stranger", "path": "/alice/ogc-api/jobs", "expect": [401]}
    settings = {
        "oapip_domain": "example.org",
        "oapip_shared_storage_class": "shared",
        "oapip_block_storage_class": "standard",
        "oapip_s3_endpoint": "https://s3.example.org",
        "oapip_s3_access_key": "key",
        "oapip_s3_secret_key": "key",
        "oapip_oidc_enabled": False,
    }
    return {
        "keycloak_access_info": {
            **keycloak,
            "client_id": "oapip-engine",
            "contexts": [{"name": "alice"}],
        },
        "keycloak_client": {**keycloak, "client_id": "nobody", "state": "absent"},
        "keycloak_protect": {
            **keycloak,
            "client_id": "nobody",
            "marker": "nobody",
            "state": "absent",
        },
        "keycloak_user": {**keycloak, "username": "nobody", "state": "absent"},
        "oapip_cluster_info": {**kube, "helm_binary": sandbox["bin"]["helm"]},
        "oapip_endpoint_info": {
            "url": cluster["gateway_url"],
            "ca_path": sandbox["ca_file"],
            "checks": [strangers],
        },
        "oapip_job": {**user, "job_id": str(uuid.uuid4()), "state": "dismissed"},
        "oapip_job_info": {**user, "limit": 1},
        "oapip_lock": {**kube, "state": "released", "holder": "nobody"},
        "oapip_probe": {**kube, "storage": []},
        "oapip_process": {**user, "workflow": "nobody", "state": "absent"},
        "oapip_process_info": user,
        "oapip_release": {**kube, "helm_binary": sandbox["bin"]["helm"], "state": "absent"},
        "oapip_report": {"path": str(folder / "report.json"), "stages": {}},
        "oapip_route": {**kube, "host": "nowhere.example.org", "state": "absent"},
        "oapip_sample": {**s3, "bucket": "eoepca", "key": "nobody", "state": "absent"},
        "oapip_settings_info": {
            "names": list(settings),
            "values": settings,
            "roles_path": str(ROOT / "roles"),
            "playbooks_path": str(ROOT / "playbooks"),
        },
        "oapip_storage": {**s3, "buckets": ["eoepca"]},
    }


def measure(sandbox: Mapping[str, Any], folder: Path, rounds: int) -> Iterator[Budget]:
    """Yield each module's ratio: both ways take turns in a dry run, one playbook a round."""
    here: dict[str, list[float]] = {module: [] for module in MODULES}
    away: dict[str, list[float]] = {module: [] for module in MODULES}
    for _ in range(rounds):
        tasks: list[Json] = []
        for module, params in cases(sandbox, folder).items():
            task = {f"eoepca.oapip.{module}": params}
            sent = {**task, "environment": {"OAPIP_TEST_SENT": "1"}}
            tasks += [{**task, "name": f"{module} here"}, {**sent, "name": f"{module} sent"}]
        # the first task of all pays for the libraries, which are loaded once a run
        done = run_tasks(folder, [{**tasks[0], "name": "first"}, *tasks], "--check")
        results = {result.task: result for result in done.results}
        for module in MODULES:
            for way, seconds in (("here", here[module]), ("sent", away[module])):
                result = results[f"{module} {way}"]
                if not _is_noop(result):
                    raise CommandError(f"{module} did something, or failed: {result.result}")
                seconds.append(result.seconds)
    for module in MODULES:
        mine = min(here[module])  # a busy machine only adds
        what = f"{module}, {mine * 1000:.0f} ms in the worker: part of a child process"
        yield Budget(what, mine / min(away[module]), "", RATIO)


def _is_noop(result: TaskResult) -> bool:
    return result.status == "ok" and not result.result.get("changed")


def _token(sandbox: Mapping[str, Any]) -> str:
    """Return a token of alice: logging in would be the price of her password's hash."""
    answer = requests.post(
        f"{sandbox['keycloak']['issuer']}/protocol/openid-connect/token",
        data={
            "grant_type": "password",
            "client_id": sandbox["token_client"],
            "username": "alice",
            "password": sandbox["users"]["alice"]["password"],
        },
        verify=sandbox["ca_file"],
        timeout=60,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])
