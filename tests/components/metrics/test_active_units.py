import keras
import numpy as np
import pytest

from components.metrics.active_units import active_units
from components.metrics.elbo import estimate_elbo
from components.model.vae import VAE


def test_only_dimensions_above_the_threshold_are_active():
    rates = np.array([0.0, 0.0099, 0.01, 0.0101, 3.0])
    assert active_units(rates) == 2
    assert active_units(rates, threshold=1.0) == 1
    assert active_units(np.zeros(7)) == 0


def test_a_rate_that_is_not_a_number_is_not_active():
    assert active_units(np.array([float("nan"), 1.0])) == 1


@pytest.mark.parametrize("num_active", [0, 1, 3])
def test_dimensions_that_ignore_the_image_are_not_active(num_active):
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(4, 4, 1), network="mlp", latents=3, widths=(8,))
    # A dimension whose mean and log-variance are always 0 has the prior as its posterior.
    kernel, bias = model.encoder.layers[-1].get_weights()
    kernel[:, num_active:3] = kernel[:, 3 + num_active :] = 0
    bias[:num_active] = 1
    model.encoder.layers[-1].set_weights([kernel, bias])
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    rates = estimate_elbo(model, images, seed=0).rates
    assert active_units(rates.mean(axis=0)) == num_active
