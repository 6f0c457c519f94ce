"""Stage-out: the output folder's STAC catalog goes to S3 as the chart's stageout.yaml puts it.

Objects lie under `processing-results/<job id>-<six characters>/`: catalog.json, and below a
collection of that same name collection.json, one folder an item with its JSON and assets. The
results document is the STAC Collection with s3:// links.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Stac = dict[str, Any]
# What the service template falls back to when the worker has no such variable.
FALLBACK = {
    "STAGEOUT_AWS_SERVICEURL": "http://s3-service.zoo.svc.cluster.local:9000",
    "STAGEOUT_AWS_ACCESS_KEY_ID": "minio-admin",
    "STAGEOUT_AWS_SECRET_ACCESS_KEY": "minio-secret-password",
    "STAGEOUT_AWS_REGION": "RegionOne",
    "STAGEOUT_OUTPUT": "eoepca",
}
_CONFIG = Config(
    connect_timeout=3,
    read_timeout=30,
    retries={"total_max_attempts": 2},
    s3={"addressing_style": "path"},
)
_WORLD = [[-180, -90, 180, 90]]


class StageOutError(RuntimeError):
    """The outputs did not reach the bucket; the text names the cause, never a secret."""


class _Bucket:
    def __init__(self, env: Mapping[str, str], ca_file: Path) -> None:
        have = {name: env.get(name) or default for name, default in FALLBACK.items()}
        self.name = have["STAGEOUT_OUTPUT"]
        self._client = boto3.client(
            "s3",
            endpoint_url=have["STAGEOUT_AWS_SERVICEURL"],
            aws_access_key_id=have["STAGEOUT_AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=have["STAGEOUT_AWS_SECRET_ACCESS_KEY"],
            region_name=have["STAGEOUT_AWS_REGION"],
            verify=str(ca_file),
            config=_CONFIG,
        )

    def url(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def upload(self, path: Path, key: str, media_type: str) -> None:
        body = path.read_bytes()
        self._client.put_object(Bucket=self.name, Key=key, Body=body, ContentType=media_type)

    def write(self, document: Stac, key: str) -> None:
        body = json.dumps(document, indent=2).encode()
        self._client.put_object(
            Bucket=self.name, Key=key, Body=body, ContentType="application/geo+json"
        )


def stage_out(folder: Path, env: Mapping[str, str], job_id: str, ca_file: Path) -> Stac:
    """Upload a folder with a STAC catalog; return the collection of the results.

    Raises:
        StageOutError: no catalog, or S3 refused.
    """
    catalog = _read(folder / "catalog.json")
    try:
        return _upload(folder, catalog, _Bucket(env, ca_file), job_id)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise StageOutError(f"Stage-out failed: {error}") from error
    except (KeyError, OSError) as error:
        raise StageOutError(f"Stage-out failed: no {error} in the STAC catalog") from error


def _upload(folder: Path, catalog: Stac, bucket: _Bucket, job_id: str) -> Stac:
    letters = string.ascii_lowercase + string.digits
    top = f"processing-results/{job_id}-{''.join(random.choices(letters, k=6))}"
    inner = f"{top}/{top}"
    collection = _collection(bucket, job_id, top)
    for link in catalog.get("links", []):
        if link["rel"] == "item":
            source = folder / link["href"]
            href = _put_item(source, _read(source), bucket, inner, top)
            collection["links"].insert(-2, _link("item", href))
    bucket.write({**collection, "id": top}, f"{inner}/collection.json")
    links = [
        _link("root", bucket.url(f"{top}/catalog.json")),
        _link("child", bucket.url(f"{inner}/collection.json")),
        _link("self", bucket.url(f"{top}/catalog.json")),
    ]
    bucket.write({**catalog, "links": links}, f"{top}/catalog.json")
    return collection


def _put_item(source: Path, item: Stac, bucket: _Bucket, inner: str, collection: str) -> str:
    place = f"{inner}/{item['id']}"
    for asset in item["assets"].values():
        path = (source.parent / asset["href"]).resolve()
        key = f"{place}/{path.name}"
        bucket.upload(path, key, str(asset.get("type", "application/octet-stream")))
        asset["href"] = bucket.url(key)
    href = bucket.url(f"{place}/{item['id']}.json")
    parent = bucket.url(f"{inner}/collection.json")
    item["links"] = [_link("self", href), _link("parent", parent), _link("collection", parent)]
    bucket.write({**item, "collection": collection}, f"{place}/{item['id']}.json")
    return href


def _collection(bucket: _Bucket, job_id: str, top: str) -> Stac:
    time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    catalog = bucket.url(f"{top}/catalog.json")
    return {
        "type": "Collection",
        "id": job_id,
        "stac_version": "1.1.0",
        "description": "description",
        "links": [
            _link("root", catalog),
            _link("self", bucket.url(f"{top}/{top}/collection.json")),
            _link("parent", catalog),
        ],
        "title": "Processing results",
        "extent": {"spatial": {"bbox": _WORLD}, "temporal": {"interval": [[time, time]]}},
        "license": "other",
        "keywords": ["eoepca"],
    }


def _link(rel: str, href: str) -> Stac:
    return {"rel": rel, "href": href, "type": "application/json"}


def _read(path: Path) -> Stac:
    try:
        found: Stac = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StageOutError(f"Stage-out failed: {path.name} cannot be read") from error
    return found
