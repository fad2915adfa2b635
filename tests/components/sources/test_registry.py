import io
import os
import pickle
import re
import tarfile
import zipfile

import numpy as np
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
    LABELS,
    WRITERS,
    open_source,
    png,
    pretend_prepared,
    write_idx,
    write_npy,
)
from tests.tfrecords import write_records

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


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "folder"])
def test_sources_of_large_files_have_the_limit_of_memory(tmp_path, kind):
    fields = {"dataset": str(tmp_path)} | WRITERS[kind](tmp_path)
    settings = open_source(**fields)[0].settings
    source, _ = open_source(**fields, load_bytes=3)
    assert source.settings == settings  # The limit does not change the result.
    with pytest.raises(ConfigError, match="more than --load_bytes 3 allows"):
        source.slices()


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


def test_archives_beside_a_folder_of_arrays_are_refused(tmp_path):
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", x=IMAGES, y=LABELS)
    assert open_source(str(tmp_path))[0].num_examples == {"train": 30, "test": 30}
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "train/images.npy", IMAGES)
    with pytest.raises(ConfigError, match=r"holds .npy or .npz files and train, so it may be read"):
        open_source(str(tmp_path))
    for name in ("train", "test"):
        (tmp_path / f"{name}.npz").unlink()
    assert open_source(str(tmp_path))[0].num_examples == {"train": 30}


@pytest.mark.parametrize(
    ("dataset", "features", "message"),
    [
        ("./nowhere", "", "there is no file or folder ./nowhere; pass a path that exists"),
        ("mnist", "image=image", "--features is for paths of TFRecord files, but 'mnist' is"),
        ("{tmp}/notes.txt", "", "is text, not a folder, .npz, .npy, IDX or TFRecord file; pass"),
        ("{tmp}/raw.bin", "", "if it is a TFRecord file, name its features: --features image="),
        ("{tmp}/a.tfrecord", "", "if it is a TFRecord file, name its features: --features image="),
        ("{tmp}/records", "", "records holds TFRecord files; name its features: --features image="),
        ("{tmp}/*.png", "", "is for TFRecord files, and needs --features .* for images, pass the"),
        ("{tmp}/notes.txt", "image=image", "notes.txt is text, not a TFRecord file"),
        ("{tmp}/empty", "", "is not a folder with files in it"),
        ("{tmp}/*.tfrec", "image=image", "no TFRecord file matches"),
        ("{tmp}/notes.txt", "picture=image", "--features must be image=FEATURE"),
    ],
)
def test_errors_are_one_line(tmp_path, dataset, features, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no images")
    (tmp_path / "raw.bin").write_bytes(bytes(range(1, 90)))
    (tmp_path / "records").mkdir()
    for name in ("a.tfrecord", "records/a.tfrecord-00000-of-00001"):
        write_records(tmp_path / name, [b"no example"])
    with pytest.raises(ConfigError, match=message) as caught:
        open_source(dataset.replace("{tmp}", str(tmp_path)), features=features)[0].slices()
    assert "\n" not in str(caught.value)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("1.png", png(IMAGES[0]))
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("1.png"), io.BytesIO())
    return buffer.getvalue()


def matlab(version: str) -> bytes:
    return f"MATLAB {version} MAT-file, Platform: GLNXA64".encode().ljust(124) + b"\0\1IM"


NPZ = r"save its images as uint8 with np\.savez"
UNPACKED = "unpack it, and pass the folder or the file that was in it"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("digits.mat", matlab("5.0"), f"is a MATLAB file, .* scipy.io.loadmat, and {NPZ}"),
        ("digits.mat", bytes(4) + b"\1" * 40, "is a MATLAB file, .* scipy.io.loadmat"),
        ("digits.mat", matlab("7.3"), f"is a MATLAB 7.3 file, .* h5py, and {NPZ}"),
        ("d.h5", b"\x89HDF\r\n\x1a\n" + bytes(90), f"is an HDF5 file, .* h5py, and {NPZ}"),
        ("d.hdf5", b"\x89HDF\r\n\x1a\n" + bytes(90), "is an HDF5 file, .* with h5py"),
        ("d.parquet", b"PAR1" + bytes(90), f"is a Parquet file, .*read_parquet, and {NPZ}"),
        ("d.csv", b"label,p0,p1\n5,0,255\n", f"is a table in text, .* one folder per .*{NPZ}"),
        ("D.CSV", b"", "is a table in text"),
        ("data_batch_1", pickle.dumps({"data": 1}), f"is a pickle, .* if you trust it, and {NPZ}"),
        ("d.pkl", pickle.dumps({"data": 1}, protocol=0), "is a pickle, which may run any code"),
        ("d.pt", zipped(), f"is a PyTorch file, .* torch.load, and {NPZ}"),
        ("images.zip", zipped(), f"is a zip file, .*{UNPACKED}"),
        ("images.tar", tarred("w"), f"is a tar file, .*{UNPACKED}"),
        ("images.tar.gz", tarred("w:gz"), f"is a tar file, .*{UNPACKED}"),
        ("images.tgz", tarred("w:gz"), f"is a tar file, .*{UNPACKED}"),
        ("images.tbz", tarred("w:bz2"), f"is a bzip2 file, .*{UNPACKED}"),
        ("images.txz", tarred("w:xz"), f"is an xz file, .*{UNPACKED}"),
        ("cat.png", png(IMAGES[0]), "is a PNG, .* pass the folder that holds the images"),
        ("cat.heic", b"\0\0\0\x18ftypheic" + bytes(9), "is a HEIC, .* pass the folder that holds"),
        ("digits", b"\0\0\x08\3\0\0\0\1" + bytes(9), "is an IDX file, .* name it like MNIST's"),
        ("page.html", b"<!DOCTYPE html>\n<html>", "is an HTML page, .* download the file itself"),
        (
            "d.npz.1",
            b"version https://git-lfs.github.com/spec",
            "is a Git LFS pointer, .* git lfs pull",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_file_of_another_type_is_named_with_the_next_step(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{re.escape(name)} {message}") as caught:
        open_source(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_images_beside_tfrecord_files_are_read(tmp_path):
    write_records(tmp_path / "a.tfrecord", [b"no example"])
    (tmp_path / "1.png").write_bytes(png(IMAGES[0]))
    assert isinstance(open_source(str(tmp_path))[0], FolderSource)


@pytest.mark.parametrize("name", ["x", "x.npz", "x.npy", "train-images-idx3-ubyte"])
@pytest.mark.parametrize("target", ["/dev/zero", "/proc/kmsg", None])
def test_what_is_no_regular_file_is_never_read(tmp_path, name, target):
    path = tmp_path / name
    os.symlink(target, path) if target else os.mkfifo(path)
    with pytest.raises((ConfigError, WorkError)) as caught:
        open_source(str(path))[0].slices()
    assert str(tmp_path) in str(caught.value)
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


def test_a_layout_is_for_arrays_only(tmp_path):
    write_npy(tmp_path)
    assert open_source(str(tmp_path), layout="NHW")[0].settings["layout"] == "NHW"
    WRITERS["folder"](tmp_path / "images")
    for dataset in (str(tmp_path / "images"), "synthetic_garments"):
        with pytest.raises(ConfigError, match=r"--layout is for arrays, but .*; remove"):
            open_source(dataset, layout="NHW")
