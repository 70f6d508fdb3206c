"""How many bytes the pages of a Parquet file unfold into, read from the headers of the pages.

The totals in a file's footer are only a claim, and decoders do not hold a file to it. What a
decoder does allocate is what each page header says, so these are added up, without decoding any
page. Headers and footer are Thrift's compact protocol; the numbers below are field ids of
parquet.thrift (https://github.com/apache/parquet-format).
"""

from pathlib import Path
from typing import IO, Any

_HEADER_BYTES = 1 << 16  # of one page; statistics in it are a few kilobytes at most
_FOOTER_BYTES = 256 << 20
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3
_CHUNK_BYTES, _DATA_AT, _DICTIONARY_AT = 7, 9, 11
_UNFOLDED, _COMPRESSED = 2, 3
_DEPTH = 32


def unfolded_bytes(file: Path) -> list[int]:
    """Bytes of all pages of each row group once they are decompressed.

    Raises `ValueError` when footer or page headers cannot be read.
    """
    with file.open("rb") as handle:
        try:
            groups = _footer(handle).get(_ROW_GROUPS, [])
            return [sum(_chunk(handle, c[_META_DATA]) for c in g[_COLUMNS]) for g in groups]
        except (LookupError, TypeError, AttributeError, OSError) as error:
            raise ValueError(f"page headers: {type(error).__name__}: {error}"[:200]) from None


def _footer(handle: IO[bytes]) -> dict[int, Any]:
    size = handle.seek(0, 2)
    handle.seek(max(0, size - 8))
    length = int.from_bytes(handle.read(4), "little")
    if not 0 < length <= min(size, _FOOTER_BYTES):
        raise ValueError(f"a footer of {length:,} bytes")
    handle.seek(size - 8 - length)
    return _Compact(handle.read(length)).struct()


def _chunk(handle: IO[bytes], meta: dict[int, Any]) -> int:
    """Bytes that the pages of one column chunk unfold into."""
    at = meta[_DATA_AT]
    if 0 < meta.get(_DICTIONARY_AT, 0) < at:
        at = meta[_DICTIONARY_AT]
    end, total = at + meta[_CHUNK_BYTES], 0
    while at < end:
        handle.seek(at)
        reader = _Compact(handle.read(_HEADER_BYTES))
        page = reader.struct()
        if page[_UNFOLDED] < 0 or page[_COMPRESSED] < 0:
            raise ValueError("a page of less than no bytes")
        total += page[_UNFOLDED]
        at += reader.at + page[_COMPRESSED]
    return total


class _Compact:
    """A reader of Thrift's compact protocol that keeps whatever fields there are."""

    def __init__(self, data: bytes):
        self.data, self.at, self.depth = data, 0, 0

    def struct(self) -> dict[int, Any]:
        """Field id -> value; `ValueError` for structures nested too deeply."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while kind := self._byte():
            step = kind >> 4
            number = number + step if step else self._signed()
            fields[number] = self._value(kind & 15)
        self.depth -= 1
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind in (7, 8):
            return self._take(8 if kind == 7 else self._number())
        if kind in (9, 10):
            return self._list()
        if kind == 12:
            return self.struct()
        raise ValueError(f"no field type {kind}")

    def _list(self) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        kind = head & 15
        if count > len(self.data) - self.at:
            raise ValueError(f"a list of {count:,}")
        return [self._byte() == 1 if kind in (1, 2) else self._value(kind) for _ in range(count)]

    def _take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        self.at += count
        if len(part) < count:
            raise ValueError("cut off")
        return part

    def _byte(self) -> int:
        return self._take(1)[0]

    def _number(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise ValueError("a number without end")

    def _signed(self) -> int:
        value = self._number()
        return (value >> 1) ^ -(value & 1)
