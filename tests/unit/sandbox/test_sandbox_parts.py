"""The sandbox's pure parts: ports, files, supervisor's configuration, prerequisites, inventory."""

from __future__ import annotations

import configparser
import importlib.util
import ipaddress
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509 import verification

from sandbox import fetch, lock, pki, prerequisites, record, supervise
from sandbox.errors import SandboxError, explain
from sandbox.keycloak import java
from sandbox.paths import CACHE, ROOT, write_private
from sandbox.ports import RANGE, Ports

RECORD: dict[str, Any] = {
    "ca_file": "/with space/ca.crt",
    "keycloak": {
        "url": "https://localhost:1",
        "realm": "eoepca",
        "admin_user": "admin",
        "admin_password": "it's $HOME `id`",
    },
    "s3": {"endpoint": "https://localhost:2", "access_key": "a", "secret_key": "b"},
    "users": {"alice": {"password": "x"}, "bob": {"password": "y"}},
    "tls": {"certificate": "/c", "private_key": "/k"},
    "bin": {"helm": "/bin/helm"},
    "clusters": [
        {
            "name": f"sandbox-{number}",
            "uid": f"uid-{number}",
            "kubeconfig": f"/k{number}",
            "gateway_url": f"https://localhost:{number}",
            "https_port": number,
        }
        for number in (3, 4)
    ],
}


# --- ports ----------------------------------------------------------------------------------------


def test_ports_are_kept_and_never_given_twice() -> None:
    kept: dict[str, int] = {}
    ports = Ports(kept, free=lambda port: True)
    names = [f"server-{number}" for number in range(50)]
    first = [ports(name) for name in names]
    assert len(set(first)) == 50
    assert all(port in RANGE for port in first)
    assert [Ports(kept, free=lambda port: False)(name) for name in names] == first


def test_a_port_that_another_program_took_is_picked_anew() -> None:
    kept = {"keycloak": RANGE.start, "s3": RANGE.start + 1}
    ports = Ports(kept, free=lambda port: port != RANGE.start)
    assert ports.forget_taken() == ["keycloak"]
    assert ports("keycloak") not in (RANGE.start, RANGE.start + 1)
    assert ports("s3") == RANGE.start + 1


# --- files ----------------------------------------------------------------------------------------


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new/env"
    previous = os.umask(0)
    try:
        write_private(path, "one")
        write_private(path, "two")
    finally:
        os.umask(previous)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_environment_file_survives_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(record.environment(RECORD))
    script = f'. {shlex.quote(str(path))}; printf "%s\\n" "$CA_FILE" "$KEYCLOAK_ADMIN_PASSWORD"'
    shell = subprocess.run(["sh", "-uc", script], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines() == ["/with space/ca.crt", "it's $HOME `id`"]


def test_the_environment_file_exports_what_the_readme_promises() -> None:
    text = record.environment(RECORD)
    promised = (
        "KUBECONFIG OAPIP_URL KEYCLOAK_URL KEYCLOAK_REALM KEYCLOAK_ADMIN_USER S3_ENDPOINT "
        "KEYCLOAK_ADMIN_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY CA_FILE OAPIP_USER OAPIP_PASSWORD "
        "OAPIP_OTHER_USER OAPIP_OTHER_PASSWORD"
    )
    for name in promised.split():
        assert f"export {name}=" in text


def test_settings_keep_their_secrets(tmp_path: Path) -> None:
    settings = record.Settings()
    first = settings.secret("s3-secret")
    settings.save(tmp_path / "settings.json")
    assert record.Settings.load(tmp_path / "settings.json").secret("s3-secret") == first
    assert len(first) == 24
    assert first.isalnum()


# --- supervisor's configuration -------------------------------------------------------------------


def test_each_server_has_a_section_and_nothing_listens_on_tcp(tmp_path: Path) -> None:
    command = ["/bin/with space", "--format=%(x)s", 'a"b']
    programs = [supervise.Program("one", command, {"A": "1%"}), supervise.Program("two", ["/b"])]
    text = supervise.render(programs, tmp_path, tmp_path)
    parsed = configparser.RawConfigParser()
    parsed.read_string(text)
    assert "inet_http_server" not in parsed.sections()
    assert parsed["unix_http_server"]["chmod"] == "0700"
    words = shlex.split(parsed["program:one"]["command"] % {})
    assert words[-3:] == command
    assert parsed["program:one"]["environment"] == 'A="1%%"'
    assert parsed["program:two"]["autorestart"] == "true"


def test_a_command_that_supervisor_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not expressible"):
        supervise.render([supervise.Program("x", ["/a", "b ; c"])], tmp_path, tmp_path)


def test_a_changed_configuration_file_changes_the_program(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    program = supervise.Program("x", ["/a"], reads=[policy])
    policy.write_text("one")
    before = supervise.render([program], tmp_path, tmp_path)
    policy.write_text("two")
    assert supervise.render([program], tmp_path, tmp_path) != before


# --- prerequisites --------------------------------------------------------------------------------


def test_everything_missing_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(prerequisites, "DISK_COLD", 2**60)
    problems = prerequisites.missing(cold=True)
    text = prerequisites.message(problems)
    assert len(problems) == 3
    for word in ("Darwin", "Maven", "apt install maven", "GiB free", "OAPIP_CACHE"):
        assert word in text


def test_a_warm_run_needs_no_maven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not prerequisites.missing(cold=False)


def test_the_newest_java_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = []
    for version in ("17.0.15", "25.0.1", "21.0.8"):
        home = tmp_path / version
        home.mkdir()
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\n')
        homes.append(home)
    monkeypatch.setattr(java, "candidates", lambda: homes)
    assert java.newest() == (tmp_path / "25.0.1", 25)


def test_an_old_java_means_the_one_from_pypi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "newest", lambda: (Path("/usr/lib/jvm/17"), 17))
    assert fetch.java_home("26.7.4") == CACHE / "java"


def test_an_older_keycloak_gets_an_older_java(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("17.0.15", "25.0.1"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "release").write_text(f'JAVA_VERSION="{version}"\n')
    monkeypatch.setattr(java, "candidates", lambda: [tmp_path / "17.0.15", tmp_path / "25.0.1"])
    assert fetch.java_home("26.7.4") == tmp_path / "25.0.1"
    assert fetch.java_home("24.0.5") == tmp_path / "17.0.15"
    monkeypatch.setattr(java, "candidates", lambda: [tmp_path / "25.0.1"])
    with pytest.raises(SandboxError, match="needs Java 17 to 21"):
        fetch.java_home("24.0.5")


# --- lock, errors, artifacts ----------------------------------------------------------------------


def test_a_second_command_hears_who_is_at_work(tmp_path: Path) -> None:
    held = lock.take(tmp_path / "lock", "make demo")
    with pytest.raises(SandboxError, match=rf"make demo.*process {os.getpid()}"):
        lock.take(tmp_path / "lock", "make up")
    os.close(held)
    os.close(lock.take(tmp_path / "lock", "make up"))


def test_an_error_names_its_log_and_shows_the_end(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    text = explain(SandboxError("etcd stopped", log), lines=2)
    assert text.splitlines() == ["✗ etcd stopped", f"  log: {log}", "  | line 98", "  | line 99"]


def test_a_failed_artifact_leaves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CACHE", tmp_path)
    monkeypatch.setattr(fetch, "LOGS", tmp_path / "logs")

    def fail(log: Path) -> None:
        fetch.run(["/bin/sh", "-c", "echo no network; exit 3"], log)

    artifact = fetch.Artifact("tool", "a tool", "digest", fail)
    with pytest.raises(SandboxError, match="exit status 3") as caught:
        artifact.ensure()
    assert "no network" in explain(caught.value)
    assert not artifact.is_ready()
    fetch.Artifact("tool", "a tool", "digest", lambda log: None).ensure()
    assert artifact.is_ready()


# --- certificates ---------------------------------------------------------------------------------


def test_certificates_are_made_once_and_verify(tmp_path: Path) -> None:
    authority = pki.Authority(tmp_path, "test")
    pair = authority.server("server")
    content = pair.certificate.read_bytes()
    assert pki.Authority(tmp_path, "test").server("server").certificate.read_bytes() == content
    roots = verification.Store([_certificate(authority.pair)])
    stranger = _certificate(pki.self_signed(tmp_path, "stranger"))
    for name in (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))):
        verifier = verification.PolicyBuilder().store(roots).build_server_verifier(name)
        verifier.verify(_certificate(pair), [])
        with pytest.raises(verification.VerificationError):
            verifier.verify(stranger, [])


def _certificate(pair: pki.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


# --- inventory ------------------------------------------------------------------------------------


def _inventory_script() -> ModuleType:
    path = ROOT / "inventories/sandbox/clusters.py"
    spec = importlib.util.spec_from_file_location("clusters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_inventory_gives_each_of_many_clusters_its_own_client() -> None:
    found = _inventory_script().inventory(RECORD)
    hosts = found["_meta"]["hostvars"]
    # The first keeps the default: growing the fleet must not rename its client.
    assert [host.get("oapip_client_id") for host in hosts.values()] == [None, "oapip-sandbox-4"]
    assert hosts["sandbox-3"]["oapip_kubeconfig"] == "/k3"


def test_the_inventory_says_when_there_is_no_sandbox(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "inventories/sandbox/clusters.py", "--list"],
        env={**os.environ, "OAPIP_SANDBOX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "make up" in done.stderr


# --- what the cluster is given --------------------------------------------------------------------


def test_the_operator_may_bind_cluster_admin_and_no_other_role() -> None:
    role = yaml.safe_load((ROOT / "docs/operator-clusterrole.yaml").read_text())
    assert role["metadata"]["name"] == "oapip-operator"
    binds = [rule for rule in role["rules"] if "bind" in rule["verbs"]]
    assert [rule["resourceNames"] for rule in binds] == [["cluster-admin"]]
    for rule in role["rules"]:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        assert not {"escalate", "impersonate"} & set(rule["verbs"])
