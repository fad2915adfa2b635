import io
import pickle

import numpy as np
import pytest
from PIL import Image

from components import sources
from components.errors import ConfigError, WorkError
from components.examples import Block
from components.sources import catalog
from components.sources.base import Source
from components.sources.garments import GarmentsSource
from components.sources.tfds_source import TfdsSource, decode_image


def png(array: np.ndarray, mode: str | None = None, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, format)
    return buffer.getvalue()


GRAY = np.arange(12, dtype=np.uint8).reshape(4, 3) * 20
RGB = np.stack([GRAY, GRAY + 5, GRAY + 9], axis=-1)


@pytest.fixture(scope="module")
def tfds_source(fashion_mnist_data_dir) -> Source:
    return sources.resolve("fashion_mnist", data_dir=fashion_mnist_data_dir)[0]


def check_contract(source: Source) -> None:
    """What holds for every source; the reading is held against the counts it announces."""
    copy = pickle.loads(pickle.dumps(source))
    assert copy.input.fingerprint == source.input.fingerprint
    split, parts = "test", [part for part in copy.slices() if part.split == "test"]
    blocks = [block for part in parts for block in copy.read(part)]
    assert all(isinstance(block, Block) for block in blocks)
    ids = [example_id for block in blocks for example_id in block.ids]
    assert len(ids) == len(set(ids)) == source.num_examples[split]
    labels = np.concatenate([block.labels for block in blocks])
    assert set(labels) <= set(range(len(source.class_names)))
    assert all(block.images.dtype == np.uint8 for block in blocks)


def test_garments_keep_the_contract():
    check_contract(GarmentsSource(size=600, seed=3))


def test_tfds_keeps_the_contract(tfds_source):
    check_contract(tfds_source)


def test_fashion_mnist_is_read_as_tfds_reads_it(tfds_source, fashion_mnist_data_dir):
    import tensorflow_datasets as tfds

    part = next(part for part in tfds_source.slices() if part.split == "test")
    block = next(tfds_source.read(part))
    builder = tfds.builder_from_directory(tfds_source.path)
    theirs = builder.as_dataset(split="test[:1000]", as_supervised=True, batch_size=1000)
    images, labels = next(iter(theirs.as_numpy_iterator()))
    np.testing.assert_array_equal(block.images, images)
    np.testing.assert_array_equal(block.labels, labels)


def test_garments_depend_on_size_and_seed_and_each_slice_on_itself():
    source = GarmentsSource(size=2500, seed=0)
    last = source.slices()[2]
    assert (last.first, last.split) == (2000, "train")
    one, same = next(source.read(last)), next(source.read(last))
    np.testing.assert_array_equal(one.images, same.images)
    assert len(one) == 500
    other = next(GarmentsSource(size=2500, seed=1).read(last))
    assert (one.images != other.images).any()
    fingerprints = {GarmentsSource(n, s).input.fingerprint for n in (6, 7) for s in (0, 1)}
    assert len(fingerprints) == 4


@pytest.mark.parametrize("format", ["PNG", "BMP", "WEBP"])
def test_lossless_images_decode_to_their_pixels(format):
    lossless = png(RGB, format=format) if format != "WEBP" else _webp(RGB)
    np.testing.assert_array_equal(decode_image(lossless, channels=None), RGB)


def _webp(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_channels_follow_the_declaration_or_the_file():
    assert decode_image(png(GRAY), channels=None).shape == (4, 3, 1)
    assert decode_image(png(GRAY), channels=3).shape == (4, 3, 3)
    assert decode_image(png(RGB), channels=1).shape == (4, 3, 1)
    assert decode_image(png(RGB, "P"), channels=None).shape == (4, 3, 3)


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "undecodable image"),
        (b"no image at all", "undecodable image"),
        (png(GRAY)[:45], "undecodable image"),
        (png(np.zeros((4, 3), np.uint16)), "unsupported pixel type I;16"),
        (png(RGB, "RGBA"), "unsupported shape 4x3x4"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(encoded, reason):
    with pytest.raises(ValueError, match=reason):
        decode_image(encoded, channels=None)


def prepared(tmp_path, *names: str) -> None:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")


def test_the_newest_prepared_version_is_found(tmp_path):
    prepared(tmp_path, "shapes/2.0.0", "shapes/10.0.0", "shapes/9.9.9.incomplete")
    assert catalog.find_prepared("shapes", tmp_path).name == "10.0.0"
    assert catalog.find_prepared("shapes:2.0.0", tmp_path).name == "2.0.0"
    assert catalog.find_prepared("shapes:3.0.0", tmp_path) is None
    assert catalog.find_prepared("circles", tmp_path) is None


def test_a_dataset_of_the_users_own_is_known_once_prepared(tmp_path):
    prepared(tmp_path, "shapes/1.0.0")
    catalog.check_name("shapes", tmp_path)
    source, notes = sources.resolve("shapes", data_dir=str(tmp_path))
    assert isinstance(source, TfdsSource)
    assert source.name == "shapes"
    assert notes == []


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="'fashion_minst'; nearest: fashion_mnist"):
        catalog.check_name("fashion_minst", tmp_path)


def test_the_names_are_those_of_the_installed_tfds():
    import tensorflow_datasets as tfds

    assert catalog._tfds_names() == tfds.list_builders(with_community_datasets=False)


@pytest.fixture
def no_network(monkeypatch):
    from components.sources import tfds_source

    # A port of this machine on which nothing listens, in place of the datasets' servers.
    answers = tfds_source._answers
    monkeypatch.setattr(tfds_source, "_answers", lambda url: answers("http://127.0.0.1:9/"))


def test_a_dataset_that_cannot_be_had_says_what_to_do(tmp_path, no_network):
    with pytest.raises(WorkError) as caught:
        sources.resolve("fashion_mnist", data_dir=str(tmp_path))
    for part in ("not prepared under", str(tmp_path), "does not answer", "synthetic_garments"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_falls_back_and_says_so_but_a_name_never_does(tmp_path, no_network):
    source, notes = sources.resolve("auto", data_dir=str(tmp_path))
    assert source.name == "synthetic_garments"
    assert "synthetic_garments" in notes[0]


def test_auto_is_fashion_mnist_where_it_is_prepared(tmp_path):
    prepared(tmp_path, "fashion_mnist/3.0.1")
    source, notes = sources.resolve("auto", data_dir=str(tmp_path))
    assert source.name == "fashion_mnist"
    assert notes == []


def test_an_unknown_config_of_a_dataset_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="TFDS has no dataset 'cifar10_corrupted/none'") as caught:
        sources.resolve("cifar10_corrupted/none", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_dataset_that_tfds_cannot_prepare_is_one_line(tmp_path, monkeypatch):
    """imagenet2012 wants files that its user has downloaded by hand."""
    from components.sources import tfds_source

    monkeypatch.setattr(tfds_source, "_answers", lambda url: True)
    with pytest.raises(WorkError, match="TFDS could not prepare 'imagenet2012': ") as caught:
        sources.resolve("imagenet2012", data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)
