"""The tf.Example codec: batches of examples to records of a TFRecord file and back.

Protobuf for Python encodes and decodes examples one by one. This codec handles thousands of them at
once, with NumPy. Records whose ids and labels have the same lengths in bytes differ only in the
id, the image, the label and the checksum; all their other bytes are equal. A record *template*
holds those other bytes and the positions of the rest. It is found by serializing two different
examples with protobuf. Records of one template are the rows of a matrix: to encode, the columns of
the id, the image and the label are filled in; to decode, they are cut out.

The encoded bytes are exactly those of protobuf. A record that differs from its template in any of
the shared bytes is refused. `components.ingest.example_template` has other templates, for the
records of other writers, whose features it does not know in advance: it learns a template from the
first record of each length, and leaves records that do not match to protobuf.
"""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Iterator

import numpy as np
from etils import epath

from components.base import files
from components.base.arithmetic import ceil_div
from components.base.errors import WorkError
from components.base.shapes import Shape
from components.data import tfrecord
from components.data.examples import ExampleBatch
from components.data.tf_example import id_and_label, serialize
from components.data.tfrecord import FOOTER_BYTES, HEADER_BYTES

_CHUNK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class _RecordTemplate:
    """The bytes that records with an id, an image and a label of certain lengths share.

    Attributes:
      length: length of a record in bytes, header and footer included.
      id, image, label: positions of the bytes that vary, in addition to the footer.
      fixed: indices of all other bytes, int64 [F].
      values: the other bytes, uint8 [F].
    """

    length: int
    id: slice
    image: slice
    label: slice
    fixed: np.ndarray
    values: np.ndarray

    def matches(self, records: np.ndarray) -> np.ndarray:
        """Whether each record has this template; uint8 [N, length] -> bool [N]."""
        label = records[:, self.label]
        return (
            (records[:, self.fixed] == self.values).all(1)
            # The label's bytes are one varint, not several shorter ones: only the last byte of a
            # varint has a clear top bit.
            & (label[:, :-1] >= 0x80).all(1)
            & (label[:, -1] < 0x80)
        )


@functools.lru_cache(maxsize=1024)
def _template(id_bytes: int, image_bytes: int, label_bytes: int) -> _RecordTemplate:
    """The template of records with parts of the given lengths."""
    # Compare two examples that differ in every byte that can vary. A label is a varint, with seven
    # bits per byte: `ones` has the value 1 in each group of seven bits, and 2 * ones the value 2.
    # A tenth byte holds only the sign bit, and is equal in both.
    ones = sum(1 << 7 * group for group in range(min(label_bytes, 9)))
    sign = -(1 << 63) if label_bytes == 10 else 0
    first, second = (
        np.frombuffer(tfrecord.frame(serialize(*parts)), np.uint8)[:-FOOTER_BYTES]
        for parts in (
            (b"a" * id_bytes, b"\x00" * image_bytes, ones + sign),
            (b"b" * id_bytes, b"\xff" * image_bytes, 2 * ones + sign),
        )
    )
    # Serialized deterministically, the features are in the order of their names: id, image, label.
    # An empty id has no differing bytes. `starts[0]` is then the image's start, and the id becomes
    # a harmless empty slice there.
    differs = first != second
    starts = np.flatnonzero(differs[1:] & ~differs[:-1]) + 1
    id_, image, label = (
        slice(int(start), int(start) + length)
        for start, length in (
            (starts[0], id_bytes),
            (starts[-2], image_bytes),
            (starts[-1], label_bytes),
        )
    )
    is_fixed = np.ones(len(first), bool)
    for positions in (id_, image, label):
        is_fixed[positions] = False
    fixed = np.flatnonzero(is_fixed)
    return _RecordTemplate(len(first) + FOOTER_BYTES, id_, image, label, fixed, first[fixed])


def _varint_lengths(labels: np.ndarray) -> np.ndarray:
    """The length in bytes of each label as a varint; [N] -> int64 [N].

    As in protobuf, a negative label takes ten bytes.
    """
    unsigned = labels.astype(np.uint64)
    lengths = np.ones(len(labels), np.int64)
    for group in range(1, 10):
        lengths += (unsigned >> np.uint64(7 * group)) > 0
    return lengths


def _encode_varints(labels: np.ndarray, length: int) -> np.ndarray:
    """Labels as varints of `length` bytes; [N] -> uint8 [N, length]."""
    # Groups of seven bits, the lowest first; the top bit says that another byte follows.
    shifts = np.arange(length, dtype=np.uint64) * np.uint64(7)
    groups = (labels.astype(np.uint64)[:, np.newaxis] >> shifts).astype(np.uint8) & 0x7F
    groups[:, :-1] |= 0x80
    return groups


def _decode_varints(varints: np.ndarray) -> np.ndarray:
    """The labels in varints of the same length; uint8 [N, length] -> int64 [N]."""
    shifts = np.arange(varints.shape[1], dtype=np.uint64) * np.uint64(7)
    return ((varints & 0x7F).astype(np.uint64) << shifts).sum(1, dtype=np.uint64).astype(np.int64)


def encode(batch: ExampleBatch) -> bytes:
    """Encodes examples as TFRecord records, in order."""
    if not len(batch):
        return b""
    ids = [example_id.encode() for example_id in batch.ids]
    pixels = batch.images.reshape(len(batch), -1)
    id_bytes = np.fromiter(map(len, ids), np.int64, len(ids))
    label_bytes = _varint_lengths(batch.labels)
    # Each pair of lengths has its own template.
    pairs, pair_of = np.unique(np.stack([id_bytes, label_bytes]), axis=1, return_inverse=True)
    if pairs.shape[1] == 1:
        return _encode_rows(ids, pixels, batch.labels, *pairs[:, 0]).tobytes()
    encoded: list[bytes] = [b""] * len(ids)
    for pair in range(pairs.shape[1]):
        rows = np.flatnonzero(pair_of == pair)
        records = _encode_rows(
            [ids[row] for row in rows], pixels[rows], batch.labels[rows], *pairs[:, pair]
        )
        for row, record in zip(rows, records, strict=True):
            encoded[row] = record.tobytes()
    return b"".join(encoded)


def _encode_rows(
    ids: list[bytes], pixels: np.ndarray, labels: np.ndarray, id_bytes: int, label_bytes: int
) -> np.ndarray:
    """Encodes examples of one template, as records in the rows of uint8 [N, length]."""
    template = _template(int(id_bytes), pixels.shape[1], int(label_bytes))
    records = np.empty((len(ids), template.length), np.uint8)
    records[:, template.fixed] = template.values
    records[:, template.id] = np.frombuffer(b"".join(ids), np.uint8).reshape(len(ids), -1)
    records[:, template.image] = pixels
    records[:, template.label] = _encode_varints(labels, int(label_bytes))
    tfrecord.write_checksums(records)
    return records


def read_batches(
    path: epath.PathLike, image_shape: Shape, *, sha256: str | None = None
) -> Iterator[ExampleBatch]:
    """Yields the examples of one TFRecord file, in order, in batches of about 1 MiB.

    Every record is checked. The digest of the file is known only after the last batch.

    Args:
      path: the file.
      image_shape: (height, width, channels) of every image.
      sha256: SHA-256 digest that the file must have, in hexadecimal; None if it is not known.

    Raises:
      WorkError: a record is damaged, or is not an example of this shape, and the message names the
        file and the record; or the file does not match the digest.
    """
    path = epath.Path(path)
    num_read = 0
    chunk_bytes = _CHUNK_BYTES
    digest = files.BackgroundDigest() if sha256 else None
    try:
        with files.open_regular(path) as file, digest or contextlib.nullcontext():
            while data := file.read(chunk_bytes):
                ends = tfrecord.record_ends(data)
                if len(ends):
                    if digest:
                        digest.update(memoryview(data)[: ends[-1]])
                    batch = _decode(data, ends, image_shape)
                    yield batch
                    num_read += len(batch)
                elif len(data) < chunk_bytes:
                    break  # The file ends within a record.
                else:
                    chunk_bytes *= 2  # The next record is longer than a chunk.
                # Seek back to the first incomplete record. Reading its beginning again is cheaper
                # than joining two parts.
                file.seek((ends[-1] if len(ends) else 0) - len(data), os.SEEK_CUR)
        is_complete = not data
    except (ValueError, OSError):
        is_complete = False
    if not is_complete:
        raise diagnose(path, image_shape, num_read)
    if digest and digest.hexdigest() != sha256:
        raise files.content_error(path)


def _decode(data: bytes, ends: np.ndarray, image_shape: Shape) -> ExampleBatch:
    """Decodes the records that end at `ends`.

    Raises:
      ValueError: a record is damaged or is not an example of this shape.
    """
    batches, indices = [], []
    for rows, length, records in _group_by_length(data, ends):
        batches.append(_decode_equal_lengths(records, length, image_shape))
        indices.append(rows)
    if len(batches) == 1:
        return batches[0]
    order = np.argsort(np.concatenate(indices), kind="stable")
    return ExampleBatch.concatenate(batches).take(order)


def _group_by_length(data: bytes, ends: np.ndarray) -> Iterator[tuple[np.ndarray, int, bytes]]:
    """Yields, for each length of a record, the indices of its records, the length, the records."""
    lengths = np.diff(ends, prepend=0)
    if (lengths == lengths[0]).all():
        # A slice of all the bytes is not a copy.
        yield np.arange(len(ends)), int(lengths[0]), data[: ends[-1]]
        return
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        yield rows, int(length), b"".join(data[ends[row] - length : ends[row]] for row in rows)


def _decode_equal_lengths(data: bytes, length: int, image_shape: Shape) -> ExampleBatch:
    """Decodes records of `length` bytes each. Raises the errors of `_decode`."""
    count = len(data) // length
    ids = np.empty(count, object)
    images = np.empty((count, *image_shape), np.uint8)
    labels = np.empty(count, np.int64)
    for rows, records, template in _checked(data, length, image_shape):
        ids[rows] = _decode_texts(records[:, template.id])
        images.reshape(count, -1)[rows] = records[:, template.image]
        labels[rows] = _decode_varints(records[:, template.label])
    return ExampleBatch(ids.tolist(), images, labels)


def decode_images(data: bytes, images: np.ndarray, targets: np.ndarray) -> None:
    """Decodes only the images of records, into given rows of an array; checks every record.

    Args:
      data: N complete records.
      images: uint8 [M, height, width, channels], written in place.
      targets: int64 [N], the row of `images` for the image of each record.

    Raises:
      ValueError: a record is damaged or is not an example of this shape, or `data` does not hold
        N records.
    """
    height, width, channels = images.shape[1:]
    ends = tfrecord.record_ends(data)
    if len(ends) != len(targets) or ends[-1] != len(data):
        raise ValueError("is truncated")
    pixels = images.reshape(len(images), -1)
    for indices, length, equal_records in _group_by_length(data, ends):
        group_targets = targets[indices]
        for rows, records, template in _checked(equal_records, length, (height, width, channels)):
            _check_texts(records[:, template.id])
            pixels[group_targets[rows]] = records[:, template.image]


def _checked(
    data: bytes, length: int, image_shape: Shape
) -> Iterator[tuple[slice | np.ndarray, np.ndarray, _RecordTemplate]]:
    """Checks records of `length` bytes each, and groups them by template.

    Yields, for each template, the indices of its records, the records as rows of
    uint8 [N, length], and the template. Raises the errors of `_decode`.
    """
    tfrecord.verify_checksums(data, length)
    all_records = np.frombuffer(data, np.uint8).reshape(-1, length)
    remaining = np.arange(len(all_records))
    while remaining.size:
        template = _template_of(all_records[remaining[0]], image_shape)
        # Usually all records have one template. A slice then avoids a copy of them.
        rows = remaining if remaining.size < len(all_records) else slice(None)
        records = all_records[rows]
        matches = template.matches(records)
        # Protobuf can parse the record but would not serialize it to these bytes: it has another
        # order of features, more features or several values.
        if not matches[0]:
            raise ValueError("does not have the format of this project")
        if not matches.all():
            records, rows = records[matches], remaining[matches]
        yield rows, records, template
        remaining = remaining[~matches]


def _template_of(record: np.ndarray, image_shape: Shape) -> _RecordTemplate:
    """The template that a record should have, found by parsing it with protobuf."""
    example_id, label = id_and_label(record[HEADER_BYTES:-FOOTER_BYTES].tobytes(), image_shape)
    label_bytes = max(1, ceil_div((label % 2**64).bit_length(), 7))
    return _template(len(example_id.encode()), math.prod(image_shape), label_bytes)


def _decode_texts(codes: np.ndarray) -> list[str]:
    """Decodes N UTF-8 texts of the same length, uint8 [N, length]."""
    data, length = codes.tobytes(), codes.shape[1]
    if data.isascii():
        # One character per byte, so decode all texts at once.
        text = data.decode("ascii")
        return [text[row * length : (row + 1) * length] for row in range(len(codes))]
    return [data[row * length : (row + 1) * length].decode() for row in range(len(codes))]


def _check_texts(codes: np.ndarray) -> None:
    """Raises the errors of `_decode_texts`, without decoding ASCII."""
    if not codes.tobytes().isascii():
        _decode_texts(codes)


def diagnose(path: epath.Path, image_shape: Shape, first: int) -> WorkError:
    """The error for the first bad record of a file, found by reading one record at a time.

    Args:
      path: a file that could not be read.
      image_shape: (height, width, channels) of every image.
      first: number of records at the beginning that are known to be good.

    Raises:
      ConfigError: the file is of another type.
    """
    # First, because a small compressed file may hold a record that is larger than the memory.
    # `read_records` explains why a file cannot be opened.
    with contextlib.suppress(OSError):
        if tfrecord.is_compressed(path):
            return WorkError(
                f"{path} is compressed with gzip, and prepare's shards are not; decompress it with "
                "gunzip, or prepare again with --overwrite"
            )
    try:
        for number, payload in enumerate(tfrecord.read_records(path)):
            if number >= first:
                record = tfrecord.frame(payload)
                _decode_equal_lengths(record, len(record), image_shape)
    except WorkError as error:
        return error
    except ValueError as error:
        return WorkError(f"{path} does not hold the expected examples: record {number} {error}")
    return files.content_error(path)
