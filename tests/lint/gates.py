"""The gates of `make lint`: each a function that writes to a log and says whether it passed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from . import venvs
from .tree import BASE, COLLECTION, TREE

_COLLECTION = "ansible_collections/eoepca/oapip"


@dataclass(frozen=True)
class Gate:
    """One check. `run` returns True when it holds."""

    name: str
    run: Callable[[TextIO], bool]


def _lint_venv() -> Path:
    return venvs.ensure(
        "venv-lint", "requirements-lint.txt", "-c", str(venvs.ROOT / "constraints.txt")
    )


def _galaxy_venv() -> Path:
    return venvs.ensure("venv-galaxy", "requirements-galaxy.txt")


def _call(log: TextIO, venv: Path, *command: str, cwd: Path = TREE, **extra: str) -> bool:
    env = venvs.environment(venv)
    env["ANSIBLE_COLLECTIONS_PATH"] = str(BASE)
    env["ANSIBLE_INVENTORY"] = "localhost,"  # the sandbox may be down
    env.update(extra)
    log.write(f"$ {' '.join(command)}\n")
    log.flush()
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
    )
    if done.returncode < 0:
        log.write(f"{command[0]} was ended by signal {-done.returncode}\n")
    return done.returncode == 0


def ansible_test(log: TextIO) -> bool:
    """Every sanity test of ansible-core, on every Python found that it supports."""
    venv = _lint_venv()
    venvs.write_pip_conf(venv)
    venvs.write_pip_bootstrap(venv)
    command = ("ansible-test", "sanity", "--local", "--requirements", "--color", "no")
    return _call(log, venv, *command, cwd=COLLECTION)


def no_exemptions(log: TextIO) -> bool:
    """Nothing is exempt: no sanity ignore file, no skip or warn list of ansible-lint."""
    found = [str(path.relative_to(TREE)) for path in TREE.glob("tests/sanity/ignore*")]
    config = (TREE / ".ansible-lint").read_text()
    found += [f".ansible-lint: {key}" for key in ("skip_list", "warn_list") if key in config]
    log.writelines(f"exemption: {name}\n" for name in found)
    return not found


def ansible_lint(log: TextIO) -> bool:
    """Production profile with the opt-in rules of .ansible-lint; a warning is a failure."""
    return _call(log, _lint_venv(), "ansible-lint", "--offline", "--strict", "--nocolor", "-q")


def ruff(log: TextIO) -> bool:
    """Lint and format of all Python."""
    cache = f"--cache-dir={venvs.CACHE / 'ruff'}"
    check = _call(log, _lint_venv(), "ruff", "check", "--output-format=concise", cache)
    return _call(log, _lint_venv(), "ruff", "format", "--check", cache) and check


def mypy(log: TextIO) -> bool:
    """Strict types: plugins under their collection name, the sandbox and the tests under theirs."""
    # The libraries are where the product runs: the sandbox's own environment.
    venv = venvs.ROOT / ".sandbox" / "venv"
    needed = [f"{folder}requirements.txt" for folder in ("", "sandbox/", "tests/")]
    bootstrap = [sys.executable, "sandbox/bootstrap.py", "run", *needed, "--", "-c", ""]
    if subprocess.run(
        bootstrap, cwd=venvs.ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
    ).returncode:
        return False
    _forget_if_renamed(venvs.CACHE / "mypy-plugins")
    common = ["mypy", "--config-file", str(TREE / "pyproject.toml"), "--no-error-summary"]
    ours = [name for name in ("sandbox", "tests") if next((TREE / name).rglob("*.py"), None)]
    plugins = _call(
        log,
        venv,
        *(*common, "--cache-dir", str(venvs.CACHE / "mypy-plugins"), f"{_COLLECTION}/plugins"),
        cwd=BASE,
    )
    rest = _call(
        log, venv, *(*common, "--cache-dir", str(venvs.CACHE / "mypy"), *ours), MYPYPATH=str(BASE)
    )
    return plugins and rest


def _forget_if_renamed(cache: Path) -> None:
    """Empty mypy's cache when files came or went: it remembers what a namespace package lacked."""
    names = "\n".join(sorted(str(path) for path in TREE.glob("plugins/**/*.py")))
    stamp = cache / ".files"
    if not stamp.exists() or stamp.read_text() != names:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        stamp.write_text(names)


def docs(log: TextIO) -> bool:
    """Plugin and role documentation: markup, references, links between plugins."""
    options = ["--plugin-docs", "--validate-collection-refs", "all", "--check-extra-docs-refs"]
    return _call(
        log,
        _lint_venv(),
        *(
            "antsibull-docs",
            "lint-collection-docs",
            *options,
            "--disallow-unknown-collection-refs",
            ".",
        ),
    )


def changelog(log: TextIO) -> bool:
    """Fragments and changelog are well-formed."""
    venv = _lint_venv()
    good = _call(log, venv, "antsibull-changelog", "lint")
    path = "changelogs/changelog.yaml"
    return _call(log, venv, "antsibull-changelog", "lint-changelog-yaml", "--strict", path) and good


def licences(log: TextIO) -> bool:
    """Every file has a licence, and its text is there."""
    return _call(log, _lint_venv(), "reuse", "lint", "--lines") and _call(
        log, _lint_venv(), "reuse", "lint", "-q"
    )


def galaxy(log: TextIO) -> bool:
    """The built artifact passes Galaxy's own importer without a single warning."""
    venv = _galaxy_venv()
    dist = BASE / "dist"
    dist.mkdir(exist_ok=True)
    for old in dist.glob("*.tar.gz"):
        old.unlink()
    build = ("ansible-galaxy", "collection", "build", "--output-path", str(dist), str(TREE))
    if not _call(log, venv, *build, cwd=dist):
        return False
    (artifact,) = dist.glob("*.tar.gz")
    start = log.tell()
    passed = _call(
        log,
        venv,
        *("python", "-m", "galaxy_importer.main", artifact.name),
        cwd=dist,
        GALAXY_IMPORTER_CHECK_REQUIRED_TAGS="1",
        # Gate ansible-lint is stricter, and the importer gives its own run three minutes.
        GALAXY_IMPORTER_RUN_ANSIBLE_LINT="False",
    )
    # The importer exits 0 whatever its lint finds.
    said = Path(log.name).read_text()[start:]
    return passed and not re.search(r"^\S*(WARNING|ERROR)\b", said, re.MULTILINE)


def role_readmes(log: TextIO) -> bool:
    """Each role's README is what its argument spec generates."""
    return _call(log, _lint_venv(), "python", str(Path("tests", "role_readme.py")), "--check")


# Longest first, each with an environment of its own to wait for when nothing is cached.
GATES = [
    Gate("ansible-test", ansible_test),
    Gate("mypy", mypy),
    Gate("ansible-lint", ansible_lint),
    Gate("galaxy", galaxy),
    Gate("docs", docs),
    Gate("ruff", ruff),
    Gate("licences", licences),
    Gate("changelog", changelog),
    Gate("role-readmes", role_readmes),
    Gate("no-exemptions", no_exemptions),
]

WORKERS = min(4, (os.cpu_count() or 2) + 1)  # one more than cores: some wait for the network
