import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.data import codec
from components.data.prepared_dataset import PreparedDataset
from pipeline.apply import inputs
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config


@pytest.fixture
def find(model_dir):
    """Finds an input for a model of 28x28x1 images."""
    model = load_artifact(model_dir, stage="train")
    return lambda pattern, **options: inputs.find(str(pattern), model, source_options=options)


def test_a_directory_stands_for_all_of_its_shards(find, examples_dir, example_set, tmp_path):
    found = find(f"{examples_dir}/")
    names = sorted(path.name for path in examples_dir.glob("*.tfrecord-*"))
    assert found.config == {"files": names}
    assert found.inputs == find(f"{examples_dir}/*").inputs
    images = found.open(epath.Path(tmp_path), [])
    assert sorted(task.stem for task in images.tasks) == [
        name.replace(".tfrecord", "") for name in names
    ]
    assert images.kept == example_set.counts.kept
    assert images.class_names == example_set.class_names


def test_a_task_has_what_the_dataset_says_of_its_shard(find, examples_dir, example_set, tmp_path):
    (task,) = find(f"{examples_dir}/*test*").open(epath.Path(tmp_path), []).tasks
    (shard,) = example_set.shards["test"]
    assert task.shard == str(examples_dir / shard.file)
    assert task.sha256 == example_set.artifact.output(shard.file).sha256
    assert (task.examples, task.split, task.first) == (shard.examples, "test", 0)
    assert task.class_names == tuple(example_set.class_names)


def test_the_first_example_of_a_shard_is_numbered_within_its_split(tmp_path):
    prepare(tiny_prepare_config(shard_bytes=100_000), output=tmp_path / "examples")
    dataset = PreparedDataset.open(tmp_path / "examples")
    tasks = inputs.dataset_tasks(dataset, epath.Path(tmp_path))
    train = [task for task in tasks if task.split == "train"]
    assert len(train) > 2
    sizes = [task.examples for task in train]
    assert [task.first for task in train] == np.cumsum([0, *sizes[:-1]]).tolist()


def test_the_shape_of_lone_shards_is_said_to_be_unknown(find, examples_dir, tmp_path, capsys):
    (shard,) = examples_dir.glob("*test.tfrecord-*")
    shutil.copy(shard, tmp_path)
    images = find(f"{tmp_path}/*").open(epath.Path(tmp_path), [])
    assert "taken to be 28x28x1" in capsys.readouterr().err
    (task,) = images.tasks
    assert (task.examples, task.split, task.class_names) == (100, None, ())
    assert images.class_names is images.kept is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("run", r"no TFRecord file matches .*did you mean --input \S*/run/examples\?"),
        ("run/model", "no TFRecord file matches .*which was made by the train stage"),
        ("photos/*.png", "no TFRecord file matches .*pass the folder that holds the images"),
        ("none*", "no TFRecord file matches .*put a pattern in quotes"),
        ("none", "there is no file or folder .*none"),
        ("photos/1.png", "is a PNG, not a folder"),
    ],
)
def test_what_is_no_input_is_an_error_with_advice(
    find, examples_dir, model_dir, tmp_path, pattern, message
):
    (tmp_path / "photos").mkdir()
    Image.new("L", (3, 3)).save(tmp_path / "photos/1.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/examples").symlink_to(examples_dir)
    (tmp_path / "run/model").symlink_to(model_dir)
    with pytest.raises(ConfigError, match=message) as caught:
        find(tmp_path / pattern)
    assert "\n" not in str(caught.value)


def test_options_of_a_source_are_refused_for_shards(find, examples_dir):
    with pytest.raises(ConfigError, match="--layout is for sources that prepare reads"):
        find(examples_dir, layout="NHW")


@pytest.fixture(scope="module")
def other_shape_dir(tmp_path_factory):
    """A prepared dataset of images whose height and width are not those of `model_dir`."""
    folder = tmp_path_factory.mktemp("other[1]*")
    images = np.random.default_rng(0).integers(0, 256, (60, 14, 56), np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(60) % 3)
    prepare(tiny_prepare_config(dataset=str(folder / "data.npz")), output=folder / "examples")
    return folder / "examples"


@pytest.mark.parametrize("kept", ["manifest.json", "features.json"])
def test_prepared_images_of_another_shape_are_refused(find, other_shape_dir, tmp_path, kept):
    shutil.copytree(other_shape_dir, tmp_path / "examples")
    if kept != "manifest.json":
        (tmp_path / "examples/manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"trained on 28x28x1 images, but .* are 14x56x1"):
        find(f"{tmp_path}/examples/*train*")


def write_photos(folder, count=30) -> None:
    """Writes RGB images of 40x50 pixels to a test split, and two files that are no images."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / "test" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    for split in ("test", "validation"):
        (folder / split / "a").mkdir(parents=True, exist_ok=True)
        (folder / split / "a/bad.png").write_bytes(b"no image")


def test_a_source_is_converted_as_the_model_needs_it(find, tmp_path, capsys):
    write_photos(tmp_path / "photos")
    (tmp_path / "draft").mkdir()
    found = find(tmp_path / "photos")
    assert found.config["image_size"] == [28, 28]
    assert found.config["channels"] == 1
    images = found.open(epath.Path(tmp_path / "draft"), [])
    assert "converting" in capsys.readouterr().err
    assert (images.inputs, images.quarantined, images.kept) == (32, 2, 30)
    assert images.class_names == ["a", "b"]
    (task,) = images.tasks
    # A dataset to train on needs images in its splits, but this one does not.
    assert task.split == "test"
    (batch,) = codec.read_batches(task.shard, (28, 28, 1), sha256=task.sha256)
    assert len(batch) == task.examples == 30
    assert "bad.png" in (tmp_path / "draft/quarantine/quarantine.jsonl").read_text()
    # The work goes on with the images that were converted.
    assert find(tmp_path / "photos").open(epath.Path(tmp_path / "draft"), []) == images
    assert "prepare: up to date" in capsys.readouterr().err
    found.finish(epath.Path(tmp_path / "draft"))
    assert [path.name for path in (tmp_path / "draft").iterdir()] == ["quarantine"]


def test_a_source_that_changes_while_it_is_read_is_refused(find, tmp_path):
    write_photos(tmp_path / "photos")
    found = find(tmp_path / "photos")
    Image.new("L", (3, 3)).save(tmp_path / "photos/test/a/new.png")
    with pytest.raises(WorkError, match="photos changed while it was read"):
        found.open(epath.Path(tmp_path / "draft"), [])


def test_arrays_are_read_with_the_options_of_their_layout(find, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (28, 28, 40), np.uint8)
    np.save(tmp_path / "images.npy", images)
    found = find(tmp_path / "images.npy", layout="HWN")
    (task,) = found.open(epath.Path(tmp_path / "draft"), []).tasks
    assert task.examples == 40
    assert found.config["layout"] == "HWN"
