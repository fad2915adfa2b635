import json
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from components.base.errors import ConfigError, WorkError
from components.data import codec
from components.data.dataset_counts import ShardCount
from components.data.examples import ExampleBatch
from components.data.tfds_metadata import (
    FEATURE_CLASSES,
    MAX_METADATA_BYTES,
    check_tfds_metadata,
    read_image_shape,
    shard_name,
    write_tfds_metadata,
)

SHAPE = (3, 2, 1)


def test_shard_names_follow_the_grammar_of_tfds():
    template = tfds.core.ShardedFileTemplate(
        data_dir=".", dataset_name="my_cats", split="train", filetype_suffix="tfrecord"
    )
    assert shard_name("my_cats", "train", 3, 12) == template.sharded_filepaths(12)[3].name


def write_shards(directory: epath.Path) -> tuple[ExampleBatch, list[ShardCount]]:
    """Writes seven examples to two shards."""
    images = np.random.default_rng(0).integers(0, 256, (7, *SHAPE), np.uint8)
    batch = ExampleBatch([f"é-{n}" for n in range(7)], images, np.arange(7) % 2)
    shards = []
    for number, (start, stop) in enumerate([(0, 4), (4, 7)]):
        file = shard_name("cats", "train", number, 2)
        (directory / file).write_bytes(codec.encode(batch.part(start, stop)))
        shards.append(ShardCount(file, stop - start))
    return batch, shards


def test_tfds_reads_a_directory_with_metadata(tmp_path):
    directory = epath.Path(tmp_path)
    batch, shards = write_shards(directory)
    write_tfds_metadata(
        directory,
        dataset="cats",
        image_shape=SHAPE,
        class_names=["tabby", "black cat"],
        shards={"train": shards},
    )
    builder = tfds.builder_from_directory(directory)
    assert builder.info.features["label"].names == ["tabby", "black cat"]
    split = builder.info.splits["train"]
    assert split.shard_lengths == [4, 3]
    assert split.num_bytes == 7 * 6
    examples = list(builder.as_dataset(split="train").as_numpy_iterator())
    examples.sort(key=lambda example: example["id"])
    assert [example["id"].decode() for example in examples] == batch.ids
    assert [example["label"] for example in examples] == batch.labels.tolist()
    np.testing.assert_array_equal([example["image"] for example in examples], batch.images)


def test_the_image_shape_is_read_back(tmp_path):
    directory = epath.Path(tmp_path)
    assert read_image_shape(directory) is None
    name = shard_name("cats", "train", 0, 1)
    (directory / name).touch()
    shards = {"train": [ShardCount(name, 1)]}
    write_tfds_metadata(
        directory, dataset="cats", image_shape=SHAPE, class_names=["a"], shards=shards
    )
    assert read_image_shape(directory) == SHAPE


def features_of_shape(*sides: str) -> str:
    image = {"tensor": {"shape": {"dimensions": ["SIDE"]}}}
    text = json.dumps({"featuresDict": {"features": {"image": image}}})
    return text.replace('"SIDE"', ", ".join(sides))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"featuresDict": {"features": {}}}',
        "[" * 100_000,
        features_of_shape("1e999", "28", "1"),
        features_of_shape("NaN", "28", "1"),
        features_of_shape("9" * 10_000, "28", "1"),
        features_of_shape("28", "28"),
    ],
    ids=lambda text: text[:12],
)
def test_features_of_others_have_no_image_shape(tmp_path, text):
    (tmp_path / "features.json").write_text(text)
    assert read_image_shape(epath.Path(tmp_path)) is None


def test_features_in_a_pipe_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "features.json")
    with pytest.raises(WorkError, match=r"features\.json is a pipe, not a regular file"):
        read_image_shape(epath.Path(tmp_path))


def test_the_listed_classes_are_those_that_are_imported_with_tfds():
    """So importing the module of a listed class runs no other code."""
    registered = tfds.features.FeatureConnector._registered_features
    assert {name for name in registered if name.startswith("tensorflow_datasets.core.")} == set(
        FEATURE_CLASSES
    )


PREFIX = "tensorflow_datasets.core.features."
LABEL = {"pythonClassName": f"{PREFIX}class_label_feature.ClassLabel", "classLabel": {}}
HOSTILE = {"pythonClassName": "hostile.evil.X", "classLabel": {"numClasses": "2"}}


def features_json(label: object) -> dict[str, object]:
    return {
        "pythonClassName": f"{PREFIX}features_dict.FeaturesDict",
        "featuresDict": {"features": {"label": label}},
    }


def write_json(directory, features: object, info: object) -> epath.Path:
    for name, content in (("features.json", features), ("dataset_info.json", info)):
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / name).write_text(text)
    return epath.Path(directory)


def test_the_metadata_that_this_project_writes_is_accepted(tmp_path):
    directory = epath.Path(tmp_path)
    name = shard_name("cats", "train", 0, 1)
    (directory / name).touch()
    write_tfds_metadata(
        directory,
        dataset="cats",
        image_shape=SHAPE,
        class_names=["{a", "[b]", "type"],
        shards={"train": [ShardCount(name, 1)]},
    )
    check_tfds_metadata(directory)


def test_metadata_in_the_format_of_older_versions_is_accepted(tmp_path):
    features = {
        "type": f"{PREFIX}features_dict.FeaturesDict",
        "proto_cls": "",
        "content": {"type": {"type": f"{PREFIX}text_feature.Text", "content": {}}},
    }
    check_tfds_metadata(write_json(tmp_path, features, {"description": "{no JSON"}))


@pytest.mark.parametrize(
    "features",
    [
        HOSTILE,
        features_json(HOSTILE),
        features_json({"python_class_name": "hostile.evil.X"}),
        features_json(LABEL | {"python_class_name": "hostile.evil.X"}),
        features_json({"type": "hostile.evil.X", "content": {}}),
        features_json({"type": "hostile.evil.X", "content": "{}", "proto_cls": "a"}),
        features_json(LABEL | {"sequence": {"feature": HOSTILE}}),
        features_json(LABEL | {"jsonFeature": {"json": json.dumps({"feature": HOSTILE})}}),
        features_json({"type": LABEL["pythonClassName"], "content": f" {json.dumps(HOSTILE)}"}),
        [[[HOSTILE]]],
        features_json({"pythonClassName": f"{PREFIX}evil.X"}),
        features_json({"pythonClassName": "tensorflow_datasets.core.load.X"}),
        features_json({"pythonClassName": ""}),
    ],
    ids=lambda features: json.dumps(features)[-90:],
)
def test_a_class_that_is_none_of_tfds_is_refused_at_any_depth(tmp_path, features):
    with pytest.raises(ConfigError, match=r"names the class .* none of TFDS's own") as caught:
        check_tfds_metadata(write_json(tmp_path, features, {}))
    assert str(tmp_path / "features.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", ["{SPLIT:9999999999}", "{DATASET.__class__}", "{SPLIT!r}"])
def test_shard_names_with_a_format_of_their_own_are_refused(tmp_path, template):
    info = {"splits": [{"name": "train", "filepathTemplate": template}]}
    with pytest.raises(ConfigError, match="with a format that TFDS does not write") as caught:
        check_tfds_metadata(write_json(tmp_path, features_json(LABEL), info))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_metadata_that_is_no_json_is_one_line(tmp_path, name, text):
    directory = write_json(tmp_path, features_json(LABEL), {})
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WorkError, match=f"{name} (is damaged|cannot be read)") as caught:
        check_tfds_metadata(directory)
    assert "\n" not in str(caught.value)


def test_missing_huge_and_irregular_metadata_is_one_line(tmp_path):
    directory = write_json(tmp_path, features_json(LABEL), {})
    for make, message in (
        (lambda path: os.truncate(path, MAX_METADATA_BYTES + 1), "has 67.11 MB, but metadata may"),
        (os.remove, "cannot be read: No such file"),
        (os.mkfifo, "is not a regular file"),
    ):
        make(tmp_path / "features.json")
        with pytest.raises(WorkError, match=f"features.json {message}") as caught:
            check_tfds_metadata(directory)
        assert "\n" not in str(caught.value)
    (tmp_path / "features.json").unlink()
    write_json(tmp_path, features_json(LABEL), {})
    os.symlink("/dev/zero", tmp_path / "label.labels.txt")
    with pytest.raises(WorkError, match=r"label.labels.txt is not a regular file"):
        check_tfds_metadata(directory)
