"""PersistentVolumes that exist beforehand, and are used again and again.

Reclaim policy Recycle: when a claim goes, controller-manager runs its recycler pod, kwok ends
it, and the volume is Available again. Nothing is ever written to the host path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

COUNT = 40
SIZE = "200Gi"
ACCESS_MODES = {"standard": ["ReadWriteOnce"], "shared": ["ReadWriteOnce", "ReadWriteMany"]}


def manifests(folder: Path) -> list[dict[str, Any]]:
    """The volumes of both classes."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{storage_class}-{number:02}"},
            "spec": {
                "capacity": {"storage": SIZE},
                "accessModes": modes,
                "storageClassName": storage_class,
                "persistentVolumeReclaimPolicy": "Recycle",
                "hostPath": {"path": str(folder / f"{storage_class}-{number:02}")},
            },
        }
        for storage_class, modes in ACCESS_MODES.items()
        for number in range(COUNT)
    ]
