import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base.errors import WorkError
from components.data import codec
from components.data.examples import ExampleBatch
from pipeline.compress.index import FolderIndex, ShardEntry, ShardsIndex
from pipeline.compress.restored import write_folder, write_shards

SHAPE = (2, 3, 3)
FILE = "x-test.tfrecord-00000-of-00001"


def draw_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def test_images_that_are_lost_have_no_file(tmp_path):
    first, last = draw_images(2)
    index = FolderIndex(["a/b.png", "c.png", "d.png"])
    write_folder(index, iter([first, None, last]), epath.Path(tmp_path))
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == [
        "a/b.png",
        "d.png",
    ]
    with Image.open(tmp_path / "a/b.png") as restored:
        assert restored.mode == "RGB"
        assert (np.asarray(restored) == first).all()


def test_a_shard_of_other_bytes_is_refused(tmp_path):
    index = ShardsIndex("x", [], [ShardEntry(FILE, "test", "0" * 64, 2, False)], ["p", "q"], [0, 1])
    with pytest.raises(WorkError, match="has other bytes than the shard that was compressed"):
        write_shards(index, iter(draw_images(2)), SHAPE, epath.Path(tmp_path))


def test_a_shard_without_an_image_that_is_lost_has_the_others(tmp_path):
    images = draw_images(3)
    entry = ShardEntry(FILE, "test", "0" * 64, 3, False)
    index = ShardsIndex("x", ["a", "b"], [entry], ["p", "q", "r"], [0, 1, 1])
    given = iter([images[0], None, images[2]])
    counts = write_shards(index, given, SHAPE, epath.Path(tmp_path))
    found = ExampleBatch.concatenate(codec.read_batches(tmp_path / FILE, SHAPE))
    assert found.ids == ["p", "r"]
    assert (found.images == images[[0, 2]]).all()
    assert counts.examples_by_label == {"test": [1, 1]}
    assert counts.kept == 2
