"""What runs where, and how to go on from here."""

from __future__ import annotations

import json
from typing import Any

import psutil

from sandbox.errors import SandboxError
from sandbox.paths import ENV_FILE, LOGS, RECORD, ROOT
from sandbox.servers import Sandbox

NOT_PROVED = (
    "pods are played by kwok: no container runs, so user ids, mounts, images, the enforcement of",
    "NetworkPolicies and egress are not proved here; neither is the real APISIX, chart or engine",
)


def read_record() -> dict[str, Any]:
    """The record of a sandbox that is up."""
    try:
        record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SandboxError("the sandbox is not up: run `make up` or `make demo`") from None
    return record


def status() -> str:
    """Every server, its state and its memory."""
    supervisor = Sandbox().supervisor
    if not supervisor.is_running():
        raise SandboxError("the sandbox is not up: run `make up` or `make demo`")
    lines = [f"{'server':<32} {'state':<10} {'process':>8} {'memory':>9}  since"]
    total = 0
    for info in supervisor.call("getAllProcessInfo"):
        memory = _memory(info["pid"])
        total += memory
        since = info["description"].partition("uptime ")[2]
        size = f"{memory / 2**20:.0f} MiB"
        lines.append(
            f"{info['name']:<32} {info['statename']:<10} {info['pid'] or '':>8} {size:>9}  {since}"
        )
    lines.append(f"{'':<52} {total / 2**20:.0f} MiB in all; logs in {LOGS}")
    return "\n".join(lines)


def _memory(pid: int) -> int:
    """Proportional set size of a process and its children in bytes."""
    if not pid:
        return 0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_full_info().pss for member in family)
    except psutil.Error:
        return 0


def summary() -> str:
    """The text `make demo` ends with."""
    record = read_record()
    env = ENV_FILE.relative_to(ROOT) if ENV_FILE.is_relative_to(ROOT) else ENV_FILE
    rows = [
        ("Keycloak", "real", f"{record['keycloak']['url']} (realm {record['keycloak']['realm']})"),
        ("S3 (SeaweedFS)", "real", record["s3"]["endpoint"]),
    ]
    for cluster in record["clusters"]:
        rows += [
            (f"{cluster['name']} Kubernetes", "real", f"{cluster['server']} (pods by kwok)"),
            (f"{cluster['name']} gateway", "stand-in", f"{cluster['gateway_url']} -> engine"),
        ]
    table = "\n".join(f"  {what:<24} {kind:<9} {where}" for what, kind, where in rows)
    reports = [ROOT / "reports" / f"{cluster['name']}.json" for cluster in record["clusters"]]
    shown = [str(path.relative_to(ROOT)) for path in reports if path.is_file()]
    return f"""
What runs
{table}

Go on from here (settings and passwords are in {env}, for your eyes only)
  . {env}
  kubectl get pods -A
  TOKEN=$(printf %s "$OAPIP_PASSWORD" | curl -s --cacert "$CA_FILE" \\
    "$KEYCLOAK_URL/realms/$KEYCLOAK_REALM/protocol/openid-connect/token" -d grant_type=password \\
    -d client_id={record["token_client"]} -d "username=$OAPIP_USER" --data-urlencode password@- \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -s --cacert "$CA_FILE" -H "Authorization: Bearer $TOKEN" \\
    "$OAPIP_API_URL/processes" | python3 -m json.tool
  curl -si --cacert "$CA_FILE" "$OAPIP_API_URL/processes" | head -1
  ansible-playbook site.yml --check --diff
The second curl is a stranger's and is refused: 401.

Reports     {", ".join(shown) or "none yet: ansible-playbook site.yml writes them to reports/"}
Logs        {LOGS}
Not proved  {NOT_PROVED[0]}
            {NOT_PROVED[1]}
Stop it     make down    (make help lists the rest)"""
