import dataclasses

import numpy as np
import pytest
from etils import epath

from components.base.errors import ConfigError
from components.model.encode import encode
from components.model.registry import MODEL_FILE
from components.model.vae import VAE
from pipeline.generate.config import GenerateConfig
from pipeline.generate.sample_task import SampleTask
from pipeline.generate.task import GenerationContext
from tests.pipeline.generate.opened_tasks import context, opened


def test_the_default_sampler_is_the_aggregate_if_it_can_be_fitted(model_dir, moved_model):
    found = SampleTask(context(model_dir))
    assert found.config == {"sampler": "aggregate"}
    assert set(found.inputs) == {"training_examples"}
    lost = SampleTask(context(moved_model))
    assert (lost.config, lost.inputs) == ({"sampler": "prior"}, {})
    with pytest.raises(ConfigError, match="the sampler aggregate needs the examples"):
        SampleTask(context(moved_model, sampler="aggregate"))


def with_model(given: GenerationContext, directory, **architecture) -> GenerationContext:
    """What images are generated with, by a new model in place of the published one."""
    VAE(image_shape=(28, 28, 1), latents=2, **architecture).save(directory / MODEL_FILE)
    model = dataclasses.replace(given.model, path=epath.Path(directory))
    return dataclasses.replace(given, model=model)


def test_a_hierarchy_is_sampled_from_its_prior(model_dir, tmp_path):
    settings = {"network": "residual", "widths": (4, 4, 8), "levels": 2}
    hierarchy = with_model(context(model_dir), tmp_path, **settings)
    assert SampleTask(hierarchy).sampler == "prior"
    asked = dataclasses.replace(hierarchy, config=GenerateConfig(sampler="aggregate"))
    with pytest.raises(ConfigError, match="has a hierarchy of latents, which are too many for"):
        SampleTask(asked)


def test_a_trained_prior_is_sampled_unless_the_aggregate_is_asked_for(model_dir, tmp_path):
    flow = with_model(context(model_dir), tmp_path, network="mlp", widths=(4,), prior="real_nvp")
    assert SampleTask(flow).sampler == "prior"
    asked = dataclasses.replace(flow, config=GenerateConfig(sampler="aggregate"))
    assert SampleTask(asked).sampler == "aggregate"


@pytest.mark.parametrize("sampler", ["prior", "auto"])
def test_components_of_a_mixture_are_refused_where_the_prior_is_sampled(moved_model, sampler):
    with pytest.raises(ConfigError, match="--components has no effect on the sampler prior; leave"):
        SampleTask(context(moved_model, sampler=sampler, components=5))


def test_samples_of_the_aggregate_have_the_moments_of_the_embeddings(model_dir, example_set):
    latents, labels, model = opened(SampleTask(context(model_dir, count=5000)), model_dir)
    assert labels is None
    means, log_variances = encode(model, example_set.images("train"))
    variances = means.var(axis=0) + np.exp(log_variances).mean(axis=0)
    np.testing.assert_allclose(latents.mean(axis=0), means.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(latents.var(axis=0), variances, rtol=0.1)


def test_the_classes_take_turns_unless_one_is_chosen(conditional_dir):
    _, labels, _ = opened(
        SampleTask(context(conditional_dir, count=23, sampler="prior")), conditional_dir
    )
    np.testing.assert_array_equal(labels, np.arange(23) % 10)
    chosen = SampleTask(context(conditional_dir, label=4, count=5))
    assert chosen.config == {"sampler": "aggregate", "label": 4}
    np.testing.assert_array_equal(opened(chosen, conditional_dir)[1], [4] * 5)
