import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from components.base.manifest import OutputRecord
from components.data import codec
from components.data.dataset_counts import DatasetCounts, DuplicateCounts, ShardCount
from components.data.examples import ExampleBatch
from components.data.tfds_metadata import shard_name
from components.ingest.statistics import Statistics
from pipeline.prepare import sidecars
from pipeline.prepare.messages import WriteReport
from tests.pipeline.prepare.listed_source import IMAGE_BYTES, SHAPE, examples, tally_of

SPLITS = {"train": [40, 30], "test": [9]}


@pytest.fixture
def prepared(tmp_path):
    """Shards with their sidecars, and the examples by split and shard."""
    batches: dict[str, list[ExampleBatch]] = {}
    shards: dict[str, list[ShardCount]] = {}
    reports = []
    for split, sizes in SPLITS.items():
        batches[split], shards[split] = [], []
        for number, size in enumerate(sizes):
            items = examples(size, split=f"{split}{number}", seed=size)
            ids, images, labels = zip(*items, strict=True)
            batch = ExampleBatch(list(ids), np.stack(images), np.array(labels, np.int64))
            file = shard_name("cats", split, number, len(sizes))
            (tmp_path / file).write_bytes(codec.encode(batch))
            statistics = Statistics.empty(1, 3)
            statistics.add(batch.images, batch.labels)
            reports.append(
                WriteReport(
                    split, split, file, tally_of(items), statistics, OutputRecord(0, "0" * 64)
                )
            )
            batches[split].append(batch)
            shards[split].append(ShardCount(file, size))
    counts = DatasetCounts(
        inputs=79,
        kept=79,
        quarantined=0,
        ledger={},
        image_shape=SHAPE,
        class_names=["A", "B", "C"],
        examples={split: sum(sizes) for split, sizes in SPLITS.items()},
        examples_by_label={},
        shards=shards,
        duplicates=DuplicateCounts(0, {}),
        rest="",
    )
    sidecars.write_sidecars(tmp_path, "cats", counts, reports)
    return tmp_path, batches


def test_the_statistics_are_those_of_all_shards_of_a_split(prepared):
    directory, batches = prepared
    summary = json.loads((directory / sidecars.STATISTICS).read_text())
    assert list(summary) == list(SPLITS)
    for split, sizes in SPLITS.items():
        images = np.concatenate([batch.images for batch in batches[split]])
        (channel,) = summary[split]["channels"]
        assert summary[split]["examples"] == sum(sizes)
        assert channel["histogram"] == np.bincount(images.ravel(), minlength=256).tolist()
        assert channel["mean"] == pytest.approx(images.mean(), rel=1e-12)
        for file, size in summary[split]["bytes_by_shard"].items():
            assert size == (directory / file).stat().st_size > IMAGE_BYTES


def test_every_split_has_a_contact_sheet(prepared):
    directory, _ = prepared
    for split in SPLITS:
        with Image.open(directory / f"contact_sheet-{split}.png") as sheet:
            assert sheet.width > 100


def test_tfds_reads_the_directory(prepared):
    directory, batches = prepared
    builder = tfds.builder_from_directory(directory)
    assert builder.info.features["label"].names == ["A", "B", "C"]
    for split, parts in batches.items():
        rows = builder.as_dataset(split=split).as_numpy_iterator()
        # TFDS interleaves the shards.
        images = {row["id"].decode(): row["image"] for row in rows}
        assert images.keys() == {example_id for batch in parts for example_id in batch.ids}
        for batch in parts:
            for example_id, image in zip(batch.ids, batch.images, strict=True):
                np.testing.assert_array_equal(images[example_id], image)


def test_a_contact_sheet_has_examples_of_every_class_from_all_shards(tmp_path):
    for name, label in (("one", 0), ("two", 1)):
        images = np.full((5, *SHAPE), label, np.uint8)
        labels = np.full(5, label, np.int64)
        batch = ExampleBatch([f"{name}-{n}" for n in range(5)], images, labels)
        (tmp_path / name).write_bytes(codec.encode(batch))
    paths = [tmp_path / "one", tmp_path / "two"]
    chosen = sidecars._sheet_examples(paths, SHAPE, num_classes=2)
    assert set(chosen.labels.tolist()) == {0, 1}


def test_reading_for_a_contact_sheet_ends_at_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(sidecars, "_MAX_SHEET_BYTES", 1)
    batch = ExampleBatch(["a"], np.zeros((1, *SHAPE), np.uint8), np.zeros(1, np.int64))
    (tmp_path / "one").write_bytes(codec.encode(batch))
    paths = [tmp_path / "one", tmp_path / "not read"]
    assert sidecars._sheet_examples(paths, SHAPE, num_classes=2).ids == ["a"]
