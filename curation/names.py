"""Digests of files and folders, and names that lead to no other place.

An object is named by the digest of its content, so that its name proves it.
"""

import hashlib
import re
from pathlib import Path

from curation.blobs import Corrupt
from curation.disk import sha256_file
from curation.rows import canonical_json

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*")
_KEY = re.compile(r"\w[\w.-]*/[0-9a-f]{2}/([0-9a-f]{64})(\.parquet|\.json|\.arrow)?")


def sha256_path(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    listing = [[p.relative_to(path).as_posix(), sha256_file(p)] for p in files]
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def link_in(folder: Path) -> str:
    """The first link below a folder, by its place in it; empty where there is none."""
    links = sorted(p for p in folder.rglob("*") if p.is_symlink())
    return links[0].relative_to(folder).as_posix() if links else ""


def check_name(name: str) -> str:
    """A name of a step, memo or work folder; it may lead to no other place."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name; use letters, digits, '-', '_', '.' and '/' between")
    return name


def checked_key(key: str) -> str:
    """The digest in an object's key; a key from a damaged manifest may name no other place."""
    found = _KEY.fullmatch(key)
    if not found:
        raise Corrupt(f"{key!r} is no object key: the manifest that names it was damaged")
    return found[1]
