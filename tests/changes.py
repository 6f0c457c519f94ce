"""Compare what a dry run said it would change with what a real run changed.

    python tests/changes.py reports        reports/<host>.check.json with reports/<host>.json
    python tests/changes.py CHECK REAL     two reports, folders or results of tests/harness.py

All `changes` found, at any depth, are taken together; their order does not matter.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Key = tuple[str, str, str, str, tuple[str, ...]]


def union(path: Path, dry: bool | None = None) -> set[Key]:
    """Return all changes of a report, a folder of reports or a results file, each with its host.

    :param dry: of a folder, only the reports of dry runs (True) or only those of real runs (False).

    :raises FileNotFoundError: nothing there to read.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if dry is not None:
        files = [file for file in files if file.name.endswith(".check.json") is dry]
    if not files:
        raise FileNotFoundError(f"no reports in {path}")
    return {key for file in files for document in _documents(file) for key in _changes(document)}


def _documents(file: Path) -> Iterator[tuple[str, Any]]:
    text = file.read_text()
    if file.suffix == ".jsonl":
        for line in text.splitlines():
            document = json.loads(line)
            yield document["host"], document["result"]
    else:
        document = json.loads(text)
        yield document.get("host", file.name.partition(".")[0]), document


def _changes(document: tuple[str, Any]) -> Iterator[Key]:
    host, value = document
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "changes" and isinstance(item, list):
                yield from (_key(host, change) for change in item)
            else:
                yield from _changes((host, item))
    elif isinstance(value, list):
        for item in value:
            yield from _changes((host, item))


def _key(host: str, change: dict[str, Any]) -> Key:
    fields = tuple(sorted(map(str, change.get("fields") or [])))
    return host, change["action"], change["kind"], change["name"], fields


def _line(key: Key) -> str:
    host, action, kind, name, fields = key
    return f"[{host}] {action} {kind} {name}" + (f" ({', '.join(fields)})" if fields else "")


def main() -> int:
    """Return 1 when the two differ, or when both are empty and nothing was compared."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("check", type=Path)
    parser.add_argument("real", type=Path, nargs="?")
    args = parser.parse_args()
    if args.real is None:
        said, done = union(args.check, dry=True), union(args.check, dry=False)
    else:
        said, done = union(args.check), union(args.real)
    for key in sorted(said - done):
        print(f"said but not done: {_line(key)}")
    for key in sorted(done - said):
        print(f"done but not said: {_line(key)}")
    if not said | done:
        print("neither run names a change: nothing was compared")
        return 1
    print(f"{len(said & done)} changes agree, {len(said ^ done)} differ")
    return 1 if said != done else 0


if __name__ == "__main__":
    sys.exit(main())
