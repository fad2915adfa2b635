"""TFRecord framing: how serialized examples lie in a file.

Each record is `length (uint64) | crc(length) | payload | crc(payload)`, little-endian, with
CRC-32C masked as TensorFlow does (tensorflow/core/lib/hash/crc32c.h). A whole file may be gzipped.
"""

import contextlib
import functools
import gzip
import io
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

import google_crc32c
from etils import epath

from components.base.errors import WorkError
from components.base.files import why

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
_BUFFER_BYTES = 1 << 20
_PIECE_BYTES = 16 << 20
_LONGEST_BYTES = 1 << 40
_GZIP = b"\x1f\x8b\x08"


def masked_crc(data: bytes) -> int:
    """The masked CRC-32C of `data`, as stored in a TFRecord."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One record: `payload` with its length and both checksums."""
    length = _LENGTH.pack(len(payload))
    return b"".join(
        (length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload)))
    )


def write_records(path: epath.PathLike, payloads: Iterable[bytes]) -> None:
    """Writes `payloads` to one TFRecord file."""
    with epath.Path(path).open("wb") as file:
        for payload in payloads:
            file.write(frame(payload))


def read_records(path: epath.PathLike, *, skip: int = 0) -> Iterator[bytes]:
    """Yields the payloads of one TFRecord file, in order, each checked.

    The first `skip` records are passed over by their headers; their payloads are not checked.

    Raises:
      WorkError: the file is truncated, damaged or cannot be read; names the file and the record's
        number.
    """
    path = epath.Path(path)
    number = 0
    try:
        with _opened(path) as file:
            while header := file.read(_HEADER_BYTES):
                if len(header) < _HEADER_BYTES:
                    raise _damaged(path, number, "ends within a header")
                length = _length(header)
                if length is None:
                    raise _damaged(path, number, "has a wrong length checksum")
                if length > _LONGEST_BYTES:
                    raise _damaged(path, number, "is truncated")
                if number < skip:
                    # To the last byte, since a file may be left behind without an error.
                    file.seek(length + _CRC.size - 1, io.SEEK_CUR)
                    if not file.read(1):
                        raise _damaged(path, number, "is truncated")
                else:
                    payload = _read(file, length)
                    footer = file.read(_CRC.size)
                    if len(footer) < _CRC.size:
                        raise _damaged(path, number, "is truncated")
                    if masked_crc(payload) != _CRC.unpack(footer)[0]:
                        raise _damaged(path, number, "has a wrong payload checksum")
                    yield payload
                number += 1
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, number, f"cannot be read ({why(error)})") from None


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """The file's records, unzipped where it is gzipped."""
    # epath gives local files a buffer of 8 KB.
    is_local = os.path.isfile(path)
    with open(path, "rb", _BUFFER_BYTES) if is_local else path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        file.seek(0)
        # The length of a record may begin like a gzip file, but not with the right checksum.
        if header.startswith(_GZIP) and _length(header) is None:
            with gzip.GzipFile(fileobj=file) as unzipped:
                yield unzipped
        else:
            yield file


# The records of a file have few lengths.
@functools.lru_cache(maxsize=4096)
def _length(header: bytes) -> int | None:
    """The length that a record's header holds, None if its checksum is wrong."""
    length = header[: _LENGTH.size]
    if _CRC.pack(masked_crc(length)) != header[_LENGTH.size :]:
        return None
    return _LENGTH.unpack(length)[0]


def _read(file: IO[bytes] | gzip.GzipFile, length: int) -> bytes:
    """`length` bytes, or fewer where the file ends before."""
    if length <= _PIECE_BYTES:
        return file.read(length)
    # In pieces, since a length that the file does not hold must not claim its memory.
    pieces = []
    while length and (piece := file.read(min(length, _PIECE_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _damaged(path: epath.Path, number: int, what: str) -> WorkError:
    return WorkError(
        f"damaged TFRecord: record {number} of {path} {what}; "
        "make the file again (prepare with --overwrite) or restore it from a copy"
    )
