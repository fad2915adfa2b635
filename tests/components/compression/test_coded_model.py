import numpy as np
import tensorflow as tf

from tests.components.compression.coded_models import random_images, tiny_model, tiny_vae


def test_posterior_and_features_are_those_of_the_model():
    vae, model = tiny_vae(), tiny_model()
    images = random_images(4, (5, 6, 1))
    posterior = vae.posterior(tf.constant(images / np.float32(255)))
    means, deviations = model.posterior(images)
    np.testing.assert_allclose(means, posterior.mean, rtol=1e-5)
    np.testing.assert_allclose(deviations, np.exp(posterior.log_variance / 2), rtol=1e-5)
    features = model.features(means)
    expected = vae.latent_model.decode(tf.constant(means, tf.float32))
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    steps = model.steps(features)
    steps.set(0, range(1), images[np.newaxis, :, 0, 0])
    found = steps.outputs(1, range(2, 4))
    assert (found == features[:, 1, 2:4].transpose(1, 0, 2)).all()


def test_the_couplings_are_the_flow_of_the_prior():
    for latents in (1, 2, 5):
        vae = tiny_vae(prior="real_nvp", latents=latents)
        model = tiny_model(prior="real_nvp", latents=latents)
        z = np.random.default_rng(0).normal(size=(6, latents)).astype(np.float32)
        expected, log_determinant = vae.prior.forward(tf.constant(z))
        u, total = z.astype(np.float64), np.zeros(6)
        for coupling in model.couplings:
            scale, shift = coupling.amounts(u)
            moved = slice(coupling.moved.start, coupling.moved.stop)
            u[:, moved] = u[:, moved] * np.exp(scale) + shift
            total += scale.sum(axis=1)
        np.testing.assert_allclose(u, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(total, log_determinant, rtol=1e-4, atol=1e-5)
    assert tiny_model().couplings == []
