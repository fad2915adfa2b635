import numpy as np
import pytest
import tensorflow as tf

from components.compression.causal_steps import CausalSteps, CausalWeights
from components.model.pixels import to_unit
from tests.components.compression.coded_models import random_images, tiny_vae


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("activation", "layers"), [("silu", 2), ("relu", 1)])
def test_the_steps_give_the_outputs_of_the_head(channels, activation, layers):
    shape = (4, 7, channels)
    vae = tiny_vae(shape, head="causal", head_layers=layers, activation=activation)
    images = random_images(3, shape)
    features = np.random.default_rng(0).normal(size=(3, 4, 7, 4)).astype(np.float32)
    expected = vae.head(tf.constant(features), tf.constant(to_unit(images))).numpy()
    steps = CausalSteps(CausalWeights(vae.head, activation), features)
    for row in range(4):
        for column in range(7):
            (found,) = steps.outputs(row, range(column, column + 1))
            np.testing.assert_allclose(found, expected[:, row, column], atol=2e-3)
            steps.set(row, range(column, column + 1), images[np.newaxis, :, row, column])


def test_whole_rows_of_fewer_images_have_the_bits_of_single_pixels():
    shape, count = (5, 9, 3), 37
    vae = tiny_vae(shape, head="causal", head_layers=2, activation="silu")
    weights = CausalWeights(vae.head, "silu")
    images = random_images(count, shape)
    features = np.random.default_rng(0).normal(size=(count, 5, 9, 4)).astype(np.float32)
    by_pixel = CausalSteps(weights, features)
    parts = [slice(0, 8), slice(8, 37)]
    by_row = [CausalSteps(weights, features[part]) for part in parts]
    for row in range(5):
        levels = images[:, row].transpose(1, 0, 2)
        outputs = []
        for part, steps in zip(parts, by_row, strict=True):
            steps.set(row, range(9), levels[:, part])
            outputs.append(steps.outputs(row, range(9)))
        expected = np.concatenate(outputs, axis=1)
        for column in range(9):
            one = range(column, column + 1)
            assert (by_pixel.outputs(row, one)[0] == expected[column]).all()
            by_pixel.set(row, one, levels[column : column + 1])


@pytest.mark.parametrize("function", [np.exp, np.tanh])
def test_functions_of_numpy_have_the_same_bits_wherever_a_number_is(function):
    x = np.random.default_rng(0).normal(0, 3, 1001)
    expected = function(x)
    for size in (1, 2, 3, 5, 7, 8, 13, 64):
        for first in (0, 1, 5, 900):
            part = slice(first, first + size)
            assert (function(x[part]) == expected[part]).all()
            assert (function(x[part].copy()) == expected[part]).all()
