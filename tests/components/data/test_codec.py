import gzip
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from components.base.errors import WorkError
from components.data import codec, tf_example, tfrecord
from components.data.examples import ExampleBatch
from tests.tfrecords import write_records

SHAPE = (3, 2, 1)
PIXELS = bytes(range(6))
LABELS = [0, 1, 127, 128, 16383, 16384, 2**31, 2**63 - 1, -1, -(2**63)]
IDS = ["", "a", "é", "日本", "a" * 126, "a" * 127, "a" * 128, "é" * 64, "x" * 20_000]


def make_batch(ids: list[str], labels: list[int], shape=SHAPE) -> ExampleBatch:
    """Examples with random images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(ids), *shape), np.uint8)
    return ExampleBatch(ids, images, np.array(labels, np.int64))


def mixed(size: int, shape=SHAPE) -> ExampleBatch:
    """Examples with ids and labels of different lengths, in random order."""
    rng = np.random.default_rng(1)
    ids = [f"{n}-{'äb'[n % 2] * int(rng.integers(9))}" for n in range(size)]
    return make_batch(ids, rng.choice(LABELS, size).tolist(), shape)


def uniform(size: int, shape=SHAPE) -> ExampleBatch:
    """Examples with ids and labels of the same lengths."""
    ids = [f"train-{n:08d}" for n in range(size)]
    return make_batch(ids, (np.arange(size) % 10).tolist(), shape)


def encode_by_protobuf(batch: ExampleBatch) -> bytes:
    """The oracle: protobuf serializes one example at a time."""
    return b"".join(
        tfrecord.frame(tf_example.serialize(example_id.encode(), image.tobytes(), int(label)))
        for example_id, image, label in zip(batch.ids, batch.images, batch.labels, strict=True)
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
def test_encode_writes_the_bytes_of_protobuf(label):
    for example_id in IDS:
        single = make_batch([example_id], [label])
        assert codec.encode(single) == encode_by_protobuf(single)
    ids = [f"{number}{example_id}" for number, example_id in enumerate(IDS)]
    batch = make_batch(ids, [label] * len(IDS))
    assert codec.encode(batch) == encode_by_protobuf(batch)


@pytest.mark.parametrize("make", [uniform, mixed])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (28, 28, 1), (64, 64, 3)])
def test_a_batch_round_trips_through_the_bytes_of_protobuf(make, shape, path):
    batch = make(100, shape)
    path.write_bytes(codec.encode(batch))
    assert path.read_bytes() == encode_by_protobuf(batch)
    assert_same(read(path, shape), batch)


@pytest.mark.parametrize("label", LABELS)
def test_ids_of_every_length_are_read(label, path):
    batch = make_batch(IDS, [label] * len(IDS))
    path.write_bytes(encode_by_protobuf(batch))
    assert_same(read(path), batch)


def test_ids_and_labels_of_every_length_may_be_in_one_file(path):
    batch = make_batch([example_id for example_id in IDS for _ in LABELS], LABELS * len(IDS))
    path.write_bytes(encode_by_protobuf(batch))
    assert codec.encode(batch) == path.read_bytes()
    assert_same(read(path), batch)


def test_records_of_one_length_may_have_several_templates(path):
    # A longer id with a shorter label has the same total, and so has a letter of two bytes.
    batch = make_batch(["abc", "ab", "é", "xyz", "xy"], [127, 128, 300, 0, 16383])
    path.write_bytes(encode_by_protobuf(batch))
    assert len({len(payload) for payload in tfrecord.read_records(path)}) == 1
    assert codec.encode(batch) == path.read_bytes()
    assert_same(read(path), batch)


@pytest.mark.parametrize("make", [uniform, mixed])
def test_a_long_file_is_read_in_several_batches(make, path):
    expected = make(3000, (50, 40, 1))
    path.write_bytes(codec.encode(expected))
    assert path.stat().st_size > 4 << 20
    batches = list(codec.read_batches(path, (50, 40, 1)))
    assert len(batches) > 1
    assert_same(ExampleBatch.concatenate(batches), expected)


def test_a_record_may_be_longer_than_a_chunk(path):
    batch = uniform(2, (1500, 1200, 3))
    path.write_bytes(codec.encode(batch))
    assert path.stat().st_size > 2 * (4 << 20)
    assert_same(read(path, (1500, 1200, 3)), batch)


@pytest.mark.parametrize("odd", ["a", "train-00000000", "an id that is longer than others"])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_records_of_another_length_may_follow_many_equally_long_ones(odd, after, path):
    batch = ExampleBatch.concatenate(
        [uniform(500), make_batch([odd] * 2, [5, 300]), uniform(after)]
    )
    path.write_bytes(codec.encode(batch))
    assert_same(read(path), batch)


def test_an_empty_batch_is_an_empty_file(path):
    assert codec.encode(uniform(5).part(0, 0)) == b""
    path.write_bytes(b"")
    assert list(codec.read_batches(path, SHAPE)) == []


def test_images_need_not_be_contiguous_in_memory():
    batch = uniform(4, (6, 5, 3))
    flipped = ExampleBatch(batch.ids, batch.images[:, ::-1, :, ::-1], batch.labels)
    assert codec.encode(flipped) == encode_by_protobuf(flipped)


def test_tensorflow_reads_encoded_examples(path):
    spec = {
        "id": tf.io.FixedLenFeature([], tf.string),
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    batch = mixed(40)
    path.write_bytes(codec.encode(batch))
    (records,) = tf.data.TFRecordDataset(str(path)).batch(40)
    parsed = tf.io.parse_example(records, spec)
    assert [example_id.decode() for example_id in parsed["id"].numpy()] == batch.ids
    pixels = tf.io.decode_raw(parsed["image"], tf.uint8).numpy().reshape(-1, *SHAPE)
    np.testing.assert_array_equal(pixels, batch.images)
    np.testing.assert_array_equal(parsed["label"], batch.labels)


def test_files_that_tensorflow_wrote_are_read(path):
    batch = uniform(3)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example_id, image, label in zip(batch.ids, batch.images, batch.labels, strict=True):
            writer.write(tf_example.serialize(example_id.encode(), image.tobytes(), int(label)))
    assert path.read_bytes() == codec.encode(batch)
    assert_same(read(path), batch)


def record_ends(batch: ExampleBatch) -> list[int]:
    """The offset at which each record of a batch ends."""
    lengths = [len(codec.encode(batch.part(n, n + 1))) for n in range(len(batch))]
    return np.cumsum(lengths).tolist()


@pytest.mark.parametrize("batch", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_every_flipped_bit_is_detected_and_its_record_is_named(batch, path):
    intact = codec.encode(batch)
    ends = record_ends(batch)
    for bit in range(8 * len(intact)):
        damaged = bytearray(intact)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        number = int(np.searchsorted(ends, bit // 8, side="right"))
        with pytest.raises(WorkError, match=rf"^damaged TFRecord: record {number} of \S*file "):
            list(codec.read_batches(path, SHAPE))


@pytest.mark.parametrize("batch", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_every_truncation_within_a_record_is_detected(batch, path):
    intact = codec.encode(batch)
    ends = [0, *record_ends(batch)]
    for length in range(len(intact)):
        path.write_bytes(intact[:length])
        if length in ends:
            assert_same(
                ExampleBatch.concatenate([batch.part(0, 0), *codec.read_batches(path, SHAPE)]),
                batch.part(0, ends.index(length)),
            )
            continue
        number = int(np.searchsorted(ends, length)) - 1
        with pytest.raises(WorkError, match=rf"record {number} of \S*file (is truncated|ends)"):
            list(codec.read_batches(path, SHAPE))


def test_damage_late_in_a_long_file_is_found_after_the_batches_before_it(path):
    batch = uniform(3000, (50, 40, 1))
    data = bytearray(codec.encode(batch))
    length = len(data) // 3000
    data[2900 * length + 700] ^= 1
    path.write_bytes(data)
    batches = []
    with pytest.raises(WorkError, match=r"record 2900 of \S*file has a wrong payload checksum"):
        for intact in codec.read_batches(path, (50, 40, 1)):
            batches.append(intact)
    before = ExampleBatch.concatenate(batches)
    assert 0 < len(before) <= 2900
    assert_same(before, batch.part(0, len(before)))


def field(number: int, *parts: bytes) -> bytes:
    """A field of the wire format of protobuf that holds bytes, or other fields."""
    payload = b"".join(parts)
    return bytes([number << 3 | 2, len(payload)]) + payload


def entry(name: bytes, kind: int, values: bytes) -> bytes:
    """A feature of a tf.Example; `kind` is 1 for bytes and 3 for integers."""
    return field(1, field(1, name), field(2, field(kind, values)))


ID = entry(b"id", 1, field(1, b"a"))
IMAGE = entry(b"image", 1, field(1, PIXELS))
LABEL = entry(b"label", 3, field(1, b"\xc8\x01"))
INCOMPLETE = "does not have an id, an image and a label"
OTHER_FORMAT = "does not have the format of this project"
# Payloads that the codec never writes, and the reasons why it refuses them.
FOREIGN = {
    "empty": (b"", INCOMPLETE),
    "not protobuf": (b"\xff\xff", INCOMPLETE),
    "no features": (field(1), INCOMPLETE),
    "no id": (field(1, IMAGE, LABEL), INCOMPLETE),
    "no label": (field(1, ID, IMAGE), INCOMPLETE),
    "no image": (field(1, ID, LABEL), INCOMPLETE),
    "an empty list of ids": (field(1, entry(b"id", 1, b""), IMAGE, LABEL), INCOMPLETE),
    "a number as the id": (field(1, entry(b"id", 3, field(1, b"a")), IMAGE, LABEL), INCOMPLETE),
    "an id that is not UTF-8": (
        field(1, entry(b"id", 1, field(1, b"\xff")), IMAGE, LABEL),
        INCOMPLETE,
    ),
    "an incomplete label": (
        field(1, ID, IMAGE, entry(b"label", 3, field(1, b"\xc8\x81"))),
        INCOMPLETE,
    ),
    "another image size": (
        field(1, ID, entry(b"image", 1, field(1, PIXELS[:5])), LABEL),
        "has 5 bytes of pixels; 3x2x1 needs 6",
    ),
    "another feature": (field(1, ID, IMAGE, LABEL, entry(b"z", 3, field(1, b"\0"))), OTHER_FORMAT),
    "an unknown field": (field(1, ID, IMAGE, LABEL) + field(2, b"abc"), OTHER_FORMAT),
    "two ids": (field(1, entry(b"id", 1, field(1, b"a") * 2), IMAGE, LABEL), OTHER_FORMAT),
    "two images": (field(1, ID, entry(b"image", 1, field(1, PIXELS) * 2), LABEL), OTHER_FORMAT),
    "two labels": (field(1, ID, IMAGE, entry(b"label", 3, field(1, b"\x01\x02"))), OTHER_FORMAT),
    "an unpacked label": (field(1, ID, IMAGE, entry(b"label", 3, b"\x08\xc8\x01")), OTHER_FORMAT),
    "another order of features": (field(1, LABEL, IMAGE, ID), OTHER_FORMAT),
}


def test_payloads_of_these_fields_are_those_of_protobuf():
    assert field(1, ID, IMAGE, LABEL) == tf_example.serialize(b"a", PIXELS, 200)


@pytest.mark.parametrize(("payload", "reason"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("before", [0, 3])
def test_foreign_records_are_refused_and_named(payload, reason, before, path):
    write_records(path, [tf_example.serialize(b"b", PIXELS, 300)] * before + [payload] * 2)
    with pytest.raises(
        WorkError,
        match=rf"file does not hold the expected examples: record {before} {reason}$",
    ):
        list(codec.read_batches(path, SHAPE))


def test_an_image_of_another_shape_late_in_a_file_is_named(path):
    batch = uniform(3000, (50, 40, 1))
    other = tfrecord.frame(tf_example.serialize(b"train-00002950", bytes(1999), 1))
    data = codec.encode(batch)
    end = 2950 * (len(data) // 3000)
    path.write_bytes(data[:end] + other + data[end:])
    with pytest.raises(WorkError, match="record 2950 has 1999 bytes of pixels; 50x40x1 needs 2000"):
        list(codec.read_batches(path, (50, 40, 1)))


def test_a_compressed_file_is_refused(path):
    path.write_bytes(gzip.compress(codec.encode(uniform(3))))
    with pytest.raises(
        WorkError, match="file is compressed with gzip, and prepare's shards are not"
    ):
        list(codec.read_batches(path, SHAPE))


def test_a_compressed_file_is_not_unpacked(path):
    path.write_bytes(gzip.compress(tfrecord.frame(bytes(20_000_000))))
    tracemalloc.start()
    try:
        with pytest.raises(WorkError, match="file is compressed with gzip"):
            list(codec.read_batches(path, SHAPE))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_missing_file_is_an_error_of_one_line(path):
    with pytest.raises(WorkError, match=r"record 0 of \S*file cannot be read \(No such file"):
        list(codec.read_batches(path, SHAPE))


def decode_images(data: bytes, targets: np.ndarray, shape=SHAPE) -> np.ndarray:
    """The images of records, in an array with five more rows, whose pixels are 7."""
    images = np.full((len(targets) + 5, *shape), 7, np.uint8)
    codec.decode_images(data, images, targets)
    return images


@pytest.mark.parametrize("make", [uniform, mixed])
@pytest.mark.parametrize("shape", [SHAPE, (1, 1, 1), (28, 28, 1), (64, 64, 3)])
def test_decode_images_fills_the_given_rows(make, shape):
    batch = make(100, shape)
    targets = np.random.default_rng(0).permutation(105)[:100]
    images = decode_images(codec.encode(batch), targets, shape)
    np.testing.assert_array_equal(images[targets], batch.images)
    assert (np.delete(images, targets, axis=0) == 7).all()


@pytest.mark.parametrize("batch", [uniform(3), mixed(3)], ids=["uniform", "mixed"])
def test_decode_images_detects_every_flipped_bit_and_truncation(batch):
    intact = codec.encode(batch)
    for bit in range(8 * len(intact)):
        damaged = bytearray(intact)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"is truncated|checksum|format of this project"):
            decode_images(bytes(damaged), np.arange(3))
    for length in range(len(intact)):
        with pytest.raises(ValueError, match="is truncated"):
            decode_images(intact[:length], np.arange(3))


@pytest.mark.parametrize("num_targets", [1, 2, 4])
def test_decode_images_refuses_another_number_of_records(num_targets):
    with pytest.raises(ValueError, match="is truncated"):
        decode_images(codec.encode(uniform(3)), np.arange(num_targets))


@pytest.mark.parametrize(("payload", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_decode_images_refuses_foreign_records(payload, reason):
    data = codec.encode(uniform(1)) + tfrecord.frame(payload)
    with pytest.raises(ValueError, match=reason):
        decode_images(data, np.arange(2))
