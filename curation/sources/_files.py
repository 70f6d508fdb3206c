"""The files of a source: what is read, and what is refused before a byte of it is parsed.

Where a recipe's `path` lies is its author's business. What stands *in* a folder may come from
others, so no name in it may lead out of it; and nothing is unpacked, because a few kilobytes of an
archive can hold gigabytes.
"""

import stat
from collections.abc import Iterator
from pathlib import Path

_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x04\x22\x4d\x18": "lz4",
}
_TAR_MARK, _TAR_AT = b"ustar", 257


def source_files(path: Path, pattern: str = "*") -> Iterator[tuple[Path, str]]:
    """(file, why it is not read or "") for a file, or for each match in a folder, by name."""
    if not path.is_dir():
        yield path, archive_reason(path)
        return
    for file in sorted(path.glob(pattern)):
        yield file, leads_out(file, path) or archive_reason(file)


def archive_reason(file: Path) -> str:
    """Why a file is refused as an archive, told by its first bytes whatever it is named; "" if not.

    Only a regular file is looked into: a pipe would lose what is read here.
    """
    if not file.is_file():
        return ""
    with file.open("rb") as handle:
        head = handle.read(_TAR_AT + len(_TAR_MARK))
    kind = next((kind for mark, kind in _ARCHIVES.items() if head.startswith(mark)), "")
    kind = "tar" if not kind and head[_TAR_AT:] == _TAR_MARK else kind
    return (
        f"a {kind} archive; nothing is unpacked here: unpack it and name the file" if kind else ""
    )


def leads_out(file: Path, folder: Path) -> str:
    """Why a name in a folder may not be opened: it leads elsewhere, or to no plain file."""
    try:
        kind = file.stat().st_mode
    except OSError as error:
        return f"cannot be opened: {error.strerror or type(error).__name__}"
    if not file.resolve().is_relative_to(folder.resolve()):
        return "a symbolic link that leads out of the folder; copy the file instead"
    return "" if stat.S_ISREG(kind) else "no regular file"
