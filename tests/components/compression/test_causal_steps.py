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
            found = steps.outputs(row, column)
            np.testing.assert_allclose(found, expected[:, row, column], atol=2e-3)
            steps.set(row, column, images[:, row, column])
