import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from components import examples, records
from components.errors import ConfigError, WorkError
from components.examples import ExampleSet
from pipeline.prepare import QUARANTINE, prepare
from tests.conftest import tiny_prepare_config


def shards(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.glob("*.tfrecord-*"))}


def png(shape: tuple[int, ...], value: int = 7) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(data_dir: Path, images: list[bytes], *, split: str = "train") -> None:
    """A TFDS dataset named `pictures`, whose declared shape leaves height and width open."""
    from tensorflow_datasets.proto import tf_example_pb2

    folder = data_dir / "pictures/1.0.0"
    folder.mkdir(parents=True, exist_ok=True)
    payloads = []
    for number, image in enumerate(images):
        example = tf_example_pb2.Example()
        example.features.feature["image"].bytes_list.value.append(image)
        example.features.feature["label"].int64_list.value.append(number % 2)
        payloads.append(example.SerializeToString())
    records.write_records(folder / examples.shard_name("pictures", split, 0, 1), payloads)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, None)),
            "label": tfds.features.ClassLabel(names=["even", "odd"]),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name="pictures", split=split, filetype_suffix="tfrecord"
    )
    info = tfds.core.SplitInfo(
        name=split, shard_lengths=[len(images)], num_bytes=0, filename_template=template
    )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=[info], check_data=False
    )


def prepare_pictures(tmp_path: Path) -> ExampleSet:
    config = tiny_prepare_config(dataset="pictures", data_dir=str(tmp_path / "data"))
    return prepare(config, output=tmp_path / "examples")


def quarantined(directory: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (directory / QUARANTINE).read_text().splitlines()]
    return {row["id"]: row["reason"] for row in rows}


def test_every_input_is_kept_once_with_its_label(example_set):
    counts = example_set.artifact.manifest["counts"]
    assert counts["inputs"] == counts["kept"] == 700
    assert counts["quarantined"] == 0
    ids = [i for split in example_set.splits for i in example_set.read(split).ids]
    assert len(set(ids)) == 700
    # The garments' label is their place modulo ten.
    for split in example_set.splits:
        block = example_set.read(split)
        assert block.labels.tolist() == [int(i[-8:]) % 10 for i in block.ids]
        assert (
            counts["examples_by_label"][split] == np.bincount(block.labels, minlength=10).tolist()
        )


def test_validation_is_cut_out_of_train_by_the_id(example_set):
    train, validation, test = (example_set.read(s).ids for s in ("train", "validation", "test"))
    assert all(i.startswith("train-") for i in train + validation)
    assert all(i.startswith("test-") for i in test)
    assert len(train) + len(validation) == 600
    assert 30 <= len(validation) <= 90  # A tenth of 600, give or take four deviations.


def test_an_example_stays_in_its_split_as_the_dataset_grows(example_set, tmp_path):
    grown = prepare(tiny_prepare_config(synthetic_size=1200), output=tmp_path / "examples")
    assert set(example_set.read("validation").ids) <= set(grown.read("validation").ids)


def test_no_validation_split_on_request(tmp_path):
    prepared = prepare(tiny_prepare_config(validation_fraction=0), output=tmp_path / "examples")
    assert prepared.splits == ["train", "test"]
    assert prepared.num_examples("train") == 600


def test_tfds_reads_the_folder_back(example_set):
    builder = tfds.builder_from_directory(example_set.path)
    assert builder.info.features["label"].names == example_set.class_names
    for split in example_set.splits:
        ours = example_set.read(split)
        theirs = list(builder.as_dataset(split=split).as_numpy_iterator())
        assert [row["id"].decode() for row in theirs] == ours.ids
        np.testing.assert_array_equal([row["image"] for row in theirs], ours.images)
        np.testing.assert_array_equal([row["label"] for row in theirs], ours.labels)


@pytest.mark.parametrize(
    "beam_args",
    [
        [],
        ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    ],
    ids=["in_memory", "threads", "processes"],
)
def test_the_bytes_depend_on_nothing_but_input_and_config(examples_dir, tmp_path, beam_args):
    prepare(tiny_prepare_config(), output=tmp_path / "examples", beam_args=beam_args)
    assert shards(tmp_path / "examples") == shards(examples_dir)
    for name in ("features.json", "dataset_info.json", QUARANTINE):
        assert (tmp_path / "examples" / name).read_bytes() == (examples_dir / name).read_bytes()


def test_small_shards_are_many_and_read_back(example_set, tmp_path):
    config = tiny_prepare_config(shard_bytes=28 * 28 * 50)
    prepared = prepare(config, output=tmp_path / "examples")
    assert len(prepared.shards["train"]) == 11
    assert sum(count for _, count in prepared.shards["train"]) == prepared.num_examples("train")
    assert set(prepared.read("train").ids) == set(example_set.read("train").ids)
    builder = tfds.builder_from_directory(prepared.path)
    # A part that begins and ends within shards: their lengths must be right one by one.
    part = list(builder.as_dataset(split="train[120:300]").as_numpy_iterator())
    assert {row["id"].decode() for row in part} == set(prepared.read("train").ids[120:300])


def test_shards_are_as_many_as_the_images_that_are_kept(tmp_path):
    images = [png((6, 5), n % 256) if n % 20 == 0 else b"no image" for n in range(800)]
    write_dataset(tmp_path / "data", images)
    config = tiny_prepare_config(
        dataset="pictures", data_dir=str(tmp_path / "data"), shard_bytes=1, validation_fraction=0
    )
    prepared = prepare(config, output=tmp_path / "examples")
    assert len(prepared.shards["train"]) == 2
    builder = tfds.builder_from_directory(prepared.path)
    assert len(list(builder.as_dataset(split="train"))) == 40


def test_auto_stays_with_what_it_was(examples_dir, tmp_path, monkeypatch, capsys):
    """Prepared when fashion_mnist could not be had, it is up to date when it can be, too."""

    def never(*_, **__):
        raise AssertionError("asked for a download")

    monkeypatch.setattr("components.sources.tfds_source.download", never)
    prepare(tiny_prepare_config(dataset="auto", data_dir=str(tmp_path)), output=examples_dir)
    assert "prepare: up to date" in capsys.readouterr().err


def test_images_that_do_not_fit_are_set_aside_by_name_and_reason(tmp_path, capsys):
    images = [png((6, 5)) for _ in range(40)]
    images[3] = png((5, 6))
    images[8] = b"no image"
    images[9] = png((6, 5, 4))
    write_dataset(tmp_path / "data", images)
    prepared = prepare_pictures(tmp_path)
    counts = prepared.artifact.manifest["counts"]
    assert (counts["inputs"], counts["kept"], counts["quarantined"]) == (40, 37, 3)
    assert prepared.image_shape == (6, 5, 1)
    reasons = quarantined(tmp_path / "examples")
    assert reasons == {
        "train-00000003": "shape 5x6x1, the dataset's is 6x5x1",
        "train-00000008": "undecodable image: UnidentifiedImageError",
        "train-00000009": "unsupported shape 6x5x4",
    }
    kept = {i for split in prepared.splits for i in prepared.read(split).ids}
    assert kept == {f"train-{n:08d}" for n in range(40)} - set(reasons)
    assert "3 inputs were set aside" in capsys.readouterr().err


def test_nothing_usable_is_an_error(tmp_path):
    write_dataset(tmp_path / "data", [b"no image"] * 3)
    with pytest.raises(WorkError, match="all 3 inputs were rejected, the first because: undecod"):
        prepare_pictures(tmp_path)
    assert not (tmp_path / "examples").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_source_shard_is_named_with_its_record(tmp_path, damage):
    write_dataset(tmp_path / "data", [png((6, 5), n) for n in range(4)])
    (shard,) = (tmp_path / "data/pictures/1.0.0").glob("*.tfrecord-*")
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data[:-3] if damage == "cut" else data)
    with pytest.raises(WorkError, match=rf"damaged TFRecord: record 3 of \S*{shard.name}"):
        prepare_pictures(tmp_path)
    assert not (tmp_path / "examples").exists()


def test_counts_that_disagree_with_the_source_are_an_error(tmp_path):
    write_dataset(tmp_path / "data", [png((6, 5))] * 4)
    (shard,) = (tmp_path / "data/pictures/1.0.0").glob("*.tfrecord-*")
    records.write_records(shard, list(records.read_records(shard))[:3])
    with pytest.raises(
        WorkError, match=rf"{shard.name} holds 3 records, its dataset_info.json says 4"
    ):
        prepare_pictures(tmp_path)


def test_a_dataset_without_images_is_refused(tmp_path):
    write_dataset(tmp_path / "data", [png((6, 5))])
    features = tmp_path / "data/pictures/1.0.0/features.json"
    changed = json.loads(features.read_text())
    del changed["featuresDict"]["features"]["image"]
    features.write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="has no image feature; it has: label"):
        prepare_pictures(tmp_path)


def test_up_to_date_is_said_and_another_config_refused(examples_dir, capsys):
    before = shards(examples_dir)
    prepare(tiny_prepare_config(), output=examples_dir)
    assert "prepare: up to date" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"validation_fraction is 0.1 there, 0.2 asked"):
        prepare(tiny_prepare_config(validation_fraction=0.2), output=examples_dir)
    assert shards(examples_dir) == before


def test_what_auto_became_is_said_every_time_and_kept_when_replaced(tmp_path, monkeypatch, capsys):
    def unreachable(*_):
        raise WorkError("no network")

    monkeypatch.setattr("components.sources.tfds_source.download", unreachable)

    def call(**kwargs) -> list[str]:
        fields = {"dataset": "auto", "data_dir": str(tmp_path), "synthetic_size": 60} | kwargs
        overwrite = fields.pop("overwrite", False)
        prepared = prepare(
            tiny_prepare_config(**fields), output=tmp_path / "examples", overwrite=overwrite
        )
        assert "warning: dataset auto became synthetic_garments" in capsys.readouterr().err
        return prepared.artifact.manifest["notes"]

    notes = call()
    assert "no network" in notes[0]
    assert call() == notes
    assert call(validation_fraction=0.5, overwrite=True) == notes
