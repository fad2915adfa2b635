import keras
import numpy as np
import pytest

from components.metrics.elbo import estimate_elbo
from components.model.corruption import corrupt_for_evaluation, parse_corruption
from components.model.pixels import to_unit
from components.model.vae import VAE
from trainer.recording.heldout import HeldoutEvaluation

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), np.uint8)


def make(*, seed: int = 0, dtype: str = "float32") -> VAE:
    keras.utils.set_random_seed(seed)
    return VAE(image_shape=(8, 8, 3), network="mlp", latents=3, widths=(8,), compute_dtype=dtype)


def test_the_loss_is_the_negative_elbo_of_the_given_weights():
    model, other = make(seed=0), make(seed=1)
    before = model.get_weights()
    losses, pictures = HeldoutEvaluation(model, IMAGES, seed=5).measure(other.get_weights())
    scores = estimate_elbo(other, IMAGES, seed=5)
    assert losses["rate"] == pytest.approx(scores.rate.mean(), rel=1e-6)
    assert losses["distortion"] == pytest.approx(scores.distortion.mean(), rel=1e-6)
    assert losses["loss"] == pytest.approx(-scores.elbo.mean(), rel=1e-6)
    assert losses["loss"] == losses["rate"] + losses["distortion"]
    np.testing.assert_allclose(pictures.rates, scores.rates.mean(axis=0), rtol=1e-5)
    # The weights of the model that trains are unchanged.
    for after, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, expected)


def test_the_pictures_are_made_with_the_given_weights():
    model, other = make(seed=0), make(seed=1)
    _, pictures = HeldoutEvaluation(model, IMAGES, seed=0).measure(other.get_weights())
    np.testing.assert_array_equal(pictures.originals, IMAGES[:32])
    np.testing.assert_allclose(pictures.reconstructions, other(to_unit(IMAGES[:32])), rtol=1e-5)
    assert pictures.samples.shape == (64, 8, 8, 3)
    assert pictures.rates.shape == (3,)


@pytest.mark.parametrize("num_active", [0, 2, 3])
def test_dimensions_that_ignore_the_images_are_not_active(num_active):
    model = make()
    kernel, bias = model.encoder.layers[-1].get_weights()
    kernel[:, num_active:3] = 0
    model.encoder.layers[-1].set_weights([kernel, bias + 1])
    _, pictures = HeldoutEvaluation(model, IMAGES, seed=0).measure(
        [variable.numpy() for variable in model.trainable_variables]
    )
    assert pictures.active_units == num_active


def test_the_draws_depend_only_on_the_seed():
    model = make()
    weights = model.get_weights()
    one, other = HeldoutEvaluation(model, IMAGES, seed=0), HeldoutEvaluation(model, IMAGES, seed=1)
    (first, first_pictures), (second, second_pictures) = (one.measure(weights) for _ in range(2))
    other_losses, other_pictures = other.measure(weights)
    assert first == second != other_losses
    np.testing.assert_array_equal(first_pictures.samples, second_pictures.samples)
    assert (first_pictures.samples != other_pictures.samples).any()


def test_a_mixed_precision_model_is_evaluated_in_float32():
    """As it will be published."""
    mixed, full = make(dtype="mixed_bfloat16"), make()
    weights = full.get_weights()
    one, other = (
        HeldoutEvaluation(model, IMAGES, seed=0).measure(weights)[0] for model in (mixed, full)
    )
    assert one == other


def test_one_image_is_enough():
    losses, pictures = HeldoutEvaluation(make(), IMAGES[:1], seed=0).measure(make().get_weights())
    assert np.isfinite(losses["loss"])
    assert len(pictures.originals) == len(pictures.reconstructions) == 1


def test_a_conditional_model_is_evaluated_with_the_labels():
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(8, 8, 3), network="mlp", latents=3, widths=(8,), classes=5)
    labels = np.random.default_rng(0).integers(0, 5, len(IMAGES))
    evaluation = HeldoutEvaluation(model, IMAGES, labels, seed=5)
    losses, pictures = evaluation.measure(model.get_weights())
    scores = estimate_elbo(model, IMAGES, labels, seed=5)
    assert losses["loss"] == pytest.approx(-scores.elbo.mean(), rel=1e-6)
    expected = model(to_unit(IMAGES[:32]), labels[:32])
    np.testing.assert_allclose(pictures.reconstructions, expected, rtol=1e-5)
    # One class after the other.
    sample_labels = np.arange(64) % 5
    z = model.sample_prior(evaluation._noise, sample_labels)
    samples = model.likelihood(z, sample_labels).mean()
    np.testing.assert_allclose(pictures.samples, samples, rtol=1e-4, atol=1e-6)


def test_the_encoder_sees_corrupted_images_as_in_training():
    model, corruption = make(), parse_corruption("gaussian:0.3")
    evaluation = HeldoutEvaluation(model, IMAGES, seed=5, corruption=corruption)
    losses, pictures = evaluation.measure(model.get_weights())
    scores = estimate_elbo(model, IMAGES, seed=5, corruption=corruption)
    assert losses["loss"] == pytest.approx(-scores.elbo.mean(), rel=1e-6)
    noisy = corrupt_for_evaluation(IMAGES[:32], corruption)
    np.testing.assert_array_equal(pictures.originals, noisy)
    np.testing.assert_allclose(pictures.reconstructions, model(to_unit(noisy)), atol=1e-5)
