import keras
import numpy as np
import pytest

from components.metrics import likelihood
from components.model.vae import VAE
from trainer.recording.heldout import HeldoutEvaluation

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), np.uint8)


def make(*, seed: int = 0, dtype: str = "float32") -> VAE:
    keras.utils.set_random_seed(seed)
    return VAE(image_shape=(8, 8, 3), network="mlp", latents=3, widths=(8,), compute_dtype=dtype)


def test_it_is_the_negative_elbo_of_the_weights_that_are_given():
    model, other = make(seed=0), make(seed=1)
    before = model.get_weights()
    losses, details = HeldoutEvaluation(model, IMAGES, seed=5).measure(other.get_weights())
    scores = likelihood.elbo(other, IMAGES, seed=5)
    assert losses["rate"] == pytest.approx(scores.rate.mean(), rel=1e-6)
    assert losses["distortion"] == pytest.approx(scores.distortion.mean(), rel=1e-6)
    assert losses["loss"] == pytest.approx(-scores.elbo.mean(), rel=1e-6)
    assert losses["loss"] == losses["rate"] + losses["distortion"]
    np.testing.assert_allclose(details.rates, scores.rates.mean(axis=0), rtol=1e-5)
    # The model that trains is left alone.
    for now, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, old)


def test_what_is_drawn_is_of_those_weights_too():
    model, other = make(seed=0), make(seed=1)
    _, details = HeldoutEvaluation(model, IMAGES, seed=0).measure(other.get_weights())
    np.testing.assert_array_equal(details.originals, IMAGES[:32])
    expected = other(IMAGES[:32].astype(np.float32) / 255)
    np.testing.assert_allclose(details.reconstructions, expected, rtol=1e-5)
    assert details.samples.shape == (64, 8, 8, 3)
    assert details.rates.shape == (3,)


def test_it_draws_the_same_each_time_and_by_seed():
    model = make()
    one, other = HeldoutEvaluation(model, IMAGES, seed=0), HeldoutEvaluation(model, IMAGES, seed=1)
    (first, drawn), (again, drawn_again) = (one.measure(model.get_weights()) for _ in range(2))
    by_other, drawn_by_other = other.measure(model.get_weights())
    assert first == again != by_other
    np.testing.assert_array_equal(drawn.samples, drawn_again.samples)
    assert (drawn.samples != drawn_by_other.samples).any()


def test_a_model_of_less_precision_is_scored_in_float32():
    """As it will be kept."""
    mixed, exact = make(dtype="mixed_bfloat16"), make()
    weights = exact.get_weights()
    one, other = (
        HeldoutEvaluation(each, IMAGES, seed=0).measure(weights)[0] for each in (mixed, exact)
    )
    assert one == other


def test_few_images_are_enough():
    losses, details = HeldoutEvaluation(make(), IMAGES[:1], seed=0).measure(make().get_weights())
    assert np.isfinite(losses["loss"])
    assert len(details.originals) == len(details.reconstructions) == 1
