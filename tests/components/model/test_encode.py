import keras
import numpy as np
import pytest

from components.model.encode import encode, encode_and_score
from components.model.noise import binarize_for_evaluation
from components.model.pixels import to_unit
from components.model.vae import VAE

# Two full batches of 500 images and one image more.
IMAGES = np.random.default_rng(0).integers(0, 256, (1001, 4, 4, 1), np.uint8)
LABELS = np.arange(1001) % 3
NOISE = np.random.default_rng(1).standard_normal((1001, 2), np.float32)


def make(**settings) -> VAE:
    keras.utils.set_random_seed(0)
    return VAE(
        **{"image_shape": (4, 4, 1), "network": "mlp", "latents": 2, "widths": (8,)} | settings
    )


def test_results_are_the_posteriors_parameters_at_any_number_of_images():
    model = make()
    means, log_variances = encode(model, IMAGES)
    posterior = model.posterior(to_unit(IMAGES))
    np.testing.assert_allclose(means, posterior.mean, atol=1e-6)
    np.testing.assert_allclose(log_variances, posterior.log_variance, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"likelihood": "binarized"},
        {"prior": "real_nvp"},
        {"classes": 3},
        {"network": "conv", "widths": (4, 8), "image_shape": (4, 4, 1)},
    ],
    ids=str,
)
def test_scores_are_the_terms_of_the_elbo(settings):
    model = make(**settings)
    scored = encode_and_score(model, IMAGES, NOISE, LABELS, first=7)
    posterior = model.posterior(to_unit(IMAGES))
    np.testing.assert_allclose(scored.means, posterior.mean, atol=1e-5)
    seen = to_unit(IMAGES)
    if model.family.binarizes:
        seen = binarize_for_evaluation(IMAGES, first=7)
    rates, distortion = model.rates_and_distortion(seen, NOISE, LABELS)
    np.testing.assert_allclose(scored.rate, np.sum(rates, axis=-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scored.distortion, distortion, rtol=1e-4)
    np.testing.assert_array_equal(scored.elbo, -(scored.rate + scored.distortion))


def test_the_result_for_an_image_does_not_depend_on_the_images_after_it():
    model = make()
    few = encode_and_score(model, IMAGES[:3], NOISE[:3])
    many = encode_and_score(model, IMAGES, NOISE)
    np.testing.assert_array_equal(few.means, many.means[:3])
    np.testing.assert_array_equal(few.distortion, many.distortion[:3])
