"""Examples as framed tf.Examples in a file, thousands at a time.

Records whose ids and labels take equally many bytes are the same bytes but for three places: the
id, the image and the label. Protobuf itself is asked where these lie, once; the records are then
written, and read back, as the rows of a matrix. Every byte is what protobuf would write, and
whatever does not match byte for byte is parsed by protobuf.
"""

import dataclasses
import functools
import math
import os
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np
from etils import epath

from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data import tfrecord
from components.data.examples import ExampleBatch
from components.data.tf_example import parse, serialize

HEADER_BYTES = 12  # a record's length and its checksum
_FOOTER = 4  # the payload's checksum
_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class _RecordTemplate:
    """What records of certain lengths have in common.

    Attributes:
      length: of a record, header and footer included.
      id, image, label: the places that vary, beside the footer.
      fixed: indices of all other bytes.
      values: uint8, what stands there.
    """

    length: int
    id: slice
    image: slice
    label: slice
    fixed: np.ndarray
    values: np.ndarray


@functools.lru_cache(maxsize=1024)
def _mould(id_bytes: int, image_bytes: int, label_bytes: int) -> _RecordTemplate:
    # Two examples that differ in every byte that can vary. A label is a varint: seven bits a byte,
    # and in the tenth the sign alone.
    ones = sum(1 << 7 * place for place in range(min(label_bytes, 9)))
    sign = -(1 << 63) if label_bytes == 10 else 0
    first, second = (
        np.frombuffer(tfrecord.frame(serialize(*parts)), np.uint8)[:-_FOOTER]
        for parts in (
            (b"a" * id_bytes, b"\x00" * image_bytes, ones + sign),
            (b"b" * id_bytes, b"\xff" * image_bytes, 2 * ones + sign),
        )
    )
    differs = first != second
    starts = np.flatnonzero(differs[1:] & ~differs[:-1]) + 1
    # The first is the id's, but for an id of no bytes, which is nowhere.
    id_, image, label = (
        slice(int(start), int(start) + length)
        for start, length in (
            (starts[0], id_bytes),
            (starts[-2], image_bytes),
            (starts[-1], label_bytes),
        )
    )
    is_fixed = np.ones(len(first), bool)
    for place in (id_, image, label):
        is_fixed[place] = False
    fixed = np.flatnonzero(is_fixed)
    return _RecordTemplate(len(first) + _FOOTER, id_, image, label, fixed, first[fixed])


def _varint_lengths(labels: np.ndarray) -> np.ndarray:
    """How many bytes each label takes; [N] -> [N]. Negative ones, as in protobuf, ten."""
    unsigned = labels.astype(np.uint64)
    lengths = np.ones(len(labels), np.int64)
    for place in range(1, 10):
        lengths += (unsigned >> np.uint64(7 * place)) > 0
    return lengths


def _varints(labels: np.ndarray, length: int) -> np.ndarray:
    """Labels as varints of `length` bytes; [N] -> uint8 [N, length]."""
    shifts = np.arange(length, dtype=np.uint64) * np.uint64(7)
    groups = (labels.astype(np.uint64)[:, np.newaxis] >> shifts).astype(np.uint8) & 0x7F
    groups[:, :-1] |= 0x80
    return groups


def _from_varints(varints: np.ndarray) -> np.ndarray:
    """The labels of varints of one length; uint8 [N, length] -> int64 [N]."""
    shifts = np.arange(varints.shape[1], dtype=np.uint64) * np.uint64(7)
    return ((varints & 0x7F).astype(np.uint64) << shifts).sum(1, dtype=np.uint64).astype(np.int64)


def encode(block: ExampleBatch) -> bytes:
    """The examples as framed records, in order."""
    if not len(block):
        return b""
    ids = [each.encode() for each in block.ids]
    pixels = block.images.reshape(len(block), -1)
    id_bytes = np.fromiter(map(len, ids), np.int64, len(ids))
    label_bytes = _varint_lengths(block.labels)
    kinds, kind_of = np.unique(np.stack([id_bytes, label_bytes]), axis=1, return_inverse=True)
    if kinds.shape[1] == 1:
        return _encode_alike(ids, pixels, block.labels, *kinds[:, 0]).tobytes()
    encoded: list[bytes] = [b""] * len(ids)
    for kind in range(kinds.shape[1]):
        rows = np.flatnonzero(kind_of == kind)
        matrix = _encode_alike(
            [ids[row] for row in rows], pixels[rows], block.labels[rows], *kinds[:, kind]
        )
        for row, record in zip(rows, matrix, strict=True):
            encoded[row] = record.tobytes()
    return b"".join(encoded)


def _encode_alike(
    ids: list[bytes], pixels: np.ndarray, labels: np.ndarray, id_bytes: int, label_bytes: int
) -> np.ndarray:
    """Framed records of one length, uint8 [N, length]."""
    mould = _mould(int(id_bytes), pixels.shape[1], int(label_bytes))
    matrix = np.empty((len(ids), mould.length), np.uint8)
    matrix[:, mould.fixed] = mould.values
    matrix[:, mould.id] = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), -1)
    matrix[:, mould.image] = pixels
    matrix[:, mould.label] = _varints(labels, int(label_bytes))
    matrix[:, -_FOOTER:] = (
        _checksums(matrix.tobytes(), mould.length).astype("<u4")[:, np.newaxis].view(np.uint8)
    )
    return matrix


def _checksums(data: bytes, length: int) -> np.ndarray:
    """The masked CRC-32C of the payloads of records of `length` bytes each, uint32 [N]."""
    payload = length - HEADER_BYTES - _FOOTER
    layout = np.dtype([("", f"V{HEADER_BYTES}"), ("payload", f"V{payload}"), ("", f"V{_FOOTER}")])
    payloads = np.frombuffer(data, layout)["payload"]
    values = np.empty(len(payloads), np.uint32)
    # NumPy cuts bytes faster than slices do, but holds all the pieces: so some at a time.
    step = max(1, _CHUNK_BYTES // length)
    for start in range(0, len(payloads), step):
        part = payloads[start : start + step].tolist()
        values[start : start + step] = np.fromiter(map(google_crc32c.value, part), np.uint32)
    # Masked as TensorFlow does: see components/data/tfrecord.py.
    return ((values >> 15) | (values << 17)) + np.uint32(0xA282EAD8)


def read_batches(path: epath.PathLike, image_shape: Shape) -> Iterator[ExampleBatch]:
    """The examples of one TFRecord file, in order, some megabytes at a time, each record checked.

    Raises:
      WorkError: it is damaged, or holds something else; names the file and the record.
    """
    path = epath.Path(path)
    number = 0
    chunk = _CHUNK_BYTES
    try:
        with path.open("rb") as file:
            while data := file.read(chunk):
                ends = _record_ends(data)
                if len(ends):
                    block = _decode(data, ends, image_shape)
                    yield block
                    number += len(block)
                elif len(data) < chunk:
                    break
                else:
                    chunk *= 2  # The record is longer.
                # To where the next record begins; cheaper than to join its parts.
                file.seek((ends[-1] if len(ends) else 0) - len(data), os.SEEK_CUR)
        is_whole = not data
    except (ValueError, OSError):
        is_whole = False
    if not is_whole:
        raise diagnose(path, image_shape, number)


def _record_ends(data: bytes) -> np.ndarray:
    """Where each whole record ends, int64 [N]."""
    if len(data) < HEADER_BYTES:
        return np.zeros(0, np.int64)
    # Most often all records are equally long, and then so are the lengths before them.
    length = struct.unpack_from("<Q", data)[0] + HEADER_BYTES + _FOOTER
    alike = np.frombuffer(data, np.uint8, len(data) // length * length)
    if len(alike):
        headers = alike.reshape(-1, length)[:, :HEADER_BYTES]
        alike = alike[: len(alike) * bool((headers == headers[0]).all())]
    ends, end = [], len(alike)
    unpack = struct.Struct("<Q").unpack_from
    while end + HEADER_BYTES <= len(data):
        end += unpack(data, end)[0] + HEADER_BYTES + _FOOTER
        if end > len(data):
            break
        ends.append(end)
    first = np.arange(length, len(alike) + 1, length) if len(alike) else np.zeros(0, np.int64)
    return np.append(first, np.array(ends, np.int64))


def _decode(data: bytes, ends: np.ndarray, image_shape: Shape) -> ExampleBatch:
    """The examples of whole records. Raises ValueError where one is damaged or of another kind."""
    blocks, places = [], []
    for rows, length, members in _by_length(data, ends):
        blocks.append(_decode_alike(members, length, image_shape))
        places.append(rows)
    if len(blocks) == 1:
        return blocks[0]
    order = np.argsort(np.concatenate(places), kind="stable")
    return ExampleBatch.concatenate(blocks).take(order)


def _by_length(data: bytes, ends: np.ndarray) -> Iterator[tuple[np.ndarray, int, bytes]]:
    """The whole records of each length: which ones, their length, and their bytes together."""
    lengths = np.diff(ends, prepend=0)
    if (lengths == lengths[0]).all():
        # Of bytes, all of them are no copy.
        yield np.arange(len(ends)), int(lengths[0]), data[: ends[-1]]
        return
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        yield rows, int(length), b"".join(data[ends[row] - length : ends[row]] for row in rows)


def _decode_alike(data: bytes, length: int, image_shape: Shape) -> ExampleBatch:
    """The examples of records that are all `length` bytes long."""
    count = len(data) // length
    ids = np.empty(count, object)
    images = np.empty((count, *image_shape), np.uint8)
    labels = np.empty(count, np.int64)
    for rows, part, mould in _checked(data, length, image_shape):
        ids[rows] = _texts(part[:, mould.id])
        images.reshape(count, -1)[rows] = part[:, mould.image]
        labels[rows] = _from_varints(part[:, mould.label])
    return ExampleBatch(ids.tolist(), images, labels)


def decode_images(data: bytes, images: np.ndarray, places: np.ndarray) -> None:
    """Puts the images of framed records at `places` of `images`; all else of them is only checked.

    Args:
      data: len(places) whole records.
      images: uint8 [any, height, width, channels].
      places: int64, where the image of each record belongs.

    Raises:
      ValueError: a record is damaged, of another kind, or there are more or fewer.
    """
    height, width, channels = images.shape[1:]
    ends = _record_ends(data)
    if len(ends) != len(places) or ends[-1] != len(data):
        raise ValueError("is truncated")
    pixels = images.reshape(len(images), -1)
    for members, length, alike in _by_length(data, ends):
        for rows, part, mould in _checked(alike, length, (height, width, channels)):
            _check_texts(part[:, mould.id])
            pixels[places[members][rows]] = part[:, mould.image]


def _checked(
    data: bytes, length: int, image_shape: Shape
) -> Iterator[tuple[slice | np.ndarray, np.ndarray, _RecordTemplate]]:
    """Records of `length` bytes each, checked: those of one mould, and which rows they are.

    Raises ValueError where one is damaged or of another kind.
    """
    matrix = np.frombuffer(data, np.uint8).reshape(-1, length)
    stored = np.ascontiguousarray(matrix[:, -_FOOTER:]).view("<u4")[:, 0]
    if (_checksums(data, length) != stored).any():
        raise ValueError("has a wrong payload checksum")
    left = np.arange(len(matrix))
    while left.size:
        mould = _mould_of(matrix[left[0]], image_shape)
        rows = left if left.size < len(matrix) else slice(None)
        part = matrix[rows]
        alike = _are_of(part, mould)
        if not alike[0]:
            raise ValueError("is no record of this project")
        if not alike.all():
            part, rows = part[alike], left[alike]
        yield rows, part, mould
        left = left[~alike]


def record_bytes(header: bytes) -> int:
    """How long the record is, all told, whose first 12 bytes these are. Raises ValueError."""
    if len(header) < HEADER_BYTES:
        raise ValueError("ends within a header")
    return _record_bytes(header)


# The records of a file have few lengths.
@functools.lru_cache(maxsize=4096)
def _record_bytes(header: bytes) -> int:
    length = header[:8]
    if tfrecord.masked_crc(length) != int.from_bytes(header[8:], "little"):
        raise ValueError("has a wrong length checksum")
    return int.from_bytes(length, "little") + HEADER_BYTES + _FOOTER


def _are_of(matrix: np.ndarray, mould: _RecordTemplate) -> np.ndarray:
    """Which records, the rows of a matrix, a mould gives: bool [N]."""
    label = matrix[:, mould.label]
    return (
        (matrix[:, mould.fixed] == mould.values).all(1)
        # One varint, not several shorter ones.
        & (label[:, :-1] >= 0x80).all(1)
        & (label[:, -1] < 0x80)
    )


def _mould_of(record: np.ndarray, image_shape: Shape) -> _RecordTemplate:
    example_id, label = parse(record[HEADER_BYTES:-_FOOTER].tobytes(), image_shape)
    label_bytes = max(1, -(-(label % 2**64).bit_length() // 7))
    return _mould(len(example_id.encode()), math.prod(image_shape), label_bytes)


def _texts(codes: np.ndarray) -> list[str]:
    """UTF-8 texts of one length, uint8 [N, length] -> N texts."""
    data, length = codes.tobytes(), codes.shape[1]
    if data.isascii():
        text = data.decode("ascii")
        return [text[row * length : (row + 1) * length] for row in range(len(codes))]
    return [data[row * length : (row + 1) * length].decode() for row in range(len(codes))]


def _check_texts(codes: np.ndarray) -> None:
    """Raises what `_texts` does, without making the texts."""
    if not codes.tobytes().isascii():
        _texts(codes)


def diagnose(path: epath.Path, image_shape: Shape, number: int) -> WorkError:
    """The error of the first bad record from `number` on, found one record at a time."""
    try:
        for place, payload in enumerate(tfrecord.read_records(path)):
            if place >= number:
                framed = tfrecord.frame(payload)
                _decode_alike(framed, len(framed), image_shape)
    except WorkError as damaged:
        return damaged
    except ValueError as kind:
        return WorkError(f"{path} holds other records than prepare writes: record {place} {kind}")
    return WorkError(
        f"{path} is compressed, or changed while it was read; prepare again with --overwrite"
    )
