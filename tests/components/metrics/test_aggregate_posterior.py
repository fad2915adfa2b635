import math

import numpy as np
import pytest

from components.metrics import aggregate_posterior
from components.metrics.aggregate_posterior import (
    example_information,
    information_at,
)
from components.metrics.mean import Mean


def constant(value: float, shape: tuple[int, int]) -> np.ndarray:
    return np.full(shape, value, np.float32)


@pytest.mark.parametrize("groups", [1, 2, 4, 8, 64])
def test_of_separate_groups_the_information_is_the_logarithm_of_their_number(groups):
    """A discrete toy: z tells which of the groups an example is in, and nothing else."""
    means = (np.arange(64) % groups * 100.0)[:, np.newaxis].astype(np.float32)
    found = example_information(means, constant(0, (64, 1)), seed=0)
    np.testing.assert_allclose(found.values, math.log(groups), atol=1e-9)
    assert found.posteriors == len(found.values) == 64


def test_unequal_groups_have_the_entropy_of_their_sizes():
    means = np.repeat([0.0, 1e2, 3e2], [8, 24, 32])[:, np.newaxis]
    found = example_information(means, constant(-1, (64, 1)), seed=0)
    shares = np.array([8, 24, 32]) / 64
    assert found.values.mean() == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-9)


@pytest.mark.parametrize("slope", [0.3, 1.0, 3.0])
def test_of_a_linear_gaussian_encoder_both_parts_of_the_rate_have_closed_forms(slope):
    """x ~ N(0, I) and z ~ N(a x, s² I), so that q(z) = N(0, (a² + s²) I)."""
    variance, latents, count = 0.25, 2, 4000
    rng = np.random.default_rng(0)
    means = slope * rng.standard_normal((count, latents))
    found = example_information(means, constant(math.log(variance), means.shape), seed=0)
    information = Mean.of(found.values)
    expected = latents * 0.5 * math.log(1 + slope**2 / variance)
    assert information.value == pytest.approx(expected, abs=2 * information.half_width + 0.02)
    rate = 0.5 * (np.square(means) + variance - 1 - math.log(variance)).sum(axis=1).mean()
    total = slope**2 + variance
    marginal = latents * 0.5 * (total - 1 - math.log(total))
    assert rate - information.value == pytest.approx(marginal, abs=0.1)


def test_no_value_exceeds_the_logarithm_of_the_number_of_examples():
    rng = np.random.default_rng(0)
    means, log_variances = rng.normal(size=(50, 40)), rng.uniform(-20, 1, (50, 40))
    values = example_information(means, log_variances, seed=0).values
    assert values.max() <= math.log(50)
    np.testing.assert_allclose(values, math.log(50), atol=1e-5)


def by_hand(means, log_variances, rows, noise) -> np.ndarray:
    z = means[rows] + np.exp(log_variances[rows] / 2) * noise
    squares = np.square(z[:, np.newaxis] - means) * np.exp(-log_variances)
    terms = -0.5 * (squares + log_variances).sum(axis=2)
    own = terms[np.arange(len(rows)), rows]
    return own - np.log(np.exp(terms).mean(axis=1))


@pytest.mark.parametrize("block", [1, 7, 1 << 21])
def test_the_values_are_those_of_the_densities_whatever_the_blocks(monkeypatch, block):
    monkeypatch.setattr(aggregate_posterior, "_BLOCK_NUMBERS", block)
    rng = np.random.default_rng(0)
    means, log_variances = rng.normal(5, 1, (60, 3)), rng.uniform(-3, 1, (60, 3))
    rows, noise = rng.choice(60, 20, replace=False), rng.standard_normal((20, 3))
    values = information_at(means, log_variances, rows, noise)
    np.testing.assert_allclose(values, by_hand(means, log_variances, rows, noise), rtol=1e-9)
    order = rng.permutation(60)  # The position of each example in another order is `argsort`.
    others = information_at(means[order], log_variances[order], np.argsort(order)[rows], noise)
    np.testing.assert_allclose(others, values, rtol=1e-9)


def test_the_number_of_densities_is_bounded(monkeypatch):
    monkeypatch.setattr(aggregate_posterior, "_MAX_POSTERIORS", 40)
    monkeypatch.setattr(aggregate_posterior, "_MAX_DENSITIES", 400)
    rng = np.random.default_rng(0)
    found = example_information(rng.normal(size=(90, 2)), np.zeros((90, 2)), seed=0)
    assert found.posteriors == 40
    assert len(found.values) == 10


def test_the_draws_depend_only_on_the_seed():
    means = np.random.default_rng(0).normal(size=(30, 2))
    log_variances = np.zeros(means.shape)
    one, again, other = (
        example_information(means, log_variances, seed=seed).values for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()
