"""Small files with a seal: refs, pins and memos, whose names do not vouch for their content.

The seal is a digest of the content and of the key it lies under, so that one that was damaged, or
put in the place of another, is noticed. It proves no author.
"""

import json
from collections.abc import Mapping
from typing import Any

from curation.blobs import Blobs
from curation.rows import canonical_json, digest


def seal(key: str, said: Mapping[str, Any]) -> bytes:
    """The bytes to keep under a key for a small value."""
    return canonical_json({**said, "seal": digest([key, said])}).encode()


def unseal(key: str, data: bytes) -> dict[str, Any]:
    """The value back; raises `ValueError` when it is not what was written under this key."""
    said = json.loads(data)
    if not isinstance(said, dict) or said.pop("seal", None) != digest([key, said]):
        raise ValueError(f"{key} is not what was written")
    return said


def read_sealed(blobs: Blobs, key: str) -> dict[str, Any] | None:
    """The value under a key, or None when there is none or it is not what was written."""
    try:
        return unseal(key, blobs.read(key))
    except (FileNotFoundError, ValueError):
        return None
