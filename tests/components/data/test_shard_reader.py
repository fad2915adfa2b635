import numpy as np
import pytest

from components.base.errors import WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from components.data.shard_reader import ShardReader, read_all, readers
from components.data.shuffle import BlockLayout

SHAPE = (3, 2, 1)
BLOCK = 4
# What the ids look like: all as long, of many lengths, or as if all were as long as the first.
IDS = {
    "alike": lambda n: f"train-{n:05d}",
    "unlike": lambda n: f"{n:03d}" + "äb" * (n * 7 % 5),
    "unlike in sum alike": lambda n: f"{n:03d}" + "x" * (2, 3, 1)[n % 3],
}


def block_of(num_examples: int, kind: str) -> ExampleBatch:
    rng = np.random.default_rng(num_examples)
    return ExampleBatch(
        [IDS[kind](number) for number in range(num_examples)],
        rng.integers(0, 256, (num_examples, *SHAPE), np.uint8),
        np.arange(num_examples, dtype=np.int64) % 10,
    )


@pytest.fixture(params=IDS)
def written(request, tmp_path):
    """A block of 30, the file that holds it, and where its records begin."""
    block = block_of(30, request.param)
    (tmp_path / "file").write_bytes(codec.encode(block))
    sizes = [len(codec.encode(block.part(n, n + 1))) for n in range(30)]
    return block, tmp_path / "file", np.cumsum([0, *sizes]).tolist()


def shard(path, num_examples=30) -> ShardReader:
    return ShardReader(path, num_examples, image_shape=SHAPE, block_examples=BLOCK)


def read(one: ShardReader, block: int, count: int = BLOCK) -> np.ndarray:
    images = np.zeros((count, *SHAPE), np.uint8)
    one.read_images(block, images, np.arange(count))
    return images


def test_every_block_is_read_in_any_order(written):
    block, path, _ = written
    one = shard(path)
    for number in (7, 2, 5, 0, 7, 1, 6, 3, 4):
        images = block.images[number * BLOCK : (number + 1) * BLOCK]
        np.testing.assert_array_equal(read(one, number, len(images)), images)


def test_images_go_to_their_places(written):
    block, path, _ = written
    images = np.full((10, *SHAPE), 77, np.uint8)
    shard(path).read_images(1, images, np.array([9, 0, 4, 2]))
    np.testing.assert_array_equal(images[[9, 0, 4, 2]], block.images[4:8])
    assert (images[[1, 3, 5, 6, 7, 8]] == 77).all()


def test_records_alike_are_not_read_through(tmp_path):
    block = block_of(30, "alike")
    data = bytearray(codec.encode(block))
    data[len(data) // 30 * 20 + 3] ^= 1  # In the length of a later record.
    path = tmp_path / "file"
    path.write_bytes(data)
    one = shard(path)
    np.testing.assert_array_equal(read(one, 0), block.images[:4])
    np.testing.assert_array_equal(read(one, 7, 2), block.images[28:])
    with pytest.raises(WorkError, match=r"record 20 of \S*file has a wrong length checksum"):
        read(one, 5)


@pytest.mark.parametrize("number", [0, 11, 29])
@pytest.mark.parametrize("place", [0, 8, 20, -1])
def test_damage_is_found_in_its_block_and_its_record_named(written, number, place):
    _, path, ends = written
    data = bytearray(path.read_bytes())
    data[ends[number + (place < 0)] + place] ^= 16
    path.write_bytes(data)
    first = number // BLOCK * BLOCK
    with pytest.raises(WorkError, match=rf"^damaged TFRecord: record {number} of \S*file "):
        read(shard(path), number // BLOCK, min(BLOCK, 30 - first))


@pytest.mark.parametrize("cut", [1, 13, 50])
def test_a_cut_file_is_found(written, cut):
    _, path, _ = written
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(WorkError, match=r"record 29 of \S*file is truncated"):
        read(shard(path), 7, 2)


@pytest.mark.parametrize(
    ("num_examples", "reason"),
    [
        (29, "holds more records than the 29 that its manifest says"),
        (31, "holds 30 records, its manifest says 31: record 30 is missing"),
    ],
)
def test_another_number_of_records_is_refused(written, num_examples, reason):
    _, path, _ = written
    with pytest.raises(WorkError, match=rf"file {reason}"):
        read(shard(path, num_examples), 0)


def test_a_record_of_another_kind_is_refused(written):
    _, path, ends = written
    other = codec.encode(ExampleBatch(["other"], np.zeros((1, 2, 2, 1), np.uint8), np.array([3])))
    data = path.read_bytes()
    path.write_bytes(data[: ends[17]] + other + data[ends[18] :])
    with pytest.raises(WorkError, match="record 17 has 4 bytes of pixels, 3x2x1 needs 6"):
        read(shard(path), 17 // BLOCK)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(WorkError, match=r"record 0 of \S*file cannot be read \(No such file"):
        read(shard(tmp_path / "file"), 0)


def several(directory) -> tuple[list[ShardReader], BlockLayout, np.ndarray]:
    """Shards of three kinds, their layout and the images of all."""
    lengths = [9, 4, 30]
    blocks = [block_of(length, kind) for length, kind in zip(lengths, IDS, strict=True)]
    for number, block in enumerate(blocks):
        (directory / f"{number}").write_bytes(codec.encode(block))
    shards = [shard(directory / f"{n}", length) for n, length in enumerate(lengths)]
    layout = BlockLayout(lengths, image_bytes=6, block_bytes=6 * BLOCK)
    return shards, layout, ExampleBatch.concatenate(blocks).images


def test_all_shards_are_read_in_their_order(tmp_path):
    shards, layout, whole = several(tmp_path)
    images = np.zeros_like(whole)
    read_all(shards, layout, images, readers(tmp_path))
    np.testing.assert_array_equal(images, whole)


def test_damage_is_named_in_reading_all(tmp_path):
    shards, layout, whole = several(tmp_path)
    data = bytearray((tmp_path / "1").read_bytes())
    data[-20] ^= 1
    (tmp_path / "1").write_bytes(data)
    with pytest.raises(WorkError, match=r"record 3 of \S*/1 has a wrong payload checksum"):
        read_all(shards, layout, np.zeros_like(whole), readers(tmp_path))
