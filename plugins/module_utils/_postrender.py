# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""A Helm post-renderer for what the chart has no values for: a CA, images, pull secrets.

Helm runs a copy of this file: it reads the manifest on stdin, the patches from the JSON file named
in argv, and imports nothing of the collection. Documents that no patch touches pass as they are,
because some versions of the chart render YAML that PyYAML does not read.
https://helm.sh/docs/topics/advanced/#post-rendering
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import typing as t

with contextlib.suppress(ImportError):  # `_deps` tells of it before Helm is run
    import yaml

_WORKLOAD = re.compile(r"(?m)^kind:\s*['\"]?(Deployment|StatefulSet|DaemonSet|Job|Pod)['\"]?\s*$")


def pod_of(workload: t.Dict[str, t.Any]) -> t.Dict[str, t.Any]:
    """The pod template of a workload, or the Pod itself."""
    return workload if workload["kind"] == "Pod" else workload["spec"]["template"]


def patched(workload: t.Dict[str, t.Any], patches: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """A workload with its patches; the argument is changed."""
    pod = pod_of(workload)
    spec = pod["spec"]
    me = (workload["kind"], workload["metadata"]["name"])
    containers = (spec.get("initContainers") or []) + (spec.get("containers") or [])
    for container in containers:
        images = patches.get("images") or {}
        container["image"] = images.get(container["image"], container["image"])
    for item in patches.get("mounts") or []:
        if (item["kind"], item["name"]) != me:
            continue
        spec["volumes"] = [*(spec.get("volumes") or []), item["volume"]]
        annotations = pod.setdefault("metadata", {}).setdefault("annotations", {})
        annotations[f"oapip.eoepca.org/{item['volume']['name']}"] = item["checksum"]
        for container in spec["containers"]:
            if container["name"] == item["container"]:
                mounts = container.get("volumeMounts") or []
                container["volumeMounts"] = [*mounts, item["mount"]]
    for item in patches.get("pull_secrets") or []:
        if (item["kind"], item["name"]) == me:
            spec["imagePullSecrets"] = [{"name": name} for name in item["secrets"]]
    return workload


def rendered(manifest: str, patches: t.Mapping[str, t.Any]) -> str:
    """The whole manifest with its patches."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = []
    for text in re.split(r"(?m)^---[ \t]*\n", manifest):
        if _WORKLOAD.search(text):
            workload = patched(yaml.load(text, loader), patches)  # a safe loader, see above
            documents.append(yaml.safe_dump(workload, sort_keys=False))
        else:
            documents.append(text)
    return "---\n".join(documents)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        sys.stdout.write(rendered(sys.stdin.read(), json.load(file)))
