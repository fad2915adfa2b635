"""The contract of all sources, and the functions that they share."""

import io
import itertools
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image

from components.data.examples import ExampleBatch
from components.ingest.conversion import Conversion
from components.ingest.rejection import Reason, Rejected
from components.sources import source as sources
from components.sources.source import (
    BATCH_BYTES,
    BATCH_EXAMPLES,
    EncodedExample,
    FirstFrames,
    Source,
    convert_batch,
    decode_batches,
    example_id,
    images_per_batch,
    split_from_name,
)
from components.sources.synthetic import SyntheticSource
from tests.components.sources.small_datasets import (
    IMAGES,
    LABELS,
    ROWS_BY_SPLIT,
    WRITERS,
    open_source,
    png,
    write_tfds,
)

AS_IS = Conversion()


@pytest.fixture(params=WRITERS)
def request_fields(request, tmp_path) -> dict[str, str]:
    """The fields of a request for the small dataset, in each of the formats."""
    root = tmp_path / "images"
    root.mkdir()
    return {"dataset": str(root)} | WRITERS[request.param](root)


def read(source: Source, split: str, *, backwards: bool = False) -> list[ExampleBatch]:
    parts = [part for part in source.slices() if part.split == split]
    return [
        item
        for part in (reversed(parts) if backwards else parts)
        for item in source.read(part)
        if isinstance(item, ExampleBatch)
    ]


def check_contract(source: Source, split: str = "test") -> None:
    """Checks what holds for every source that rejects no example."""
    copy = pickle.loads(pickle.dumps(source))
    assert copy.input.fingerprint == source.input.fingerprint
    assert copy.slices() == source.slices()
    assert source.fingerprint_without(()) == source.input.fingerprint
    for name, count in source.num_examples.items():
        parts = [part for part in source.slices() if part.split == name]
        ends = list(itertools.accumulate((part.examples for part in parts), initial=0))
        assert [part.first for part in parts] == ends[:-1]
        assert ends[-1] == count
    batches = read(copy, split)
    ids = [key for batch in batches for key in batch.ids]
    assert len(ids) == len(set(ids)) == source.num_examples[split]
    labels = np.concatenate([batch.labels for batch in batches])
    assert labels.dtype == np.int64
    assert set(labels.tolist()) <= set(range(len(source.class_names)))
    assert all(batch.images.dtype == np.uint8 and batch.images.ndim == 4 for batch in batches)
    backwards = read(source, split, backwards=True)
    assert sorted(ids) == sorted(key for batch in backwards for key in batch.ids)
    assert set(source.settings) >= {"image_size", "channels"}


def test_the_synthetic_source_keeps_the_contract():
    check_contract(SyntheticSource(size=600, seed=3))


def test_fashion_mnist_keeps_the_contract(fashion_mnist_data_dir):
    check_contract(open_source("fashion_mnist", fashion_mnist_data_dir)[0])


def test_splits_with_other_names_keep_the_contract(tmp_path):
    fields = write_tfds(tmp_path, {"train": range(8), "dev": range(8, 13), "test": range(13, 15)})
    check_contract(open_source(**fields)[0], "validation")


def test_every_source_keeps_the_contract_and_returns_the_same_images(request_fields):
    source, notes = open_source(**request_fields)
    assert notes == []
    assert source.num_examples == {"train": 20, "test": 10}
    assert source.class_names == ["0", "1"]
    for split, rows in ROWS_BY_SPLIT.items():
        check_contract(source, split)
        (batch,) = read(source, split)
        assert batch.images.shape == (len(rows), 5, 4, 1)
        pixels = [image.tobytes() for image in batch.images]
        expected = zip((IMAGES[row].tobytes() for row in rows), LABELS[rows].tolist(), strict=True)
        assert sorted(zip(pixels, batch.labels.tolist(), strict=True)) == sorted(expected)


def test_every_source_converts_images(request_fields):
    source, _ = open_source(**request_fields, conversion=Conversion((8, 8), 3))
    (batch,) = read(source, "test")
    assert batch.images.shape == (10, 8, 8, 3)
    assert source.settings["image_size"] == [8, 8]
    assert source.settings["channels"] == 3


def files_below(root: Path) -> Iterator[Path]:
    return (Path(folder) / name for folder, _, names in os.walk(root) for name in names)


def test_a_change_of_any_file_changes_the_fingerprint(request_fields, tmp_path):
    before = open_source(**request_fields)[0].input.fingerprint
    assert open_source(**request_fields)[0].input.fingerprint == before
    for path in files_below(tmp_path / "images"):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert open_source(**request_fields)[0].input.fingerprint != before, path
        path.write_bytes(content)


def test_inputs_that_are_files_can_be_left_out_of_the_fingerprint(request_fields, tmp_path):
    source, _ = open_source(**request_fields)
    image = tmp_path / "images/train/0/00.png"
    is_folder = image.exists()
    ids = {"train/0/00.png"}
    partial = source.fingerprint_without(ids)
    assert (partial == source.input.fingerprint) == (not is_folder)
    if is_folder:
        image.write_bytes(png(IMAGES[1]) + b" ")
        changed, _ = open_source(**request_fields)
        assert changed.input.fingerprint != source.input.fingerprint
        assert changed.fingerprint_without(ids) == partial


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("val", "validation"),
        ("DEV", "validation"),
        ("t10k", "test"),
        ("tests", None),
        ("", None),
    ],
)
def test_splits_have_several_names(name, split):
    assert split_from_name(name) == split


def test_ids_sort_by_index():
    ids = [example_id("train", index) for index in (0, 9, 10, 99_999_999)]
    assert ids == sorted(ids)
    assert ids[1] == "train-00000009"


@pytest.mark.parametrize(
    ("shape", "image_bytes", "conversion", "expected"),
    [
        ((28, 28), 784, AS_IS, BATCH_EXAMPLES),
        ((1024, 1024), 1 << 20, AS_IS, BATCH_BYTES >> 20),
        ((1024, 1024, 1), 2 << 20, AS_IS, BATCH_BYTES >> 21),  # 16 bits per pixel
        ((28, 28), 784, Conversion(image_size=(1024, 1024)), BATCH_BYTES >> 20),
        ((1024, 1024), 1 << 20, Conversion(channels=3), BATCH_BYTES // (3 << 20)),
        ((1024, 1024), 1 << 20, Conversion(image_size=(28, 28)), BATCH_BYTES >> 20),
        ((8192, 8192), 1 << 26, AS_IS, 1),
    ],
)
def test_a_batch_is_limited_before_and_after_conversion(shape, image_bytes, conversion, expected):
    assert images_per_batch(shape, image_bytes, conversion) == expected


def test_a_batch_that_cannot_be_converted_is_rejected_input_by_input():
    rgba = np.zeros((2, 5, 4, 4), np.uint8)
    items = list(convert_batch("test", ["a", "b"], rgba, np.array([1, 2], np.uint8), AS_IS))
    assert all(isinstance(item, Rejected) for item in items)
    assert [(item.id, item.split, item.label) for item in items] == [
        ("a", "test", 1),
        ("b", "test", 2),
    ]
    assert {item.reason for item in items} == {Reason.WRONG_SHAPE}
    (batch,) = convert_batch("test", ["a", "b"], rgba, np.array([1, 2]), Conversion(channels=1))
    assert batch.images.shape == (2, 5, 4, 1)
    assert batch.labels.dtype == np.int64


def encoded(row: int, data: bytes | None = None) -> EncodedExample:
    return EncodedExample(str(row), row % 5, png(IMAGES[row]) if data is None else data)


def test_encoded_images_are_grouped_by_shape_and_errors_are_passed_on():
    wide = png(np.zeros((5, 9), np.uint8))
    unreadable = Rejected("x", "train", 1, Reason.UNREADABLE, "gone")
    inputs = [encoded(0), encoded(1, wide), unreadable, encoded(2, b"text"), encoded(3)]
    items = list(decode_batches("train", inputs, AS_IS))
    batches = [item for item in items if isinstance(item, ExampleBatch)]
    by_shape = {batch.shape: (batch.ids, batch.labels.tolist()) for batch in batches}
    assert by_shape == {(5, 4, 1): (["0", "3"], [0, 3]), (5, 9, 1): (["1"], [1])}
    rejected = [item for item in items if isinstance(item, Rejected)]
    assert rejected[0] is unreadable
    assert (rejected[1].id, rejected[1].label, rejected[1].reason) == ("2", 2, Reason.WRONG_TYPE)


def test_encoded_images_are_decoded_before_all_have_been_read(monkeypatch):
    monkeypatch.setattr(sources, "BATCH_EXAMPLES", 4)
    inputs = (encoded(row) for row in range(10))
    batches = decode_batches("train", inputs, AS_IS)
    assert next(batches).ids == ["0", "1", "2", "3"]
    assert next(inputs).id == "4"
    assert [batch.ids for batch in batches] == [["5", "6", "7", "8"], ["9"]]


def test_encoded_images_are_decoded_when_they_reach_the_size_of_a_batch(monkeypatch):
    monkeypatch.setattr(sources, "BATCH_BYTES", 2 * len(png(IMAGES[0])))
    inputs = [encoded(0) for _ in range(5)]
    assert [len(batch) for batch in decode_batches("train", inputs, AS_IS)] == [2, 2, 1]


def test_no_inputs_make_no_batch():
    assert list(decode_batches("train", [], AS_IS)) == []


def test_a_folder_has_a_name_however_its_path_is_written(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    monkeypatch.chdir(tmp_path / "pictures")
    assert sources.folder_name(epath.Path(".")) == "pictures"
    assert sources.folder_name(epath.Path(f"{tmp_path}/pictures/")) == "pictures"


def test_files_with_several_frames_are_marked():
    pictures = [Image.fromarray(np.full((4, 5), n, np.uint8)) for n in (10, 20)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:])
    plain = io.BytesIO()
    pictures[1].save(plain, "PNG")
    inputs = [
        EncodedExample(key, 0, data.getvalue())
        for key, data in (("a", plain), ("b", buffer), ("c", buffer))
    ]
    (batch,) = decode_batches("train", inputs, Conversion())
    order = np.argsort(batch.ids)
    np.testing.assert_array_equal(batch.images[order, 0, 0, 0], [20, 10, 10])
    assert batch.several_frames == {"b", "c"}
    assert batch.take(order[:2]).several_frames == {"b"}
    (batch,) = decode_batches("train", inputs[:1], Conversion())
    assert not isinstance(batch, FirstFrames)
