import gzip
import io
import os
import pickle
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ConfigError, WorkError
from components.data import codec, tfrecord
from components.data.examples import ExampleBatch
from components.ingest.images import Conversion
from components.sources import dataset_names, registry
from components.sources.source import Source
from components.sources.synthetic import SyntheticSource
from components.sources.tfds_source import TfdsSource

# The same images, whatever holds them: 20 of train and 10 of test, of two classes.
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 4), np.uint8)
LABELS = np.arange(30) % 2
PLACES = {"train": range(20), "test": range(20, 30)}


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root: Path) -> dict[str, str]:
    for split, rows in PLACES.items():
        for row in rows:
            folder = root / split / str(LABELS[row])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{row:02d}.png").write_bytes(png(IMAGES[row]))
    return {}


def write_idx(root: Path) -> dict[str, str]:
    for split, rows in PLACES.items():
        name = {"train": "train", "test": "t10k"}[split]
        header = struct.pack(">HBB3I", 0, 8, 3, len(rows), 5, 4)
        (root / f"{name}-images-idx3-ubyte").write_bytes(header + IMAGES[rows].tobytes())
        labels = struct.pack(">HBBI", 0, 8, 1, len(rows)) + LABELS[rows].astype("u1").tobytes()
        (root / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return {}


def write_npz(root: Path) -> dict[str, str]:
    arrays = {f"{split}_images": IMAGES[rows] for split, rows in PLACES.items()}
    arrays |= {f"{split}_labels": LABELS[rows] for split, rows in PLACES.items()}
    np.savez_compressed(root / "all.npz", **arrays)
    return {"dataset": str(root / "all.npz")}


def write_npy(root: Path) -> dict[str, str]:
    for split, rows in PLACES.items():
        np.save(root / f"{split}_images.npy", IMAGES[rows])
        np.save(root / f"{split}_labels.npy", LABELS[rows])
    return {}


def write_tfrecords(root: Path) -> dict[str, str]:
    for split, rows in PLACES.items():
        payloads = [
            codec.serialize(str(row).encode(), IMAGES[row].tobytes(), int(LABELS[row]))
            for row in rows
        ]
        tfrecord.write_records(root / f"mine-{split}.tfrecord", payloads)
    return {"features": "image=image:5x4x1,label=label,id=id"}


def write_tfds(root: Path, places: Mapping[str, Iterable[int]] = PLACES) -> dict[str, str]:
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(5, 4, 1)),
            "label": tfds.features.ClassLabel(num_classes=2),
        }
    )
    folder = root / "mine/1.0.0"
    folder.mkdir(parents=True)
    infos = []
    for split, rows in places.items():
        payloads = [
            features.serialize_example({"image": IMAGES[row][..., None], "label": int(LABELS[row])})
            for row in rows
        ]
        tfrecord.write_records(folder / f"mine-{split}.tfrecord-00000-of-00001", payloads)
        template = tfds.core.ShardedFileTemplate(
            data_dir=folder, dataset_name="mine", split=split, filetype_suffix="tfrecord"
        )
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=[len(payloads)], num_bytes=0, filename_template=template
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder, features=features, split_infos=infos, check_data=False
    )
    return {"dataset": str(folder)}


KINDS = {
    "folder": write_folder,
    "idx": write_idx,
    "npz": write_npz,
    "npy": write_npy,
    "tfrecords": write_tfrecords,
    "tfds": write_tfds,
}


def resolve(dataset: str, data_dir: object = "", **fields) -> tuple[Source, list[str]]:
    return registry.resolve(
        registry.SourceRequest(dataset=dataset, data_dir=str(data_dir), **fields)
    )


@pytest.fixture(params=KINDS)
def at_path(request, tmp_path) -> dict[str, str]:
    """What a user asks for, to have the images above."""
    root = tmp_path / "images"
    root.mkdir()
    return {"dataset": str(root)} | KINDS[request.param](root)


@pytest.fixture(scope="module")
def tfds_source(fashion_mnist_data_dir) -> Source:
    return resolve("fashion_mnist", fashion_mnist_data_dir)[0]


def read(source: Source, split: str, *, backwards: bool = False) -> list[ExampleBatch]:
    parts = [part for part in source.slices() if part.split == split]
    return [
        item
        for part in (reversed(parts) if backwards else parts)
        for item in source.read(part)
        if isinstance(item, ExampleBatch)
    ]


def check_contract(source: Source, split: str = "test") -> None:
    """What holds for every source; the reading is held against the counts it announces."""
    copy = pickle.loads(pickle.dumps(source))
    assert copy.input.fingerprint == source.input.fingerprint
    assert copy.slices() == source.slices()
    assert source.fingerprint_without(()) == source.input.fingerprint
    for name, count in source.num_examples.items():
        parts = [part for part in source.slices() if part.split == name]
        assert [p.first for p in parts] == np.cumsum([0, *(p.examples for p in parts)])[
            :-1
        ].tolist()
        assert sum(part.examples for part in parts) == count
    blocks = read(copy, split)
    ids = [example_id for block in blocks for example_id in block.ids]
    assert len(ids) == len(set(ids)) == source.num_examples[split]
    labels = np.concatenate([block.labels for block in blocks])
    assert labels.dtype == np.int64
    assert set(labels.tolist()) <= set(range(len(source.class_names)))
    assert all(block.images.dtype == np.uint8 and block.images.ndim == 4 for block in blocks)
    backwards = read(source, split, backwards=True)
    assert sorted(ids) == sorted(each for block in backwards for each in block.ids)
    assert set(source.settings) >= {"image_size", "channels"}


def test_garments_keep_the_contract():
    check_contract(SyntheticSource(size=600, seed=3))


def test_tfds_keeps_the_contract(tfds_source):
    check_contract(tfds_source)


def test_every_source_keeps_the_contract_and_gives_the_same_images(at_path):
    source, notes = resolve(**at_path)
    assert notes == []
    assert source.num_examples == {"train": 20, "test": 10}
    assert source.class_names == ["0", "1"]
    for split, rows in PLACES.items():
        check_contract(source, split)
        (block,) = read(source, split)
        assert block.images.shape == (len(rows), 5, 4, 1)
        met = sorted(zip((i.tobytes() for i in block.images), block.labels.tolist(), strict=True))
        wanted = zip((IMAGES[row].tobytes() for row in rows), LABELS[rows].tolist(), strict=True)
        assert met == sorted(wanted)


def test_every_source_converts_alike(at_path):
    source, _ = resolve(**at_path, conversion=Conversion((8, 8), 3))
    (block,) = read(source, "test")
    assert block.images.shape == (10, 8, 8, 3)
    assert source.settings["image_size"] == [8, 8]
    assert source.settings["channels"] == 3


def test_a_change_of_any_file_changes_the_fingerprint(at_path, tmp_path):
    before = resolve(**at_path)[0].input.fingerprint
    assert resolve(**at_path)[0].input.fingerprint == before
    for path in files_of(tmp_path / "images"):
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        assert resolve(**at_path)[0].input.fingerprint != before, path
        path.write_bytes(kept)


def files_of(root: Path) -> Iterator[Path]:
    return (Path(folder) / name for folder, _, names in os.walk(root) for name in names)


def test_what_is_left_out_of_a_fingerprint_may_change_if_it_is_a_file(at_path, tmp_path):
    source, _ = resolve(**at_path)
    image = tmp_path / "images/train/0/00.png"
    is_folder = image.exists()
    ids = {"train/0/00.png"}
    rest = source.fingerprint_without(ids)
    assert (rest == source.input.fingerprint) == (not is_folder)
    if is_folder:
        image.write_bytes(png(IMAGES[1]) + b" ")
        changed, _ = resolve(**at_path)
        assert changed.input.fingerprint != source.input.fingerprint
        assert changed.fingerprint_without(ids) == rest


@pytest.mark.parametrize("write", [write_idx, write_npy])
@pytest.mark.parametrize("other", ["cat/1.png", "1.JPEG"])
def test_a_folder_of_arrays_and_images_is_refused(tmp_path, write, other):
    write(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".1.png").touch()
    (tmp_path / "LICENSE").touch()
    assert resolve(str(tmp_path))[0].num_examples == {"train": 20, "test": 10}
    (tmp_path / other).parent.mkdir(exist_ok=True)
    (tmp_path / other).write_bytes(png(IMAGES[0]))
    with pytest.raises(ConfigError, match=r"arrays or as a folder of images; name the") as caught:
        resolve(str(tmp_path))
    assert other.split("/")[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    (file, *_) = sorted(tmp_path.glob("*train*images*"))
    assert resolve(str(file))[0].num_examples["train"] == 20


def test_a_path_is_told_from_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist", "pictures"):
        (tmp_path / folder).mkdir()
    assert not dataset_names.is_path("mnist", tmp_path)
    assert dataset_names.is_path("./mnist", tmp_path)
    assert dataset_names.is_path("pictures", tmp_path)
    assert not dataset_names.is_path("picture", tmp_path)
    assert dataset_names.is_path("gs://bucket/pictures", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "features", "message"),
    [
        ("./nowhere", "", "nothing is at ./nowhere"),
        ("mnist", "image=image", "--features is for paths of TFRecord files; 'mnist' is a name"),
        ("{tmp}/notes.txt", "", "say with --features which features hold what"),
        ("{tmp}/empty", "", "no folder with files in it"),
        ("{tmp}/*.tfrecord", "image=image", "no TFRecord file matches"),
        ("{tmp}/notes.txt", "picture=image", "--features must be image=FEATURE"),
    ],
)
def test_what_cannot_be_a_source_is_one_line(tmp_path, dataset, features, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no images")
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(dataset.replace("{tmp}", str(tmp_path)), features=features)[0].slices()
    assert "\n" not in str(caught.value)


def test_fashion_mnist_is_read_as_tfds_reads_it(tfds_source, fashion_mnist_data_dir):
    import tensorflow_datasets as tfds

    part = next(part for part in tfds_source.slices() if part.split == "test")
    block = next(tfds_source.read(part))
    builder = tfds.builder_from_directory(tfds_source.path)
    theirs = builder.as_dataset(split="test[:1000]", as_supervised=True, batch_size=1000)
    images, labels = next(iter(theirs.as_numpy_iterator()))
    np.testing.assert_array_equal(block.images[:1000], images)
    np.testing.assert_array_equal(block.labels[:1000], labels)


def test_garments_depend_on_size_and_seed_and_each_slice_on_itself():
    source = SyntheticSource(size=8500, seed=0)
    last = source.slices()[1]
    assert (last.first, last.examples, last.split) == (8000, 500, "train")
    one, same = next(source.read(last)), next(source.read(last))
    np.testing.assert_array_equal(one.images, same.images)
    assert len(one) == 500
    other = next(SyntheticSource(size=8500, seed=1).read(last))
    assert (one.images != other.images).any()
    fingerprints = {SyntheticSource(n, s).input.fingerprint for n in (6, 7) for s in (0, 1)}
    assert len(fingerprints) == 4


def test_splits_of_a_tfds_dataset_are_known_by_other_names(tmp_path, capsys):
    places = {"train": range(8), "dev": range(8, 13), "test": range(13, 15)}
    source, _ = resolve(**write_tfds(tmp_path, places))
    assert source.num_examples == {"train": 8, "validation": 5, "test": 2}
    check_contract(source, "validation")
    (block,) = read(source, "validation")
    np.testing.assert_array_equal(block.images[..., 0], IMAGES[8:13])
    assert capsys.readouterr().err == ""


def test_splits_of_a_tfds_dataset_that_are_not_read_are_told_once(tmp_path, capsys):
    places = {"train": range(8), "dev": range(8, 9), "validation": range(9, 12), "extra": range(9)}
    asked = write_tfds(tmp_path, places)
    source, notes = resolve(**asked)
    # Whether prepare is up to date is answered by the fingerprint, without TFDS.
    assert (notes, source.input.fingerprint != "", capsys.readouterr().err) == ([], True, "")
    assert source.num_examples == {"train": 8, "validation": 3}
    pickle.loads(pickle.dumps(source)).slices()
    resolve(**asked)[0].slices()
    assert capsys.readouterr().err == (
        f"warning: {source.dataset}: only train, validation are read, not the dataset's other "
        "splits: dev, extra\n"
    )


def test_a_tfds_dataset_without_any_of_the_splits_names_those_that_it_has(tmp_path):
    source, _ = resolve(**write_tfds(tmp_path, {"extra": range(3), "unsupervised": range(2)}))
    with pytest.raises(ConfigError, match="or test; it has: extra, unsupervised; name") as caught:
        source.slices()
    assert "\n" not in str(caught.value)


def prepared(tmp_path, *names: str) -> None:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")


def test_the_newest_prepared_version_is_found(tmp_path):
    prepared(tmp_path, "shapes/2.0.0", "shapes/10.0.0", "shapes/9.9.9.incomplete")
    assert dataset_names.find_prepared("shapes", tmp_path).name == "10.0.0"
    assert dataset_names.find_prepared("shapes:2.0.0", tmp_path).name == "2.0.0"
    assert dataset_names.find_prepared("shapes:3.0.0", tmp_path) is None
    assert dataset_names.find_prepared("circles", tmp_path) is None


def test_a_dataset_of_the_users_own_is_known_once_prepared(tmp_path):
    prepared(tmp_path, "shapes/1.0.0")
    dataset_names.check("shapes", tmp_path, "")
    source, notes = resolve("shapes", str(tmp_path))
    assert isinstance(source, TfdsSource)
    assert source.name == "shapes"
    assert notes == []


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'fashion_minst'; nearest: fashion_mnist"):
        dataset_names.check("fashion_minst", tmp_path, "")


def test_the_names_are_those_of_the_installed_tfds():
    import tensorflow_datasets as tfds

    assert dataset_names._tfds_names() == tfds.list_builders(with_community_datasets=False)


@pytest.fixture
def no_network(monkeypatch):
    from components.sources import tfds_source

    # A port of this machine on which nothing listens, in place of the datasets' servers.
    answers = tfds_source._answers
    monkeypatch.setattr(tfds_source, "_answers", lambda url: answers("http://127.0.0.1:9/"))


def test_a_dataset_that_cannot_be_had_says_what_to_do(tmp_path, no_network):
    with pytest.raises(WorkError) as caught:
        resolve("fashion_mnist", str(tmp_path))
    for part in ("not prepared under", str(tmp_path), "does not answer", "synthetic_garments"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_falls_back_and_says_so_but_a_name_never_does(tmp_path, no_network):
    source, notes = resolve("auto", str(tmp_path))
    assert source.name == "synthetic_garments"
    assert "synthetic_garments" in notes[0]


def test_auto_is_fashion_mnist_where_it_is_prepared(tmp_path):
    prepared(tmp_path, "fashion_mnist/3.0.1")
    source, notes = resolve("auto", str(tmp_path))
    assert source.name == "fashion_mnist"
    assert notes == []


def test_an_unknown_config_of_a_dataset_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="TFDS has no dataset 'cifar10_corrupted/none'") as caught:
        resolve("cifar10_corrupted/none", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_dataset_that_tfds_cannot_prepare_is_one_line(tmp_path, monkeypatch):
    """imagenet2012 wants files that its user has downloaded by hand."""
    from components.sources import tfds_source

    monkeypatch.setattr(tfds_source, "_answers", lambda url: True)
    with pytest.raises(WorkError, match="TFDS could not prepare 'imagenet2012': ") as caught:
        resolve("imagenet2012", str(tmp_path))
    assert "\n" not in str(caught.value)
