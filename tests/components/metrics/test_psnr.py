import itertools

import keras
import numpy as np
import pytest

from components.metrics import psnr as module
from components.metrics.psnr import affordable_rows, psnr, psnr_of
from components.model.pixels import to_unit
from components.model.registry import HEADS, LIKELIHOODS
from components.model.vae import VAE

RNG = np.random.default_rng(0)


def gray_model(levels: list[float], **settings) -> VAE:
    """A model whose likelihood has the mean `levels[y]` / 255 at every pixel, whatever z is."""
    vae = VAE(
        image_shape=(2, 3, 1),
        network="mlp",
        latents=1,
        widths=(4,),
        classes=len(levels),
        **settings,
    )
    vae.set_weights([np.zeros_like(weight) for weight in vae.get_weights()])
    hidden, _, output, _ = vae.decoder.weights
    # The hidden units are the one-hot label, of which the output layer makes logits.
    hidden.assign(np.eye(1 + len(levels), 4, k=-1))
    p = np.array(levels) / 255
    kernel = np.zeros((4, 6))
    kernel[: len(levels)] = np.log(p / (1 - p))[:, np.newaxis]
    output.assign(kernel)
    return vae


@pytest.mark.parametrize("likelihood", ["bernoulli", "binarized"])
def test_the_psnr_is_that_of_known_errors_of_the_intensities(likelihood):
    """Errors of 20 levels at one pixel of six and of 10 at the others, and of one level."""
    vae = gray_model([100, 200], likelihood=likelihood)
    images = np.array([100, 200, 200], np.uint8).repeat(6).reshape(3, 2, 3, 1)
    images[0] += 10
    images[0, 1, 2] += 10
    images[1] -= 1
    squares = np.array([(400 + 5 * 100) / 6, 1])
    values = psnr(vae, images, np.array([0, 1, 1]), rows=np.arange(3))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values[:2], 10 * np.log10(255**2 / squares), atol=1e-3)
    # The last one is exact but for rounding: the bound is an error of half a level.
    assert values[2] == pytest.approx(20 * np.log10(510), abs=1e-9)


def test_only_the_chosen_images_are_scored_with_their_own_labels():
    vae = gray_model([50, 100, 150])
    images = RNG.integers(0, 256, (20, 2, 3, 1), np.uint8)
    labels = RNG.integers(0, 3, 20)
    expected = np.array([50, 100, 150])[labels].reshape(20, 1, 1, 1)
    squares = np.square(images - expected.astype(float)).mean(axis=(1, 2, 3))
    rows = np.array([1, 4, 5, 19])
    np.testing.assert_allclose(
        psnr(vae, images, labels, rows=rows), 10 * np.log10(255**2 / squares[rows]), atol=1e-3
    )


@pytest.mark.parametrize(
    "settings",
    [
        *({"likelihood": name} for name in LIKELIHOODS),
        *({"head": name} for name in HEADS),
        {"network": "residual", "widths": (4, 8, 16), "levels": 2},
    ],
    ids=[*LIKELIHOODS, *HEADS, "hierarchy"],
)
def test_every_model_has_a_psnr_that_does_not_depend_on_the_batches(settings, monkeypatch):
    keras.utils.set_random_seed(0)
    defaults = {"network": "mlp", "widths": (8,), "latents": 2, "feature_channels": 3}
    vae = VAE(image_shape=(4, 6, 1), **defaults | settings)
    images = RNG.integers(0, 256, (7, 4, 6, 1), np.uint8)
    whole = psnr(vae, images, rows=np.arange(7))
    reconstructions = vae(to_unit(images)).numpy().astype(np.float64)
    squares = np.square(reconstructions - images / 255).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(whole, -10 * np.log10(squares), atol=1e-3)
    monkeypatch.setattr(module, "batch_size", lambda shape: 3)
    np.testing.assert_allclose(psnr(vae, images, rows=np.arange(7)), whole, atol=1e-3)


@pytest.mark.parametrize(
    ("head", "count", "chosen"),
    [
        ("factorized", 10_000, 10_000),
        ("causal", 10_000, 334),
        ("causal", 335, 334),
        ("causal", 300, 300),
        ("causal", 1, 1),
    ],
)
def test_the_chosen_images_are_as_many_as_the_turns_allow_and_evenly_spaced(head, count, chosen):
    vae = VAE(image_shape=(28, 28, 1), network="mlp", latents=2, widths=(2,), head=head)
    rows = affordable_rows(vae, count)
    assert len(rows) == chosen
    assert rows[0] == 0
    assert rows[-1] < count
    gaps = [later - earlier for earlier, later in itertools.pairwise([*rows, count])]
    assert max(gaps) - min(gaps) <= 1


def test_of_large_images_one_is_chosen():
    vae = VAE(image_shape=(700, 700, 1), network="mlp", latents=2, widths=(2,), head="causal")
    assert affordable_rows(vae, 50).tolist() == [0]


def test_the_psnr_of_images_is_that_of_their_mean_squared_errors():
    originals = RNG.random((2, 4, 3, 3)).astype(np.float32)
    images = originals + np.float32([0.1, 0.01])[:, None, None, None]
    np.testing.assert_allclose(psnr_of(images, originals), [20, 40], atol=1e-3)
    np.testing.assert_allclose(psnr_of(originals, originals), -20 * np.log10(0.5 / 255))
