"""A real S3-speaking server for tests: moto's, one request at a time, with a log and ways to fail.

Real storage decides conditional writes one after the other; moto does not lock, so this does.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

BUCKET = "test-bucket"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "not-a-real-secret-0123456789",
    "AWS_REGION": "us-east-1",
}


class Quiet(MotoRequestHandler):
    """Says nothing about each request."""

    def log(self, type: str, message: str, *args: Any) -> None: ...


@dataclass
class S3:
    """The server: where it is, what it was asked, and what it shall do wrong."""

    url: str = ""
    log: list[tuple[str, str]] = field(default_factory=list)
    ignores_conditions: bool = False
    moved_to: str = ""
    lose_reply: Callable[[str, str], bool] = lambda _method, _path: False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.log.append((method, environ.get("RAW_URI", path)))
        if self.moved_to:
            to = f"{self.moved_to}{environ.get('RAW_URI', path)}"
            start_response("307 Temporary Redirect", [("Location", to), ("Content-Length", "0")])
            return []
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:
            reply = b"".join(self._app(environ, start_response))
        if self.lose_reply(method, path):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError("the reply is lost on its way")
        return [reply]

    def __post_init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def names(self) -> list[str]:
        """Names of all objects in the bucket, as the server holds them."""
        return sorted(self._bucket.keys)

    def flip_bit(self, key: str) -> None:
        """Damage an object where it lies."""
        data = bytearray(self._bucket.keys[key].value)
        data[len(data) // 2] ^= 1
        self.set(key, bytes(data))

    def make_old(self, *, days: int) -> None:
        """Let all that is there have been written so many days earlier."""
        for name in self.names():
            self._bucket.keys[name].last_modified -= timedelta(days=days)

    def set(self, key: str, data: bytes) -> None:
        """Put an object past the front door."""
        s3_backends["123456789012"]["aws"].put_object(BUCKET, key, data)

    @contextmanager
    def counted(self) -> Iterator[list[tuple[str, str]]]:
        """The requests of what is done meanwhile."""
        start, mine = len(self.log), []
        yield mine
        mine += self.log[start:]

    def contents(self) -> dict[str, bytes]:
        """All objects in the bucket by name, as the server holds them."""
        return {name: self._bucket.keys[name].value for name in self.names()}

    @property
    def _bucket(self) -> Any:
        return s3_backends["123456789012"]["aws"].buckets[BUCKET]


@contextmanager
def serve() -> Iterator[S3]:
    """A server with one empty bucket on a free port of this machine."""
    s3 = S3()
    server = make_server("127.0.0.1", 0, s3, threaded=True, request_handler=Quiet)
    s3.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    s3_backends["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")
    try:
        yield s3
    finally:
        s3_backends["123456789012"]["aws"].reset()
        server.shutdown()
        server.server_close()
        thread.join()
