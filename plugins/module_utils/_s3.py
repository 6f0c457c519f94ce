# Copyright (c) 2026 the eoepca.oapip authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause

"""The one way to S3: a client with deadlines, and errors in words."""

from __future__ import annotations

import contextlib
import functools
import typing as t
from urllib.parse import urlsplit

from ansible_collections.eoepca.oapip.plugins.module_utils._deps import botocore, require
from ansible_collections.eoepca.oapip.plugins.module_utils._files import Sink
from ansible_collections.eoepca.oapip.plugins.module_utils._http import (
    TRANSIENT,
    Attempts,
    root_cause,
    server_of,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._module import OapipError, Params

CHUNK = 1024 * 1024
"""Bytes of a body that are held at once."""

ABSENT = frozenset({"404", "NoSuchBucket", "NoSuchKey", "NotFound"})
DENIED = frozenset(
    {
        *("403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        *("ExpiredToken", "InvalidToken"),
    }
)


@functools.lru_cache(maxsize=None)
def descriptions() -> t.Any:
    """Return botocore's loader of service descriptions, which remembers what it has loaded."""
    return botocore.session.Session().get_component("data_loader")


def load_description() -> None:
    """Load the description of S3, which costs 130 ms and else every client anew.

    Called in Ansible's own process, so that its workers inherit it.
    """
    if botocore is None:
        return
    loader = descriptions()
    for part in ("service-2", "endpoint-rule-set-1"):
        loader.load_service_model("s3", part, api_version=None)  # as a client asks
    for name in ("endpoints", "partitions", "sdk-default-configuration"):
        loader.load_data(name)


class Store:
    """One S3 endpoint as one pair of keys sees it.

    :param params: the options of :func:`_argspec.s3`.
    """

    def __init__(self, params: Params) -> None:
        require("boto3")
        self.endpoint: str = params["endpoint"]
        self.server = server_of(self.endpoint)
        self.region: str = params.get("region") or "us-east-1"
        verify: t.Union[bool, str] = params.get("ca_path") or True
        if params.get("validate_certs") is False:
            verify = False
        config = botocore.config.Config(
            connect_timeout=min(10, params.get("timeout") or 30),
            read_timeout=params.get("timeout") or 30,
            # ours, see call(): botocore's know neither Retry-After nor an end in time
            retries={"mode": "standard", "total_max_attempts": 1},
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            # many stores that speak S3 refuse the checksums that AWS introduced in 2025
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            session = botocore.session.Session()  # its own: threads must not share one
            session.register_component("data_loader", descriptions())
            self.client = session.create_client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=self.region,
                aws_access_key_id=params["access_key"],
                aws_secret_access_key=params["secret_key"],
                verify=verify,
                config=config,
            )
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            hint = "Give the endpoint as a URL, like https://s3.example.org."
            raise OapipError(f"connecting to {self.endpoint}", root_cause(error), hint) from None

    def call(
        self, doing: str, operation: str, into: t.Optional[Sink] = None, **arguments: t.Any
    ) -> t.Optional[t.Dict[str, t.Any]]:
        """Call an operation of the S3 API (``head_bucket``); None: the thing is not there.

        Whatever is called here does the same when it is sent twice, so all of it is.

        :param into: what the body of the answer is written to, instead of being returned.
        :raises OapipError: refused, unreachable, or any other error than "absent".
        """
        where = f"{doing} in S3"
        attempts = Attempts(repeatable=True, transient=TRANSIENT | {500})
        while True:
            try:
                return self._once(where, operation, arguments, into)
            except botocore.exceptions.ClientError as error:
                about = error.response.get("ResponseMetadata", {})
                status = about.get("HTTPStatusCode")
                told = about.get("HTTPHeaders", {})
                if str(error.response.get("Error", {}).get("Code", "")) in ABSENT:
                    return None
                failure = OapipError(where, *_told(error.response), status, server=self.server)
            except (botocore.exceptions.BotoCoreError, ValueError) as error:
                status, told = None, {}
                hint = "Check the URL, the name resolution and what is trusted with ca_path."
                reason = f"no answer from {self.server}: {_cause(error)}"
                failure = OapipError(where, reason, hint, path=urlsplit(self.endpoint).path)
                if not _passing(error):
                    raise failure from None
            if not attempts.again(status, told.get("retry-after"), told.get("date")):
                raise failure

    def _once(
        self, where: str, operation: str, arguments: Params, into: t.Optional[Sink]
    ) -> t.Dict[str, t.Any]:
        """Call an operation and read its answer to the end."""
        try:
            answer: t.Dict[str, t.Any] = getattr(self.client, operation)(**arguments)
        except botocore.parsers.ResponseParserError:
            raise self._foreign(where) from None
        if "Body" in answer:
            with contextlib.closing(answer["Body"]) as body:
                if into is None:
                    return {**answer, "Body": body.read()}
                into.seek(0)
                into.truncate()
                for chunk in body.iter_chunks(CHUNK):
                    into.write(chunk)
            return answer
        kind = answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "")
        if kind.startswith("text/html"):
            raise self._foreign(where)
        return answer

    def _foreign(self, where: str) -> OapipError:
        hint = "Something else than S3 may have answered (a proxy, a login page)."
        return OapipError(where, "the answer is not S3's", hint, 200, server=self.server)

    def check_access(self) -> t.List[str]:
        """Return the names of the buckets; a wrong key fails here.

        :raises OapipError: the endpoint cannot be reached or refuses the keys.
        """
        answer = self.call("listing the buckets", "list_buckets") or {}
        return sorted(str(bucket["Name"]) for bucket in answer.get("Buckets", []))

    def has_bucket(self, name: str) -> bool:
        """Whether the bucket exists and these keys may see it."""
        return self.call(f"looking for bucket {name}", "head_bucket", Bucket=name) is not None

    def create_bucket(self, name: str) -> None:
        """Create the bucket; one that appeared meanwhile and is ours is fine."""
        arguments: t.Dict[str, t.Any] = {"Bucket": name}
        # the API refuses its own default region as a constraint
        if self.region != "us-east-1":
            arguments["CreateBucketConfiguration"] = {"LocationConstraint": self.region}
        try:
            self.call(f"creating bucket {name}", "create_bucket", **arguments)
        except OapipError as error:
            if "BucketAlreadyOwnedByYou" not in error.reason:
                raise

    def objects(self, bucket: str, prefix: str = "") -> t.Iterator[t.Dict[str, t.Any]]:
        """Yield the objects under a prefix: key, size in bytes, time; none where no bucket is."""
        doing = f"listing {bucket}/{prefix}"
        page: t.Dict[str, t.Any] = {"Bucket": bucket, "Prefix": prefix}
        while True:
            answer = self.call(doing, "list_objects_v2", **page) or {}
            yield from answer.get("Contents", [])
            if not answer.get("IsTruncated"):
                return
            page["ContinuationToken"] = answer["NextContinuationToken"]

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Store an object."""
        stored = self.call(
            f"storing {bucket}/{key}",
            "put_object",
            Bucket=bucket,
            Key=key,
            Body=body,
            ContentType=content_type,
        )
        if stored is None:
            raise OapipError(f"storing {bucket}/{key}", "the bucket does not exist")

    def get(self, bucket: str, key: str) -> t.Optional[bytes]:
        """Return the bytes of an object; None where there is none."""
        answer = self.call(f"reading {bucket}/{key}", "get_object", Bucket=bucket, Key=key)
        if answer is None:
            return None
        body: bytes = answer["Body"]
        return body

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is gone is fine."""
        self.call(f"deleting {bucket}/{key}", "delete_object", Bucket=bucket, Key=key)

    def empty_and_delete(self, bucket: str) -> None:
        """Delete a bucket with all that is in it."""
        for entry in self.objects(bucket):
            self.delete(bucket, entry["Key"])
        self.call(f"deleting bucket {bucket}", "delete_bucket", Bucket=bucket)

    def presigned(self, bucket: str, key: str, seconds: int) -> str:
        """Return a URL that lets anyone read the object for ``seconds``; it is a secret."""
        url: str = self.client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
        )
        return url


def _told(answer: t.Mapping[str, t.Any]) -> t.Tuple[str, str]:
    """Return what the server says of an error, and what to do about it."""
    told = answer.get("Error", {})
    code, text = str(told.get("Code", "")), str(told.get("Message") or "")
    words = ": ".join(part for part in (code, text) if part) or "the server gives no reason"
    hint = "Check the access key, the secret key and what the key may do."
    return words, hint if code in DENIED else ""


def _passing(error: BaseException) -> bool:
    """Whether it may pass by itself: a connection that breaks, or is silent for too long."""
    names = botocore.exceptions
    kinds = (names.ConnectionError, names.HTTPClientError, names.IncompleteReadError)
    return isinstance(error, kinds) and not isinstance(error, names.SSLError)


def _cause(error: BaseException) -> str:
    """Return why no answer came: botocore's own sentence is about the URL, not the reason."""
    inner = getattr(error, "kwargs", {}).get("error")
    return root_cause(inner if isinstance(inner, BaseException) else error)
