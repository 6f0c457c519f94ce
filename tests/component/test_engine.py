"""The engine stand-in on the real API server, Keycloak and S3: settings, tokens, one whole job."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
import requests
import yaml
from aiohttp import web
from PIL import Image

from sandbox.engine.app import App
from sandbox.engine.cluster import TTL, KubeSettings
from tests.unit.sandbox.engine_double import Client, Double
from tests.unit.sandbox.test_engine_job import EXECUTION, finished, picture, run, sample

RELEASE = "zoo-project-dru"
BUNDLE = "/etc/ssl/sandbox/ca.crt"


class Cluster:
    """A namespace with the objects the engine reads, and nothing else."""

    def __init__(self, sandbox: dict[str, Any], bucket: str) -> None:
        self.namespace = f"engine-{uuid.uuid4().hex[:8]}"
        self.service = f"{self.namespace}/{RELEASE}-service"
        self._sandbox = sandbox
        self._bucket = bucket

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl as the administrator."""
        config = self._sandbox["clusters"][0]["admin_kubeconfig"]
        command = [self._sandbox["bin"]["kubectl"], f"--kubeconfig={config}", *arguments]
        done = subprocess.run(command, input=stdin, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply objects in the namespace."""
        self.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.dump_all(documents))

    def install(self) -> None:
        """All objects, and the wait for ready pods."""
        self.kubectl("create", "namespace", self.namespace)
        s3 = self._sandbox["s3"]
        secret = {
            "STAGEOUT_AWS_SERVICEURL": s3["endpoint"],
            "STAGEOUT_AWS_ACCESS_KEY_ID": s3["access_key"],
            "STAGEOUT_AWS_SECRET_ACCESS_KEY": s3["secret_key"],
            "STAGEOUT_AWS_REGION": s3["region"],
            "STAGEOUT_OUTPUT": self._bucket,
        }
        authority = Path(self._sandbox["ca_file"]).read_text()
        self.apply(
            _object("v1", "Secret", "stage-out", stringData=secret),
            _object("v1", "ConfigMap", "authority", data={"ca.crt": authority}),
            self.configuration(BUNDLE),
            self.kernel("oapip-engine"),
            _deployment("zoofpm", envFrom=[{"secretRef": {"name": "stage-out"}}]),
        )
        for part in ("zookernel", "zoofpm"):
            name = f"deployment/{RELEASE}-{part}"
            self.kubectl("rollout", "status", name, "-n", self.namespace, "--timeout=60s")

    def configuration(self, bundle: str) -> dict[str, Any]:
        """The chart's ConfigMap, with or without REQUESTS_CA_BUNDLE."""
        env = f"[env]\nREQUESTS_CA_BUNDLE={bundle}\n" if bundle else ""
        oas = "[openapi]\nrootHost=https://zoo.example.org\n[osecurity]\nrealm=eoepca\n"
        data = {"main.cfg": f"[main]\ncors=true\n{env}", "oas.cfg": oas}
        return _object("v1", "ConfigMap", f"{RELEASE}-zoo-project-config", data=data)

    def kernel(self, audience: str) -> dict[str, Any]:
        """The kernel's Deployment with the authority mounted."""
        env = {
            "ZOO_KEYCLOAK_ISSUER": self._sandbox["keycloak"]["issuer"],
            "ZOO_KEYCLOAK_AUDIENCE": audience,
            "ZOO_KEYCLOAK_ALGORITHMS": "RS256,ES256",
        }
        return _deployment(
            "zookernel",
            env=[{"name": name, "value": value} for name, value in env.items()],
            volumeMounts=[{"name": "authority", "mountPath": str(Path(BUNDLE).parent)}],
        )


def _object(version: str, kind: str, name: str, **members: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **members}


def _deployment(part: str, **container: Any) -> dict[str, Any]:
    labels = {"app": part}
    pod = {
        "containers": [{"name": part, "image": "zooproject/zoo-project:x", **container}],
        "volumes": [{"name": "authority", "configMap": {"name": "authority"}}],
    }
    spec = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return _object("apps/v1", "Deployment", f"{RELEASE}-{part}", spec=spec)


@pytest.fixture(scope="module")
def storage(sandbox: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """A client of the real S3 and a bucket of our own."""
    s3 = sandbox["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=s3["endpoint"],
        aws_access_key_id=s3["access_key"],
        aws_secret_access_key=s3["secret_key"],
        region_name=s3["region"],
        verify=sandbox["ca_file"],
    )
    bucket = f"engine-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    yield client, bucket
    for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=item["Key"])
    client.delete_bucket(Bucket=bucket)


@pytest.fixture(scope="module")
def cluster(sandbox: dict[str, Any], storage: tuple[Any, str]) -> Iterator[Cluster]:
    """The objects of one engine in the real API server."""
    made = Cluster(sandbox, storage[1])
    made.install()
    yield made
    made.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def token(sandbox: dict[str, Any]) -> str:
    """Alice's token from the real Keycloak."""
    form = {
        "grant_type": "password",
        "client_id": sandbox["token_client"],
        "username": "alice",
        "password": sandbox["users"]["alice"]["password"],
    }
    url = f"{sandbox['keycloak']['issuer']}/protocol/openid-connect/token"
    answer = requests.post(url, data=form, verify=sandbox["ca_file"], timeout=30)
    return f"Bearer {answer.json()['access_token']}"


class Caller(Client):
    """Sends every request to one Service, with a token."""

    service = ""
    token = ""

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        chosen = {"service": self.service, "Authorization": self.token, **headers}
        return await super().__call__(method, path, body, **chosen)


@asynccontextmanager
async def serving(
    sandbox: dict[str, Any], folder: Path, service: str, token: str
) -> AsyncIterator[Caller]:
    """This checkout's engine over the real API server."""
    source = KubeSettings(Path(sandbox["clusters"][0]["admin_kubeconfig"]))
    app = App(source, folder / "state", Path(sandbox["ca_file"]))
    runner = web.AppRunner(app.web_app())
    await runner.setup()
    await web.UnixSite(runner, str(folder / "s")).start()
    try:
        connector = aiohttp.UnixConnector(str(folder / "s"))
        async with aiohttp.ClientSession(connector=connector) as session:
            caller = Caller(session, Double())
            caller.service, caller.token = service, token
            yield caller
    finally:
        await runner.cleanup()
        await source.close()


def test_a_job_from_package_to_the_real_bucket(
    sandbox: dict[str, Any],
    cluster: Cluster,
    storage: tuple[Any, str],
    token: str,
    tmp_path: Path,
) -> None:
    client, bucket = storage
    client.put_object(Bucket=bucket, Key="in/picture.png", Body=picture(64, 48))
    ask = {"Bucket": bucket, "Key": "in/picture.png"}
    url = client.generate_presigned_url("get_object", Params=ask, ExpiresIn=600)

    async def go() -> None:
        async with serving(sandbox, tmp_path, cluster.service, token) as engine:
            assert (await engine.deploy(text=sample())).status == 201
            made = await run(engine, url)
            assert made.status == 201, made.text
            job_id = made.json["jobID"]
            status, _ = await finished(engine, job_id)
            results = (await engine("GET", f"/alice/ogc-api/jobs/{job_id}/results")).json
            assert status["status"] == "successful", results
            assert results["converted_image"]["value"]["type"] == "Collection"
            prefix = f"processing-results/{job_id}"
            found = client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
            key = next(item["Key"] for item in found if item["Key"].endswith("-resize.png"))
            stored = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            assert Image.open(io.BytesIO(stored)).size == (32, 24)
            catalog = next(item["Key"] for item in found if item["Key"].endswith("catalog.json"))
            document = json.loads(client.get_object(Bucket=bucket, Key=catalog)["Body"].read())
            assert document["type"] == "Catalog"

    asyncio.run(go())


def test_tokens_by_what_is_deployed(
    sandbox: dict[str, Any], cluster: Cluster, token: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with serving(sandbox, tmp_path, cluster.service, token) as engine:

            async def status(**headers: str) -> int:
                got = await engine("GET", "/alice/ogc-api/processes", **headers)
                code: int = got.status
                return code

            assert await status() == 200
            assert await status(Authorization=token[:-3] + "abc") == 401
            assert (await engine("POST", EXECUTION, {})).status != 401
            cluster.apply(cluster.configuration(""))
            time.sleep(TTL)
            assert await status() == 401  # nobody trusts the issuer's certificate
            cluster.apply(cluster.configuration("/etc/ssl/elsewhere.crt"))
            time.sleep(TTL)
            assert await status() == 401
            cluster.apply(cluster.configuration(BUNDLE), cluster.kernel("another-client"))
            time.sleep(TTL)
            assert await status() == 401  # the audience is another
            cluster.apply(cluster.kernel("oapip-engine"))
            time.sleep(TTL)
            assert await status() == 200

    asyncio.run(go())
