import math

import keras
import numpy as np
import pytest

from components.metrics import elbo
from components.metrics.elbo import estimate_elbo
from components.metrics.mean import Mean
from components.model.vae import VAE
from pipeline.evaluate.measures.likelihood import LikelihoodMeasure, bits_per_dim

MEASURE = LikelihoodMeasure()


def test_the_terms_of_the_bound_are_means_over_examples(subject):
    scored = subject(draws=2)
    measured = MEASURE.measure(scored)
    expected = estimate_elbo(scored.model, scored.examples.images, seed=0, samples=2)
    for name in ("elbo", "rate", "distortion"):
        values = getattr(expected, name)
        np.testing.assert_array_equal(measured.by_example[name], values)
        assert measured.means[name] == Mean.of(values)
    assert measured.not_measured == {
        "nll": "it needs --importance_samples",
        "bits_per_dim": "the likelihood bernoulli is not over the 256 levels of a byte",
    }


def test_the_log_likelihood_is_estimated_only_if_it_is_asked_for(subject, tmp_path):
    measured = MEASURE.measure(subject(importance_samples=2, limit_examples=20))
    assert measured.means["nll"] == Mean.of(measured.by_example["nll"])
    assert measured.protocol == {"importance_samples": 2}
    assert "nll" not in measured.not_measured
    saved = np.load(tmp_path / "log_likelihoods.npy")
    np.testing.assert_array_equal(-saved, measured.by_example["nll"])
    others = MEASURE.measure(subject(importance_samples=2, metrics=("psnr", "bits_per_dim")))
    assert "nll" not in others.means
    assert others.protocol == {}


def test_bits_per_dim_of_a_uniform_guess_over_256_levels():
    nats = Mean(784 * math.log(256), math.log(256))
    bits = bits_per_dim(nats, 784)
    assert bits.value == pytest.approx(8)
    assert bits.half_width == pytest.approx(8 / 784)


@pytest.mark.parametrize("shares", [[60], [30, 30], [7, 23, 30], [1] * 60])
def test_the_values_of_examples_do_not_depend_on_batches_or_replicas(shares):
    """Whatever share of a batch a replica has, its sums add up to those of all examples."""
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(6, 5, 1), network="mlp", latents=3, widths=(8,))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 5, 1), np.uint8)
    noise = rng.standard_normal((60, 3), np.float32)
    rates, distortion = elbo._score_in_parts(model, images, noise, None)
    ends = np.cumsum(shares)
    parts = [
        elbo._score_in_parts(model, images[end - share : end], noise[end - share : end], None)
        for share, end in zip(shares, ends, strict=True)
    ]
    for whole, each in ((rates, [part[0] for part in parts]), (distortion, [p[1] for p in parts])):
        np.testing.assert_allclose(np.concatenate(each), whole, rtol=1e-6, atol=1e-6)
        total = sum(part.sum(dtype=np.float64) for part in each)
        assert total == pytest.approx(whole.sum(dtype=np.float64), rel=1e-6)


def test_the_order_of_examples_does_not_change_the_values_of_each():
    keras.utils.set_random_seed(0)
    model = VAE(image_shape=(6, 5, 1), network="mlp", latents=3, widths=(8,))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 6, 5, 1), np.uint8)
    noise, order = rng.standard_normal((60, 3), np.float32), rng.permutation(60)
    rates, distortion = elbo._score_in_parts(model, images, noise, None)
    shuffled = elbo._score_in_parts(model, images[order], noise[order], None)
    np.testing.assert_allclose(shuffled[0], rates[order], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(shuffled[1], distortion[order], rtol=1e-6)
