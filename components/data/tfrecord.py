"""TFRecord framing: how records are stored in a file, and how to write, find and check them.

A record is a header, a payload and a footer:

    payload length (uint64), its checksum (uint32) | payload | checksum of the payload (uint32)

Numbers are little-endian. A checksum is a CRC-32C, masked as TensorFlow does
(tensorflow/core/lib/hash/crc32c.h). A whole file may be compressed with gzip.

`frame` and `read_records` handle single records, of any TFRecord file. `record_ends`,
`write_checksums` and `verify_checksums` handle thousands of records in a buffer at once, with
NumPy. The length of a record includes its header and its footer.
"""

import contextlib
import functools
import gzip
import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO, TypeVar

import google_crc32c
import numpy as np
from etils import epath

from components.base import file_types, files, memory
from components.base.errors import ConfigError, WorkError
from components.base.file_errors import error_reason

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size + _CRC.size
FOOTER_BYTES = _CRC.size
_FRAMING_BYTES = HEADER_BYTES + FOOTER_BYTES

_BUFFER_BYTES = 1 << 20
_PIECE_BYTES = 16 << 20
_CHECKSUM_BYTES = 1 << 20
_MAX_PAYLOAD_BYTES = 1 << 40
_GZIP_MAGIC = b"\x1f\x8b\x08"

_Crc = TypeVar("_Crc", int, np.ndarray)


def _mask(crc: _Crc) -> _Crc:
    """Masks a CRC-32C, or an array of them (uint32)."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """The masked CRC-32C of `data`."""
    return _mask(google_crc32c.value(data))


def frame(payload: bytes) -> bytes:
    """The record that holds `payload`."""
    length = _LENGTH.pack(len(payload))
    return b"".join(
        (length, _CRC.pack(masked_crc(length)), payload, _CRC.pack(masked_crc(payload)))
    )


def record_length(header: bytes) -> int:
    """The length in bytes of the record that begins with `header`.

    Args:
      header: the first HEADER_BYTES bytes of the record, or fewer if the file ends there.

    Raises:
      ValueError: the header is truncated, or its checksum is wrong.
    """
    return _payload_length(header) + _FRAMING_BYTES


# The records of a file have few different lengths, so most headers repeat.
@functools.lru_cache(maxsize=4096)
def _payload_length(header: bytes) -> int:
    if len(header) < HEADER_BYTES:
        raise ValueError("ends within a header")
    length = header[: _LENGTH.size]
    if _CRC.pack(masked_crc(length)) != header[_LENGTH.size :]:
        raise ValueError("has a wrong length checksum")
    return _LENGTH.unpack(length)[0]


def read_records(
    path: epath.PathLike, *, skip: int = 0, load_bytes: int = _MAX_PAYLOAD_BYTES
) -> Iterator[bytes]:
    """Yields the payloads of a TFRecord file, in order; checks every record.

    Args:
      path: the file, which may be compressed with gzip.
      skip: number of records to skip at the beginning. Only their headers are checked.
      load_bytes: the most bytes that a record may have.

    Raises:
      ConfigError: the file is of another type, or is compressed with ZLIB, or has a larger record.
      WorkError: the file is truncated, damaged or unreadable; the message names the file and the
        number of the record.
    """
    path = epath.Path(path)
    number = 0
    try:
        with _open(path) as file:
            while header := file.read(HEADER_BYTES):
                try:
                    length = _payload_length(header)
                except ValueError:
                    if number == 0:
                        _check_type(path, header + file.read(file_types.HEAD_BYTES))
                    raise
                if length > load_bytes:
                    if length > _MAX_PAYLOAD_BYTES:
                        raise ValueError("is truncated")
                    name = f"record {number} of {path}"
                    memory.check_load(name, length, limit=load_bytes)
                if number < skip:
                    _skip_payload(file, length)
                else:
                    yield _read_payload(file, length)
                number += 1
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, number, f"cannot be read ({error_reason(error)})") from None
    except ValueError as error:
        raise _damaged(path, number, str(error)) from None


@contextlib.contextmanager
def _open(path: epath.Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Opens the records of a file, decompressed if the file is compressed."""
    with files.open_regular(path, buffering=_BUFFER_BYTES) as file:
        is_gzip = _is_gzip(file.read(HEADER_BYTES))
        file.seek(0)
        if is_gzip:
            with gzip.GzipFile(fileobj=file) as decompressed:
                yield decompressed
        else:
            yield file


def is_compressed(path: epath.Path) -> bool:
    """Whether a TFRecord file is compressed with gzip."""
    with files.open_regular(path) as file:
        return _is_gzip(file.read(HEADER_BYTES))


def _is_gzip(header: bytes) -> bool:
    """Whether a file that begins with `header` is compressed with gzip."""
    if not header.startswith(_GZIP_MAGIC):
        return False
    # A record whose length begins with the same bytes has a correct checksum.
    try:
        _payload_length(header)
    except ValueError:
        return True
    return False


def _check_type(path: epath.Path, head: bytes) -> None:
    """Raises ConfigError if a file whose beginning `head` is not a record is of another type."""
    if _is_zlib(head):
        raise ConfigError(
            f"{path} is compressed with ZLIB, which is not supported; write it again with "
            "tf.io.TFRecordOptions(compression_type='GZIP'), or without compression"
        )
    # With these bytes 0, it is a length below 16 MiB whose checksum is damaged.
    found = file_types.identify(head)
    if any(head[3 : _LENGTH.size]) and found != file_types.UNKNOWN:
        advice = found.advice or "pass TFRecord files"
        raise ConfigError(f"{path} is {found.name}, not a TFRecord file; {advice}")


def _is_zlib(head: bytes) -> bool:
    """Whether `head` is the beginning of a ZLIB stream (RFC 1950)."""
    # Compression method 8, and a header that is a multiple of 31.
    if len(head) < 2 or head[0] & 0x0F != 8 or int.from_bytes(head[:2], "big") % 31:
        return False
    try:
        zlib.decompressobj().decompress(head)
    except zlib.error:
        return False
    return True


def _skip_payload(file: IO[bytes] | gzip.GzipFile, length: int) -> None:
    # Seeking past the end is not an error, so read the last byte of the record.
    file.seek(length + FOOTER_BYTES - 1, io.SEEK_CUR)
    if not file.read(1):
        raise ValueError("is truncated")


def _read_payload(file: IO[bytes] | gzip.GzipFile, length: int) -> bytes:
    payload = file.read(length) if length <= _PIECE_BYTES else _read_long(file, length)
    footer = file.read(FOOTER_BYTES)
    if len(footer) < FOOTER_BYTES:
        raise ValueError("is truncated")
    if _mask(google_crc32c.value(payload)) != _CRC.unpack(footer)[0]:
        raise ValueError("has a wrong payload checksum")
    return payload


def _read_long(file: IO[bytes] | gzip.GzipFile, length: int) -> bytes:
    """Reads `length` bytes in pieces, or fewer if the file ends earlier.

    A single read allocates memory for all of them, even if the file is far shorter.
    """
    pieces = []
    while length and (piece := file.read(min(length, _PIECE_BYTES))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _damaged(path: epath.Path, number: int, reason: str) -> WorkError:
    return WorkError(
        f"damaged TFRecord: record {number} of {path} {reason}; "
        "create the file again (prepare with --overwrite) or restore it from a copy"
    )


def record_ends(data: bytes) -> np.ndarray:
    """Finds the complete records in a buffer, without checking them.

    Args:
      data: records one after the other; the last one may be incomplete.

    Returns:
      The offset at which each complete record ends, int64 [N].
    """
    if len(data) < HEADER_BYTES:
        return np.zeros(0, np.int64)
    unpack_length = _LENGTH.unpack_from
    length = unpack_length(data)[0] + _FRAMING_BYTES
    if length > len(data):
        return np.zeros(0, np.int64)
    # Usually all records are as long as the first. Then the bytes at all multiples of its length
    # are headers equal to the first one, which is one comparison of arrays.
    count = len(data) // length
    records = np.frombuffer(data, np.uint8, count * length).reshape(count, length)
    headers = records[:, :HEADER_BYTES]
    if not (headers == headers[0]).all():
        count = 0
    # The remaining records, or all of them if lengths differ, are followed one by one.
    ends, end = [], count * length
    while end + HEADER_BYTES <= len(data):
        end += unpack_length(data, end)[0] + _FRAMING_BYTES
        if end > len(data):
            break
        ends.append(end)
    return np.append(length * np.arange(1, count + 1), np.array(ends, np.int64))


def write_checksums(records: np.ndarray) -> None:
    """Writes the footers of equally long records.

    Args:
      records: uint8 [N, length], one record per row, complete except for the footers.
    """
    checksums = _payload_checksums(records.tobytes(), records.shape[1])
    records[:, -FOOTER_BYTES:] = checksums.astype("<u4")[:, np.newaxis].view(np.uint8)


def verify_checksums(data: bytes, length: int) -> None:
    """Compares the payloads of equally long records with the checksums in their footers.

    Args:
      data: the records, one after the other.
      length: length of each record in bytes.

    Raises:
      ValueError: a payload does not match its checksum.
    """
    records = np.frombuffer(data, np.uint8).reshape(-1, length)
    stored = np.ascontiguousarray(records[:, -FOOTER_BYTES:]).view("<u4")[:, 0]
    if (_payload_checksums(data, length) != stored).any():
        raise ValueError("has a wrong payload checksum")


def _payload_checksums(data: bytes, length: int) -> np.ndarray:
    """The masked CRC-32C of the payloads of equally long records, uint32 [N]."""
    record = np.dtype(
        [
            ("header", f"V{HEADER_BYTES}"),
            ("payload", f"V{length - _FRAMING_BYTES}"),
            ("footer", f"V{FOOTER_BYTES}"),
        ]
    )
    payloads = np.frombuffer(data, record)["payload"]
    crcs = np.empty(len(payloads), np.uint32)
    # `tolist` cuts out the payloads faster than slicing `data` in a loop, but holds all of its
    # results, so it gets a limited number of records per call.
    step = max(1, _CHECKSUM_BYTES // length)
    for start in range(0, len(payloads), step):
        part = payloads[start : start + step].tolist()
        crcs[start : start + step] = np.fromiter(map(google_crc32c.value, part), np.uint32)
    return _mask(crcs)
