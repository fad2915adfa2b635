import pytest

from components.base.errors import ConfigError, WorkError
from components.sources import registry, tfds_source
from components.sources.folder import FolderSource
from components.sources.idx import IdxSource
from components.sources.numpy_files import NumpySource
from components.sources.synthetic import SyntheticSource
from components.sources.tfds_source import TfdsSource
from components.sources.tfrecords import TfrecordsSource
from tests.components.sources.small_datasets import (
    IMAGES,
    WRITERS,
    open_source,
    png,
    pretend_prepared,
    write_idx,
    write_npy,
)

CLASSES = {
    "folder": FolderSource,
    "idx": IdxSource,
    "npz": NumpySource,
    "npy": NumpySource,
    "tfrecords": TfrecordsSource,
    "tfds": TfdsSource,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_content_of_a_path_determines_the_source(tmp_path, kind):
    fields = {"dataset": str(tmp_path)} | WRITERS[kind](tmp_path)
    source, notes = open_source(**fields)
    assert type(source) is CLASSES[kind]
    assert notes == []


@pytest.mark.parametrize("kind", [*WRITERS, "synthetic_garments"])
@pytest.mark.parametrize("option", [{"splits": "train=."}, {"label_depth": 0}], ids=str)
def test_options_of_folders_are_refused_for_other_sources(tmp_path, kind, option):
    fields = {"dataset": str(tmp_path)} | WRITERS.get(kind, lambda _: {"dataset": kind})(tmp_path)
    if kind == "folder":
        source, _ = open_source(**fields, **option)
        assert source.settings.items() >= option.items()
        assert registry.outline(source)
        return
    with pytest.raises(ConfigError, match=f"--{next(iter(option))} is for folders of images"):
        open_source(**fields, **option)
    assert registry.outline(open_source(**fields)[0]) == []


def test_synthetic_garments_have_the_requested_size_and_seed():
    source, notes = open_source("synthetic_garments", size=12, seed=5)
    assert source == SyntheticSource(12, 5)
    assert notes == []


@pytest.mark.parametrize("write", [write_idx, write_npy])
@pytest.mark.parametrize("image", ["cat/1.png", "1.JPEG"])
def test_a_folder_of_arrays_and_images_is_refused(tmp_path, write, image):
    write(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".1.png").touch()
    (tmp_path / "LICENSE").touch()
    assert open_source(str(tmp_path))[0].num_examples == {"train": 20, "test": 10}
    (tmp_path / image).parent.mkdir(exist_ok=True)
    (tmp_path / image).write_bytes(png(IMAGES[0]))
    with pytest.raises(ConfigError, match=r"arrays or as a folder of images; name the") as caught:
        open_source(str(tmp_path))
    assert image.split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    (file, *_) = sorted(tmp_path.glob("*train*images*"))
    assert open_source(str(file))[0].num_examples["train"] == 20


@pytest.mark.parametrize(
    ("dataset", "features", "message"),
    [
        ("./nowhere", "", "there is no file or folder ./nowhere; pass a path that exists"),
        ("mnist", "image=image", "--features is for paths of TFRecord files, but 'mnist' is"),
        ("{tmp}/notes.txt", "", "if it is a TFRecord file, name its features: --features image="),
        ("{tmp}/empty", "", "is not a folder with files in it"),
        ("{tmp}/*.tfrecord", "image=image", "no TFRecord file matches"),
        ("{tmp}/notes.txt", "picture=image", "--features must be image=FEATURE"),
    ],
)
def test_errors_are_one_line(tmp_path, dataset, features, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(ConfigError, match=message) as caught:
        open_source(dataset.replace("{tmp}", str(tmp_path)), features=features)[0].slices()
    assert "\n" not in str(caught.value)


def test_a_dataset_of_the_users_own_is_found_once_prepared(tmp_path):
    pretend_prepared(tmp_path, "shapes/1.0.0")
    source, notes = open_source("shapes", tmp_path)
    assert isinstance(source, TfdsSource)
    assert (source.name, source.path) == ("shapes", tmp_path / "shapes/1.0.0")
    assert notes == []


@pytest.fixture
def no_network(monkeypatch):
    # Nothing listens on this port.
    answers = tfds_source._answers
    monkeypatch.setattr(tfds_source, "_answers", lambda url: answers("http://127.0.0.1:9/"))


def test_auto_falls_back_to_synthetic_garments_with_a_note(tmp_path, no_network):
    source, (note,) = open_source("auto", tmp_path)
    assert source.name == "synthetic_garments"
    assert "dataset auto became synthetic_garments (drawn images), because fashion_mnist" in note


def test_a_dataset_that_is_requested_by_name_is_never_replaced(tmp_path, no_network):
    with pytest.raises(WorkError, match="'fashion_mnist' is not prepared under"):
        open_source("fashion_mnist", tmp_path)


def test_auto_is_fashion_mnist_if_that_is_prepared(tmp_path):
    pretend_prepared(tmp_path, "fashion_mnist/3.0.1")
    source, notes = open_source("auto", tmp_path)
    assert source.name == "fashion_mnist"
    assert notes == []
