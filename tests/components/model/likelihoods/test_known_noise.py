import math
from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from components.model.likelihoods.known_noise import KnownNoiseFamily

NORMAL = NormalDist()


def log_likelihoods(values, clean: float, scale: float) -> np.ndarray:
    """Of each value given a clean pixel."""
    values = np.float32(values).reshape(-1, 1, 1, 1)
    likelihood = KnownNoiseFamily(scale).distribution(np.full_like(values, clean - 0.5))
    np.testing.assert_allclose(
        likelihood.log_prob(values), likelihood.log_prob_by_pixel(values)[:, 0, 0]
    )
    return likelihood.log_prob(values).numpy().astype(np.float64)


@pytest.mark.parametrize("clean", [-0.1, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.05, 0.2, 1.0])
def test_the_probability_of_all_values_is_1(clean, scale):
    steps = 20_000
    middles = (np.arange(steps) + 0.5) / steps
    inside = np.exp(log_likelihoods(middles, clean, scale)).mean()
    ends = np.exp(log_likelihoods([0, 1], clean, scale))
    np.testing.assert_allclose(
        ends, [NORMAL.cdf(-clean / scale), NORMAL.cdf((clean - 1) / scale)], rtol=1e-4, atol=1e-12
    )
    assert inside + ends.sum() == pytest.approx(1, abs=1e-4)


def test_the_density_between_the_ends_is_normal():
    expected = math.log(NormalDist(0.3, 0.2).pdf(0.45))
    assert log_likelihoods([0.45], 0.3, 0.2)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("standard", [-1.0, -5.0, -9.9, -10.1, -40.0])
def test_the_probability_of_an_end_is_exact_however_small(standard):
    # log Φ(t) = log(erfc(-t / √2) / 2), by its continued fraction where that underflows.
    t = -standard
    fraction = t
    for index in range(200, 0, -1):
        fraction = t + index / fraction
    expected = -(t**2) / 2 - 0.5 * math.log(2 * math.pi) - math.log(fraction)
    (found,) = log_likelihoods([0.0], clean=-standard * 0.1, scale=0.1)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("clean", [0.0, 0.1, 0.5, 0.95])
def test_the_clean_value_is_the_most_likely_one(clean):
    """Also where clipping has taken away the noise on one side."""
    rng = np.random.default_rng(0)
    noisy = np.clip(clean + 0.2 * rng.standard_normal((1, 100, 400, 1)), 0, 1).astype(np.float32)
    candidates = np.linspace(-0.2, 1.2, 281)
    family = KnownNoiseFamily(0.2)
    scores = [
        family.distribution(noisy * 0 + np.float32(c - 0.5)).log_prob(noisy)[0].numpy()
        for c in candidates
    ]
    assert candidates[np.argmax(scores)] == pytest.approx(clean, abs=0.0101)


def test_the_gradient_is_finite_everywhere():
    outputs = tf.constant(np.float32([-100, -3, -0.5, 0, 0.5, 3, 100])[:, None, None, None])
    for value in (0.0, 0.5, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            score = KnownNoiseFamily(0.05).distribution(outputs).log_prob(outputs * 0 + value)
        assert np.isfinite(tape.gradient(score, outputs)).all()


def test_the_mean_is_the_clean_image_in_the_range_of_intensities():
    outputs = np.float32([-0.7, 0.1, 0.8])[:, None, None, None]
    mean = KnownNoiseFamily(0.3).distribution(outputs).mean()
    np.testing.assert_allclose(np.ravel(mean), [0, 0.6, 1])
