"""TFRecord framing: how serialized examples lie in a file.

Each record is `length (uint64) | crc(length) | payload | crc(payload)`, little-endian, with
CRC-32C masked as TensorFlow does (tensorflow/core/lib/hash/crc32c.h).
"""

import struct
from collections.abc import Iterable, Iterator

import google_crc32c
from etils import epath

from components.errors import WorkError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size


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


def read_records(path: epath.PathLike) -> Iterator[bytes]:
    """Yields the payloads of one TFRecord file, in order, each checked.

    Raises:
      WorkError: the file is truncated or damaged; names the file and the record's number.
    """
    path = epath.Path(path)
    with path.open("rb") as file:
        number = 0
        while header := file.read(_HEADER_BYTES):
            if len(header) < _HEADER_BYTES:
                raise _damaged(path, number, "ends within a header")
            length_bytes = header[: _LENGTH.size]
            if masked_crc(length_bytes) != _CRC.unpack_from(header, _LENGTH.size)[0]:
                raise _damaged(path, number, "has a wrong length checksum")
            (length,) = _LENGTH.unpack(length_bytes)
            payload = file.read(length)
            footer = file.read(_CRC.size)
            if len(footer) < _CRC.size:
                raise _damaged(path, number, "is truncated")
            if masked_crc(payload) != _CRC.unpack(footer)[0]:
                raise _damaged(path, number, "has a wrong payload checksum")
            yield payload
            number += 1


def _damaged(path: epath.Path, number: int, what: str) -> WorkError:
    return WorkError(
        f"damaged TFRecord: record {number} of {path} {what}; "
        "make the file again (prepare with --overwrite) or restore it from a copy"
    )
