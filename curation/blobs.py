"""Where a store keeps its bytes: a local folder, or a bucket of S3-compatible storage by URL.

Both can do the one thing a commit needs: create a name only if nobody has it. What is read from a
bucket is kept in a local cache, named by its content and verified like everything else.
"""

import os
import uuid
from pathlib import Path
from typing import Any, Protocol

from curation.disk import Disk, save_new, save_over

_CONFLICT = "PreconditionFailed", "ConditionalRequestConflict"


class Corrupt(RuntimeError):
    """A stored object is missing, or no longer has the content its name promises."""


class Blobs(Protocol):
    """Bytes by key, a key being a relative POSIX path."""

    shared: bool
    """Whether other machines may write here, so that file locks prove nothing."""

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under a key, on disk on return; the same key always gets the same bytes."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Keep bytes under a key that nobody has, else change nothing and say False."""
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Keep bytes under a key in place of those it has."""
        ...

    def fetch(self, key: str) -> Path:
        """A local file with the bytes; raises `FileNotFoundError`."""
        ...

    def exists(self, key: str) -> bool:
        """Whether the key has bytes."""
        ...

    def read(self, key: str) -> bytes:
        """The present bytes of a key that may change; raises `FileNotFoundError`."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys below a folder, sorted."""
        ...

    def age_s(self, key: str) -> float:
        """Seconds since the key was last written, by the clock of where it lies."""
        ...

    def remove(self, key: str) -> None:
        """Forget a key; one that is not there is no error."""
        ...


class LocalBlobs:
    """A folder."""

    shared = False

    def __init__(self, root: Path, disk: Disk):
        self.root, self.disk = root, disk

    def put(self, key: str, data: bytes) -> None:
        save_over(self.disk, self.root / key, data, staging=self.root / "tmp")

    def create(self, key: str, data: bytes) -> bool:
        return save_new(self.disk, self.root / key, data, staging=self.root / "tmp")

    def replace(self, key: str, data: bytes) -> None:
        save_over(self.disk, self.root / key, data, staging=self.root / "tmp")

    def fetch(self, key: str) -> Path:
        path = self.root / key
        if not path.is_file():
            raise FileNotFoundError(f"{key} is missing from {str(self.root)!r}")
        return path

    def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    def read(self, key: str) -> bytes:
        return self.fetch(key).read_bytes()

    def list(self, prefix: str) -> list[str]:
        found: list[str] = []
        for folder, _, names in os.walk(self.root / prefix):
            parent = Path(folder).relative_to(self.root).as_posix()
            found += [f"{parent}/{name}" for name in names]
        return sorted(found)

    def age_s(self, key: str) -> float:
        """By the clock of the file system, which a test file just written tells."""
        probe = self.root / "tmp" / uuid.uuid4().hex
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now - (self.root / key).stat().st_mtime

    def remove(self, key: str) -> None:
        self.disk.remove(self.root / key)


class BucketBlobs:
    """A prefix of a bucket, such as `s3://bucket/prefix`, read through a local cache folder.

    Credentials, region and endpoint come from the environment (AWS_ACCESS_KEY_ID, AWS_REGION,
    AWS_ENDPOINT_URL …). Raises `ValueError` when obstore is not installed, when the bucket cannot
    be reached, or when it ignores conditional writes, which would let two writers both win.
    """

    shared = True

    def __init__(self, url: str, cache: Path, disk: Disk):
        try:
            from obstore.store import from_url
        except ImportError:
            raise ValueError(
                f"a store at {url!r} needs obstore: pip install 'winnow-sft[s3]'"
            ) from None
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        options: dict[str, Any] = {"client_options": {"allow_http": True}} if plain else {}
        self.url, self.cache, self.disk = url, LocalBlobs(cache, disk), disk
        self._bucket = from_url(url, **options)
        self._require_conditional_writes()

    def _require_conditional_writes(self) -> None:
        probe = f"probe/{uuid.uuid4().hex}"
        try:
            honest = self.create(probe, b"1") and not self.create(probe, b"2")
            self.remove(probe)
        except Exception as error:  # obstore has no common base class for "not reachable"
            line = str(error).strip().splitlines()[0]
            raise ValueError(f"the store {self.url!r} cannot be used: {line}") from None
        if not honest:
            raise ValueError(
                f"the store {self.url!r} ignores conditional writes (If-None-Match), so two "
                "rebuilds could both think they won; use storage that honours them"
            )

    def put(self, key: str, data: bytes) -> None:
        import obstore

        self.cache.put(key, data)
        obstore.put(self._bucket, key, data)

    def create(self, key: str, data: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError

        try:
            obstore.put(self._bucket, key, data, mode="create")
        except (
            AlreadyExistsError
        ):  # perhaps by us: a reply may be lost, and the library tries again
            return self.read(key) == data
        except GenericError as error:
            if any(word in str(error) for word in _CONFLICT):
                return False
            raise
        return True

    def replace(self, key: str, data: bytes) -> None:
        import obstore

        obstore.put(self._bucket, key, data)

    def fetch(self, key: str) -> Path:
        if not self.cache.exists(key):
            self.cache.put(key, self.read(key))
        return self.cache.fetch(key)

    def exists(self, key: str) -> bool:
        import obstore

        try:
            obstore.head(self._bucket, key)
        except FileNotFoundError:
            return False
        return True

    def read(self, key: str) -> bytes:
        import obstore

        return bytes(obstore.get(self._bucket, key).bytes())

    def list(self, prefix: str) -> list[str]:
        import obstore

        pages = obstore.list(self._bucket, prefix=prefix)
        return sorted(entry["path"] for page in pages for entry in page)

    def age_s(self, key: str) -> float:
        """By the clock of the bucket, which a probe just written tells."""
        import obstore

        probe = f"probe/{uuid.uuid4().hex}"
        self.replace(probe, b"")
        now = obstore.head(self._bucket, probe)["last_modified"]
        self.remove(probe)
        return (now - obstore.head(self._bucket, key)["last_modified"]).total_seconds()

    def remove(self, key: str) -> None:
        import obstore

        obstore.delete(self._bucket, key)
        self.cache.remove(key)
