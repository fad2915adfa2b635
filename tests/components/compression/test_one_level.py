import numpy as np
import pytest
import tensorflow as tf

from components.compression import one_level
from components.compression.one_level import OneLevelLatents
from tests.components.compression.coded_models import filled, random_images, tiny_vae

STEP = 2.0**-8


def test_posterior_and_features_are_those_of_the_model(monkeypatch):
    # In parts of two images.
    monkeypatch.setattr(one_level, "_MOST_PIXELS", 2 * 30)
    vae = tiny_vae(classes=3)
    latents = OneLevelLatents(vae)
    images, labels = random_images(5, (5, 6, 1)), np.array([0, 2, 1, 0, 1])
    posterior = vae.posterior(tf.constant(images / np.float32(255)))
    means, deviations = latents.posterior(images)
    np.testing.assert_allclose(means, posterior.mean, rtol=1e-5)
    np.testing.assert_allclose(deviations, np.exp(posterior.log_variance / 2), rtol=1e-5)
    features = latents.features(means, labels)
    expected = vae.likelihood(tf.constant(means, tf.float32), labels).outputs
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prior", ["standard_normal", "real_nvp"])
def test_the_prior_is_that_of_the_label(prior):
    lanes = 400
    vae = tiny_vae(classes=3, prior=prior)
    latents, labels = OneLevelLatents(vae), np.arange(lanes) % 3
    noise = np.random.default_rng(0).standard_normal((lanes, 3)).astype(np.float32)
    z = np.rint(np.asarray(vae.sample_prior(noise, labels)) / STEP).astype(np.int64)
    sizes = {}
    for name, given in (("own", labels), ("other", (labels + 1) % 3)):
        message = filled(lanes)
        states, words = message.states.copy(), len(message.words)
        latents.push_prior(message, z, given, STEP)
        sizes[name] = (
            32 * (len(message.words) - words) + np.log2(message.states / states.astype(float)).sum()
        )
        again, features = latents.pop_prior(message, given, STEP)
        assert (again == z).all()
        assert features.shape[:3] == (lanes, 5, 6)
        assert (message.states == states).all()
    assert sizes["own"] < sizes["other"]


@pytest.mark.parametrize("classes", [0, 3])
def test_the_couplings_are_the_flow_of_the_prior(classes):
    labels = np.arange(6) % 3
    condition = tf.one_hot(labels, 3) if classes else None
    for latents in (1, 2, 5):
        vae = tiny_vae(prior="real_nvp", latents=latents, classes=classes)
        model = OneLevelLatents(vae)
        z = np.random.default_rng(0).normal(size=(6, latents)).astype(np.float32)
        expected, log_determinant = vae.prior.forward(tf.constant(z), condition)
        u, total = z.astype(np.float64), np.zeros(6)
        for coupling in model.couplings(labels):
            scale, shift = coupling.amounts(u)
            moved = slice(coupling.moved.start, coupling.moved.stop)
            u[:, moved] = u[:, moved] * np.exp(scale) + shift
            total += scale.sum(axis=1)
        np.testing.assert_allclose(u, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(total, log_determinant, rtol=1e-4, atol=1e-5)
    assert OneLevelLatents(tiny_vae()).couplings(labels) == []
