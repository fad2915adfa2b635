import numpy as np
import pytest

from components.base import files
from components.base.errors import WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.shard_reader import ShardReader, read_all_images, reader_pool
from components.data.shuffle import BlockLayout

SHAPE = (3, 2, 1)
BLOCK = 4
# Functions from the number of an example to its id, by the resulting lengths of the records.
IDS = {
    "equal lengths": lambda n: f"train-{n:05d}",
    "different lengths": lambda n: f"{n:03d}" + "äb" * (n * 7 % 5),
    # The file is as large as if all records were as long as the first.
    "different lengths with the sum of equal ones": lambda n: f"{n:03d}" + "x" * (2, 3, 1)[n % 3],
}


def make_batch(num_examples: int, ids: str) -> ExampleBatch:
    rng = np.random.default_rng(num_examples)
    return ExampleBatch(
        [IDS[ids](number) for number in range(num_examples)],
        rng.integers(0, 256, (num_examples, *SHAPE), np.uint8),
        np.arange(num_examples, dtype=np.int64) % 10,
    )


@pytest.fixture(params=IDS)
def written(request, tmp_path):
    """30 examples, the shard that holds them, and the offsets at which its records begin."""
    batch = make_batch(30, request.param)
    (tmp_path / "file").write_bytes(codec.encode(batch))
    sizes = [len(codec.encode(batch.part(n, n + 1))) for n in range(30)]
    return batch, tmp_path / "file", np.cumsum([0, *sizes]).tolist()


def reader(path, num_examples=30) -> ShardReader:
    return ShardReader(
        path,
        num_examples,
        image_shape=SHAPE,
        block_examples=BLOCK,
        sha256=files.sha256(path) if path.exists() else "",
    )


def read(shard: ShardReader, block: int, count: int = BLOCK) -> np.ndarray:
    images = np.zeros((count, *SHAPE), np.uint8)
    shard.read_images(block, images, np.arange(count))
    return images


def test_blocks_can_be_read_in_any_order(written):
    batch, path, _ = written
    shard = reader(path)
    for number in (7, 2, 5, 0, 7, 1, 6, 3, 4):
        images = batch.images[number * BLOCK : (number + 1) * BLOCK]
        np.testing.assert_array_equal(read(shard, number, len(images)), images)


def test_images_go_to_the_given_rows(written):
    batch, path, _ = written
    images = np.full((10, *SHAPE), 77, np.uint8)
    reader(path).read_images(1, images, np.array([9, 0, 4, 2]))
    np.testing.assert_array_equal(images[[9, 0, 4, 2]], batch.images[4:8])
    assert (images[[1, 3, 5, 6, 7, 8]] == 77).all()


def test_a_shard_of_equally_long_records_is_not_scanned(tmp_path):
    batch = make_batch(30, "equal lengths")
    data = bytearray(codec.encode(batch))
    data[len(data) // 30 * 20 + 3] ^= 1  # In the length of record 20.
    path = tmp_path / "file"
    path.write_bytes(data)
    shard = reader(path)
    np.testing.assert_array_equal(read(shard, 0), batch.images[:4])
    np.testing.assert_array_equal(read(shard, 7, 2), batch.images[28:])
    with pytest.raises(WorkError, match=r"record 20 of \S*file has a wrong length checksum"):
        read(shard, 5)


@pytest.mark.parametrize("number", [0, 11, 29])
@pytest.mark.parametrize("offset", [0, 8, 20, -1])
def test_damage_to_a_block_is_detected_and_its_record_is_named(written, number, offset):
    _, path, starts = written
    data = bytearray(path.read_bytes())
    data[starts[number + (offset < 0)] + offset] ^= 16
    path.write_bytes(data)
    first = number // BLOCK * BLOCK
    with pytest.raises(WorkError, match=rf"^damaged TFRecord: record {number} of \S*file "):
        read(reader(path), number // BLOCK, min(BLOCK, 30 - first))


@pytest.mark.parametrize("num_bytes", [1, 13, 50])
def test_a_truncated_shard_is_detected(written, num_bytes):
    _, path, _ = written
    path.write_bytes(path.read_bytes()[:-num_bytes])
    with pytest.raises(WorkError, match=r"record 29 of \S*file is truncated"):
        read(reader(path), 7, 2)


@pytest.mark.parametrize(
    ("num_examples", "reason"),
    [
        (29, "holds more records than the 29 that the manifest lists"),
        (31, "holds 30 records, but the manifest lists 31: record 30 is missing"),
    ],
)
def test_a_wrong_number_of_records_is_refused(written, num_examples, reason):
    _, path, _ = written
    with pytest.raises(WorkError, match=rf"file {reason}"):
        read(reader(path, num_examples), 0)


def test_an_image_of_another_shape_is_refused(written):
    _, path, starts = written
    other = codec.encode(ExampleBatch(["other"], np.zeros((1, 2, 2, 1), np.uint8), np.array([3])))
    data = path.read_bytes()
    path.write_bytes(data[: starts[17]] + other + data[starts[18] :])
    with pytest.raises(WorkError, match="record 17 has 4 bytes of pixels; 3x2x1 needs 6"):
        read(reader(path), 17 // BLOCK)


def test_a_missing_shard_is_an_error_of_one_line(tmp_path):
    with pytest.raises(WorkError, match=r"record 0 of \S*file cannot be read \(No such file"):
        read(reader(tmp_path / "file"), 0)


def write_shards(directory) -> tuple[list[ShardReader], BlockLayout, np.ndarray]:
    """Writes a shard for each kind of ids; returns their readers, layout and images."""
    lengths = [9, 4, 30]
    batches = [make_batch(length, ids) for length, ids in zip(lengths, IDS, strict=True)]
    for number, batch in enumerate(batches):
        (directory / f"{number}").write_bytes(codec.encode(batch))
    shards = [reader(directory / f"{n}", length) for n, length in enumerate(lengths)]
    layout = BlockLayout(lengths, image_bytes=6, block_bytes=6 * BLOCK)
    return shards, layout, ExampleBatch.concatenate(batches).images


def test_all_images_are_read_in_the_order_of_the_shards(tmp_path):
    shards, layout, expected = write_shards(tmp_path)
    images = np.zeros_like(expected)
    read_all_images(shards, layout, images, reader_pool(tmp_path))
    np.testing.assert_array_equal(images, expected)


def test_damage_is_detected_when_all_images_are_read(tmp_path):
    shards, layout, expected = write_shards(tmp_path)
    data = bytearray((tmp_path / "1").read_bytes())
    data[-20] ^= 1
    (tmp_path / "1").write_bytes(data)
    with pytest.raises(WorkError, match=r"record 3 of \S*/1 has a wrong payload checksum"):
        read_all_images(shards, layout, np.zeros_like(expected), reader_pool(tmp_path))
