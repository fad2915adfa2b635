from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from components.model.noise import standard_normal


def noise(seed: int = 0, step: int = 0, shape=(1000, 100)) -> np.ndarray:
    return standard_normal(shape, seed=seed, step=tf.constant(step, tf.int64)).numpy()


def test_the_noise_is_standard_normal_and_independent():
    values = noise()
    for probability in (0.001, 0.05, 0.5, 0.8, 0.999):
        share = (values <= NormalDist().inv_cdf(probability)).mean()
        deviation = np.sqrt(probability * (1 - probability) / values.size)
        assert abs(share - probability) < 5 * deviation
    assert np.isfinite(values).all()
    # Neighbors along either axis are uncorrelated.
    assert abs(np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}])
def test_the_noise_depends_on_seed_and_step_alone(other):
    np.testing.assert_array_equal(noise(), noise())
    assert abs(np.corrcoef(noise().ravel(), noise(**other).ravel())[0, 1]) < 0.02


def test_the_noise_is_the_same_with_and_without_xla():
    compiled = tf.function(
        lambda step: standard_normal((50, 7), seed=3, step=step), jit_compile=True
    )
    np.testing.assert_allclose(
        compiled(tf.constant(5, tf.int64)), noise(3, 5, (50, 7)), rtol=1e-5, atol=1e-6
    )
