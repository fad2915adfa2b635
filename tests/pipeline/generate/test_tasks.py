import numpy as np
import pytest

from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from components.model import vae
from components.model.encode import encode
from components.model.registry import MODEL_FILE
from pipeline.generate.config import GenerateConfig
from pipeline.generate.given_image import GivenImage
from pipeline.generate.tasks import (
    InterpolationTask,
    SampleTask,
    Subjects,
    TraversalTask,
    VariationTask,
)
from pipeline.generate.training_set import TrainingSet


def subjects(directory, label=None, **fields) -> Subjects:
    model = load_artifact(directory, stage="train")
    return Subjects(GenerateConfig(**fields), model, TrainingSet.of(model, ""), label)


def opened(task):
    """The latents of all images, their labels, and the model."""
    task.load()
    model = vae.load(task_model(task)).in_float32()
    images = task.open(model)
    latents = np.concatenate(list(images.latents))
    assert len(latents) == images.count
    return latents, images.labels, model


def task_model(task):
    found = task._subjects if isinstance(task, SampleTask) else task.subjects
    return found.model.path / MODEL_FILE


def test_the_default_sampler_is_the_aggregate_if_it_can_be_fitted(model_dir, moved_model):
    found = SampleTask(subjects(model_dir))
    assert found.config == {"sampler": "aggregate"}
    assert set(found.inputs) == {"training_examples"}
    lost = SampleTask(subjects(moved_model))
    assert (lost.config, lost.inputs) == ({"sampler": "prior"}, {})
    with pytest.raises(ConfigError, match="the sampler aggregate needs the examples"):
        SampleTask(subjects(moved_model, sampler="aggregate"))


def test_samples_of_the_aggregate_have_the_moments_of_the_embeddings(model_dir, example_set):
    latents, labels, model = opened(SampleTask(subjects(model_dir, count=5000)))
    assert labels is None
    means, log_variances = encode(model, example_set.images("train"))
    variances = means.var(axis=0) + np.exp(log_variances).mean(axis=0)
    np.testing.assert_allclose(latents.mean(axis=0), means.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(latents.var(axis=0), variances, rtol=0.1)


def test_the_classes_take_turns_unless_one_is_chosen(conditional_dir):
    _, labels, _ = opened(SampleTask(subjects(conditional_dir, count=23, sampler="prior")))
    np.testing.assert_array_equal(labels, np.arange(23) % 10)
    chosen = SampleTask(subjects(conditional_dir, label=4, count=5))
    assert chosen.config == {"sampler": "aggregate", "label": 4}
    np.testing.assert_array_equal(opened(chosen)[1], [4] * 5)


def test_variations_have_the_label_of_the_example(conditional_dir, example_set):
    examples = example_set.read("test")
    task = VariationTask(
        subjects(conditional_dir, count=2, radius=0.0), GivenImage("--near", examples.ids[3])
    )
    latents, labels, model = opened(task)
    means, _ = encode(model, examples.images[3:4])
    np.testing.assert_allclose(latents, np.repeat(means, 2, axis=0), atol=1e-6)
    np.testing.assert_array_equal(labels, examples.labels[[3, 3]])


def test_a_way_leads_from_one_embedding_to_the_other(model_dir, example_set):
    examples = example_set.read("test")
    ends = tuple(GivenImage("--interpolate", id) for id in examples.ids[:2])
    latents, _, model = opened(InterpolationTask(subjects(model_dir, steps=7), ends))
    means, _ = encode(model, examples.images[:2])
    np.testing.assert_allclose(latents[[0, -1]], means, atol=1e-5)


def test_a_traversal_of_a_conditional_model_needs_a_class(conditional_dir):
    with pytest.raises(ConfigError, match="is conditioned on classes; choose one with --class"):
        TraversalTask(subjects(conditional_dir)).load()
    latents, labels, _ = opened(TraversalTask(subjects(conditional_dir, label=2, steps=3)))
    np.testing.assert_array_equal(labels, [2] * len(latents))
