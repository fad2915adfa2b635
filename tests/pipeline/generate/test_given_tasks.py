import numpy as np
import pytest

from components.base.errors import ConfigError
from components.model.encode import encode
from pipeline.generate.given_image import GivenImage
from pipeline.generate.given_tasks import InterpolationTask, TraversalTask, VariationTask
from tests.pipeline.generate.opened_tasks import context, opened


def test_variations_have_the_label_of_the_example(conditional_dir, example_set):
    examples = example_set.read("test")
    task = VariationTask(
        context(conditional_dir, count=2, radius=0.0), GivenImage("--near", examples.ids[3])
    )
    latents, labels, model = opened(task, conditional_dir)
    means, _ = encode(model, examples.images[3:4])
    np.testing.assert_allclose(latents, np.repeat(means, 2, axis=0), atol=1e-6)
    np.testing.assert_array_equal(labels, examples.labels[[3, 3]])


def test_a_way_leads_from_one_embedding_to_the_other(model_dir, example_set):
    examples = example_set.read("test")
    ends = tuple(GivenImage("--interpolate", id) for id in examples.ids[:2])
    latents, _, model = opened(InterpolationTask(context(model_dir, steps=7), ends), model_dir)
    means, _ = encode(model, examples.images[:2])
    np.testing.assert_allclose(latents[[0, -1]], means, atol=1e-5)


def test_a_traversal_of_a_conditional_model_needs_a_class(conditional_dir):
    with pytest.raises(ConfigError, match="is conditioned on classes; choose one with --class"):
        TraversalTask(context(conditional_dir)).load()
    latents, labels, _ = opened(
        TraversalTask(context(conditional_dir, label=2, steps=3)), conditional_dir
    )
    np.testing.assert_array_equal(labels, [2] * len(latents))
