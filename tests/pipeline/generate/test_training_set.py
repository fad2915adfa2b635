import numpy as np
import pytest

from components.base.errors import ConfigError, WorkError
from components.base.manifest import load_artifact
from components.model import vae
from components.model.encode import encode
from components.model.registry import MODEL_FILE
from pipeline.generate import training_set
from pipeline.generate.training_set import TrainingSet


def opened(directory, examples="") -> TrainingSet:
    return TrainingSet.of(load_artifact(directory, stage="train"), str(examples))


def test_the_posteriors_are_those_of_the_first_training_examples(
    model_dir, example_set, monkeypatch
):
    monkeypatch.setattr(training_set, "FIT_EXAMPLES", 50)
    model = vae.load(model_dir / MODEL_FILE).in_float32()
    found = opened(model_dir).posteriors(model, "a test")
    expected = example_set.head("train", 50)
    assert found.ids == expected.ids
    means, log_variances = encode(model, expected.images)
    np.testing.assert_array_equal(found.means, means)
    np.testing.assert_array_equal(found.log_variances, log_variances)
    of_class = opened(model_dir).posteriors(model, "a test", label=3)
    assert len(of_class.ids) == min(50, (example_set.read("train").labels == 3).sum())
    assert (of_class.labels == 3).all()
    with pytest.raises(WorkError, match="a test needs training examples of the class"):
        opened(model_dir).posteriors(model, "a test", label=99)


def test_an_example_of_any_split_is_found_by_its_id(model_dir, example_set):
    for split in example_set.splits:
        examples = example_set.read(split)
        found = opened(model_dir).find(examples.ids[-1])
        np.testing.assert_array_equal(found.pixels, examples.images[-1])
        assert found.label == examples.labels[-1]
    assert opened(model_dir).find("none") is None


def test_examples_that_moved_are_asked_for(moved_model, examples_dir):
    lost = opened(moved_model)
    assert lost.find("any") is None
    assert lost.class_names == []
    with pytest.raises(ConfigError, match=r"--traverse needs the examples that .* --training_ex"):
        lost.require("--traverse")
    assert opened(moved_model, examples_dir).require("a test").path == examples_dir


def test_a_class_has_a_name_and_a_number(model_dir, moved_model, example_set):
    names = example_set.class_names
    assert opened(model_dir).label_of(names[3], 10) == 3
    assert opened(model_dir).label_of("3", 10) == 3
    assert opened(moved_model).label_of("9", 10) == 9
    with pytest.raises(ConfigError, match=f"has no class '{names[0]}s'; nearest: {names[0]}"):
        opened(model_dir).label_of(names[0] + "s", 10)
    with pytest.raises(ConfigError, match="has no class '10'"):
        opened(moved_model).label_of("10", 10)
    with pytest.raises(ConfigError, match="not conditioned on classes"):
        opened(model_dir).label_of(names[0], 0)
