import numpy as np
import pytest

from components.model import samplers
from components.model.embeddings import Embeddings
from components.model.samplers import AggregateSampler, NearSampler, PriorSampler
from components.model.vae import VAE

RNG = np.random.default_rng(0)


def built(**fields) -> VAE:
    return VAE(image_shape=(8, 8, 1), network="mlp", latents=3, widths=(4,), **fields)


def all_draws(sampler, count, seed=0) -> np.ndarray:
    return np.concatenate(list(samplers.draw_blocks(sampler, count, seed=seed)))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_the_temperature_scales_the_variance_of_the_prior(temperature):
    draws = all_draws(PriorSampler(built(), temperature), 20_000)
    assert draws.dtype == np.float32
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(draws, rowvar=False), temperature**2 * np.eye(3), atol=0.03)


def test_a_flow_maps_the_scaled_noise():
    vae = built(prior="real_nvp")
    weights = [RNG.normal(0, 0.1, weight.shape) for weight in vae.prior.get_weights()]
    vae.prior.set_weights(weights)
    u, _ = vae.prior.forward(all_draws(PriorSampler(vae, 0.5), 5000))
    np.testing.assert_allclose(np.cov(u, rowvar=False), np.eye(3) / 4, atol=0.02)


def test_a_hierarchy_is_sampled():
    vae = VAE(image_shape=(8, 8, 1), network="residual", widths=(4, 4, 8), latents=2, levels=2)
    assert all_draws(PriorSampler(vae), 5).shape == (5, vae.latents)


def test_the_aggregate_of_known_posteriors_is_sampled():
    """Posteriors around two centers: the aggregate is a mixture of two normal distributions."""
    centers = np.array([[-3.0, 0.0], [3.0, 1.0]], np.float32)
    means = centers[RNG.integers(0, 2, 4000)] + RNG.normal(0, 0.4, (4000, 2)).astype(np.float32)
    log_variances = np.full((4000, 2), np.log(0.09), np.float32)
    posteriors = Embeddings([], np.zeros(4000, np.int64), means, log_variances)
    draws = all_draws(AggregateSampler.fit(posteriors, components=2), 20_000)
    is_right = draws[:, 0] > 0
    assert is_right.mean() == pytest.approx(0.5, abs=0.03)
    for part, center in zip((draws[~is_right], draws[is_right]), centers, strict=True):
        np.testing.assert_allclose(part.mean(axis=0), center, atol=0.05)
        np.testing.assert_allclose(np.cov(part, rowvar=False), 0.25 * np.eye(2), atol=0.03)
    cold = all_draws(AggregateSampler.fit(posteriors, components=2, temperature=0.0), 100)
    assert len(np.unique(cold, axis=0)) == 2


def test_there_are_no_more_components_than_posteriors():
    few = Embeddings([], np.zeros(3, np.int64), RNG.normal(size=(3, 2)), np.zeros((3, 2)))
    assert len(AggregateSampler.fit(few, components=20).density.weights) == 3


def test_variations_have_the_posterior_scaled_by_the_radius():
    mean, deviation = np.array([1, -2], np.float32), np.array([0.1, 1], np.float32)
    draws = all_draws(NearSampler(mean, deviation, 2.0), 20_000)
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(draws.std(axis=0), [0.2, 2.0], rtol=0.03)
    np.testing.assert_array_equal(
        all_draws(NearSampler(mean, deviation, 0.0), 3), np.stack([mean] * 3)
    )


def test_fewer_draws_are_the_first_ones_and_seeds_differ():
    sampler = PriorSampler(built())
    many = all_draws(sampler, 2 * samplers.BLOCK_ROWS + 7)
    for count in (1, samplers.BLOCK_ROWS, samplers.BLOCK_ROWS + 1):
        np.testing.assert_array_equal(all_draws(sampler, count), many[:count])
    assert not np.isin(all_draws(sampler, 10, seed=1), many).any()
    assert len(np.unique(many)) == many.size


def test_blocks_are_the_rows_in_order():
    rows = np.arange(2 * samplers.BLOCK_ROWS + 1)[:, np.newaxis]
    parts = list(samplers.blocks(rows))
    assert max(map(len, parts)) == samplers.BLOCK_ROWS
    np.testing.assert_array_equal(np.concatenate(parts), rows)
