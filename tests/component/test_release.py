"""oapip_release against a real API server, controllers, scheduler and Helm; kwok plays the pods."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.eoepca.oapip.plugins.module_utils._kube import Kube, url_for, url_of
from ansible_collections.eoepca.oapip.plugins.module_utils._module import Context, OapipError
from ansible_collections.eoepca.oapip.plugins.modules import oapip_release
from tests.harness import both_ways
from tests.unit_params import params_of
from tests.writes import kubernetes_writes

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "sandbox" / "chart" / "zoo-project-dru-0.10.3"
CLAIMS = ("procServices", "tmp")


class Engine:
    """A release of its own in a namespace of its own."""

    def __init__(self, sandbox: dict[str, Any]) -> None:
        self.cluster = sandbox["clusters"][0]
        self.namespace = f"test-{uuid.uuid4().hex[:8]}"
        self.name = f"zoo-project-dru-{self.namespace[5:]}"
        self.kube = Kube.connect(self.cluster["admin_kubeconfig"])
        self.operator = self._operator()
        self.lines: list[str] = []
        self.options: dict[str, Any] = {
            "kubeconfig": self.cluster["kubeconfig"],
            "namespace": self.namespace,
            "release_name": self.name,
            "chart_ref": str(CHART),
            "public_url": "https://zoo.example.org",
            "shared_storage_class": "shared",
            "block_storage_class": "standard",
            "stage_out": {
                "endpoint": "https://s3.example.org",
                "access_key": "ACCESS",
                "secret_key": "a-secret-of-the-store",
                "bucket": "eoepca",
            },
            "oidc": {"issuer": "https://iam.example.org/realms/e", "audience": "oapip"},
            "ca_path": sandbox["ca_file"],
            "helm_binary": sandbox["bin"]["helm"],
            "wait_timeout": 60,
        }

    def _operator(self) -> str:
        kube = Kube.connect(self.cluster["kubeconfig"])
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        name: str = kube.request("POST", path, kind)["status"]["userInfo"]["username"]
        kube.close()
        return name

    def run(self, check: bool = False, **options: Any) -> dict[str, Any]:
        given = {
            key: value for key, value in {**self.options, **options}.items() if value is not None
        }
        params = params_of(oapip_release, given)
        context = Context(check_mode=check, progress=self.lines.append)
        return oapip_release.run(params, context)

    def settle(self, **options: Any) -> dict[str, Any]:
        """Check, run, run again: the same list twice, then nothing and no write."""
        planned = self.run(check=True, **options)
        done = self.run(**options)
        assert planned["changes"] == done["changes"]
        assert planned["diff"] == done["diff"]
        writes = self.writes(lambda: self.run(**options))
        assert writes == []
        assert self.run(check=True, **options)["changes"] == []
        return done

    def writes(self, act: Callable[[], Any]) -> list[dict[str, Any]]:
        """The operator's writes in our namespace, or to our cluster-wide objects, during `act`."""
        log = Path(self.cluster["audit_log"])
        start = log.stat().st_size
        act()
        with log.open("rb") as file:
            file.seek(start)
            events = [json.loads(line) for line in file if line.endswith(b"\n")]
        found = kubernetes_writes(events, self.operator)
        return [write for write in found if self.namespace[5:] in write["target"]]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found = self.kube.get(url_of(kind, self.namespace, name))
        assert found is not None, f"{kind} {name} is missing"
        return found

    def pod_of(self, part: str) -> dict[str, Any]:
        live = self.get("Deployment", f"{self.name}-{part}")
        template: dict[str, Any] = live["spec"]["template"]
        return template

    def broker_generation(self) -> int:
        return int(self.get("StatefulSet", f"{self.name}-rabbitmq")["metadata"]["generation"])

    def helm(self, *args: str) -> None:
        command = [self.options["helm_binary"], *args, "--namespace", self.namespace]
        command += ["--kubeconfig", self.cluster["admin_kubeconfig"]]
        subprocess.run(command, check=True, capture_output=True)

    def kubectl(self, *args: str) -> None:
        program = Path(self.options["helm_binary"]).with_name("kubectl")
        command = [program, "--kubeconfig", self.cluster["admin_kubeconfig"], *args]
        subprocess.run([*command, "-n", self.namespace], check=True, capture_output=True)

    def clear(self) -> None:
        self.kube.delete(url_of("Namespace", None, self.namespace))
        self.kube.delete(url_of("ClusterRoleBinding", None, f"{self.name}-processing"))
        self.kube.close()


@pytest.fixture
def engine(sandbox: dict[str, Any]) -> Iterator[Engine]:
    made = Engine(sandbox)
    yield made
    made.clear()


def named(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["action"], item["kind"]) for item in result["changes"]]


def test_from_nothing_to_a_running_engine_and_back(engine: Engine) -> None:
    done = engine.settle()
    assert named(done)[0] == ("create", "Namespace")
    assert named(done)[-1] == ("create", "Release")
    assert done["release"]["revision"] == 1
    assert {(item["replicas"], item["ready"]) for item in done["workloads"]} == {(1, 1)}
    kernel = engine.pod_of("zookernel")["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in kernel["env"]}
    assert env["ZOO_KEYCLOAK_AUDIENCE"] == "oapip"
    mounts = [mount["mountPath"] for mount in kernel["volumeMounts"]]
    assert "/etc/oapip" in mounts
    config = engine.get("ConfigMap", f"{engine.name}-zoo-project-config")["data"]
    assert "REQUESTS_CA_BUNDLE=/etc/oapip/ca.crt" in config["main.cfg"]
    assert "rootUrl=https://zoo.example.org/ogc-api" in config["oas.cfg"]
    worker = engine.pod_of("zoofpm")["spec"]["containers"][0]
    assert "a-secret-of-the-store" not in json.dumps(worker)
    assert worker["envFrom"] == [{"secretRef": {"name": f"{engine.name}-oapip-storage"}}]

    gone = engine.run(check=True, state="absent")
    removed = engine.run(state="absent")
    assert gone["changes"] == removed["changes"]
    assert removed["kept"] == []
    assert engine.kube.get(url_of("Namespace", None, engine.namespace)) is None
    assert engine.kube.get(url_of("ClusterRoleBinding", None, f"{engine.name}-processing")) is None
    assert engine.writes(lambda: engine.run(state="absent")) == []
    assert engine.run(state="absent")["changes"] == []


def test_policies_and_secrets_are_written_before_the_release(engine: Engine) -> None:
    writes = engine.writes(engine.run)
    kinds = [write["target"].split()[0] for write in writes if write["status"] < 300]
    first_workload = min(kinds.index("deployments"), kinds.index("statefulsets"))
    last_policy = max(index for index, kind in enumerate(kinds) if kind == "networkpolicies")
    assert kinds[0] == "namespaces"
    assert last_policy < first_workload
    assert kinds[:last_policy].count("networkpolicies") == 4


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"public_url": "https://other.example.org"}, {"Release"}),
        (
            {"block_storage_class": "standard", "node_selector": {"eoepca.org/processing": "true"}},
            {"Release"},
        ),
        ({"oidc": None}, {"Release"}),
        ({"ca_path": None}, {"Release", "ConfigMap"}),
        ({"gateway_namespace": "edge"}, {"NetworkPolicy"}),
        ({"annotations": {"team": "eo"}}, {"Namespace"}),
        ({"values": {"workflow": {"defaultMaxRam": "2048"}}}, {"Release"}),
        ({"images": {"eoepca/kubectl-proxy:latest": "mirror.example.org/proxy:1"}}, {"Release"}),
        ({"image_pull_secrets": ["registry"]}, {"Release"}),
    ],
    ids=lambda value: ",".join(sorted(value)) if isinstance(value, dict) else "",
)
def test_each_option_changes_what_it_is_for(
    shared: Engine, options: dict[str, Any], kinds: set[str]
) -> None:
    shared.run()
    done = shared.settle(**options)
    assert {item["kind"] for item in done["changes"]} == kinds


@pytest.fixture(scope="module")
def shared(sandbox: dict[str, Any]) -> Iterator[Engine]:
    made = Engine(sandbox)
    made.run()
    yield made
    made.clear()


def test_a_new_key_reaches_the_secret_and_the_pods(shared: Engine) -> None:
    shared.run()
    before = shared.pod_of("zoofpm")["metadata"]["annotations"]
    passwords = shared.get("Secret", f"{shared.name}-oapip-database")["data"]
    store = {**shared.options["stage_out"], "secret_key": "another-secret-of-the-store"}
    done = shared.settle(stage_out=store)
    assert [(item["kind"], item["action"]) for item in done["changes"]] == [
        ("Secret", "update"),
        ("Release", "update"),
    ]
    assert "another-secret" not in json.dumps(done)
    data = shared.get("Secret", f"{shared.name}-oapip-storage")["data"]
    key = base64.b64decode(data["STAGEOUT_AWS_SECRET_ACCESS_KEY"]).decode()
    assert key == "another-secret-of-the-store"
    after = shared.pod_of("zoofpm")["metadata"]["annotations"]
    assert after["oapip.eoepca.org/storage"] != before["oapip.eoepca.org/storage"]
    assert shared.get("Secret", f"{shared.name}-oapip-database")["data"] == passwords


def test_drift_is_repaired_without_rendering_again(shared: Engine) -> None:
    shared.run()
    broker = shared.broker_generation()
    revision = shared.run()["release"]["revision"]
    space, name = shared.namespace, shared.name
    shared.kube.delete(url_of("Service", space, f"{name}-service"))
    shared.kube.delete(url_of("NetworkPolicy", space, f"{name}-oapip-kubeproxy"))
    shared.kube.patch(url_of("Deployment", space, f"{name}-zoofpm"), {"spec": {"replicas": 0}})
    config = url_of("ConfigMap", space, f"{name}-zoo-project-config")
    shared.kube.patch(config, {"data": {"main.cfg": "[main]"}})
    done = shared.settle()
    assert [(item["action"], item["kind"], item["fields"]) for item in done["changes"]] == [
        ("create", "NetworkPolicy", []),
        ("update", "ConfigMap", ["data.main.cfg"]),
        ("create", "Service", []),
        ("update", "Deployment", ["spec.replicas"]),
    ]
    assert done["release"]["revision"] == revision
    assert shared.broker_generation() == broker
    shared.settle(values={"workflow": {"defaultMaxRam": "4096"}})  # Helm still knows the objects


def test_what_others_add_is_left_alone(shared: Engine) -> None:
    shared.run()
    path = url_of("Deployment", shared.namespace, f"{shared.name}-zookernel")
    shared.kube.patch(path, {"metadata": {"annotations": {"other": "tool"}}})
    assert shared.run()["changes"] == []


def test_what_somebody_adds_to_the_pods_is_taken_away(shared: Engine) -> None:
    shared.run()
    name = shared.name
    more = ("STRANGER=0.10", "DEFAULT_MAX_RAM=1Ki")
    shared.kubectl("set", "env", f"deployment/{name}-zoofpm", "-c", "zoofpm", *more)
    shared.kubectl("set", "env", f"deployment/{name}-kubeproxy", "STRANGER=1")
    path = "/spec/template/spec/containers/-"
    item = {"op": "add", "path": path, "value": {"name": "stranger", "image": "stranger:1"}}
    patch = json.dumps([item])
    shared.kubectl("patch", f"statefulset/{name}-postgresql", "--type", "json", "-p", patch)
    pod = "spec.template.spec.containers"
    done = shared.settle()
    assert {(item["kind"], item["name"], *item["fields"]) for item in done["changes"]} == {
        ("Deployment", f"{name}-kubeproxy", f"{pod}[{name}-kubeproxy].env[STRANGER]"),
        (
            "Deployment",
            f"{name}-zoofpm",
            f"{pod}[zoofpm].env[DEFAULT_MAX_RAM].value",
            f"{pod}[zoofpm].env[STRANGER]",
        ),
        ("StatefulSet", f"{name}-postgresql", f"{pod}[stranger]"),
    }
    assert "STRANGER" not in json.dumps(shared.pod_of("zoofpm"))
    # an upgrade at the same time leaves nothing for the next run, either
    shared.kubectl("set", "env", f"deployment/{name}-zookernel", "STRANGER=1")
    shared.settle(values={"workflow": {"defaultMaxRam": "3072"}})
    assert "STRANGER" not in json.dumps(shared.pod_of("zookernel"))


def test_a_password_that_is_no_text_is_put_back(shared: Engine) -> None:
    shared.run()
    names = [f"{shared.name}-oapip-{part}" for part in ("broker", "database")]
    for name in names:
        path = url_of("Secret", shared.namespace, name)
        shared.kube.patch(path, {"data": {"password": base64.b64encode(b"\xff\xfe").decode()}})
    done = shared.settle()
    assert [(item["name"], item["fields"]) for item in done["changes"]] == [
        (name, ["data.password"]) for name in names
    ]


@pytest.mark.parametrize("part", ["zookernel", "rabbitmq"])
def test_an_upgrade_that_cannot_pull_its_image_is_rolled_back(engine: Engine, part: str) -> None:
    engine.run()
    broken = {part: {"image": {"repository": "sandbox-fail-image-pull-backoff"}}}
    with pytest.raises(OapipError) as failed:
        engine.run(values=broken)
    text = str(failed.value)
    assert "ImagePullBackOff" in text
    assert f"container {part}, image sandbox-fail-image-pull-backoff" in text
    assert "revision 1" in text
    assert "runs again" in text
    assert failed.value.as_result()["rolled_back_to"] == 1
    assert engine.run()["changes"] == []


def test_a_first_install_that_fails_is_left_and_healed(engine: Engine) -> None:
    with pytest.raises(OapipError, match="CrashLoopBackOff"):
        engine.run(values={"zoofpm": {"image": {"repository": "sandbox-fail-crash-loop"}}})
    with pytest.raises(OapipError, match="CrashLoopBackOff"):  # nothing to change, still not ready
        engine.run(values={"zoofpm": {"image": {"repository": "sandbox-fail-crash-loop"}}})
    done = engine.settle()
    assert named(done) == [("update", "Release")]


def test_pod_security_is_named_as_the_cause(engine: Engine) -> None:
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": engine.namespace, "labels": level}
    engine.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    with pytest.raises(OapipError, match=r"FailedCreate.*violates PodSecurity"):
        engine.run(wait_timeout=40)
    removed = engine.run(state="absent")
    assert removed["kept"] == [f"Namespace {engine.namespace}: it was there before"]


def test_a_pod_that_fits_no_node_is_named(engine: Engine) -> None:
    with pytest.raises(OapipError, match=r"(Unschedulable|FailedScheduling|the time is up).*node"):
        engine.run(node_selector={"no": "such-node"}, wait_timeout=12)


def test_an_interrupted_upgrade_is_recovered_only_when_asked(engine: Engine) -> None:
    engine.run()
    secrets = engine.kube.list(url_of("Secret", engine.namespace), "owner=helm")
    (secret,) = [item for item in secrets if item["metadata"]["labels"]["status"] == "deployed"]
    _pretend_pending(engine, secret)
    with pytest.raises(OapipError, match=r"pending-upgrade.*recover"):
        engine.run()
    planned = engine.run(check=True, recover=True)
    done = engine.run(recover=True)
    assert planned["changes"] == done["changes"]
    assert named(done) == [("update", "Release")]
    assert done["release"]["status"] == "deployed"
    assert engine.run()["changes"] == []


def _pretend_pending(engine: Engine, secret: dict[str, Any]) -> None:
    """Write revision 2 as helm does at the start of an upgrade that is then killed."""
    data = json.loads(
        gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"])))
    )
    data["version"], data["info"]["status"] = 2, "pending-upgrade"
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(data).encode())))
    meta = secret["metadata"]
    labels = {**meta["labels"], "version": "2", "status": "pending-upgrade"}
    name = f"sh.helm.release.v1.{engine.name}.v2"
    engine.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": secret["type"],
            "metadata": {"name": name, "namespace": engine.namespace, "labels": labels},
            "data": {"release": packed.decode()},
        }
    )


def test_a_release_made_by_hand_is_taken_over_only_when_asked(engine: Engine) -> None:
    classes = ["workflow.storageClass", *(f"persistence.{item}StorageClass" for item in CLAIMS)]
    chosen = ",".join(f"{item}=shared" for item in classes)
    engine.helm("install", engine.name, str(CHART), "--create-namespace", "--set", chosen)
    with pytest.raises(OapipError, match="adopt"):
        engine.run()
    default = {"persistence": {"storageClass": ""}}  # a claim's class cannot change any more
    done = engine.settle(adopt=True, values={"postgresql": default, "rabbitmq": default})
    assert ("update", "Release") in named(done)
    data = engine.get("Secret", f"{engine.name}-oapip-broker")["data"]
    assert base64.b64decode(data["password"]).decode() == "CHANGEME"  # what its broker has


def test_a_release_made_by_hand_is_not_removed(engine: Engine) -> None:
    classes = ["workflow.storageClass", *(f"persistence.{item}StorageClass" for item in CLAIMS)]
    chosen = ",".join(f"{item}=shared" for item in classes)
    engine.helm("install", engine.name, str(CHART), "--create-namespace", "--set", chosen)
    for check in (True, False):
        with pytest.raises(OapipError, match=r"not installed by this collection.*adopt"):
            engine.run(state="absent", check=check)
    path = url_of("PersistentVolumeClaim", engine.namespace)
    there = {item["metadata"]["name"] for item in engine.kube.list(path)}
    assert {f"{name}-0" for name in _sets(engine)} <= there
    removed = engine.run(state="absent", adopt=True)
    assert named(removed)[0] == ("delete", "Release")
    assert removed["kept"] == [f"Namespace {engine.namespace}: it was there before"]
    going = [item["metadata"].get("deletionTimestamp") for item in engine.kube.list(path)]
    assert all(going)


def _sets(engine: Engine) -> set[str]:
    """What the claims of the StatefulSets are named after."""
    return {
        f"{template['metadata']['name']}-{item['metadata']['name']}"
        for item in engine.kube.list(url_of("StatefulSet", engine.namespace))
        for template in item["spec"]["volumeClaimTemplates"]
    }


def test_a_namespace_goes_only_when_nothing_of_others_is_in_it(engine: Engine) -> None:
    engine.run()
    space = engine.namespace
    pod = {"restartPolicy": "Never", "containers": [{"name": "dump", "image": "busybox"}]}
    job = {"spec": {"template": {"spec": pod}}}
    backup = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "backup"}}
    claim = f"backup-{engine.name}-postgresql-2025"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    strangers = [{**backup, "spec": {"schedule": "0 0 1 1 *", "jobTemplate": job}}, volume]
    for stranger in strangers:
        engine.kube.create(stranger, space)
    planned, removed = engine.run(state="absent", check=True), engine.run(state="absent")
    assert planned["changes"] == removed["changes"]
    (kept,) = removed["kept"]
    assert "CronJob backup" in kept
    assert f"PersistentVolumeClaim {claim}" in kept
    for stranger in strangers:
        engine.kube.delete(url_for(stranger, space))
    assert named(engine.run(state="absent"))[-1] == ("delete", "Namespace")
    assert engine.kube.get(url_of("Namespace", None, space)) is None


def test_two_at_once_end_with_one_engine(engine: Engine) -> None:
    def attempt(_number: int) -> str:
        try:
            engine.run()
        except OapipError as error:
            return error.text()
        return ""

    with ThreadPoolExecutor(2) as pool:
        errors = [text for text in pool.map(attempt, range(2)) if text]
    assert len(errors) <= 1, errors
    done = engine.run(recover=True)
    assert done["release"]["status"] == "deployed"
    assert engine.run()["changes"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chart_ref": "/no/such/chart"}, "chart not found"),
        ({"chart_version": "0.10.2"}, "this collection knows|it is version 0.10.3"),
        ({"ca_path": str(CHART / "Chart.yaml")}, "holds no certificate"),
        ({"kubeconfig": "/no/such/kubeconfig"}, "loading the kubeconfig"),
        ({"helm_binary": "no-such-helm"}, "no-such-helm was not found"),
        ({"values": {"iam": {"audience": 3}}}, "audience"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors_name_the_cause(engine: Engine, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OapipError, match=words) as failed:
        engine.run(**options)
    assert "a-secret-of-the-store" not in json.dumps(failed.value.as_result())


def test_worker_and_module_process_say_the_same(shared: Engine, tmp_path: Path) -> None:
    shared.run()
    here, sent = both_ways(tmp_path, "oapip_release", shared.options)
    assert here.contract() == sent.contract()
    assert here.status == "ok"
    assert here.result["changes"] == []
