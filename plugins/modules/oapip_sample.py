#!/usr/bin/python

# Copyright (c) 2026 the eoepca.oapip authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The picture that the proof's job resizes, before and after."""

from __future__ import annotations

DOCUMENTATION = r"""
module: oapip_sample
short_description: The picture that a sample job resizes, before and after
description:
  - The proof needs an input that a closed site can serve itself. This module makes a picture,
    stores it, and gives a URL that lets anyone read it for a while.
  - Afterwards it finds the picture that the job stored, opens it and tells its size in pixels.
version_added: 1.0.0
author:
  - eoepca.oapip contributors (@eoepca)
extends_documentation_fragment:
  - eoepca.oapip._attributes
  - eoepca.oapip._s3
options:
  bucket:
    description:
      - Name of the bucket.
    type: str
    required: true
  key:
    description:
      - Key of the picture to store or to delete.
      - With O(state=found), the part of a key that the picture that is looked for must contain, for
        example the job identifier.
    type: str
    required: true
  prefix:
    description:
      - Prefix of the keys that O(state=found) and O(state=absent) look at.
    type: str
    default: ''
  width:
    description:
      - Width in pixels.
    type: int
    default: 64
  height:
    description:
      - Height in pixels.
    type: int
    default: 48
  lifetime:
    description:
      - Seconds that the URL is valid.
    type: int
    default: 3600
  state:
    description:
      - V(present) stores the picture and returns RV(url).
      - V(found) finds a stored picture by O(key) and fails when there is none or its size is not
        O(width) x O(height).
      - V(absent) deletes every object whose key contains O(key).
    type: str
    choices: [present, found, absent]
    default: present
"""

EXAMPLES = r"""
- name: A picture of 64 x 48 pixels is in the bucket
  eoepca.oapip.oapip_sample:
    endpoint: https://s3.example.org
    access_key: "{{ oapip_s3_access_key }}"
    secret_key: "{{ oapip_s3_secret_key }}"
    bucket: eoepca
    key: proof/input.png
    width: 64
    height: 48
  register: sample
  no_log: true # the URL lets its holder read the picture
"""

RETURN = r"""
url:
  description: URL that lets anyone read the picture for O(lifetime) seconds.
  returned: O(state=present), not in check mode
  type: str
key:
  description: Key of the picture.
  returned: success
  type: str
width:
  description: Width of the picture in pixels.
  returned: O(state=present) and O(state=found)
  type: int
height:
  description: Height of the picture in pixels.
  returned: O(state=present) and O(state=found)
  type: int
changes:
  description: Objects that were stored or deleted, or would be in check mode.
  returned: success
  type: list
  elements: dict
"""

import struct
import typing as t
import zlib

from ansible_collections.eoepca.oapip.plugins.module_utils import _argspec, _plan
from ansible_collections.eoepca.oapip.plugins.module_utils._module import (
    Context,
    ModuleSpec,
    OapipError,
    Params,
    Result,
    run_module,
)
from ansible_collections.eoepca.oapip.plugins.module_utils._plan import Change
from ansible_collections.eoepca.oapip.plugins.module_utils._s3 import Store

SPEC = ModuleSpec(
    argument_spec={
        **_argspec.s3(),
        "bucket": {"type": "str", "required": True},
        "key": {"type": "str", "required": True, "no_log": False},
        "prefix": {"type": "str", "default": ""},
        "width": {"type": "int", "default": 64},
        "height": {"type": "int", "default": 48},
        "lifetime": {"type": "int", "default": 3600},
        "state": {"type": "str", "choices": ["present", "found", "absent"], "default": "present"},
    },
    supports_check_mode=True,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int) -> bytes:
    """Return a picture with a colour gradient (PNG, 8 bit RGB; ISO/IEC 15948)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    rows = (
        b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, 128)) for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows))
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def size_of(picture: bytes) -> t.Optional[t.Tuple[int, int]]:
    """Return width and height in pixels of a PNG; None where it is none."""
    if len(picture) < 24 or not picture.startswith(SIGNATURE) or picture[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", picture[16:24])
    return width, height


def matching(store: Store, params: Params) -> t.List[str]:
    """Return the keys under the prefix that contain the wanted part."""
    listed = store.objects(params["bucket"], params["prefix"])
    return [entry["Key"] for entry in listed if params["key"] in entry["Key"]]


def find(store: Store, params: Params) -> t.Tuple[str, t.Tuple[int, int]]:
    """Return the key and the size of the first picture whose key contains the wanted part."""
    bucket, part = params["bucket"], params["key"]
    doing = f"looking for the picture of {part} in bucket {bucket}"
    keys = matching(store, params)
    for key in keys:
        size = size_of(store.get(bucket, key) or b"")
        if size is not None:
            return key, size
    listed = ", ".join(keys[:10]) or "no object of that name"
    raise OapipError(doing, f"no PNG among: {listed}", "See the job's results and log.")


def run(params: Params, ctx: Context) -> Result:
    """Store, find or delete the picture."""
    if not params["key"]:
        doing = f"reading the options of a picture in bucket {params['bucket']}"
        raise OapipError(doing, "key is empty", "It would match every object: give a key.")
    store, bucket, key = Store(params), params["bucket"], params["key"]
    size = (params["width"], params["height"])
    if params["state"] == "found":
        if ctx.check_mode:
            return _plan.result([], [f"picture of {key}"], key=key)
        where, found = find(store, params)
        if found != size:
            raise OapipError(
                f"opening {bucket}/{where}",
                f"it is {found[0]} x {found[1]} pixels, not {size[0]} x {size[1]}",
                "The job did not do what it was asked.",
            )
        return _plan.result([], key=where, width=found[0], height=found[1])
    if params["state"] == "absent":
        keys = matching(store, params)
        changes = [
            Change("delete", "Object", f"{bucket}/{each}", before={"key": each}) for each in keys
        ]
        if not ctx.check_mode:
            for each in keys:
                store.delete(bucket, each)
        return _plan.result(changes, key=key)
    picture = png(*size)
    there = store.get(bucket, key) if store.has_bucket(bucket) else None
    changes = []
    if there != picture:
        changes = [Change("create", "Object", f"{bucket}/{key}", after={"key": key})]
    facts: Result = {"key": key, "width": size[0], "height": size[1]}
    if not ctx.check_mode:
        if changes:
            store.put(bucket, key, picture, "image/png")
        facts["url"] = store.presigned(bucket, key, params["lifetime"])
    return _plan.result(changes, **facts)


def main() -> None:
    """Run in a module process."""
    run_module(SPEC, run)


if __name__ == "__main__":
    main()
