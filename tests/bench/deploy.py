"""A first deployment, beside nothing but helm and the same requests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench.fleet import CHART, Fleet
from tests.bench.measure import Budget, CommandError

NAMESPACE = "fleet-01"
RELEASE = f"zoo-project-dru-{NAMESPACE}"
HERE = ("--namespace", NAMESPACE)

SHARE = 1.3
PROBE = "Prove transfers and shared volumes"
"""The task that looks before it leaps: Pods that try the volumes, which helm does not do."""


def measure(sandbox: Mapping[str, Any], folder: Path) -> Iterator[Budget]:
    """Yield what site.yml took, and what helm --wait and its requests take by themselves."""
    record = folder / "seconds"
    fleet = Fleet(sandbox, folder, 1)
    try:
        begun = time.monotonic()
        done = fleet.deploy({"OAPIP_BENCH_SECONDS": str(record)})
        site = time.monotonic() - begun
        values = _call(sandbox, "helm", "get", "values", RELEASE, *HERE, "--output", "json")
    finally:
        fleet.remove()
    requests = [float(line) for line in record.read_text().splitlines()]
    probes = sum(one.seconds for one in done.results if PROBE in one.task)
    helm = _helm_alone(sandbox, fleet, values)
    raw = helm + sum(requests)
    yield Budget("first deployment: wall time of site.yml", site, "s")
    yield Budget("first deployment: its probes in Pods", probes, "s")
    yield Budget("first deployment: helm upgrade --install --wait", helm, "s")
    yield Budget(f"first deployment: the {len(requests)} requests of site.yml", sum(requests), "s")
    what = "first deployment without probes, as a multiple of helm and the requests"
    yield Budget(what, (site - probes) / raw, "", SHARE)


def _helm_alone(sandbox: Mapping[str, Any], fleet: Fleet, values: str) -> float:
    """Return the seconds until helm has the same release ready, and take it away again."""
    install = ("upgrade", RELEASE, str(CHART), "--install", "--wait", "--values", "-")
    fleet.nodes("apply")
    _call(sandbox, "kubectl", "create", "namespace", NAMESPACE)
    try:
        begun = time.monotonic()
        _call(sandbox, "helm", *install, *HERE, given=values)
        return time.monotonic() - begun
    finally:
        _call(sandbox, "helm", "uninstall", RELEASE, *HERE, "--wait", "--ignore-not-found")
        _call(sandbox, "kubectl", "delete", "namespace", NAMESPACE)
        fleet.nodes("delete")


def _call(sandbox: Mapping[str, Any], program: str, *args: str, given: str = "") -> str:
    kubeconfig = sandbox["clusters"][0]["admin_kubeconfig"]
    command = [sandbox["bin"][program], *args, "--kubeconfig", kubeconfig]
    done = subprocess.run(
        command, input=given, text=True, capture_output=True, check=False, timeout=300
    )
    if done.returncode:
        raise CommandError(f"{program} {args[0]}: {done.stderr[-800:]}")
    return done.stdout
