"""Files of bad cases: one file, a folder with all below it, or the objects under a prefix.

JSON Lines, a JSON array, one JSON object and Parquet are told apart by name and first character.
What is refused (an archive, a link that leads out, another kind of file) is one refused record.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from curation.bucket import bucket_errors, open_bucket
from curation.json_text import check_decoded, parse_json
from curation.plugins import find_plugin
from curation.sources._base import Record
from curation.sources._files import leads_out

_SOURCES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet"}
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")
_MAX_CHARS = 1_000_000


@dataclass(frozen=True)
class Found:
    """A file or object: its name, a mark that changes with its content, and how to get at it.

    `written_at` is the Unix time when a file was last written to; an object is whole when it is
    there.
    """

    name: str
    mark: Callable[[], str]
    open: Callable[[], AbstractContextManager[Path]]
    refused: str = ""
    written_at: float = 0.0


def find_files(place: Path | str) -> Iterator[Found]:
    """The files of a place by name; hidden ones and those still being written are passed over.

    Raises `FileNotFoundError` for a place that is not there, `OSError` for a bucket out of reach.
    """
    if "://" in str(place):
        yield from _find_objects(str(place))
        return
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(place)!r}")
    if not path.is_dir():
        yield _found(path.name, path)
        return
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_dir() and not _passed_over(name):
            yield _found(name, file, leads_out(file, path) or _unread(name))


def read_found(found: Found) -> Iterator[tuple[str, Record]]:
    """(position, record) of each record of a file; positions begin with its name."""
    if found.refused:
        yield found.name, Record(found.name, None, found.refused)
        return
    with found.open() as path:
        for record in _records(path, found.name):
            yield found.name + record.position.removeprefix(path.name), record


def _records(path: Path, name: str) -> Iterator[Record]:
    source = _SOURCES.get(PurePosixPath(name).suffix.lower(), "jsonl")
    if source == "json" and (first := _first_byte(path)) != b"[":
        whole = _one_object(path) if first == b"{" else None
        if whole is not None:
            return iter([whole])
        source = "jsonl"
    return find_plugin("curation.sources", source)(path=path, max_chars=_MAX_CHARS)()


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _one_object(path: Path) -> Record | None:
    """The object that a whole file is, as an API's answer that was saved; None for lines."""
    if path.stat().st_size > _MAX_CHARS:
        return None
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    try:
        return Record(path.name, parse_json(check_decoded(text)))
    except ValueError:
        return None


def _found(name: str, file: Path, refused: str = "") -> Found:
    def mark() -> str:
        said = file.stat()
        return f"{said.st_size} {said.st_mtime_ns}"

    written_at = 0.0 if refused else file.stat().st_mtime
    return Found(name, mark, lambda: nullcontext(file), refused, written_at)


def _passed_over(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") for part in parts) or name.lower().endswith(_UNFINISHED)


def _unread(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return "" if suffix in _SOURCES else f"not read: {suffix!r} is none of {', '.join(_SOURCES)}"


def _find_objects(url: str) -> Iterator[Found]:
    import obstore

    parent, _, last = url.rstrip("/").rpartition("/")
    one = PurePosixPath(last).suffix.lower() in _SOURCES
    place = parent if one else url
    bucket = open_bucket(place)
    with bucket_errors(place):
        entries = [entry for page in obstore.list(bucket) for entry in page]
    for entry in sorted(entries, key=lambda entry: entry["path"]):
        name = entry["path"]
        if (name == last) if one else not _passed_over(name):
            mark = f"{entry['size']} {entry['e_tag'] or entry['last_modified'].isoformat()}"
            yield Found(name, lambda mark=mark: mark, _opener(bucket, place, name), _unread(name))


def _opener(bucket: object, place: str, name: str) -> Callable[[], AbstractContextManager[Path]]:
    @contextmanager
    def fetched() -> Iterator[Path]:
        """A copy of the object, there while it is read."""
        import obstore

        with TemporaryDirectory() as folder:
            path = Path(folder) / f"object{PurePosixPath(name).suffix.lower()}"
            with path.open("wb") as file, bucket_errors(place, name):
                for chunk in obstore.get(bucket, name).stream():  # type: ignore[arg-type]
                    file.write(chunk)
            yield path

    return fetched
