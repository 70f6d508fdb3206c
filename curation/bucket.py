"""A bucket of S3-compatible storage as the place of a store, by obstore.

What is read from it is kept in a local cache, named by its content and verified like everything
else. Every failure is an `OSError` of one line in which no credential stands; how long a request
may take and how often it is tried again is bounded.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curation.blobs import Blob, LocalBlobs
from curation.disk import Disk

_TIMEOUTS: dict[str, Any] = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "10m"}
_RETRY_S = 20.0
_RETRIES: dict[str, Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=_RETRY_S)}
_TRIES = 3
"""Of a conditional write, which the library does not repeat when the reply is lost."""
_TRUST_S = 3600.0
"""What this process sent within this time is there: no collector takes what is so young."""
_PAGE = 1000
_SECRET_CHARS = 4
_METADATA = "169.254.169.254", "169.254.170.2", "/latest/api/token", "/latest/meta-data", "Missing "
TRUSTED = "WINNOW_TRUSTED_ENDPOINT"
"""Names the endpoint that a session token may be sent to."""
_AWS = (".amazonaws.com", ".amazonaws.com.cn")
_NO_KEYS = "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class BucketBlobs:
    """A prefix of a bucket, such as `s3://bucket/prefix`, read through a local cache folder.

    Credentials, region and endpoint come from the environment (AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL). Raises `ValueError` for a URL of another
    kind, when obstore is not installed, for a session token that a redirect could carry away, or
    when the bucket ignores conditional writes, which would let two writers both win; `OSError` when
    the bucket cannot be used.
    """

    shared = True
    at_once = 16

    def __init__(self, url: str, cache: Path, disk: Disk):
        bucket = open_bucket(url)
        for part in ("objects", "tmp"):
            disk.make_folder(cache / part)
        self.url, self.root, self._cache = url, cache, LocalBlobs(cache, disk)
        self._sent: dict[str, float] = {}
        self._bucket = bucket
        self._require_conditional_writes()

    def _require_conditional_writes(self) -> None:
        """A key that is there must not be created again; one request where it was made earlier."""
        if self._create("probe/conditional", b"1") and self._create("probe/conditional", b"1"):
            raise ValueError(
                f"the store {self.url!r} ignores conditional writes (If-None-Match), so two "
                "rebuilds could both think they won; use storage that honours them"
            )

    def put(self, key: str, data: bytes) -> None:
        import obstore

        self._cache.put(key, data)
        with self._errors(key):
            obstore.put(self._bucket, key, data)
        self._sent[key] = time.monotonic()

    def create(self, key: str, data: bytes) -> bool:
        # Where somebody has it that may be us: a reply was lost, and the write done once more.
        return self._create(key, data) or self.read(key) == data

    def _create(self, key: str, data: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, GenericError

        until = time.monotonic() + _RETRY_S
        with self._errors(key):
            for left in reversed(range(_TRIES)):
                try:
                    obstore.put(self._bucket, key, data, mode="create")
                    return True
                except AlreadyExistsError:
                    return False
                except GenericError:  # no reply, or two writes at once: who won is seen next time
                    if not left or time.monotonic() > until:
                        raise
        return False

    def replace(self, key: str, data: bytes) -> None:
        import obstore

        with self._errors(key):
            obstore.put(self._bucket, key, data)

    def fetch(self, key: str, *, anew: bool = False) -> Path:
        if anew or not self._cache.exists(key):
            self._cache.put(key, self.read(key))
        return self._cache.fetch(key)

    def exists(self, key: str) -> bool:
        import obstore

        if time.monotonic() - self._sent.get(key, -_TRUST_S) < _TRUST_S:
            return True
        try:
            with self._errors(key):
                obstore.head(self._bucket, key)
        except FileNotFoundError:
            return False
        return True

    def read(self, key: str) -> bytes:
        import obstore

        with self._errors(key):
            return bytes(obstore.get(self._bucket, key).bytes())

    def _entries(self, prefix: str) -> list[Any]:
        import obstore

        with self._errors(prefix):
            pages = obstore.list(self._bucket, prefix=prefix, chunk_size=_PAGE)
            found = [entry for page in pages for entry in page]
        return sorted(found, key=lambda entry: entry["path"])

    def scan(self, prefix: str) -> list[Blob]:
        """By the clock of the bucket, which a probe just written tells."""
        import obstore

        self.replace("probe/clock", b"")
        with self._errors():
            now = obstore.head(self._bucket, "probe/clock")["last_modified"]
        return [
            Blob(found["path"], found["size"], (now - found["last_modified"]).total_seconds())
            for found in self._entries(prefix)
        ]

    def list(self, prefix: str) -> list[str]:
        return [entry["path"] for entry in self._entries(prefix)]

    def remove(self, *keys: str) -> None:
        import obstore

        for key in keys:
            with self._errors(key):
                obstore.delete(self._bucket, key)
            self._sent.pop(key, None)
        self._cache.remove(*keys)

    def settle(self, keys: Iterable[str]) -> None:
        """What a bucket acknowledged stays."""

    def settle_removed(self, folder: str) -> None:
        """What a bucket removed stays away."""

    def _errors(self, key: str = "") -> AbstractContextManager[None]:
        return bucket_errors(self.url, key)


def open_bucket(url: str) -> Any:
    """The bucket and prefix of a URL, to be read and written by obstore.

    Raises what `BucketBlobs` does, but for conditional writes, which it does not try.
    """
    _check_url(url)
    try:
        from obstore.store import from_url
    except ImportError:
        raise ValueError(f"{url!r} needs obstore: pip install 'winnow-sft[s3]'") from None
    _check_token(os.environ)
    plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    options: Any = _TIMEOUTS | ({"allow_http": True} if plain else {})
    with bucket_errors(url):
        return from_url(
            url.rstrip("/"),
            client_options=options,
            retry_config=_RETRIES,  # type: ignore[arg-type]
        )


@contextmanager
def bucket_errors(url: str, key: str = "") -> Iterator[None]:
    """What went wrong with a key of a bucket as an `OSError` of one line."""
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise OSError(f"{url!r} cannot be used: {_line(error)}") from None
        raise FileNotFoundError(f"{key} is missing from {url!r}") from None
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermissionError(f"{url!r} refused: {_line(error)}") from None
    except BaseError as error:
        raise OSError(f"{url!r} cannot be used: {_line(error)}") from None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if "@" in parts.netloc:  # never shown: it may hold a secret
        raise ValueError("the store's URL holds credentials; give them by the environment")
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(f"a store is a folder or s3://bucket/prefix, not {url!r}")


def _check_token(said: Mapping[str, str]) -> None:
    """Refuse a session token for an endpoint that is neither AWS's own nor named as trusted.

    obstore follows redirects of what is read, takes the token along, and has no option against it.
    """
    if not said.get("AWS_SESSION_TOKEN"):
        return
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        host = urlsplit(said.get(name, "")).hostname or ""
        if host and not f".{host}".endswith(_AWS) and said[name] != said.get(TRUSTED):
            raise ValueError(
                f"the endpoint {_without_secrets(said[name])!r} could send AWS_SESSION_TOKEN on to "
                f"another host by a redirect; if you trust it, set {TRUSTED} to the same address"
            )


def _line(error: Exception) -> str:
    """One line of an error of the library: what the server said, else where it got no reply."""
    text = str(error)
    if any(mark in text for mark in _METADATA):
        return _NO_KEYS
    said = re.search(r"<Code>(\w+)</Code>", text)
    if said:
        message = re.search(r"<Message>([^<]{1,150})</Message>", text)
        line = f"{said[1]}: {message[1]}" if message else said[1]
    else:
        line = text.strip().splitlines()[0]
    return _without_secrets(line)[:300]


def _without_secrets(line: str) -> str:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"):
        if len(value := os.environ.get(name, "")) >= _SECRET_CHARS:
            line = line.replace(value, f"${name}")
    return re.sub(r"//[^/@\s]*@", "//…@", line)
