"""Many clusters at once: namespaces of their own on the sandbox's first API server.

Each has its release, client, bucket and route. API server, Keycloak, S3 and gateway are shared,
and these run on the same cores as Ansible does, so they are in the figures too.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sandbox.paths import write_private
from sandbox.pki import Authority
from tests.bench import measure as measuring
from tests.bench.converged import HERE, Site, good
from tests.bench.measure import Budget
from tests.harness import ROOT, PlaybookRun, run_playbook

CHART = ROOT / "sandbox" / "chart" / "zoo-project-dru-0.10.3"
FORKS = 50
SECONDS = 0.3
"""Wall seconds a cluster."""
MEGABYTES = 700
PODS = 80
"""Pods for which a further node is played: each takes 110."""
PER_HOST = 5


class Fleet:
    """An inventory of `count` hosts beside the sandbox's own."""

    def __init__(self, sandbox: Mapping[str, Any], folder: Path, count: int) -> None:
        self._cluster = sandbox["clusters"][0]
        self._kubectl = sandbox["bin"]["kubectl"]
        self._folder, self.count = folder, count
        pair = Authority(Path(sandbox["ca_file"]).parent, "sandbox").server(
            "bench-fleet", ("*.fleet.localhost",)
        )
        common = {
            "sandbox_tls_certificate": str(pair.certificate),
            "sandbox_tls_private_key": str(pair.key),
            "oapip_kubeconfig": self._cluster["kubeconfig"],
            "oapip_cluster_uid": self._cluster["uid"],
            "oapip_https_port": self._cluster["https_port"],
            "oapip_helm_binary": sandbox["bin"]["helm"],
            "oapip_chart_ref": str(CHART),
            "oapip_prove": "never",
        }
        # variables of hosts, as those of groups give way to group_vars of the sandbox's inventory
        names = [f"fleet-{number:02}" for number in range(1, count + 1)]
        group = {"hosts": {name: {**common, **self._host(name)} for name in names}}
        self._inventory = folder / "fleet.yml"
        write_private(self._inventory, json.dumps({"clusters": {"children": {"fleet": group}}}))
        self.options = (
            *("-i", str(ROOT / "inventories" / "sandbox"), "-i", str(self._inventory)),
            *("-l", "fleet", "-f", str(FORKS), "-e", "oapip_batches=100%"),
        )
        self.environment = {"PYTHONPATH": str(HERE / "hooks"), "OAPIP_BENCH_RESOLVE": "1"}

    @staticmethod
    def _host(name: str) -> dict[str, str]:
        return {
            "oapip_host": f"{name}.fleet.localhost",
            "oapip_namespace": name,
            "oapip_release_name": f"zoo-project-dru-{name}",
            "oapip_client_id": f"oapip-{name}",
            "oapip_s3_bucket": name,
        }

    def deploy(self, environment: Mapping[str, str] | None = None) -> PlaybookRun:
        """Settle all of it; what is there already is left alone."""
        self.nodes("apply")
        # a few at a time: helm and the controllers are what takes the time
        done = run_playbook(
            ROOT / "site.yml",
            self._folder,
            *self.options,
            *("-f", "4", "-e", f"oapip_report_dir={self._folder}/reports"),
            environment={**self.environment, **(environment or {})},
            timeout=3600,
        )
        return good(done)

    def remove(self) -> None:
        """Take all of it away again, with the nodes it ran on."""
        done = run_playbook(
            ROOT / "playbooks" / "remove.yml",
            self._folder,
            *self.options,
            *("-f", "4", "-e", f"oapip_report_dir={self._folder}/reports"),
            *("-e", "oapip_purge_buckets=true"),
            environment=self.environment,
            timeout=3600,
        )
        good(done)
        self.nodes("delete")

    def nodes(self, verb: str) -> None:
        """Let kwok play nodes enough for all Pods."""
        nodes = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": f"fleet-{number}",
                    "annotations": {"kwok.x-k8s.io/node": "fake"},
                    "labels": {
                        "kubernetes.io/arch": "amd64",
                        "kubernetes.io/os": "linux",
                        "kubernetes.io/hostname": f"fleet-{number}",
                        "eoepca.org/processing": "true",
                    },
                },
            }
            for number in range(1, 2 + self.count * PER_HOST // PODS)
        ]
        options = [] if verb == "apply" else ["--ignore-not-found"]
        subprocess.run(
            [
                *(self._kubectl, "--kubeconfig", self._cluster["admin_kubeconfig"]),
                *(verb, "-f", "-", *options),
            ],
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}),
            text=True,
            check=True,
            capture_output=True,
            timeout=60,
        )


def measure(
    sandbox: Mapping[str, Any], folder: Path, count: int, rounds: int, *, keep: bool
) -> Iterator[Budget]:
    """Deploy, measure the converged run, and remove again unless `keep`."""
    fleet = Fleet(sandbox, folder, count)
    site = Site(folder, *fleet.options)
    try:
        fleet.deploy()
        cost = measuring.median([site.cost(fleet.environment) for _ in range(rounds)])
        # by itself, as looking at so many processes takes time
        peak = site.cost(fleet.environment, memory=True).pss
        whole = count >= FORKS
        what = f"{count} clusters on {os.cpu_count()} cores"
        seconds, megabytes = (SECONDS, MEGABYTES) if whole else (None, None)
        yield Budget(f"{what}: wall time a cluster", cost.wall / count, "s", seconds)
        yield Budget(f"{what}: Ansible's CPU time a cluster", cost.cpu / count, "s")
        yield Budget(f"{what}: memory of all processes", peak, "MB", megabytes)
    finally:
        if not keep:
            fleet.remove()
