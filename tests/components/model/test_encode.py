import keras
import numpy as np

from components.model.encode import encode
from components.model.pixels import to_unit
from components.model.vae import VAE


def test_results_are_the_posteriors_parameters_at_any_number_of_images():
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(4, 4, 1), network="mlp", latents=2, widths=(8,))
    # Two full batches of 1,000 images and one image more.
    images = np.random.default_rng(0).integers(0, 256, (2001, 4, 4, 1), np.uint8)
    means, log_variances = encode(model, images)
    posterior = model.posterior(to_unit(images))
    np.testing.assert_allclose(means, posterior.mean, atol=1e-6)
    np.testing.assert_allclose(log_variances, posterior.log_variance, atol=1e-6)
