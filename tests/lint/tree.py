"""A copy of the checkout under ansible_collections/eoepca/oapip, which ansible-test insists on.

ansible-test resolves links, so a link to the checkout is refused. The copy holds what git would
commit: files of the index and new ones, none that are ignored.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from pathlib import Path

from .venvs import CACHE, ROOT

BASE = CACHE / "lint"
TREE = BASE / "ansible_collections" / "eoepca" / "oapip"


def sync() -> Path:
    """Bring the copy up to date and return its root; unchanged files keep their times."""
    TREE.mkdir(parents=True, exist_ok=True)
    if not (TREE / ".git").exists():
        subprocess.run(["git", "init", "-q", str(TREE)], check=True)
    wanted = _files(ROOT)
    for name in _files(TREE) - wanted:
        (TREE / name).unlink()
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if source.is_symlink() or not source.is_file():
            continue
        if target.exists() and filecmp.cmp(source, target, shallow=True):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    return TREE


def _files(root: Path) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.split("\0") if name and (root / name).exists()}
