# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""Helm: what a release records is read from its Secret; the helm program only writes.

A release Secret holds base64 of gzip of JSON (https://helm.sh/docs/topics/advanced/#storage-backends).
Values go to helm on stdin: they touch no command line and no file.
"""

from __future__ import annotations

import base64
import gzip
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import typing as t
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ansible_collections.eoepca.oapip.plugins.module_utils import _deps, _postrender, _tether
from ansible_collections.eoepca.oapip.plugins.module_utils._cache import Cache, key_of
from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Obj
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import SECRET

SECRET_TYPE = "helm.sh/release.v1"
HISTORY = 5
OLDEST = (3, 14)
VERSION_SECONDS = 600.0
"""How long the version of one and the same file is taken as known."""
API_FAULTS = re.compile(
    r"(read|write|dial) tcp |connection re|EOF|TLS handshake|i/o timeout|deadline exceeded"
    r"|InternalError|[Ss]ervice *[Uu]navailable|TooManyRequests|Unauthorized"
    r"|unable to (decode|handle)|unexpected (error|end of JSON)|an error on the server"
    r"|invalid character|serializer for"
)
"""What helm says when the API server fails it, not the chart."""
PAGE = re.compile(r'"<[!a-zA-Z].*?>"')
"""A page of a proxy between helm and the API server, which helm quotes in whole."""
PLUGIN = "oapip"
PLUGIN_YAML = """\
apiVersion: v1
type: postrenderer/v1
name: {name}
version: 1.0.0
runtime: subprocess
runtimeConfig:
  platformCommand:
    - command: {command}
      args: {args}
"""


@dataclass(frozen=True)
class Release:
    """One revision of a release, as its Secret records it."""

    name: str
    namespace: str
    revision: int
    status: str
    """deployed, failed, superseded, uninstalling, pending-install, -upgrade or -rollback."""
    chart: str
    version: str
    values: Obj = field(repr=False)
    manifest: str = field(repr=False)
    updated: str = ""

    @property
    def pending(self) -> bool:
        """Whether another run is at work on it, or died doing so."""
        return self.status.startswith("pending-")

    @cached_property
    def objects(self) -> t.List[Obj]:
        """The objects of the manifest, hooks and tests left out as Helm does."""
        return documents(self.manifest)


def documents(manifest: str) -> t.List[Obj]:
    """Parse a manifest, document by document."""
    _deps.require("PyYAML")
    loader = getattr(_deps.yaml, "CSafeLoader", _deps.yaml.SafeLoader)
    texts = re.split(r"(?m)^---[ \t]*$", manifest)
    parsed = (_deps.yaml.load(text, loader) for text in texts)  # a safe loader, see above
    return [item for item in parsed if isinstance(item, dict) and "kind" in item]


def decode(secret: Obj) -> Release:
    """Read a release Secret.

    :raises OapipError: the Secret does not hold a release.
    """
    try:
        packed = base64.b64decode(base64.b64decode(secret["data"]["release"]))
        text = gzip.decompress(packed) if packed[:3] == b"\x1f\x8b\x08" else packed
        data = json.loads(text)
        chart, info = data["chart"]["metadata"], data["info"]
        return Release(
            name=data["name"],
            namespace=data.get("namespace", ""),
            revision=int(data["version"]),
            status=info["status"],
            chart=chart["name"],
            version=chart["version"],
            values=data.get("config") or {},
            manifest=data.get("manifest") or "",
            updated=str(info.get("last_deployed", "")),
        )
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        name = secret.get("metadata", {}).get("name", "?")
        raise OapipError(
            f"reading the Helm release in Secret {name}", f"it is not a release ({error})"
        ) from None


def revisions(secrets: t.Iterable[Obj], name: str) -> t.List[Release]:
    """The revisions of a release among some Secrets, the newest first."""
    mine = [
        secret
        for secret in secrets
        if secret.get("type") == SECRET_TYPE
        and (secret["metadata"].get("labels") or {}).get("name") == name
    ]
    return sorted((decode(item) for item in mine), key=lambda item: -item.revision)


def locate(ref: str, repo: t.Optional[str], version: str) -> t.Tuple[str, t.Optional[str], str]:
    """Return the reference and the repository to give to helm, and the chart's own name.

    :raises OapipError: `ref` is a path, and there is no chart of this version.
    """
    if ref.startswith("oci://") or os.path.sep not in ref:
        return ref, None if ref.startswith("oci://") else repo, ref.rstrip("/").rsplit("/", 1)[-1]
    doing = f"reading the chart {ref}"
    try:
        about = _about(ref)
        found, name = str(about["version"]), str(about["name"])
    except (OSError, tarfile.TarError, KeyError, TypeError, StopIteration) as error:
        hint = "Check chart_ref: a directory or archive with a Chart.yaml."
        raise OapipError(doing, f"chart not found: {error}", hint) from None
    if found != version:
        hint = "Set chart_version to the version of the chart, or chart_ref to another chart."
        raise OapipError(doing, f"it is version {found}, not {version}", hint)
    return ref, None, name


def _about(path: str) -> t.Any:
    """The Chart.yaml of a directory or an archive."""
    _deps.require("PyYAML")
    if os.path.isdir(path):
        with open(os.path.join(path, "Chart.yaml"), encoding="utf-8") as file:
            return _deps.yaml.safe_load(file)
    with tarfile.open(path) as archive:
        entry = next(item for item in archive if re.fullmatch(r"[^/]+/Chart\.yaml", item.name))
        member = archive.extractfile(entry)
        return _deps.yaml.safe_load(member) if member else {}


@dataclass
class Helm:
    """The helm program, bound to one release on one cluster.

    :param server: URL of the API server, for messages.
    """

    release: str
    namespace: str
    binary: str = "helm"
    kubeconfig: t.Optional[str] = None
    context: t.Optional[str] = None
    timeout: int = 600
    hide: t.Collection[str] = ()
    server: str = ""
    hide_too: t.Collection[str] = ()
    """Texts that may be secrets: hidden in messages only, so that they spoil nothing else."""
    cache: Cache = field(default_factory=Cache)

    def upgrade(
        self,
        chart: str,
        repo: t.Optional[str],
        version: str,
        values: Obj,
        patches: t.Mapping[str, t.Any],
    ) -> None:
        """Install or upgrade; returns when the objects are written, not when they are ready."""
        args = ["upgrade", "--install", self.release, chart, "--values", "-"]
        args += ["--version", version, "--history-max", str(HISTORY)]
        if repo:
            args += ["--repo", repo]
        doing = f"installing or upgrading Helm release {self.release}"
        with tempfile.TemporaryDirectory(prefix="oapip-") as folder:
            more, env = self._post_renderer(Path(folder), patches) if patches else ([], {})
            self._run([*args, *self._force(), *more], doing, json.dumps(values), env)

    def rollback(self, revision: int) -> None:
        """Write the objects of an earlier revision again."""
        args = ["rollback", self.release, str(revision), "--history-max", str(HISTORY)]
        doing = f"rolling Helm release {self.release} back to revision {revision}"
        self._run([*args, *self._force()], doing)

    def uninstall(self) -> None:
        """Delete the objects of the release and its history."""
        args = ["uninstall", self.release, "--wait", "--ignore-not-found"]
        self._run(args, f"uninstalling Helm release {self.release}")

    def version(self) -> t.Tuple[int, ...]:
        """The version of the program.

        :raises OapipError: it is missing, or too old.
        """
        text, _until = self.cache.once(self._program(), self._ask_version)
        found = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
        if found < OLDEST:
            raise OapipError(
                f"using {self.binary}",
                f"it is version {text.strip()}",
                "Install Helm 3.14 or newer, or set helm_binary.",
            )
        return found

    def _ask_version(self) -> t.Tuple[str, float]:
        doing = "asking helm for its version"
        return self._call(["version", "--template", "{{.Version}}"], doing), VERSION_SECONDS

    def _program(self) -> str:
        """The key of this very file, so that another one in its place is asked anew."""
        path = shutil.which(self.binary) or self.binary
        try:
            about = os.stat(path)
        except OSError:
            return key_of("helm", path)
        return key_of("helm", path, about.st_ino, about.st_size, about.st_mtime_ns)

    def _force(self) -> t.List[str]:
        """Helm 4 applies on the server: a field that somebody else changed is taken back."""
        return ["--server-side=true", "--force-conflicts"] if self.version() >= (4,) else []

    def _post_renderer(
        self, folder: Path, patches: t.Mapping[str, t.Any]
    ) -> t.Tuple[t.List[str], t.Dict[str, str]]:
        """Arguments and environment for the post-renderer: Helm 3 runs a program, 4 a plugin."""
        script, data = folder / "render.py", folder / "patches.json"
        script.write_text(inspect.getsource(_postrender), encoding="utf-8")
        data.write_text(json.dumps(patches), encoding="utf-8")
        python = [sys.executable, str(script), str(data)]
        if self.version() < (4,):
            args = ["--post-renderer", python[0]]
            return args + [f"--post-renderer-args={part}" for part in python[1:]], {}
        plugin = folder / "plugins" / PLUGIN
        plugin.mkdir(parents=True)
        words = {"name": PLUGIN, "command": json.dumps(python[0]), "args": json.dumps(python[1:])}
        (plugin / "plugin.yaml").write_text(PLUGIN_YAML.format(**words), encoding="utf-8")
        return ["--post-renderer", PLUGIN], {"HELM_PLUGINS": str(plugin.parent)}

    def _run(
        self,
        args: t.Sequence[str],
        doing: str,
        stdin: str = "",
        env: t.Optional[t.Mapping[str, str]] = None,
    ) -> str:
        if self.server:
            doing = f"{doing} over the Kubernetes API at {self.server}"
        more = ["--namespace", self.namespace, "--timeout", f"{self.timeout}s"]
        more += ["--kubeconfig", self.kubeconfig] if self.kubeconfig else []
        more += ["--kube-context", self.context] if self.context else []
        return self._call([*args, *more], doing, stdin, env)

    def _call(
        self,
        args: t.Sequence[str],
        doing: str,
        stdin: str = "",
        env: t.Optional[t.Mapping[str, str]] = None,
    ) -> str:
        program = shutil.which(self.binary)
        if program is None:
            hint = "Install Helm 3.14 or newer on the host that runs this task, or set helm_binary."
            raise OapipError(doing, f"the program {self.binary} was not found", hint)
        tethered = [sys.executable, "-ISc", inspect.getsource(_tether), str(os.getpid())]
        process = subprocess.Popen(
            [*tethered, program, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**_environment(), **(env or {})},
        )
        try:
            out, errors = process.communicate(stdin, timeout=self.timeout + 30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # helm then marks the release as failed
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise OapipError(doing, f"helm did not end within {self.timeout} s") from None
        if process.returncode:
            hint = "The chart and the values decide this; see the message."
            if API_FAULTS.search(errors):
                hint = "The API server, or the way to it, did not do what it was asked: run again."
            raise OapipError(doing, self._words(errors), hint)
        return out

    def _words(self, errors: str) -> str:
        """Helm's own message without its log lines and without secrets."""
        noise = re.compile(r"level=|time=|WARNING:|[WIE]\d{4} ")
        lines = [line for line in errors.splitlines() if line and not noise.match(line)]
        text = PAGE.sub("a page that is not Kubernetes'", " ".join(lines or errors.splitlines()))
        # before it is cut: a half of a secret would no longer be known as one
        shapes = {
            shape for secret in (*self.hide, *self.hide_too) if secret for shape in _shapes(secret)
        }
        for shape in sorted(shapes, key=len, reverse=True):
            text = text.replace(shape, SECRET)
        return text[-800:].removeprefix("Error: ") or "helm gave no reason"


def _shapes(secret: str) -> t.Set[str]:
    """How a template may print a secret: as it is, in JSON, as Go writes JSON, in base64."""
    quoted = json.dumps(secret, ensure_ascii=False)[1:-1]
    in_go = quoted
    for sign in "&<>":
        in_go = in_go.replace(sign, f"\\u{ord(sign):04x}")
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quoted, in_go, encoded, secret.replace("\n", " ")}


def _environment() -> t.Dict[str, str]:
    """The environment for helm: without what would change which release or cluster is meant."""
    drop = {"HELM_NAMESPACE", "HELM_DRIVER", "HELM_DEBUG", "HELM_KUBECONTEXT", "HELM_KUBETOKEN"}
    return {key: value for key, value in os.environ.items() if key not in drop}
