import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.model.distributions import Normal, standard_normal_like
from components.model.ladder import Ladder, LadderDecoder, ladder_encoder
from components.model.networks.network import NetworkSettings

# Two resolutions, of 5 x 4 and 3 x 2 positions, for images whose sides they do not divide.
SETTINGS = NetworkSettings(
    (9, 7, 1), latents=2, widths=(4, 6, 8), outputs=1, activation="silu", features=3
)
IMAGES = tf.random.stateless_uniform((3, 9, 7, 1), seed=(0, 0))
SIZES = {2: [3 * 2 * 2, 6 * 4 * 2], 3: [3 * 2 * 2, 6 * 4 * 2, 6 * 4 * 2]}


def parts(levels: int) -> tuple[keras.Model, LadderDecoder]:
    keras.utils.set_random_seed(0)
    return ladder_encoder(SETTINGS), LadderDecoder(SETTINGS, levels=levels)


def trained(levels: int) -> Ladder:
    """A ladder whose weights are random, also those that are zero at first."""
    encoder, decoder = parts(levels)
    rng = np.random.default_rng(1)
    for weight in (*encoder.weights, *decoder.weights):
        weight.assign(weight + rng.normal(size=weight.shape, scale=0.1))
    return Ladder(encoder, decoder)


def normal(*shape: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed=(0, 1))


@pytest.mark.parametrize("levels", SIZES)
def test_the_latents_of_all_levels_are_one_vector(levels):
    ladder = trained(levels)
    assert ladder.latents == sum(SIZES[levels])
    inference = ladder.infer(IMAGES, normal(3, ladder.latents))
    assert inference.z.shape == inference.closed_form_rates.shape == (3, ladder.latents)
    assert inference.log_posterior.shape == inference.log_prior.shape == (3, levels)
    assert inference.features.shape == (3, 9, 7, 1)


@pytest.mark.parametrize("levels", SIZES)
def test_at_first_no_level_has_a_rate_and_the_prior_is_standard_normal(levels):
    ladder = Ladder(*parts(levels))
    noise = normal(3, ladder.latents)
    inference = ladder.infer(IMAGES, noise)
    np.testing.assert_allclose(inference.closed_form_rates, np.zeros_like(noise), atol=1e-6)
    np.testing.assert_allclose(inference.z, noise, atol=1e-6)
    by_level = tf.split(noise, SIZES[levels], axis=-1)
    expected = [standard_normal_like(z).log_prob(z) for z in by_level]
    np.testing.assert_allclose(inference.log_prior, np.stack(expected, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("levels", SIZES)
def test_a_draw_decodes_to_its_own_features(levels):
    ladder = trained(levels)
    inference = ladder.infer(IMAGES, normal(3, ladder.latents))
    np.testing.assert_allclose(ladder.decode(inference.z), inference.features, atol=1e-5)


def test_the_posterior_is_that_of_a_draw_without_noise():
    ladder = trained(2)
    posterior = ladder.posterior(IMAGES)
    inference = ladder.infer(IMAGES, tf.zeros((3, ladder.latents)))
    np.testing.assert_allclose(posterior.mean, inference.z, atol=1e-6)
    halves = zip(
        tf.split(posterior.mean, SIZES[2], axis=-1),
        tf.split(posterior.log_variance, SIZES[2], axis=-1),
        strict=True,
    )
    log_probs = [Normal(mean, log_variance).log_prob(mean) for mean, log_variance in halves]
    np.testing.assert_allclose(inference.log_posterior, np.stack(log_probs, axis=-1), rtol=1e-5)


def test_the_mean_of_sampled_rates_of_the_last_level_is_its_closed_form():
    """Given the levels above, the rate of a level is a divergence of normal distributions."""
    ladder = trained(2)
    draws = 2000
    noise = tf.repeat(normal(1, ladder.latents), draws, axis=0).numpy()
    top = SIZES[2][0]
    noise[:, top:] = np.random.default_rng(0).normal(size=(draws, SIZES[2][1]))
    inference = ladder.infer(IMAGES[:1], tf.constant(noise), samples=draws)
    closed = inference.closed_form_rates[:, top:].numpy().sum(axis=-1)
    np.testing.assert_allclose(closed, closed[0], rtol=1e-4)
    sampled = inference.sampled_rates[:, 1].numpy()
    assert closed[0] > 0.1
    assert abs(sampled.mean() - closed[0]) < 4 * sampled.std() / np.sqrt(draws)


def test_the_draws_of_an_image_follow_each_other():
    ladder = trained(2)
    noise = normal(3 * 4, ladder.latents)
    together = ladder.infer(IMAGES, noise, samples=4)
    single = ladder.infer(IMAGES, noise[1::4])
    np.testing.assert_allclose(together.z[1::4], single.z, atol=1e-5)
    np.testing.assert_allclose(
        together.sampled_rates[1::4], single.sampled_rates, rtol=1e-3, atol=1e-3
    )


def test_a_level_below_sees_the_latents_above_it_and_no_level_those_below():
    ladder = trained(2)
    top = SIZES[2][0]
    noise = normal(1, ladder.latents)
    with tf.GradientTape() as tape:
        tape.watch(noise)
        z = ladder.sample_prior(noise)
    jacobian = np.abs(tape.jacobian(z, noise)[0, :, 0])
    np.testing.assert_array_equal(jacobian[:top, top:], np.zeros((top, SIZES[2][1])))
    np.testing.assert_array_equal(jacobian[:top, :top], np.eye(top))
    assert (jacobian[top:, :top].max(axis=0) > 0).all()


def test_a_sample_of_the_prior_has_the_density_of_the_prior():
    """Where the posterior is the prior, a draw from one is a draw from the other."""
    encoder, decoder = parts(2)
    rng = np.random.default_rng(1)
    for level in decoder.levels:
        if level.prior is not None:
            for weight in level.prior.weights:
                weight.assign(rng.normal(size=weight.shape, scale=0.3))
    ladder = Ladder(encoder, decoder)
    noise = normal(3, ladder.latents)
    inference = ladder.infer(IMAGES, noise)
    np.testing.assert_allclose(ladder.sample_prior(noise), inference.z, atol=1e-5)
    np.testing.assert_allclose(inference.sampled_rates, np.zeros((3, 2)), atol=1e-3)
    assert np.abs(inference.z - noise).max() > 0.1


def test_an_estimate_that_holds_the_posterior_constant_is_refused():
    ladder = Ladder(*parts(2))
    with pytest.raises(ValueError, match="cannot be held constant"):
        ladder.infer(IMAGES, normal(3, ladder.latents), stop_posterior=True)


def test_further_levels_than_resolutions_are_at_the_highest():
    _, decoder = parts(4)
    assert [(level.rows, level.columns) for level in decoder.levels] == [(3, 2)] + 3 * [(6, 4)]


def test_with_the_exact_posterior_every_draw_gives_the_log_likelihood_of_a_linear_model():
    """z_1 ~ N(0, 1), z_2 ~ N(a z_1 + b, s²), x ~ N(c z_2 + d, t²): q is p(z_1|x) p(z_2|z_1, x)."""
    a, b, c, d, s, t = 0.8, -0.3, 1.5, 0.2, 0.7, 0.4
    # x given z_1 has the variance v. By Bayes' rule, precisions add up.
    v = c**2 * s**2 + t**2
    precision_1 = 1 + (c * a) ** 2 / v
    precision_2 = 1 / s**2 + c**2 / t**2

    def parameters(mean: tf.Tensor, variance: float) -> tf.Tensor:
        return tf.concat([mean, tf.fill(tf.shape(mean), np.float32(np.log(variance)))], axis=-1)

    def posterior_1(maps: list[tf.Tensor]) -> tf.Tensor:
        _, x = maps
        return parameters(c * a / v * (x - c * b - d) / precision_1, 1 / precision_1)

    def prior_2(z_1: tf.Tensor) -> tf.Tensor:
        return parameters(a * z_1 + b, s**2)

    def posterior_2(maps: list[tf.Tensor]) -> tf.Tensor:
        # Relative to the prior.
        z_1, x = maps
        mean = ((a * z_1 + b) / s**2 + c * (x - d) / t**2) / precision_2
        return parameters(mean - (a * z_1 + b), 1 / precision_2 / s**2)

    def level(prior, posterior) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            block=tf.identity, prior=prior, posterior=posterior, merge=tf.identity,
            size=1, latent_shape=(1, 1, 1), resolution=0,
        )  # fmt: skip

    decoder = types.SimpleNamespace(
        levels=[level(None, posterior_1), level(prior_2, posterior_2)],
        start=lambda draws: tf.zeros([draws, 1, 1, 1]),
        features=tf.identity,
    )
    ladder = Ladder(lambda x: [x], decoder)
    x = tf.reshape(tf.linspace(-2.0, 3.0, 6), [6, 1, 1, 1])
    inference = ladder.infer(x, normal(6 * 50, 2), samples=50)
    values = np.repeat(x.numpy().ravel().astype(np.float64), 50)
    residual = values - c * inference.z.numpy()[:, 1] - d
    log_likelihood = -0.5 * (residual**2 / t**2 + np.log(2 * np.pi * t**2))
    elbo = log_likelihood - inference.sampled_rates.numpy().sum(axis=-1)
    variance = c**2 * a**2 + v
    exact = -0.5 * ((values - c * b - d) ** 2 / variance + np.log(2 * np.pi * variance))
    np.testing.assert_allclose(elbo, exact, atol=1e-4)
    # The rates in closed form have the same mean.
    closed = tf.reduce_sum(inference.closed_form_rates, axis=-1).numpy().reshape(6, 50).mean(axis=1)
    sampled = inference.sampled_rates.numpy().sum(axis=-1).reshape(6, 50).mean(axis=1)
    np.testing.assert_allclose(closed, sampled, atol=0.5)
