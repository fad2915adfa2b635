import gzip

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import WorkError
from components.data import codec, tfrecord
from components.data.examples import ExampleBatch

SHAPE = (3, 2, 1)
PIXELS = bytes(range(6))
LABELS = [0, 1, 127, 128, 16383, 16384, 2**31, 2**63 - 1, -1, -(2**63)]
IDS = ["", "a", "é", "日本", "a" * 126, "a" * 127, "a" * 128, "é" * 64, "x" * 20_000]


def block_of(ids: list[str], labels: list[int], shape=SHAPE) -> ExampleBatch:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(ids), *shape), np.uint8)
    return ExampleBatch(ids, images, np.array(labels, np.int64))


def mixed(size: int, shape=SHAPE) -> ExampleBatch:
    """Ids and labels of many lengths, in an order that mixes them."""
    rng = np.random.default_rng(1)
    ids = [f"{n}-{'äb'[n % 2] * int(rng.integers(9))}" for n in range(size)]
    return block_of(ids, rng.choice(LABELS, size).tolist(), shape)


def uniform(size: int, shape=SHAPE) -> ExampleBatch:
    ids = [f"train-{n:08d}" for n in range(size)]
    return block_of(ids, (np.arange(size) % 10).tolist(), shape)


def by_protobuf(block: ExampleBatch) -> bytes:
    """The oracle: one record at a time, each by protobuf."""
    return b"".join(
        tfrecord.frame(codec.serialize(example_id.encode(), image.tobytes(), int(label)))
        for example_id, image, label in zip(block.ids, block.images, block.labels, strict=True)
    )


def assert_same(one: ExampleBatch, other: ExampleBatch) -> None:
    assert one.ids == other.ids
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def read(path, shape=SHAPE) -> ExampleBatch:
    return ExampleBatch.concatenate(codec.read_batches(path, shape))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("label", LABELS)
def test_encode_writes_what_protobuf_writes(label):
    for example_id in IDS:
        one = block_of([example_id], [label])
        assert codec.encode(one) == by_protobuf(one)
    together = block_of([f"{n}{each}" for n, each in enumerate(IDS)], [label] * len(IDS))
    assert codec.encode(together) == by_protobuf(together)


@pytest.mark.parametrize("make", [uniform, mixed])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (28, 28, 1), (64, 64, 3)])
def test_a_block_is_written_as_protobuf_would_and_reads_back(make, shape, path):
    block = make(100, shape)
    path.write_bytes(codec.encode(block))
    assert path.read_bytes() == by_protobuf(block)
    assert_same(read(path, shape), block)


@pytest.mark.parametrize("label", LABELS)
def test_every_kind_of_record_reads_back(label, path):
    block = block_of(IDS, [label] * len(IDS))
    path.write_bytes(by_protobuf(block))
    assert_same(read(path), block)


def test_every_label_and_id_at_once_reads_back(path):
    block = block_of([each for each in IDS for _ in LABELS], LABELS * len(IDS))
    path.write_bytes(by_protobuf(block))
    assert codec.encode(block) == path.read_bytes()
    assert_same(read(path), block)


def test_records_of_one_length_but_of_two_kinds(path):
    # The id is a byte longer, the label a byte shorter; a third has one letter of two bytes.
    block = block_of(["abc", "ab", "é", "xyz", "xy"], [127, 128, 300, 0, 16383])
    path.write_bytes(by_protobuf(block))
    assert len({len(payload) for payload in tfrecord.read_records(path)}) == 1
    assert codec.encode(block) == path.read_bytes()
    assert_same(read(path), block)


@pytest.mark.parametrize("make", [uniform, mixed])
def test_a_file_longer_than_a_chunk_is_read_in_parts(make, path):
    block = make(3000, (50, 40, 1))
    path.write_bytes(codec.encode(block))
    assert path.stat().st_size > 4 << 20
    parts = list(codec.read_batches(path, (50, 40, 1)))
    assert len(parts) > 1
    assert_same(ExampleBatch.concatenate(parts), block)


def test_a_record_longer_than_a_chunk(path):
    block = uniform(2, (1500, 1200, 3))
    path.write_bytes(codec.encode(block))
    assert path.stat().st_size > 2 * (4 << 20)
    assert_same(read(path, (1500, 1200, 3)), block)


@pytest.mark.parametrize("odd", ["a", "train-00000000", "an id that is longer than others"])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_records_of_another_length_late_in_a_file(odd, after, path):
    block = ExampleBatch.concatenate([uniform(500), block_of([odd] * 2, [5, 300]), uniform(after)])
    path.write_bytes(codec.encode(block))
    assert_same(read(path), block)


def test_nothing_is_no_bytes_and_no_bytes_are_nothing(path):
    assert codec.encode(uniform(5).part(0, 0)) == b""
    path.write_bytes(b"")
    assert list(codec.read_batches(path, SHAPE)) == []


def test_images_that_do_not_lie_row_by_row_in_memory():
    block = uniform(4, (6, 5, 3))
    flipped = ExampleBatch(block.ids, block.images[:, ::-1, :, ::-1], block.labels)
    assert codec.encode(flipped) == by_protobuf(flipped)


def test_tensorflow_reads_what_encode_writes(path):
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    block = mixed(40)
    path.write_bytes(codec.encode(block))
    (batch,) = tf.data.TFRecordDataset(str(path)).batch(40)
    parsed = tf.io.parse_example(batch, spec)
    assert [each.decode() for each in parsed["id"].numpy()] == block.ids
    pixels = tf.io.decode_raw(parsed["image"], tf.uint8).numpy().reshape(-1, *SHAPE)
    np.testing.assert_array_equal(pixels, block.images)
    np.testing.assert_array_equal(parsed["label"], block.labels)


def test_what_tensorflow_writes_is_read(path):
    block = uniform(3)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example_id, image, label in zip(block.ids, block.images, block.labels, strict=True):
            writer.write(codec.serialize(example_id.encode(), image.tobytes(), int(label)))
    assert path.read_bytes() == codec.encode(block)
    assert_same(read(path), block)


@pytest.mark.parametrize("block", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_every_flipped_bit_is_found_and_its_record_named(block, path):
    whole = codec.encode(block)
    ends = np.cumsum([len(codec.encode(block.part(n, n + 1))) for n in range(3)])
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        number = int(np.searchsorted(ends, bit // 8, side="right"))
        with pytest.raises(WorkError, match=rf"^damaged TFRecord: record {number} of \S*file "):
            list(codec.read_batches(path, SHAPE))


@pytest.mark.parametrize("block", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_every_cut_but_one_between_records_is_found(block, path):
    whole = codec.encode(block)
    ends = [0, *np.cumsum([len(codec.encode(block.part(n, n + 1))) for n in range(3)]).tolist()]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length in ends:
            assert_same(
                ExampleBatch.concatenate([block.part(0, 0), *codec.read_batches(path, SHAPE)]),
                block.part(0, ends.index(length)),
            )
            continue
        number = int(np.searchsorted(ends, length)) - 1
        with pytest.raises(WorkError, match=rf"record {number} of \S*file (is truncated|ends)"):
            list(codec.read_batches(path, SHAPE))


def test_damage_late_in_a_long_file_is_found_after_what_is_whole(path):
    block = uniform(3000, (50, 40, 1))
    data = bytearray(codec.encode(block))
    size = len(data) // 3000
    data[2900 * size + 700] ^= 1
    path.write_bytes(data)
    parts = []
    with pytest.raises(WorkError, match=r"record 2900 of \S*file has a wrong payload checksum"):
        for part in codec.read_batches(path, (50, 40, 1)):
            parts.append(part)
    before = ExampleBatch.concatenate(parts)
    assert 0 < len(before) <= 2900
    assert_same(before, block.part(0, len(before)))


def field(number: int, *parts: bytes) -> bytes:
    """A field of protobuf's wire format that holds others, or bytes."""
    payload = b"".join(parts)
    return bytes([number << 3 | 2, len(payload)]) + payload


def entry(name: bytes, kind: int, values: bytes) -> bytes:
    """A feature of a tf.Example; `kind` 1 are bytes, 3 whole numbers."""
    return field(1, field(1, name), field(2, field(kind, values)))


ID = entry(b"id", 1, field(1, b"a"))
IMAGE = entry(b"image", 1, field(1, PIXELS))
LABEL = entry(b"label", 3, field(1, b"\xc8\x01"))
NO_EXAMPLE = "has no id, image and label"
ANOTHER = "is no record of this project"
FOREIGN = {
    "nothing": (b"", NO_EXAMPLE),
    "no protobuf": (b"\xff\xff", NO_EXAMPLE),
    "no features": (field(1), NO_EXAMPLE),
    "no id": (field(1, IMAGE, LABEL), NO_EXAMPLE),
    "no label": (field(1, ID, IMAGE), NO_EXAMPLE),
    "no image": (field(1, ID, LABEL), NO_EXAMPLE),
    "an empty id list": (field(1, entry(b"id", 1, b""), IMAGE, LABEL), NO_EXAMPLE),
    "a number as id": (field(1, entry(b"id", 3, field(1, b"a")), IMAGE, LABEL), NO_EXAMPLE),
    "an id that is no UTF-8": (
        field(1, entry(b"id", 1, field(1, b"\xff")), IMAGE, LABEL),
        NO_EXAMPLE,
    ),
    "another image size": (
        field(1, ID, entry(b"image", 1, field(1, PIXELS[:5])), LABEL),
        "has 5 bytes of pixels, 3x2x1 needs 6",
    ),
    "another feature": (field(1, ID, IMAGE, LABEL, entry(b"z", 3, field(1, b"\0"))), ANOTHER),
    "a field beside": (field(1, ID, IMAGE, LABEL) + field(2, b"abc"), ANOTHER),
    "two ids": (field(1, entry(b"id", 1, field(1, b"a") * 2), IMAGE, LABEL), ANOTHER),
    "two images": (field(1, ID, entry(b"image", 1, field(1, PIXELS) * 2), LABEL), ANOTHER),
    "two labels": (field(1, ID, IMAGE, entry(b"label", 3, field(1, b"\x01\x02"))), ANOTHER),
    "a label without its end": (
        field(1, ID, IMAGE, entry(b"label", 3, field(1, b"\xc8\x81"))),
        NO_EXAMPLE,
    ),
    "a label on its own, not packed": (
        field(1, ID, IMAGE, entry(b"label", 3, b"\x08\xc8\x01")),
        ANOTHER,
    ),
    "another order": (field(1, LABEL, IMAGE, ID), ANOTHER),
}


def test_the_records_made_here_by_hand_are_protobufs():
    assert field(1, ID, IMAGE, LABEL) == codec.serialize(b"a", PIXELS, 200)


@pytest.mark.parametrize(("payload", "reason"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("before", [0, 3])
def test_records_of_another_kind_are_refused(payload, reason, before, path):
    tfrecord.write_records(path, [codec.serialize(b"b", PIXELS, 300)] * before + [payload] * 2)
    with pytest.raises(
        WorkError,
        match=rf"file holds other records than prepare writes: record {before} {reason}$",
    ):
        list(codec.read_batches(path, SHAPE))


def test_one_record_of_another_kind_in_a_later_chunk_is_named(path):
    block = uniform(3000, (50, 40, 1))
    other = tfrecord.frame(codec.serialize(b"train-00002950", bytes(1999), 1))
    data = codec.encode(block)
    end = 2950 * (len(data) // 3000)
    path.write_bytes(data[:end] + other + data[end:])
    with pytest.raises(WorkError, match="record 2950 has 1999 bytes of pixels, 50x40x1 needs 2000"):
        list(codec.read_batches(path, (50, 40, 1)))


def test_a_compressed_file_is_refused(path):
    path.write_bytes(gzip.compress(codec.encode(uniform(3))))
    with pytest.raises(WorkError, match="file is compressed, or changed while it was read"):
        list(codec.read_batches(path, SHAPE))


def test_a_file_that_is_not_there_is_one_line(path):
    with pytest.raises(WorkError, match=r"record 0 of \S*file cannot be read \(No such file"):
        list(codec.read_batches(path, SHAPE))


def decoded(data: bytes, places: np.ndarray, shape=SHAPE) -> np.ndarray:
    images = np.full((len(places) + 5, *shape), 7, np.uint8)
    codec.decode_images(data, images, places)
    return images


@pytest.mark.parametrize("make", [uniform, mixed])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (28, 28, 1), (64, 64, 3)])
def test_images_alone_go_to_their_places(make, shape):
    block = make(100, shape)
    places = np.random.default_rng(0).permutation(105)[:100]
    images = decoded(codec.encode(block), places, shape)
    np.testing.assert_array_equal(images[places], block.images)
    assert (np.delete(images, places, axis=0) == 7).all()


@pytest.mark.parametrize("block", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_images_alone_find_every_flipped_bit_and_cut(block):
    whole = codec.encode(block)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"is truncated|checksum|no record of this"):
            decoded(bytes(damaged), np.arange(3))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="is truncated"):
            decoded(whole[:length], np.arange(3))


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_images_alone_are_as_many_as_their_places(wanted):
    with pytest.raises(ValueError, match="is truncated"):
        decoded(codec.encode(uniform(3)), np.arange(wanted))


@pytest.mark.parametrize(("payload", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_images_alone_refuse_records_of_another_kind(payload, reason):
    data = codec.encode(uniform(1)) + tfrecord.frame(payload)
    with pytest.raises(ValueError, match=reason):
        decoded(data, np.arange(2))


def test_a_header_says_how_long_its_record_is():
    for block in (uniform(1), mixed(1)):
        data = codec.encode(block)
        assert codec.record_bytes(data[: codec.HEADER_BYTES]) == len(data)
        with pytest.raises(ValueError, match="wrong length checksum"):
            codec.record_bytes(b"\x01" + data[1 : codec.HEADER_BYTES])
    with pytest.raises(ValueError, match="ends within a header"):
        codec.record_bytes(data[:11])
