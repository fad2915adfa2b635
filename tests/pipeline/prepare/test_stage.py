import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.data import codec, tfrecord
from components.data.prepared_dataset import PreparedDataset, shard_name
from components.sources import folder
from pipeline.beam import worker_pool
from pipeline.prepare import workers
from pipeline.prepare.sidecars import STATISTICS
from pipeline.prepare.stage import DUPLICATES, QUARANTINE, prepare
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
    tfrecord.write_records(folder / shard_name("pictures", split, 0, 1), payloads)
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
        ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
    ],
    ids=["in_memory", "threads", "processes", "portable"],
)
def test_the_bytes_depend_on_nothing_but_input_and_config(
    examples_dir, tmp_path, beam_args, capsys
):
    prepare(tiny_prepare_config(), output=tmp_path / "examples", beam_args=beam_args)
    assert "prepare: read 700, kept 700, 0.5 MB of pixels" in capsys.readouterr().err
    assert shards(tmp_path / "examples") == shards(examples_dir)
    for name in ("features.json", "dataset_info.json", QUARANTINE, STATISTICS, DUPLICATES):
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
        "train-00000003": "wrong_shape: 5x6x1, most others are 6x5x1",
        "train-00000008": "wrong_type: text, not PNG, JPEG, WebP or BMP",
        "train-00000009": "wrong_shape: 6x5x4: 4 channels; --channels 1 or 3 converts it",
    }
    kept = {i for split in prepared.splits for i in prepared.read(split).ids}
    assert kept == {f"train-{n:08d}" for n in range(40)} - set(reasons)
    assert "warning: set aside: 3 inputs" in capsys.readouterr().err


def test_nothing_usable_is_an_error(tmp_path):
    write_dataset(tmp_path / "data", [b"no image"] * 3)
    with pytest.raises(
        WorkError, match=r"all 3 inputs were rejected, the first \(train-00000000\) because: text"
    ):
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
    tfrecord.write_records(shard, list(tfrecord.read_records(shard))[:3])
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


def tree(root: Path, *, backwards: bool = False) -> Path:
    """Images of two classes in three splits, some of them none, one a leak from test to train."""
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


def prepare_tree(root: Path, output: Path, *, retry: bool = False, **fields) -> PreparedDataset:
    config = tiny_prepare_config(dataset=str(root), **fields)
    return prepare(config, output=output, retry_quarantined=retry)


def everything(directory: Path) -> dict[str, bytes]:
    """All that is published, but the time it took."""
    contents = {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }
    manifest = json.loads(contents.pop("manifest.json"))
    del manifest["wall_seconds"]
    return contents | {"manifest.json": json.dumps(manifest).encode()}


def test_a_folder_gives_a_full_account_of_every_input(tmp_path):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    counts = prepared.artifact.manifest["counts"]
    assert (counts["inputs"], counts["kept"], counts["quarantined"]) == (114, 111, 3)
    train = counts["ledger"]["train"]
    assert train["inputs"] == 81
    assert train["reasons"] == {"empty": 1, "wrong_shape": 1, "wrong_type": 1}
    assert train["classes"] == {
        "cat": {"inputs": 41, "kept": 39, "quarantined": 2},
        "dog": {"inputs": 40, "kept": 39, "quarantined": 1},
    }
    for account in (*counts["ledger"].values(), *train["classes"].values()):
        assert account["inputs"] == account["kept"] + account["quarantined"]
    files = {path.relative_to(tmp_path / "pets").as_posix() for path in files_in(tmp_path / "pets")}
    kept = [i.replace("validation", "val") for s in prepared.splits for i in prepared.read(s).ids]
    set_aside = quarantined(prepared.path)
    assert sorted([*kept, *set_aside]) == sorted(files)
    assert prepared.splits == ["train", "validation", "test"]


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_the_order_in_which_files_were_made_changes_nothing(tmp_path):
    for name, backwards in (("one", False), ("two", True)):
        root = tree(tmp_path / name / "pets", backwards=backwards)
        prepare_tree(root, tmp_path / name / "examples")
    assert everything(tmp_path / "one/examples") == everything(tmp_path / "two/examples")


def test_retrying_the_quarantine_gives_what_preparing_anew_gives(tmp_path, capsys):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (root / "train/dog/05.png").write_bytes(png((6, 5), 77))
    (root / "train/cat/07.png").write_bytes((root / "train/cat/12.png").read_bytes())
    capsys.readouterr()
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert "reading 3 inputs of pets again" in capsys.readouterr().err
    assert list(quarantined(retried.path)) == ["train/cat/09.png"]
    prepare_tree(root, tmp_path / "anew")
    assert everything(tmp_path / "examples") == everything(tmp_path / "anew")
    # And it is up to date, as any other.
    prepare_tree(root, tmp_path / "examples")
    assert "up to date" in capsys.readouterr().err


def test_a_retry_goes_by_all_that_was_set_aside_duplicates_included(tmp_path):
    root = tree(tmp_path / "pets")
    (root / "test/cat/new.png").write_bytes(b"")
    prepare_tree(root, tmp_path / "examples", duplicates="drop")
    # A new twin in test of an image that train had kept: test keeps it, so train's must go.
    (root / "test/cat/new.png").write_bytes((root / "train/cat/20.png").read_bytes())
    retried = prepare_tree(root, tmp_path / "examples", retry=True, duplicates="drop")
    assert "train/cat/20.png" in quarantined(retried.path)
    prepare_tree(root, tmp_path / "examples", retry=True, duplicates="drop")
    prepare_tree(root, tmp_path / "anew", duplicates="drop")
    assert everything(tmp_path / "examples") == everything(tmp_path / "anew")


def test_a_retry_where_several_inputs_have_one_id_reads_all(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 5), np.uint8)
    payloads = [
        codec.serialize(b"id-%d" % min(row, 37), image.tobytes(), row % 2)
        for row, image in enumerate(pixels)
    ]
    tfrecord.write_records(tmp_path / "mine.tfrecord", payloads)
    fields = {"features": "image=image:6x5x1,label=label,id=id"}
    prepared = prepare_tree(tmp_path / "mine.tfrecord", tmp_path / "examples", **fields)
    counts = prepared.artifact.manifest["counts"]
    assert counts["ledger"]["train"]["reasons"] == {"duplicate_key": 2}
    before = everything(tmp_path / "examples")
    prepare_tree(tmp_path / "mine.tfrecord", tmp_path / "examples", retry=True, **fields)
    assert everything(tmp_path / "examples") == before


def test_a_retry_where_classes_went_away_reads_all(tmp_path):
    """Labels are numbers that follow from the names of all classes."""
    root = tree(tmp_path / "pets")
    (root / "train/ant").mkdir()
    (root / "train/ant/readme.txt").write_text("no ants yet")
    assert prepare_tree(root, tmp_path / "examples").class_names == ["ant", "cat", "dog"]
    shutil.rmtree(root / "train/ant")
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert retried.class_names == ["cat", "dog"]
    prepare_tree(root, tmp_path / "anew")
    assert everything(tmp_path / "examples") == everything(tmp_path / "anew")


def test_a_retry_finds_its_inputs_where_others_went_away(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "FILES_PER_SLICE", 7)
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (root / "train/cat/07.png").unlink()
    prepare_tree(root, tmp_path / "examples", retry=True)
    prepare_tree(root, tmp_path / "anew")
    assert everything(tmp_path / "examples") == everything(tmp_path / "anew")


def test_a_retry_goes_on_after_a_kill_between_its_two_renames(tmp_path):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    (tmp_path / "examples").rename(tmp_path / "examples.replaced")
    (root / "train/dog/05.png").write_bytes(png((6, 5), 77))
    retried = prepare_tree(root, tmp_path / "examples", retry=True)
    assert len(quarantined(retried.path)) == 2


def test_work_that_failed_leaves_no_copy_of_the_images(tmp_path):
    with pytest.raises(WorkError, match="more than once"):
        prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="error")
    assert [path.name for path in (tmp_path / "examples.draft").iterdir()] == ["plan.json"]


def test_what_a_killed_worker_left_is_not_published(tmp_path, monkeypatch):
    def leave(task, material, scratch, directory):
        (directory / "shard.0123.tmp").write_bytes(b"half a shard")
        return write(task, material, scratch, directory)

    write = workers.write
    monkeypatch.setattr(workers, "write", leave)
    prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    monkeypatch.undo()
    prepare_tree(tmp_path / "pets", tmp_path / "anew")
    assert everything(tmp_path / "examples") == everything(tmp_path / "anew")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("another input", "has changed in more than the inputs in quarantine"),
        ("a new input", "has changed in more than the inputs in quarantine"),
        ("the config", "was prepared with another config"),
        ("nothing there", "no finished artifact"),
    ],
)
def test_a_retry_that_would_not_be_the_whole_truth_is_refused(tmp_path, change, message):
    root = tree(tmp_path / "pets")
    prepare_tree(root, tmp_path / "examples")
    before = everything(tmp_path / "examples")
    if change == "another input":
        (root / "test/cat/03.png").write_bytes(png((6, 5), 3))
    if change == "a new input":
        (root / "test/cat/99.png").write_bytes(png((6, 5), 3))
    fields = {"channels": 1} if change == "the config" else {}
    output = tmp_path / ("elsewhere" if change == "nothing there" else "examples")
    with pytest.raises(ConfigError, match=message):
        prepare_tree(root, output, retry=True, **fields)
    assert everything(tmp_path / "examples") == before


def test_duplicates_are_listed_and_a_leak_is_said(tmp_path, capsys):
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
    assert "the same images are in several splits (1 in train+test)" in capsys.readouterr().err
    assert prepared.artifact.manifest["counts"]["duplicates"] == {
        "images": 2,
        "by_splits": {"train": 1, "train+test": 1},
    }


def test_duplicates_are_dropped_on_request_from_train_before_test(tmp_path, capsys):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="drop")
    dropped = {i: why for i, why in quarantined(prepared.path).items() if "duplicate" in why}
    assert dropped == {
        "train/dog/11.png": "duplicate_content: the same pixels as test/dog/leak.png",
        "train/cat/twin.png": "duplicate_content: the same pixels as train/cat/12.png",
    }
    assert prepared.artifact.manifest["counts"]["kept"] == 109
    assert "in several splits" not in capsys.readouterr().err


def test_duplicates_are_an_error_on_request(tmp_path):
    with pytest.raises(WorkError, match=r"2 images more than once, the first: test/dog/leak.png"):
        prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples", duplicates="error")
    assert not (tmp_path / "examples").exists()


def test_images_are_converted_on_request(tmp_path):
    prepared = prepare_tree(
        tree(tmp_path / "pets"), tmp_path / "examples", image_size="8x6", channels=3
    )
    assert prepared.image_shape == (8, 6, 3)
    assert prepared.artifact.manifest["config"]["image_size"] == [8, 6]
    assert set(quarantined(prepared.path)) == {"train/dog/05.png", "train/cat/07.png"}


def test_statistics_are_those_of_the_shards(tmp_path):
    prepared = prepare_tree(tree(tmp_path / "pets"), tmp_path / "examples")
    described = json.loads((prepared.path / STATISTICS).read_text())
    assert list(described) == prepared.splits
    for split in prepared.splits:
        block = prepared.read(split)
        (channel,) = described[split]["channels"]
        assert channel["mean"] == pytest.approx(block.images.mean(), rel=1e-12)
        assert channel["variance"] == pytest.approx(block.images.var(), rel=1e-12)
        assert channel["histogram"] == np.bincount(block.images.ravel(), minlength=256).tolist()
        assert described[split]["examples_by_class"] == dict(
            zip(prepared.class_names, np.bincount(block.labels).tolist(), strict=True)
        )
        assert described[split]["bytes_by_shard"] == {
            file: len((prepared.path / file).read_bytes()) for file, _ in prepared.shards[split]
        }
        with Image.open(prepared.path / f"contact_sheet-{split}.png") as sheet:
            assert sheet.width > 100


def test_worker_processes_make_the_same_bytes(tmp_path, monkeypatch):
    """The garments are enough here to be worth them."""
    config = tiny_prepare_config(synthetic_size=9000, shard_bytes=28 * 28 * 2000)
    prepare(config, output=tmp_path / "beside")
    monkeypatch.setattr(worker_pool, "serves", lambda beam_args: False)
    prepare(config, output=tmp_path / "here")
    assert everything(tmp_path / "beside") == everything(tmp_path / "here")


def test_a_folder_may_hold_images_of_as_many_shapes_as_it_likes(tmp_path):
    for side in range(1, 60):
        path = tmp_path / "all" / f"{side}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png((side, 3), side))
    prepared = prepare_tree(tmp_path / "all", tmp_path / "examples")
    assert prepared.image_shape == (59, 3, 1)  # Of equally common ones the largest.
    assert len(quarantined(prepared.path)) == 58
    assert prepared.class_names == ["unlabelled"]
