import numpy as np
import pytest
from PIL import Image

from components.base import files
from components.base.errors import ConfigError, WorkError
from components.compression.archive import Archive
from components.data.prepared_dataset import PreparedDataset
from pipeline.compress.compress import compress
from pipeline.compress.config import CompressConfig
from pipeline.compress.decompress import _labels, decompress
from pipeline.compress.index import FolderIndex, ShardsIndex


def test_shards_come_back_with_ids_labels_and_order(
    vaez, example_set, coded_model_dir, tmp_path, capsys
):
    arguments = {"model": coded_model_dir, "source": vaez, "output": tmp_path / "out"}
    decompress(**arguments)
    found, expected = PreparedDataset.open(tmp_path / "out"), example_set.read("test")
    examples = found.read("test")
    assert examples.ids == expected.ids
    assert (examples.images == expected.images).all()
    assert (examples.labels == expected.labels).all()
    assert found.class_names == example_set.class_names
    assert found.splits == ["test"]
    (shard,) = example_set.shards["test"]
    assert files.sha256(found.path / shard.file) == example_set.artifact.output(shard.file).sha256
    decompress(**arguments)
    assert "decompress: up to date" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_folder_comes_back_as_png_files(count, coded_model_dir, example_set, tmp_path):
    images = example_set.head("train", 5).images[:count]
    source = tmp_path / "in"
    (source / "sub/folder").mkdir(parents=True)
    for number, image in enumerate(images):
        name = f"{'sub/folder/' if number % 2 else ''}{number}.{'bmp' if number > 2 else 'png'}"
        Image.fromarray(image[..., 0]).save(source / name)
    compress(
        CompressConfig(block_images=3),
        model=coded_model_dir,
        pattern=str(source),
        output=tmp_path / "x.vaez",
    )
    decompress(model=coded_model_dir, source=tmp_path / "x.vaez", output=tmp_path / "out")
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png")}
    assert len(found) == count
    for number, image in enumerate(images):
        name = f"{'sub/folder/' if number % 2 else ''}{number}.png"
        with Image.open(tmp_path / "out" / name) as restored:
            assert restored.mode == "L"
            assert (np.asarray(restored) == image[..., 0]).all()


def test_shards_come_back_from_a_model_that_is_conditioned_on_labels(
    examples_dir, conditional_model_dir, example_set, tmp_path
):
    file, output = tmp_path / "x.vaez", tmp_path / "out"
    compress(
        CompressConfig(block_images=40),
        model=conditional_model_dir,
        pattern=f"{examples_dir}/*test*",
        output=file,
    )
    decompress(model=conditional_model_dir, source=file, output=output)
    found, expected = PreparedDataset.open(output).read("test"), example_set.read("test")
    assert len(set(expected.labels.tolist())) > 1
    assert (found.images == expected.images).all()
    assert (found.labels == expected.labels).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FolderIndex(["a.png"]), "its index has no labels"),
        (ShardsIndex("d", [], [], ["a"], [3]), "its index has labels other than 0 to 2"),
        (ShardsIndex("d", [], [], ["a"], [-1]), "its index has labels other than 0 to 2"),
    ],
)
def test_labels_that_the_model_does_not_know_are_refused(content, message):
    with pytest.raises(ValueError, match=message):
        _labels(content, classes=3)
    assert _labels(content, classes=0).shape == (1,)


def test_another_model_is_named(vaez, model_dir, tmp_path):
    with pytest.raises(ConfigError, match="was compressed with another model than"):
        decompress(model=model_dir, source=vaez, output=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_of_a_damaged_file_nothing_or_the_intact_blocks_are_written(
    vaez, example_set, coded_model_dir, tmp_path
):
    data = bytearray(vaez.read_bytes())
    header = Archive(vaez).header
    data[len(data) - 32 - header.block_bytes + header.blocks[0].bytes] ^= 1
    damaged = tmp_path / "damaged.vaez"
    damaged.write_bytes(bytes(data))
    arguments = {"model": coded_model_dir, "source": damaged, "output": tmp_path / "out"}
    with pytest.raises(WorkError, match="does not have the digest at its end"):
        decompress(**arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.vaez"]
    artifact = decompress(**arguments, salvage=True)
    expected = example_set.read("test")
    kept = PreparedDataset.open(tmp_path / "out").read("test")
    assert kept.ids == expected.ids[:40] + expected.ids[80:]
    assert (kept.images[40:] == expected.images[80:]).all()
    assert "40 images of" in artifact.manifest.notes[0]
