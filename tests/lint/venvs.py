"""Virtual environments of the gates, made on demand and remade when their requirements change."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".sandbox" / "cache"
HOME = CACHE / "lint-home"

_PYTHONS = [f"python3.{minor}" for minor in range(9, 16)]
_SECTIONS = ("global", "install", ":env:")
_NOT_FOR_TOOLS = ("user", "target", "constraint")
_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


class VenvError(Exception):
    """A virtual environment could not be made; the message ends with pip's own words."""


def ensure(name: str, requirements: str, *options: str) -> Path:
    """Return the folder of virtual environment `name`, made from tests/`requirements`.

    A stamp holds the digest of what went in, so a second call costs milliseconds.

    :raises VenvError: pip failed.
    """
    with _guard:
        lock = _locks.setdefault(name, threading.Lock())
    with lock:
        venv = CACHE / name
        inputs = [ROOT / "tests" / requirements]
        if options:
            inputs.append(ROOT / "constraints.txt")
        digest = hashlib.sha256(sys.version.encode())
        for path in inputs:
            digest.update(path.read_bytes())
        stamp = venv / ".stamp"
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return venv
        if not (venv / "bin" / "pip").exists():
            _run([sys.executable, "-m", "venv", "--clear", str(venv)])
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "-q", "-r", str(inputs[0]), *options])
        stamp.write_text(digest.hexdigest())
        return venv


def environment(venv: Path) -> dict[str, str]:
    """Return an environment in which `venv` comes first and HOME is inside the cache."""
    HOME.mkdir(parents=True, exist_ok=True)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("ANSIBLE_", "PYTHON", "MYPY"))}
    env.update(
        HOME=str(HOME),
        PATH=os.pathsep.join([str(venv / "bin"), *interpreters(), *_plain_path()]),
        VIRTUAL_ENV=str(venv),
        ANSIBLE_HOME=str(HOME / ".ansible"),
        LC_ALL="C.UTF-8",
        NO_COLOR="1",
    )
    return env


@functools.cache
def interpreters() -> tuple[str, ...]:
    """Return the folders of working Pythons: shims of version managers exit 127 when asked."""
    found: dict[str, str] = {}
    folders = [*map(Path, os.get_exec_path()), *Path.home().glob(".pyenv/versions/*/bin")]
    for name in _PYTHONS:
        for folder in folders:
            if not (folder / name).exists() or name in found:
                continue
            probe = subprocess.run(
                [str(folder / name), "-c", "import ssl, sys, venv; print(sys.executable)"],
                capture_output=True,
                text=True,
                check=False,
            )
            if probe.returncode == 0:
                found[name] = str(Path(probe.stdout.strip()).parent)
    return tuple(dict.fromkeys(found.values()))


def _plain_path() -> Iterator[str]:
    return (folder for folder in os.get_exec_path() if "shims" not in Path(folder).parts)


def write_pip_conf(venv: Path) -> None:
    """Write pip's effective settings where a program with a reduced environment finds them.

    ansible-test passes on HOME and PATH only, so a mirror named in PIP_INDEX_URL would be lost.
    """
    listed = _run([str(venv / "bin" / "pip"), "config", "list"])
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        key, value = line.split("=", 1)
        section, name = key.rsplit(".", 1)
        if section in _SECTIONS and name not in _NOT_FOR_TOOLS:
            settings[name] = str(ast.literal_eval(value)).replace("\n", "\n    ")
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if proxy:
        settings.setdefault("proxy", proxy)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if bundle:
        settings.setdefault("cert", bundle)
    settings.setdefault("cache-dir", str(CACHE / "pip"))
    path = HOME / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text("[global]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items()))


def write_pip_bootstrap(venv: Path) -> None:
    """Put a pip wheel where ansible-test looks for its get-pip script.

    ansible-test downloads that script from a host of its own; only a package registry may be
    reachable here, and the same release of pip is there.
    """
    (package,) = venv.glob("lib/python3.*/site-packages/ansible_test/_internal")
    match = re.search(r"pip='([\d.]+)'", (package / "python_requirements.py").read_text())
    if not match:
        raise VenvError("this ansible-core names no version of pip for its sanity tests")
    version = match.group(1)
    folder = HOME / ".ansible" / "test" / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"pip-{version}-py3-none-any.whl"
    if not wheel.exists():
        download = [str(venv / "bin" / "pip"), "download", "-q", "--no-deps", "-d", str(folder)]
        _run([*download, f"pip=={version}"])
    (folder / f"get_pip_{version.replace('.', '_')}.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(wheel)!r})\n"
        "from pip._internal.cli.main import main\n"
        "skip = ('--no-setuptools', '--no-wheel')\n"
        "sys.exit(main(['install', '--upgrade', *[a for a in sys.argv[1:] if a not in skip]]))\n"
    )


def _run(command: list[str]) -> str:
    env = dict(os.environ)
    env.setdefault("PIP_CACHE_DIR", str(CACHE / "pip"))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise VenvError(f"{' '.join(command)}: exit {done.returncode}\n{said}")
    return done.stdout
