"""Copies of the checkout under ansible_collections/eoepca/oapip, which ansible-test insists on.

ansible-test resolves links, so a link to the checkout is refused. A copy holds what git would
commit: files of the index and new ones, none that are ignored.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

from .venvs import CACHE, ROOT

_INSIDE = Path("ansible_collections", "eoepca", "oapip")
BASE = CACHE / "lint"
TREE = BASE / _INSIDE
# The collection as it is built: without what build_ignore in galaxy.yml names. Not all of that can
# pass (the Go templates of the sandbox's chart are no YAML); every other gate reads all of it.
_OUTSIDE = ("inventories/", "molecule/", "sandbox/", "tests/")
_INSIDE_TESTS = ("tests/config.yml", "tests/sanity/")
COLLECTION = CACHE / "lint-collection" / _INSIDE


def sync() -> None:
    """Bring the copies up to date; unchanged files keep their times."""
    names = _files(ROOT)
    _copy(names, TREE)
    _copy({name for name in names if _built(name)}, COLLECTION)


def _built(name: str) -> bool:
    return name.startswith(_INSIDE_TESTS) or not name.startswith(_OUTSIDE)


def _copy(names: set[str], tree: Path) -> None:
    tree.mkdir(parents=True, exist_ok=True)
    if not (tree / ".git").exists():
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
    for name in _files(tree) - names:
        (tree / name).unlink()
    for name in names:
        source, target = ROOT / name, tree / name
        if source.is_symlink() or not source.is_file():
            continue
        if target.exists() and filecmp.cmp(source, target, shallow=True):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _files(root: Path) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.split("\0") if name and (root / name).exists()}
