"""Which form of store a folder or bucket holds, said in its `format.json`."""

import json

from curation.blobs import Blobs
from curation.locks import Leases
from curation.rows import canonical_json

FORMAT = 3


def check_format(blobs: Blobs, leases: Leases, place: str) -> None:
    """Say of what format a new store is; raises `ValueError` for a store of another one."""
    try:
        said = blobs.read("format.json")
    except FileNotFoundError:
        with leases.adding():
            blobs.create("format.json", canonical_json({"format": FORMAT}).encode())
        said = blobs.read("format.json")
    try:
        found = int(json.loads(said)["format"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"format.json of the store {place!r} is damaged; it should say "
            f'{{"format": {FORMAT}}}, if this Winnow wrote the store'
        ) from None
    if found > FORMAT:
        raise ValueError(f"{place!r} has store format {found}; this Winnow knows {FORMAT}: upgrade")
    if found < FORMAT:
        raise ValueError(
            f"{place!r} has store format {found}, which this Winnow ({FORMAT}) no longer "
            "reads: keep it for its lineage, and name a new store"
        )
