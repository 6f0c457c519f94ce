"""Which Java runs Keycloak (standard library only)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

#: Keycloak 26 warns about Java 17 and will drop it; from here on the machine's own is used.
WANTED = 21

#: What versions before 26.6 were made for: they do not know Java 25.
OLDEST, NEWEST_FOR_OLD = 17, 21


def candidates() -> list[Path]:
    """Java homes this machine may have."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if java := shutil.which("java"):
        homes.append(Path(java).resolve().parent.parent)
    for folder, pattern in (
        (Path("/usr/lib/jvm"), "*"),
        (Path("/opt"), "*j[dr][ke]*"),
        (Path.home() / ".sdkman/candidates/java", "*"),
    ):
        homes += sorted(folder.glob(pattern))
    return [home for home in homes if (home / "bin/java").is_file()]


def major(home: Path) -> int:
    """Its major version by the `release` file every JDK carries; 0 when it says nothing."""
    try:
        text = (home / "release").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def is_too_new(keycloak: str) -> bool:
    """Whether that version of Keycloak needs an older Java than the newest."""
    return tuple(map(int, keycloak.split(".")[:2])) < (26, 6)


def newest(limit: int = 1000) -> tuple[Path, int] | None:
    """The newest Java home found up to a major version, with its major version."""
    known = [found for home in candidates() if (found := (major(home), home))[0] <= limit]
    version, home = max(known, default=(0, None))
    return (home, version) if home and version else None
