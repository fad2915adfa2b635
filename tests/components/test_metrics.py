import math

import keras
import numpy as np
import pytest

from components import metrics
from components.vae import VAE, to_unit


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,))


@pytest.fixture(scope="module")
def images():
    # One more than a whole number of the module's batches of 1,000.
    return np.random.default_rng(0).integers(0, 256, (2001, 4, 4, 1), np.uint8)


def test_the_mean_and_its_interval():
    mean = metrics.Mean.of(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean.value == 2.5
    # s = sqrt(5/3), over sqrt(4), times the 97.5 % quantile
    assert mean.half_width == pytest.approx(1.959964 * np.sqrt(5 / 3) / 2)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    means = [metrics.Mean.of(rng.normal(7, 2, 200)) for _ in range(2000)]
    covered = np.mean([abs(mean.value - 7) <= mean.half_width for mean in means])
    assert 0.935 < covered < 0.965


def test_every_example_is_scored_once_whatever_the_batch(model, images):
    elbo = metrics.elbo(model, images, seed=0)
    assert elbo.rate.shape == elbo.distortion.shape == (2001,)
    assert elbo.rates.shape == (2001, 2)
    assert elbo.rates.dtype == elbo.rate.dtype == elbo.distortion.dtype == np.float32
    posterior = model.posterior(to_unit(images))
    mean, log_variance = posterior.mean.numpy(), posterior.log_variance.numpy()
    rates = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance)
    np.testing.assert_allclose(elbo.rates, rates, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(elbo.rate, rates.sum(-1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(elbo.elbo, -(elbo.rate + elbo.distortion))


def test_the_rate_is_the_sum_of_the_rates_in_whatever_order():
    rng = np.random.default_rng(0)
    rates = (rng.random((50, 300)) * 10.0 ** rng.integers(-6, 3, (50, 300))).astype(np.float32)
    elbo = metrics.Elbo(rates, np.zeros(50, np.float32))
    exact = np.array([math.fsum(row) for row in rates.tolist()])
    np.testing.assert_array_equal(elbo.rate, exact.astype(np.float32))
    np.testing.assert_array_equal(metrics.Elbo(rates[:, ::-1], elbo.distortion).rate, elbo.rate)


def test_the_draws_are_a_function_of_the_seed(model, images):
    one, same, other = (
        metrics.elbo(model, images[:50], seed=seed).distortion for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_more_draws_average_the_distortion(model, images):
    singles = [metrics.elbo(model, images[:200], seed=s).distortion for s in range(40)]
    many = metrics.elbo(model, images[:200], seed=99, samples=40).distortion
    deviation = np.std(singles, axis=0) * np.sqrt(2 / 40)
    assert np.mean(np.abs(np.mean(singles, axis=0) - many) < 4 * deviation + 1e-4) > 0.99


def test_embeddings_are_the_posteriors_parameters(model, images):
    means, log_variances = metrics.embed(model, images)
    posterior = model.posterior(to_unit(images))
    np.testing.assert_allclose(means, posterior.mean, atol=1e-6)
    np.testing.assert_allclose(log_variances, posterior.log_variance, atol=1e-6)


def test_active_units_are_dimensions_whose_mean_varies():
    spread = np.sqrt([0.0, 0.0099, 0.0101, 4.0])
    # Half the examples on either side, so that the variance is the spread's square.
    means = np.outer([-1.0, 1.0, -1.0, 1.0], spread).astype(np.float32) + 100
    assert metrics.active_units(means) == 2
    assert metrics.active_units(means, threshold=0.005) == 3
    assert metrics.active_units(means, threshold=4.1) == 0
