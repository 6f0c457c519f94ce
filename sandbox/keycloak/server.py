"""Keycloak: a home folder of its own over the shared, already built distribution."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from sandbox.paths import write_private
from sandbox.pki import Pair
from sandbox.supervise import Program

JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:MaxMetaspaceSize=256m",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:TieredStopAtLevel=1",
    "-Dfile.encoding=UTF-8",
    "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
    (
        "-Djava.util.concurrent.ForkJoinPool.common.threadFactory="
        "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"
    ),
    "-Dpicocli.disable.closures=true",
    "-Duser.language=en",
    "-Duser.country=US",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/java.security=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
)


def configure(
    home: Path,
    distribution: Path,
    port: int,
    management_port: int,
    tls: Pair,
    admin: dict[str, str],
    version: str,
) -> None:
    """Write the home folder: links to the distribution, our keycloak.conf (0600), data kept."""
    home.mkdir(parents=True, exist_ok=True)
    for part in ("bin", "lib", "providers", "themes"):
        link = home / part
        if link.is_symlink():
            link.unlink()
        link.symlink_to(distribution / part)
    conf = home / "conf"
    conf.mkdir(exist_ok=True)
    shutil.copyfile(distribution / "conf/cache-ispn.xml", conf / "cache-ispn.xml")
    settings: dict[str, str | int | Path] = {
        "db": "dev-file",
        "db-url": f"jdbc:h2:file:{home}/data/h2/keycloakdb;NON_KEYWORDS=VALUE",
        "http-enabled": "false",
        "http-host": "127.0.0.1",
        "https-port": port,
        "https-certificate-file": tls.certificate,
        "https-certificate-key-file": tls.key,
        "cache": "local",
    }
    url = f"https://localhost:{port}"
    if parsed(version) >= (25,):
        settings["hostname"] = url
        settings["http-management-port"] = management_port
        settings["http-management-host"] = "127.0.0.1"
    else:  # health is on the one port there is, and a host name is no URL
        settings["hostname-url"] = settings["hostname-admin-url"] = url
    if parsed(version) >= (26,):
        settings["http-management-scheme"] = "inherited"
        settings["bootstrap-admin-username"] = admin["user"]
        settings["bootstrap-admin-password"] = admin["password"]
    lines = [f"{key}={value}\n" for key, value in settings.items()]
    write_private(conf / "keycloak.conf", "".join(lines))


def parsed(version: str) -> tuple[int, ...]:
    """A version as numbers."""
    return tuple(int(part) for part in version.split("."))


def program(home: Path, java_home: Path, environment: Mapping[str, str] | None = None) -> Program:
    """Java itself, not kc.sh: the script would be one more process between us and the server."""
    command: list[str | Path] = [
        java_home / "bin/java",
        *JVM,
        f"-Dkc.home.dir={home}",
        f"-Djboss.server.config.dir={home}/conf",
        "-cp",
        home / "lib/quarkus-run.jar",
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        "start",
        "--optimized",
    ]
    return Program("keycloak", command, environment or {})
