import numpy as np
import pytest
import tensorflow as tf

from components.compression.mixture import LEVELS, PixelMixture
from components.compression.quantized_cdf import TOTAL
from components.model.likelihoods.logistic_mixture import LOGISTIC_MIXTURE
from components.model.pixels import to_unit


def draw_outputs(count, channels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, LOGISTIC_MIXTURE.num_outputs(channels)))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_intervals_are_the_probabilities_of_the_likelihood(channels):
    count = 400
    outputs = draw_outputs(count, channels)
    levels = np.random.default_rng(1).integers(0, 256, (count, channels))
    levels[:50] = 0
    levels[50:100] = 255
    mixture = PixelMixture(outputs, LOGISTIC_MIXTURE.components, channels)
    nats = np.zeros(count)
    for channel in range(channels):
        _, sizes = mixture.interval(levels[:, channel])
        nats -= np.log(sizes / TOTAL)
        if channel < channels - 1:
            mixture.condition(levels[:, channel])
    tensor = tf.constant(outputs[:, np.newaxis, np.newaxis], tf.float32)
    x = to_unit(levels.astype(np.uint8))[:, np.newaxis, np.newaxis]
    expected = -LOGISTIC_MIXTURE.distribution(tensor).log_prob(tf.constant(x)).numpy()
    # Small probabilities are raised to that of one count, 2^-24.
    likely = expected < 9
    assert likely.mean() > 0.1
    assert nats[likely] == pytest.approx(expected[likely], abs=0.1)
    assert nats[likely].mean() == pytest.approx(expected[likely].mean(), abs=5e-3)


def test_the_intervals_of_all_levels_fill_the_range_and_are_found():
    outputs = 5 * draw_outputs(20, 1)
    mixture = PixelMixture(outputs, LOGISTIC_MIXTURE.components, 1)
    edges = np.stack([mixture.below(np.full(20, level)) for level in range(LEVELS + 1)])
    assert (edges[0] == 0).all()
    assert (edges[-1] == TOTAL).all()
    assert (np.diff(edges, axis=0) >= 1).all()
    for level in (0, 1, 100, 255):
        for positions in (edges[level], edges[level + 1] - 1):
            found, starts, sizes = mixture.find(positions)
            assert (found == level).all()
            assert (starts == edges[level]).all()
            assert (starts + sizes == edges[level + 1]).all()
