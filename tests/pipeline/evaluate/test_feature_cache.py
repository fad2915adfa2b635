import json
import os

import numpy as np
import pytest

from components.data.prepared_dataset import PreparedDataset
from components.metrics.feature_classifier import ClassifierSettings
from pipeline.evaluate.feature_cache import ScoredClassifier, classifier_of
from pipeline.prepare.stage import prepare
from tests.conftest import tiny_prepare_config

SETTINGS = ClassifierSettings(features=8, steps=40, batch_size=50)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vae_pipeline" / "features"


def weights(found: ScoredClassifier | None) -> bytes:
    assert found is not None
    return found.classifier.to_bytes()


def test_it_is_trained_once_for_a_dataset(cache, example_set, capsys):
    first = classifier_of(example_set, SETTINGS)
    training = f"training a classifier on {example_set.num_examples('train')} examples"
    assert training in capsys.readouterr().err
    again = classifier_of(example_set, SETTINGS)
    assert weights(again) == weights(first)
    assert again.score == first.score
    assert capsys.readouterr().err == ""


def test_other_settings_are_another_classifier(cache, example_set):
    classifier_of(example_set, SETTINGS)
    other = ClassifierSettings(features=4, steps=2, batch_size=50)
    found = classifier_of(example_set, other)
    assert found.classifier.features(example_set.head("test", 3).images).shape == (3, 4)
    assert len(list(cache.iterdir())) == 2


def test_the_accuracy_is_that_on_the_test_split(cache, example_set):
    found = classifier_of(example_set, SETTINGS)
    test = example_set.read("test")
    expected = (found.classifier.predict(test.images) == test.labels).mean()
    assert found.score.accuracy == expected > 0.2
    assert (found.score.split, found.score.examples) == ("test", len(test))
    (directory,) = cache.iterdir()
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["stage"] == "features"
    assert manifest["counts"]["accuracy"] == expected
    assert manifest["inputs"]["examples"]["fingerprint"] == example_set.artifact.fingerprint


@pytest.mark.parametrize("name", ["weights.bin", "manifest.json"])
def test_a_damaged_classifier_is_trained_again(cache, example_set, name, capsys):
    first = classifier_of(example_set, SETTINGS)
    (directory,) = cache.iterdir()
    data = bytearray((directory / name).read_bytes())
    data[len(data) // 2] ^= 1
    (directory / name).write_bytes(data)
    capsys.readouterr()
    assert weights(classifier_of(example_set, SETTINGS)) == weights(first)
    lines = capsys.readouterr().err.splitlines()
    assert "the classifier in the cache is not used" in lines[0]
    assert "training a classifier" in lines[1]


def test_damaged_weights_are_replaced(cache, example_set, capsys):
    first = classifier_of(example_set, SETTINGS)
    (directory,) = cache.iterdir()
    (directory / "weights.bin").write_bytes(b"short")
    classifier_of(example_set, SETTINGS)
    capsys.readouterr()
    assert weights(classifier_of(example_set, SETTINGS)) == weights(first)
    assert capsys.readouterr().err == ""


def test_without_a_cache_every_evaluation_trains(cache, example_set, capsys):
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file is in the way")
    first, again = (classifier_of(example_set, SETTINGS) for _ in range(2))
    assert weights(again) == weights(first)
    assert capsys.readouterr().err.count("not kept for the next evaluation") == 2


def test_without_labels_there_is_no_classifier(cache, tmp_path):
    """Images in one folder have no labels."""
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    prepare(tiny_prepare_config(dataset=os.fspath(images)), output=tmp_path / "examples")
    assert classifier_of(PreparedDataset.open(tmp_path / "examples"), SETTINGS) is None
    assert not cache.exists()


def test_without_another_split_the_last_tenth_of_train_is_held_out(cache, example_set, monkeypatch):
    monkeypatch.setattr(PreparedDataset, "splits", ["train"])
    found = classifier_of(example_set, SETTINGS)
    expected = example_set.num_examples("train") // 10
    assert (found.score.split, found.score.examples) == ("train", expected)
