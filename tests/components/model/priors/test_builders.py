import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.architecture import Architecture
from components.model.distributions import Normal
from components.model.priors import builders
from components.model.priors.flow import RealNVP
from components.model.priors.mixture import MixtureOfGaussians
from components.model.priors.standard_normal import StandardNormal
from components.model.priors.vamp import VampPrior
from components.model.registry import PRIORS

ARCHITECTURE = Architecture((2, 3, 1), "mlp", 4, (8,), prior_components=5)
ENCODER_KERNEL = tf.constant(np.random.default_rng(0).normal(size=(6, 4)), tf.float32)


def posterior(images: tf.Tensor) -> Normal:
    mean = tf.reshape(images, [-1, 6]) @ ENCODER_KERNEL
    return Normal(mean, tf.zeros_like(mean))


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_has_the_latents_of_the_architecture_and_a_fixed_name(name):
    """Keras saves weights by the names of layers."""
    keras.utils.set_random_seed(0)
    prior = PRIORS[name](ARCHITECTURE, posterior)
    assert (prior.latents, prior.name) == (4, "prior")
    z = prior.sample(tf.zeros((2, prior.noise_size)))
    assert z.shape == (2, 4)
    assert np.isfinite(prior.log_prob(z)).all()


def test_the_names_are_those_of_the_classes():
    expected = {
        "standard_normal": StandardNormal,
        "real_nvp": RealNVP,
        "mixture": MixtureOfGaussians,
        "vamp": VampPrior,
    }
    assert {name: type(PRIORS[name](ARCHITECTURE, posterior)) for name in PRIORS} == expected


def test_the_flow_has_four_couplings():
    assert len(builders.real_nvp(ARCHITECTURE, posterior).conditioners) == 4


def test_mixtures_have_the_components_of_the_architecture():
    for build in (builders.mixture, builders.vamp):
        log_weights, components = build(ARCHITECTURE, posterior).mixture()
        assert log_weights.shape == (5,)
        assert components.mean.shape == components.log_variance.shape == (5, 4)


def test_vamp_encodes_its_images_by_the_models_posterior():
    prior = builders.vamp(ARCHITECTURE, posterior)
    assert prior.pseudo_inputs().shape == (5, 2, 3, 1)
    _, components = prior.mixture()
    np.testing.assert_array_equal(components.mean, posterior(prior.pseudo_inputs()).mean)
