import numpy as np

from components.data import array_dataset
from components.data.examples import hash_ids
from components.data.prepared_dataset import PreparedDataset


def splits_of(counts: dict[str, int]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        split: (rng.integers(0, 256, (count, 4, 3, 3), np.uint8), rng.integers(0, 5, count))
        for split, count in counts.items()
    }


def test_a_written_dataset_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(array_dataset, "_BLOCK_BYTES", 100)  # Two images.
    splits = splits_of({"train": 25, "validation": 4})
    written = array_dataset.write(tmp_path / "examples", splits, num_classes=6)
    dataset = PreparedDataset.open(tmp_path / "examples")
    dataset.artifact.check_content()
    assert dataset.artifact.fingerprint == written.artifact.fingerprint
    assert (dataset.name, dataset.image_shape) == ("arrays", (4, 3, 3))
    assert dataset.class_names == ["0", "1", "2", "3", "4", "5"]
    assert dataset.splits == ["train", "validation"]
    for split, (images, labels) in splits.items():
        examples = dataset.read(split)
        assert sorted(examples.ids) == [f"{split}-{row:08d}" for row in range(len(images))]
        rows = [int(example_id[-8:]) for example_id in examples.ids]
        np.testing.assert_array_equal(examples.images, images[rows])
        np.testing.assert_array_equal(examples.labels, labels[rows])
        assert np.bincount(labels, minlength=6).tolist() == dataset.counts.examples_by_label[split]


def test_the_examples_are_in_the_order_of_a_hash(tmp_path):
    array_dataset.write(tmp_path / "examples", splits_of({"train": 50}), num_classes=5)
    ids = PreparedDataset.open(tmp_path / "examples").read("train").ids
    assert ids != sorted(ids)
    hashes = hash_ids(ids)
    assert (hashes[:-1] <= hashes[1:]).all()


def test_equal_arrays_give_equal_datasets_and_others_do_not(tmp_path):
    splits = splits_of({"train": 10})
    first = array_dataset.write(tmp_path / "first", splits, num_classes=5)
    again = array_dataset.write(tmp_path / "again", splits, num_classes=5)
    assert again.artifact.fingerprint == first.artifact.fingerprint
    splits["train"][0][3, 2, 1, 0] ^= 1
    other = array_dataset.write(tmp_path / "other", splits, num_classes=5)
    assert other.artifact.fingerprint != first.artifact.fingerprint
