import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Normal
from components.model.inference import OneLevel, bounded_normal
from components.model.priors.flow import RealNVP
from components.model.priors.prior import Prior
from components.model.priors.standard_normal import StandardNormal

RNG = np.random.default_rng(0)
LATENTS = 3


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RNG.normal(size=shape), tf.float32)


PARAMETERS = normal(4, 2 * LATENTS)
IMAGES = tf.zeros((4, 2, 2, 1))


def model(prior: Prior | None = None, parameters: tf.Tensor = PARAMETERS) -> OneLevel:
    """A model with given parameters of the posterior, whose features are twice the latents."""
    return OneLevel(lambda images: parameters, prior or StandardNormal(LATENTS), lambda z: 2 * z)


def test_a_draw_is_that_of_the_posterior():
    noise = normal(4, LATENTS)
    inference = model().infer(IMAGES, noise)
    posterior = model().posterior(IMAGES)
    z = posterior.sample(noise)
    np.testing.assert_array_equal(inference.z, z)
    np.testing.assert_array_equal(inference.features, 2 * z)
    np.testing.assert_array_equal(inference.log_posterior, posterior.log_prob(z)[:, np.newaxis])
    log_prior = StandardNormal(LATENTS).log_prob(z)
    np.testing.assert_array_equal(inference.log_prior, log_prior[:, np.newaxis])
    expected = posterior.log_prob(z) - log_prior
    np.testing.assert_allclose(inference.sampled_rates[:, 0], expected, rtol=1e-6)
    rates = StandardNormal(LATENTS).kl_by_dimension(posterior)
    np.testing.assert_array_equal(inference.closed_form_rates, rates)


def test_the_draws_of_an_image_follow_each_other():
    noise = normal(4 * 5, LATENTS)
    together = model().infer(IMAGES, noise, samples=5)
    assert together.z.shape == (20, LATENTS)
    assert together.log_posterior.shape == together.log_prior.shape == (20, 1)
    for sample in range(5):
        single = model().infer(IMAGES, noise[sample::5])
        np.testing.assert_allclose(together.z[sample::5], single.z, rtol=1e-6)
        rates = together.sampled_rates[sample::5]
        np.testing.assert_allclose(rates, single.sampled_rates, rtol=1e-5, atol=1e-5)


def test_the_mean_of_sampled_rates_is_the_closed_form():
    inference = model().infer(IMAGES, normal(4 * 5000, LATENTS), samples=5000)
    sampled = inference.sampled_rates.numpy().reshape(4, 5000)
    closed = tf.reduce_sum(inference.closed_form_rates, axis=-1).numpy()[::5000]
    standard_error = sampled.std(axis=1) / np.sqrt(5000)
    assert (np.abs(sampled.mean(axis=1) - closed) < 4 * standard_error).all()


@pytest.mark.parametrize(
    ("prior", "is_closed"),
    [
        (StandardNormal(LATENTS), True),
        (RealNVP(LATENTS, widths=(4,)), False),
    ],
    ids=["standard_normal", "real_nvp"],
)
def test_the_prior_determines_the_rates_and_how_it_is_sampled(prior, is_closed):
    with_prior = model(prior)
    inference = with_prior.infer(IMAGES, normal(4, LATENTS))
    assert with_prior.has_closed_form_rates == is_closed
    assert (inference.closed_form_rates is not None) == is_closed
    np.testing.assert_array_equal(inference.log_prior[:, 0], prior.log_prob(inference.z))
    assert with_prior.latents == LATENTS
    noise = normal(7, LATENTS)
    np.testing.assert_array_equal(with_prior.sample_prior(noise), prior.sample(noise))


def test_a_stopped_posterior_keeps_the_gradient_through_z_alone():
    """∂/∂m log N(m + s e; m, s²) is 0 in all, and -e / s through z."""
    mean, log_variance = tf.split(PARAMETERS, 2, axis=-1)
    noise = normal(4, LATENTS)
    gradients = []
    for stop_posterior in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(mean)
            stopped = model(parameters=tf.concat([mean, log_variance], axis=-1))
            inference = stopped.infer(IMAGES, noise, stop_posterior=stop_posterior)
        gradients.append(tape.gradient(inference.log_posterior, mean))
    np.testing.assert_allclose(gradients[0], np.zeros((4, LATENTS)), atol=1e-5)
    np.testing.assert_allclose(gradients[1], -noise * tf.exp(-0.5 * log_variance), rtol=1e-4)


def test_an_encoder_gives_the_means_and_then_the_log_variances():
    encoder = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
    images = tf.reshape(tf.range(8, dtype=tf.float32), (2, 2, 2, 1))
    posterior = OneLevel(encoder, StandardNormal(2), tf.identity).posterior(images)
    assert isinstance(posterior, Normal)
    np.testing.assert_array_equal(posterior.mean, [[0, 1], [4, 5]])
    np.testing.assert_array_equal(posterior.log_variance, [[2, 3], [6, 7]])


def test_log_variances_are_bounded_so_that_variances_are_finite():
    posterior = bounded_normal(tf.constant([[1e9, 0.0, 1e9, -1e9]]))
    np.testing.assert_array_equal(posterior.mean, [[1e9, 0]])
    np.testing.assert_array_equal(posterior.log_variance, [[20, -20]])
    assert np.isfinite(tf.exp(posterior.log_variance)).all()


def test_a_condition_follows_the_latents_into_the_decoder_for_every_draw():
    given = OneLevel(lambda images: PARAMETERS, StandardNormal(LATENTS), lambda inputs: inputs)
    condition = normal(4, 2)
    for samples in (1, 3):
        noise = normal(4 * samples, LATENTS)
        inference = given.infer(IMAGES, noise, condition=condition, samples=samples)
        repeated = np.repeat(condition, samples, axis=0)
        expected = np.concatenate([inference.z, repeated], axis=-1)
        np.testing.assert_array_equal(inference.features, expected)
        np.testing.assert_array_equal(given.decode(inference.z, repeated), expected)
        # Neither the posterior nor the prior sees it.
        without = given.infer(IMAGES, noise, samples=samples)
        np.testing.assert_array_equal(inference.z, without.z)
        np.testing.assert_array_equal(inference.sampled_rates, without.sampled_rates)
