from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf

from components.model.noise import binarize_for_evaluation, standard_normal, uniform

RNG = np.random.default_rng(0)


def noise(
    seed: int = 0, step: int = 0, shape=(1000, 100), stream: int = 0, draw=standard_normal
) -> np.ndarray:
    return draw(shape, seed=seed, step=tf.constant(step, tf.int64), stream=stream).numpy()


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


def test_the_noise_of_a_seed_and_step_never_changes():
    """Resumed runs and published results rest on these numbers."""
    expected = [0.69496781, -0.66166270, -1.82598114, 0.11971071]
    np.testing.assert_allclose(noise(3, 5, (4,)), expected, rtol=1e-6)


def test_uniform_draws_are_uniform_and_never_0_or_1():
    values = noise(draw=uniform, shape=(4000, 1000))
    counts = np.bincount((values * 20).astype(int).ravel(), minlength=20)
    expected = values.size / 20
    # A chi-squared statistic with 19 degrees of freedom; its deviation is √38.
    assert (np.square(counts - expected) / expected).sum() < 19 + 5 * np.sqrt(38)
    assert 0 < values.min() < 1e-5
    assert 1 - 1e-5 < values.max() < 1


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}, {"stream": 1}, {"stream": 2}])
def test_the_noise_depends_on_seed_step_and_stream_alone(other):
    np.testing.assert_array_equal(noise(), noise())
    assert abs(np.corrcoef(noise().ravel(), noise(**other).ravel())[0, 1]) < 0.02


def test_the_noise_is_the_same_with_and_without_xla():
    compiled = tf.function(
        lambda step: standard_normal((50, 7), seed=3, step=step), jit_compile=True
    )
    np.testing.assert_allclose(
        compiled(tf.constant(5, tf.int64)), noise(3, 5, (50, 7)), rtol=1e-5, atol=1e-6
    )


def test_uniform_draws_are_equal_with_and_without_xla():
    compiled = tf.function(
        lambda step: uniform((50, 7), seed=3, step=step, stream=4), jit_compile=True
    )
    np.testing.assert_array_equal(
        compiled(tf.constant(5, tf.int64)), noise(3, 5, (50, 7), 4, uniform)
    )


def test_a_pixel_of_an_evaluation_set_is_1_with_its_intensity_as_the_probability():
    pixels = np.broadcast_to(np.uint8([0, 1, 51, 204, 254, 255]), (100_000, 6))
    ones = binarize_for_evaluation(pixels)
    assert ones.dtype == np.float32
    assert set(np.unique(ones)) == {0, 1}
    share = ones.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt(pixels[0] / 255 * (1 - pixels[0] / 255) / len(ones))
    assert (np.abs(share - pixels[0] / 255) <= 5 * deviation).all()


def test_an_evaluation_set_is_binarized_alike_in_any_batches():
    pixels = RNG.integers(0, 256, (50, 5, 3, 3), dtype=np.uint8)
    whole = binarize_for_evaluation(pixels)
    for size in (1, 7, 50):
        batches = [
            binarize_for_evaluation(pixels[first : first + size], first=first)
            for first in range(0, 50, size)
        ]
        np.testing.assert_array_equal(np.concatenate(batches), whole)
    assert (binarize_for_evaluation(pixels, seed=778) != whole).any()
    # Equal images have draws of their own.
    same = binarize_for_evaluation(np.full((2, 10, 10, 1), 128, np.uint8))
    assert (same[0] != same[1]).any()


def test_the_binarization_of_an_evaluation_set_never_changes():
    ones = binarize_for_evaluation(np.full((2, 16), 128, np.uint8), first=9999)
    expected = ["0011000110100001", "1001001111100111"]
    assert ["".join(str(int(each)) for each in row) for row in ones] == expected
