import io
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.data import tf_example, tfrecord
from components.data.dataset_counts import DuplicateCounts
from components.data.prepared_dataset import PreparedDataset
from components.data.tfds_metadata import shard_name
from components.sources import folder
from pipeline.beam import worker_pool
from pipeline.prepare import workers
from pipeline.prepare.quarantine import QUARANTINE
from pipeline.prepare.sidecars import STATISTICS
from pipeline.prepare.stage import prepare
from pipeline.prepare.summary import DUPLICATES
from tests.conftest import tiny_prepare_config
from tests.tfrecords import write_records


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
    write_records(folder / shard_name("pictures", split, 0, 1), payloads)
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


def prepare_pictures(tmp_path: Path) -> PreparedDataset:
    config = tiny_prepare_config(dataset="pictures", data_dir=str(tmp_path / "data"))
    return prepare(config, output=tmp_path / "examples")


def quarantined(directory: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (directory / QUARANTINE).read_text().splitlines()]
    return {row["id"]: f"{row['reason']}: {row['detail']}" for row in rows}


def test_every_input_is_kept_once_with_its_label(example_set):
    counts = example_set.counts
    assert (counts.inputs, counts.kept, counts.quarantined) == (700, 700, 0)
    ids = [i for split in example_set.splits for i in example_set.read(split).ids]
    assert len(set(ids)) == 700
    # The label of a garment is its index modulo ten.
    for split in example_set.splits:
        examples = example_set.read(split)
        assert examples.labels.tolist() == [int(i[-8:]) % 10 for i in examples.ids]
        label_counts = np.bincount(examples.labels, minlength=10)
        assert counts.examples_by_label[split] == label_counts.tolist()


def test_validation_is_taken_from_train_by_id(example_set):
    train, validation, test = (example_set.read(s).ids for s in ("train", "validation", "test"))
    assert all(i.startswith("train-") for i in train + validation)
    assert all(i.startswith("test-") for i in test)
    assert len(train) + len(validation) == 600
    assert 30 <= len(validation) <= 90  # A tenth of 600, within four standard deviations.


def test_an_example_stays_in_its_split_as_the_dataset_grows(example_set, tmp_path):
    grown = prepare(tiny_prepare_config(synthetic_size=1200), output=tmp_path / "examples")
    assert set(example_set.read("validation").ids) <= set(grown.read("validation").ids)


def test_there_is_no_validation_split_if_its_fraction_is_0(tmp_path):
    prepared = prepare(tiny_prepare_config(validation_fraction=0), output=tmp_path / "examples")
    assert prepared.splits == ["train", "test"]
    assert prepared.num_examples("train") == 600


def test_tfds_reads_the_prepared_dataset(example_set):
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
        ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
    ],
    ids=["in_memory", "threads", "processes", "portable"],
)
def test_the_bytes_do_not_depend_on_the_runner(examples_dir, tmp_path, beam_args, capsys):
    prepare(tiny_prepare_config(), output=tmp_path / "examples", beam_args=beam_args)
    assert "prepare: read 700 inputs, kept 700 (0.5 MB of pixels)" in capsys.readouterr().err
    assert shards(tmp_path / "examples") == shards(examples_dir)
    for name in ("features.json", "dataset_info.json", QUARANTINE, STATISTICS, DUPLICATES):
        assert (tmp_path / "examples" / name).read_bytes() == (examples_dir / name).read_bytes()


def test_many_small_shards_are_read_back(example_set, tmp_path):
    config = tiny_prepare_config(shard_bytes=28 * 28 * 50)
    prepared = prepare(config, output=tmp_path / "examples")
    assert len(prepared.shards["train"]) == 11
    assert sum(shard.examples for shard in prepared.shards["train"]) == prepared.num_examples(
        "train"
    )
    assert set(prepared.read("train").ids) == set(example_set.read("train").ids)
    builder = tfds.builder_from_directory(prepared.path)
    # This part begins and ends within shards, so TFDS must know the length of each shard.
    part = list(builder.as_dataset(split="train[120:300]").as_numpy_iterator())
    assert {row["id"].decode() for row in part} == set(prepared.read("train").ids[120:300])


def test_the_number_of_shards_depends_on_the_images_that_are_kept(tmp_path):
    images = [png((6, 5), n % 256) if n % 20 == 0 else b"no image" for n in range(800)]
    write_dataset(tmp_path / "data", images)
    config = tiny_prepare_config(
        dataset="pictures", data_dir=str(tmp_path / "data"), shard_bytes=1, validation_fraction=0
    )
    prepared = prepare(config, output=tmp_path / "examples")
    assert len(prepared.shards["train"]) == 2
    builder = tfds.builder_from_directory(prepared.path)
    assert len(list(builder.as_dataset(split="train"))) == 40


def test_auto_keeps_its_earlier_choice(examples_dir, tmp_path, monkeypatch, capsys):
    """A dataset that was prepared without fashion_mnist stays up to date when that is available."""

    def never(*_, **__):
        raise AssertionError("tried to download")

    monkeypatch.setattr("components.sources.tfds_source.download", never)
    prepare(tiny_prepare_config(dataset="auto", data_dir=str(tmp_path)), output=examples_dir)
    assert "prepare: up to date" in capsys.readouterr().err


def test_unusable_images_are_in_quarantine_with_the_reason(tmp_path, capsys):
    images = [png((6, 5)) for _ in range(40)]
    images[3] = png((5, 6))
    images[8] = b"no image"
    images[9] = png((6, 5, 4))
    write_dataset(tmp_path / "data", images)
    prepared = prepare_pictures(tmp_path)
    counts = prepared.counts
    assert (counts.inputs, counts.kept, counts.quarantined) == (40, 37, 3)
    assert prepared.image_shape == (6, 5, 1)
    reasons = quarantined(tmp_path / "examples")
    assert reasons == {
        "train-00000003": "wrong_shape: 5x6x1, most others are 6x5x1",
        "train-00000008": "wrong_type: text, not PNG, JPEG, WebP or BMP",
        "train-00000009": "wrong_shape: 6x5x4: 4 channels; --channels 1 or 3 converts it",
    }
    kept = {i for split in prepared.splits for i in prepared.read(split).ids}
    assert kept == {f"train-{n:08d}" for n in range(40)} - set(reasons)
    assert "warning: 3 inputs in quarantine" in capsys.readouterr().err


def test_a_dataset_without_usable_images_is_an_error(tmp_path):
    write_dataset(tmp_path / "data", [b"no image"] * 3)
    with pytest.raises(
        WorkError, match=r"all 3 inputs were rejected, the first \(train-00000000\) because: text"
    ):
        prepare_pictures(tmp_path)
    assert not (tmp_path / "examples").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_record_of_the_source_is_named(tmp_path, damage):
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
    write_records(shard, list(tfrecord.read_records(shard))[:3])
    with pytest.raises(
        WorkError, match=rf"{shard.name} holds 3 records, its dataset_info.json says 4"
    ):
        prepare_pictures(tmp_path)


def test_a_dataset_without_an_image_feature_is_an_error(tmp_path):
    write_dataset(tmp_path / "data", [png((6, 5))])
    features = tmp_path / "data/pictures/1.0.0/features.json"
    changed = json.loads(features.read_text())
    del changed["featuresDict"]["features"]["image"]
    features.write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match="has no image feature; it has: label"):
        prepare_pictures(tmp_path)


def test_the_same_config_is_up_to_date_and_another_is_an_error(examples_dir, capsys):
    before = shards(examples_dir)
    prepare(tiny_prepare_config(), output=examples_dir)
    assert "prepare: up to date" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"validation_fraction is 0.1, not the requested 0.2"):
        prepare(tiny_prepare_config(validation_fraction=0.2), output=examples_dir)
    assert shards(examples_dir) == before


def test_the_choice_of_auto_is_a_warning_in_every_run(tmp_path, monkeypatch, capsys):
    def unreachable(*_):
        raise WorkError("no network")

    monkeypatch.setattr("components.sources.tfds_source.download", unreachable)

    def prepare_auto(**kwargs) -> list[str]:
        fields = {"dataset": "auto", "data_dir": str(tmp_path), "synthetic_size": 60} | kwargs
        overwrite = fields.pop("overwrite", False)
        prepared = prepare(
            tiny_prepare_config(**fields), output=tmp_path / "examples", overwrite=overwrite
        )
        assert "warning: dataset auto became synthetic_garments" in capsys.readouterr().err
        return prepared.artifact.manifest.notes

    notes = prepare_auto()
    assert "no network" in notes[0]
    assert prepare_auto() == notes
    assert prepare_auto(validation_fraction=0.5, overwrite=True) == notes


def tree(root: Path, *, backwards: bool = False) -> Path:
    """Writes a folder of images with two classes and three splits.

    Three files are unusable. One image is in two splits, and another is in train twice.
    """
    rng = np.random.default_rng(0)
    files = {
        f"{split}/{label}/{number:02d}.png": png_of(rng.integers(0, 256, (6, 5), np.uint8))
        for split, count in (("train", 40), ("val", 8), ("test", 8))
        for label in ("cat", "dog")
        for number in range(count)
    }
    files["train/dog/05.png"] = b""
    files["train/cat/07.png"] = b"no image"
    files["train/cat/09.png"] = png_of(np.zeros((6, 5, 4), np.uint8))
    files["test/dog/leak.png"] = files["train/dog/11.png"]
    files["train/cat/twin.png"] = files["train/cat/12.png"]
    for name, data in sorted(files.items(), reverse=backwards):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (0, 0))
    return root


def png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def prepare_tree(
    root: Path, output: Path, *, retry: bool = False, overwrite: bool = False, **fields
) -> PreparedDataset:
    config = tiny_prepare_config(dataset=str(root), **fields)
    return prepare(config, output=output, retry_quarantined=retry, overwrite=overwrite)


def published_files(directory: Path) -> dict[str, bytes]:
    """The contents of all published files, without the duration in the manifest."""
    contents = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    manifest = json.loads(contents.pop("manifest.json"))
    del manifest["wall_seconds"]
    return contents | {"manifest.json": json.dumps(manifest).encode()}


def test_every_file_of_a_folder_is_accounted_for(tmp_path):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    counts = prepared.counts
    assert (counts.inputs, counts.kept, counts.quarantined) == (114, 111, 3)
    train = counts.ledger["train"]
    assert train["inputs"] == 81
    assert train["reasons"] == {"empty": 1, "wrong_shape": 1, "wrong_type": 1}
    assert train["classes"] == {
        "cat": {"inputs": 41, "kept": 39, "quarantined": 2},
        "dog": {"inputs": 40, "kept": 39, "quarantined": 1},
    }
    for entry in (*counts.ledger.values(), *train["classes"].values()):
        assert entry["inputs"] == entry["kept"] + entry["quarantined"]
    files = {path.relative_to(tmp_path / "pets").as_posix() for path in files_in(tmp_path / "pets")}
    kept = [i.replace("validation", "val") for s in prepared.splits for i in prepared.read(s).ids]
    set_aside = quarantined(prepared.path)
    assert sorted([*kept, *set_aside]) == sorted(files)
    assert prepared.splits == ["train", "validation", "test"]


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_the_result_does_not_depend_on_the_order_of_the_files(tmp_path):
    for name, backwards in (("one", False), ("two", True)):
        root = tree(tmp_path / name / "pets", backwards=backwards)
        prepare_tree(root, tmp_path / name / "examples")
    assert published_files(tmp_path / "one/examples") == published_files(tmp_path / "two/examples")


def test_a_retry_gives_the_same_bytes_as_a_fresh_run(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (root / "train/dog/05.png").write_bytes(png((6, 5), 77))
    (root / "train/cat/07.png").write_bytes((root / "train/cat/12.png").read_bytes())
    capsys.readouterr()
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert "reading 3 inputs of pets again" in capsys.readouterr().err
    assert list(quarantined(retried.path)) == ["train/cat/09.png"]
    prepare_tree(root, tmp_path / "fresh")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")
    # The result is up to date, like any other.
    prepare_tree(root, tmp_path / "examples")
    assert "up to date" in capsys.readouterr().err


def test_a_retry_may_find_a_new_class(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    for split in ("train", "test"):
        (root / split / "cow").mkdir()
        (root / split / "cow/1.png").write_bytes(b"no image")
    (root / "notes.txt").write_text("no image")
    first = prepare_tree(root, tmp_path / "examples")
    assert first.class_names == ["cat", "dog"]
    assert first.counts.ledger["train"]["classes"]["unknown"]["quarantined"] == 2
    for split in ("train", "test"):
        (root / split / "cow/1.png").write_bytes(png((6, 5), 77))
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert retried.class_names == ["cat", "cow", "dog"]
    assert "notes.txt" in quarantined(retried.path)
    prepare_tree(root, tmp_path / "fresh")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")
    # An image outside the folders of the splits stops a retry, too.
    (root / "notes.txt").write_bytes(png((6, 5), 78))
    with pytest.raises(ConfigError, match=r"images outside, in \.;"):
        prepare_tree(root, tmp_path / "examples", retry=True)


def test_options_of_a_folder_are_in_the_manifest_if_they_are_given(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    plain = prepare_tree(root, tmp_path / "plain").artifact.manifest.config
    assert not plain.keys() & {"splits", "label_depth"}
    fields = {"splits": "train=train,test=test", "label_depth": 0}
    prepared = prepare_tree(root, tmp_path / "examples", **fields)
    assert prepared.artifact.manifest.config == plain | fields
    assert prepared.class_names == ["unlabelled"]
    assert not any(i.startswith("val/") for s in prepared.splits for i in prepared.read(s).ids)
    capsys.readouterr()
    prepare_tree(root, tmp_path / "examples", **fields | {"splits": "test=test/,train=./train"})
    assert "up to date" in capsys.readouterr().err
    (root / "train/dog/05.png").write_bytes(png((6, 5), 77))
    retried = prepare_tree(root, tmp_path / "examples", retry=True, **fields)
    assert "train/dog/05.png" not in quarantined(retried.path)
    prepare_tree(root, tmp_path / "fresh", **fields)
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")


def test_an_outline_of_the_folder_is_printed_before_the_work(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    (root / "Thumbs.db").write_bytes(b"x")
    prepared = prepare_tree(root, tmp_path / "examples")
    lines = capsys.readouterr().err.splitlines()
    start = lines.index("prepare: the folders of pets")
    assert lines[start + 1 : start + 6] == [
        "  train: 81 files in 2 classes: cat 41, dog 40",
        "  validation (val): 16 files in 2 classes: cat 8, dog 8",
        "  test: 17 files in 2 classes: cat 8, dog 9",
        "  ignored: 1 file that systems leave behind (Thumbs.db)",
        "prepare: reading 114 inputs of pets",
    ]
    assert prepared.counts.outline == lines[start + 1 : start + 5]


def test_a_class_without_an_image_is_named(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    for split in ("train", "test"):
        (root / split / "ant").mkdir()
        (root / split / "ant/cut.png").write_bytes(png((6, 5))[:40])
    assert prepare_tree(root, tmp_path / "examples").class_names == ["ant", "cat", "dog"]
    assert "warning: 1 of 3 classes (ant) have no image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["x/train/a", "x/train/b", "x/val/a", "x/test/b"], ["train", "validation", "test"]),
        (["training_set/a", "training_set/b", "test_set/a"], ["train", "test"]),
        (["train2017", "val2017"], ["train", "validation"]),
        (["images/train", "images/test"], ["train", "test"]),
        (["train", "holdout"], None),
        (["tr/a", "tr/b", "te/a"], ["train", "test"]),
        (["ｔｒａｉｎ", "ｔｅｓｔ"], ["train", "test"]),
        (["catstrain", "catstest"], ["train", "test"]),
        (["cats", "catstest"], None),
        (["trainA", "trainB", "testA", "testB"], None),
        (["train/good", "test/bad", "ground_truth/bad"], None),
        (["bus", "car", "train"], None),
        (["a", "b", "b_test"], None),
    ],
    ids=str,
)
def test_no_image_of_the_test_ends_in_train(tmp_path, folders, splits):
    rng = np.random.default_rng(0)
    for name, number in itertools.product(folders, range(8)):
        path = tmp_path / "images" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_of(rng.integers(0, 256, (6, 5), np.uint8)))
    if splits is None:
        with pytest.raises(ConfigError, match="--splits") as caught:
            prepare_tree(tmp_path / "images", tmp_path / "out", validation_fraction=0)
        assert caught.value.exit_code == 2
        assert not (tmp_path / "out").exists()
        return
    prepared = prepare_tree(tmp_path / "images", tmp_path / "out", validation_fraction=0)
    assert prepared.splits == splits
    held_out = ("test", "val", "te/", "ｔｅｓｔ")
    assert not any(word in i for i in prepared.read("train").ids for word in held_out)


def test_images_that_only_their_own_names_hold_out_stop_the_stage(tmp_path):
    for number, split in enumerate(["train"] * 20 + ["test"] * 5):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{split}_{number:03}.png").write_bytes(png((6, 5), number))
    message = "test_020.png, .*: these names seem to say validation or test, .* --splits train=. if"
    with pytest.raises(ConfigError, match=message):
        prepare_tree(tmp_path / "images", tmp_path / "out")
    prepared = prepare_tree(tmp_path / "images", tmp_path / "out", splits="train=.")
    assert prepared.counts.inputs == 25


def test_folders_that_link_to_one_another_are_read_once(tmp_path):
    root = tree(tmp_path / "pets")
    for split, label in itertools.product(("train", "val", "test"), ("cat", "dog")):
        for name, target in (("up", root), ("a", root / "test/cat"), ("kernel", "/proc/kmsg")):
            os.symlink(target, root / split / label / name)
    os.symlink("/dev/zero", root / "train/cat/zero.png")
    prepared = prepare_tree(root, tmp_path / "examples")
    assert prepared.counts.kept == 111
    assert prepared.counts.inputs == 114 + 6 + 1
    assert "12 links to folders that are read under another name" in prepared.counts.outline[-1]


def test_a_retry_includes_dropped_duplicates(tmp_path):
    root = tree(tmp_path / "pets")
    (root / "test/cat/new.png").write_bytes(b"")
    prepare_tree(root, tmp_path / "examples", duplicates="drop")
    # It has the pixels of an image in train. Test keeps it, so the one in train is dropped.
    (root / "test/cat/new.png").write_bytes((root / "train/cat/20.png").read_bytes())
    retried = prepare_tree(root, tmp_path / "examples", retry=True, duplicates="drop")
    assert "train/cat/20.png" in quarantined(retried.path)
    prepare_tree(root, tmp_path / "examples", retry=True, duplicates="drop")
    prepare_tree(root, tmp_path / "fresh", duplicates="drop")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")


def test_a_retry_reads_everything_if_several_inputs_have_one_id(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 5), np.uint8)
    payloads = [
        tf_example.serialize(b"id-%d" % min(row, 37), image.tobytes(), row % 2)
        for row, image in enumerate(pixels)
    ]
    write_records(tmp_path / "mine.tfrecord", payloads)
    fields = {"features": "image=image:6x5x1,label=label,id=id"}
    prepared = prepare_tree(tmp_path / "mine.tfrecord", tmp_path / "examples", **fields)
    counts = prepared.counts
    assert counts.ledger["train"]["reasons"] == {"duplicate_key": 2}
    before = published_files(tmp_path / "examples")
    prepare_tree(tmp_path / "mine.tfrecord", tmp_path / "examples", retry=True, **fields)
    assert published_files(tmp_path / "examples") == before


def test_a_retry_reads_everything_if_a_class_was_removed(tmp_path):
    """The labels of all examples depend on the names of all classes."""
    root = tree(tmp_path / "pets")
    (root / "train/ant").mkdir()
    (root / "train/ant/damaged.png").write_bytes(png((6, 5))[:40])
    assert prepare_tree(root, tmp_path / "examples").class_names == ["ant", "cat", "dog"]
    shutil.rmtree(root / "train/ant")
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert retried.class_names == ["cat", "dog"]
    prepare_tree(root, tmp_path / "fresh")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")


def test_a_retry_finds_its_inputs_after_others_were_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "FILES_PER_SLICE", 7)
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (root / "train/cat/07.png").unlink()
    prepare_tree(root, tmp_path / "examples", retry=True)
    prepare_tree(root, tmp_path / "fresh")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")


def test_a_retry_continues_after_a_kill_between_its_two_renames(tmp_path):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (tmp_path / "examples" / "being_replaced").touch()
    (tmp_path / "examples").rename(tmp_path / "examples.replaced")
    (root / "train/dog/05.png").write_bytes(png((6, 5), 77))
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert len(quarantined(retried.path)) == 2


def test_a_failure_leaves_no_copy_of_the_images(tmp_path):
    with pytest.raises(WorkError, match="more than once"):
        prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="error")
    assert [path.name for path in (tmp_path / "examples.draft").iterdir()] == ["plan.json"]


def test_the_files_of_a_killed_worker_are_not_published(tmp_path, monkeypatch):
    def leave_file(task, inputs, work_dir, directory):
        (directory / f"shard.{'0' * 32}.tmp").write_bytes(b"half a shard")
        return write(task, inputs, work_dir, directory)

    write = workers.write
    monkeypatch.setattr(workers, "write", leave_file)
    prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    monkeypatch.undo()
    prepare_tree(tmp_path / "pets", tmp_path / "fresh")
    assert published_files(tmp_path / "examples") == published_files(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("another input", "inputs of pets that are not in quarantine have changed"),
        ("a new input", "inputs of pets that are not in quarantine have changed"),
        ("the config", "was prepared with another config"),
        ("no artifact", "not a finished artifact"),
    ],
)
def test_a_retry_is_an_error_if_anything_else_has_changed(tmp_path, change, message):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    before = published_files(tmp_path / "examples")
    if change == "another input":
        (root / "test/cat/03.png").write_bytes(png((6, 5), 3))
    if change == "a new input":
        (root / "test/cat/99.png").write_bytes(png((6, 5), 3))
    fields = {"channels": 1} if change == "the config" else {}
    output = tmp_path / ("elsewhere" if change == "no artifact" else "examples")
    with pytest.raises(ConfigError, match=message):
        prepare_tree(root, output, retry=True, **fields)
    assert published_files(tmp_path / "examples") == before


def test_duplicates_are_listed_and_a_leak_is_a_warning(tmp_path, capsys):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    listed = [json.loads(line) for line in (prepared.path / DUPLICATES).read_text().splitlines()]
    assert listed == [
        [
            {"id": "test/dog/leak.png", "split": "test"},
            {"id": "train/dog/11.png", "split": "train"},
        ],
        [
            {"id": "train/cat/12.png", "split": "train"},
            {"id": "train/cat/twin.png", "split": "train"},
        ],
    ]
    assert "some images are in several splits (1 in train+test)" in capsys.readouterr().err
    assert prepared.counts.duplicates == DuplicateCounts(
        images=2, by_splits={"train": 1, "train+test": 1}
    )


def test_duplicates_are_dropped_on_request_first_from_train(tmp_path, capsys):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="drop")
    dropped = {i: why for i, why in quarantined(prepared.path).items() if "duplicate" in why}
    assert dropped == {
        "train/dog/11.png": "duplicate_content: the same pixels as test/dog/leak.png",
        "train/cat/twin.png": "duplicate_content: the same pixels as train/cat/12.png",
    }
    assert prepared.counts.kept == 109
    assert "in several splits" not in capsys.readouterr().err


def test_duplicates_are_an_error_on_request(tmp_path):
    with pytest.raises(WorkError, match=r"2 images more than once; the first is test/dog/leak.png"):
        prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="error")
    assert not (tmp_path / "examples").exists()


def test_images_are_converted_on_request(tmp_path):
    prepared = prepare_tree(
        tree(tmp_path / "pets"), tmp_path / "examples", image_size="8x6", channels=3
    )
    assert prepared.image_shape == (8, 6, 3)
    assert prepared.artifact.manifest.config["image_size"] == [8, 6]
    assert set(quarantined(prepared.path)) == {"train/dog/05.png", "train/cat/07.png"}


def test_the_statistics_describe_the_shards(tmp_path):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    described = json.loads((prepared.path / STATISTICS).read_text())
    assert list(described) == prepared.splits
    for split in prepared.splits:
        examples = prepared.read(split)
        (channel,) = described[split]["channels"]
        assert channel["mean"] == pytest.approx(examples.images.mean(), rel=1e-12)
        assert channel["variance"] == pytest.approx(examples.images.var(), rel=1e-12)
        assert channel["histogram"] == np.bincount(examples.images.ravel(), minlength=256).tolist()
        assert described[split]["examples_by_class"] == dict(
            zip(prepared.class_names, np.bincount(examples.labels).tolist(), strict=True)
        )
        assert described[split]["bytes_by_shard"] == {
            shard.file: len((prepared.path / shard.file).read_bytes())
            for shard in prepared.shards[split]
        }
        with Image.open(prepared.path / f"contact_sheet-{split}.png") as sheet:
            assert sheet.width > 100


def test_worker_processes_write_the_same_bytes(tmp_path, monkeypatch):
    """With so many images the stage starts worker processes."""
    config = tiny_prepare_config(synthetic_size=9000, shard_bytes=28 * 28 * 2000)
    prepare(config, output=tmp_path / "pool")
    monkeypatch.setattr(worker_pool, "can_use_pool", lambda beam_args: False)
    prepare(config, output=tmp_path / "one_process")
    assert published_files(tmp_path / "pool") == published_files(tmp_path / "one_process")


def test_a_folder_may_hold_images_of_many_shapes(tmp_path):
    for side in range(1, 60):
        path = tmp_path / "all" / f"{side}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png((side, 3), side))
    for number in range(60):
        (tmp_path / "all" / f"more{number}.png").write_bytes(png((59, 3), number))
    prepared = prepare_tree(tmp_path / "all", tmp_path / "examples")
    assert prepared.image_shape == (59, 3, 1)
    assert len(quarantined(prepared.path)) == 58
    assert prepared.class_names == ["unlabelled"]


def prepare_path(path: Path, output: Path, **fields) -> PreparedDataset:
    return prepare(tiny_prepare_config(dataset=str(path), **fields), output=output)


def test_photos_of_many_sizes_stop_the_stage_and_are_scaled_on_request(tmp_path):
    (tmp_path / "photos").mkdir()
    for side in range(10, 50):
        (tmp_path / "photos" / f"{side}.png").write_bytes(png((side, side + 1), side))
    with pytest.raises(WorkError, match=r"only 1 of 40 images .* 49x50x1, .* --image_size$"):
        prepare_path(tmp_path / "photos", tmp_path / "a")
    prepared = prepare_path(tmp_path / "photos", tmp_path / "a", image_size="16")
    assert prepared.counts.kept == 40


def test_a_train_split_that_falls_into_validation_stops_the_stage(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes(png((8, 8)))
    message = "all usable images of train in one would become the validation split, .* of 0.9999 "
    with pytest.raises(WorkError, match=f"{message}.*; use --validation_fraction 0, or more"):
        prepare_path(tmp_path / "one", tmp_path / "a", validation_fraction=0.9999)
    prepared = prepare_path(tmp_path / "one", tmp_path / "a", validation_fraction=0)
    assert prepared.counts.examples == {"train": 1}


def test_a_dataset_without_training_images_stops_the_stage(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(WorkError, match="a has no training images, only test; name the folder"):
        prepare_path(tmp_path / "a.npz", tmp_path / "a")


@pytest.mark.parametrize(
    ("test_images", "message"),
    [
        (np.zeros((0, 8, 8), np.uint8), "the split test of a is empty; add images"),
        (
            np.zeros((5, 9, 8), np.uint8),
            "all 5 inputs are set aside, because they have the shape 9",
        ),
        (np.zeros((5, 8, 8, 4), np.uint8), r"aside, the first \(test-00000000\) because: 8x8x4"),
    ],
)
def test_a_split_that_would_be_empty_stops_the_stage(tmp_path, test_images, message):
    images = np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8)
    np.savez(tmp_path / "a.npz", x_train=images, x_test=test_images)
    with pytest.raises(WorkError, match=message) as caught:
        prepare_path(tmp_path / "a.npz", tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_files_with_several_frames_are_counted(tmp_path, capsys):
    (tmp_path / "movies").mkdir()
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
    for number, format in enumerate(("PNG", "WEBP", "MPO", "PNG", "PNG")):
        others = {"save_all": True, "append_images": frames[1:]} if number < 3 else {}
        frames[0].save(tmp_path / "movies" / f"{number}.bin", format, **others)
    prepared = prepare_path(tmp_path / "movies", tmp_path / "a", validation_fraction=0)
    assert prepared.counts.kept == 5
    assert "warning: 3 inputs with several frames" in capsys.readouterr().err


DEEP = np.random.default_rng(0).integers(0, 256, (40, 9, 8), np.uint16)


@pytest.mark.parametrize(
    ("images", "warning"),
    [
        (DEEP, "warning: all images of train, validation are of one color, at most 0 of 255"),
        (DEEP * 16, "is 15 of 255, so 4 of 8 bits are unused (masks, or 12-bit values"),
        ((DEEP > 99).astype(np.uint8), "is 1 of 255, so 7 of 8 bits are unused"),
        ((DEEP // 2).astype(np.uint8), "is 127 of 255, so 1 of 8 bits are unused"),
        (DEEP * 257, None),
        (DEEP > 99, None),
    ],
)
def test_pixels_that_cannot_be_right_are_warned_of(tmp_path, capsys, images, warning):
    np.savez(tmp_path / "a.npz", x=images)
    prepare_path(tmp_path / "a.npz", tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if " of 255" in line]
    assert [True] * (warning is not None) == [warning in line for line in lines]


def test_drawings_on_a_transparent_ground_are_seen_on_white(tmp_path, capsys):
    (tmp_path / "drawings").mkdir()
    for number in range(6):
        rgba = np.zeros((8, 8, 4), np.uint8)
        rgba[number, :, 3] = 255  # A black line.
        Image.fromarray(rgba).save(tmp_path / "drawings" / f"{number}.png")
    options = {"channels": 1, "validation_fraction": 0}
    prepare_path(tmp_path / "drawings", tmp_path / "black", **options)
    assert "of one color, at most 0 of 255: " in capsys.readouterr().err
    prepared = prepare_path(
        tmp_path / "drawings", tmp_path / "white", background="white", **options
    )
    assert "of one color" not in capsys.readouterr().err
    assert prepared.artifact.manifest.config["background"] == "white"
    channels = json.loads((tmp_path / "white" / STATISTICS).read_text())["train"]["channels"]
    assert channels[0]["mean"] == 255 * 7 / 8


def test_the_layout_is_in_the_manifest_only_if_it_is_given(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    np.savez(tmp_path / "a.npz", x=images)
    np.savez(tmp_path / "b.npz", x=images.reshape(40, 784))
    usual = prepare_path(tmp_path / "a.npz", tmp_path / "out" / "usual")
    flat = prepare_path(tmp_path / "b.npz", tmp_path / "out" / "flat", layout="N28x28")
    assert "layout" not in usual.artifact.manifest.config
    assert flat.artifact.manifest.config["layout"] == "N28x28"
    ours, theirs = (list(shards(tmp_path / "out" / name).values()) for name in ("usual", "flat"))
    assert ours == theirs
