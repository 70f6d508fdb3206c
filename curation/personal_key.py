"""The secret key of pseudonyms and digests: from the environment, or from a file of this machine.

The file lies beside the inbox and the ledger of calls, in the folder that belongs to one machine.
It is no object: no manifest names it, no bucket gets it, no export takes it along.
"""

import hmac
import os
import uuid
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from curation.store import Store

VARIABLE = "WINNOW_PERSONAL_KEY"
FILE = "personal.key"
_LEAST = 16
"""Shortest key: one that can be guessed protects nothing."""


def personal_key(store: Store) -> bytes:
    """The key in `WINNOW_PERSONAL_KEY`, else one drawn once and kept in the store's local folder.

    Raises `ValueError` for a key of less than 16 characters.
    """
    said, where = os.environ.get(VARIABLE, ""), VARIABLE
    if not said:
        at = store.root / FILE
        if not at.is_file():
            _make_key(store, at)
        said, where = store.disk.read(at).decode("utf-8", "replace"), repr(str(at))
    if len(said.strip()) < _LEAST:
        raise ValueError(f"{where} holds a key of less than {_LEAST} characters; use a longer one")
    return said.strip().encode()


def key_mark(key: bytes) -> str:
    """What tells that two versions were made under one key, and nothing of the key."""
    return hmac.new(key, b"which key", "sha256").hexdigest()[:32]


def _make_key(store: Store, at: Path) -> None:
    """A key that only this user may read; of two processes that make one the first is taken."""
    disk, staged = store.disk, store.root / "tmp" / uuid.uuid4().hex
    os.close(os.open(staged, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        disk.append(staged, f"{token_hex(32)}\n".encode())
        disk.sync(staged)
        with suppress(FileExistsError):
            disk.link(staged, at)
    finally:
        disk.remove(staged)
    disk.sync(at.parent)
