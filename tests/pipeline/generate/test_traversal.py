import numpy as np
import pytest

from components.base.errors import WorkError
from components.model.embeddings import Embeddings
from pipeline.generate.traversal import rates_by_latent, traverse

RNG = np.random.default_rng(0)


def posteriors(standard_deviations, count=20_000) -> Embeddings:
    """Posteriors whose aggregate is N(1, I), with some standard deviations."""
    deviations = np.array(standard_deviations)
    means = 1 + RNG.normal(size=(count, len(deviations))) * np.sqrt(1 - deviations**2)
    log_variances = np.broadcast_to(2 * np.log(deviations), means.shape)
    return Embeddings(
        [], np.zeros(count, np.int64), means.astype(np.float32), log_variances.astype(np.float32)
    )


def test_the_rate_is_the_information_of_a_linear_gaussian_model():
    """With z ~ N(1, 1) in all and the standard deviation s given x, it is -log s nats."""
    deviations = [0.5, 1.0, 0.01]
    rates = rates_by_latent(posteriors(deviations))
    np.testing.assert_allclose(rates, -np.log(deviations), atol=0.02)


def test_rows_are_ordered_by_rate_and_vary_one_latent_around_the_mean():
    found = traverse(posteriors([0.5, 1.0, 0.01, 0.9]), rows=10, steps=5, radius=2.0)
    assert found.dimensions == [2, 0, 3]
    assert found.names[0] == f"latent 3: {found.rates[0]:.2f} nats"
    assert found.latents.shape == (3, 5, 4)
    for row, dimension in zip(found.latents, found.dimensions, strict=True):
        np.testing.assert_allclose(row[:, dimension], [-1, 0, 1, 2, 3], atol=0.05)
        np.testing.assert_allclose(np.delete(row, dimension, axis=1), 1, atol=0.05)
    assert traverse(posteriors([0.5, 0.1]), rows=1, steps=2, radius=1.0).dimensions == [1]


def test_a_model_without_active_latents_has_nothing_to_traverse():
    with pytest.raises(WorkError, match=r"no latent of the model tells more than 0\.01 nats"):
        traverse(posteriors([1.0, 1.0]), rows=2, steps=3, radius=1.0)
