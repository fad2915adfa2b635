import numpy as np
import pytest

from components.compression.hierarchy import HierarchyLatents
from tests.components.compression.coded_models import (
    HIERARCHY,
    bits,
    filled,
    random_images,
    tiny_vae,
)

STEP = 2.0**-8
LANES = 60


def test_the_latents_come_back_and_take_the_rate():
    vae = tiny_vae((8, 8, 1), **HIERARCHY)
    # So that the posteriors are far from the priors.
    rng = np.random.default_rng(0)
    vae.set_weights([w + rng.normal(0, 0.1, w.shape) for w in vae.get_weights()])
    latents = HierarchyLatents(vae.latent_model)
    images, labels = random_images(LANES, (8, 8, 1)), np.zeros(LANES, np.int64)
    message = filled(LANES)
    before, states = bits(message), message.states.copy()
    z, features = latents.pop_posterior(message, images, labels, STEP)
    assert z.shape == (LANES, vae.latents)
    latents.push_prior(message, z, labels, STEP)
    taken = bits(message) - before
    # KL(q || p) in closed form, summed over the levels, at other draws.
    noise = rng.standard_normal(z.shape).astype(np.float32)
    nats = np.asarray(vae.infer(images / np.float32(255), noise).closed_form_rates).sum()
    # Without the bits that come back, the latents would take 200 bits of each image.
    assert nats / LANES > 0.5
    assert taken / LANES == pytest.approx(nats / np.log(2) / LANES, abs=0.5)
    again, found = latents.pop_prior(message, labels, STEP)
    assert (again == z).all()
    assert (found == features).all()
    latents.push_posterior(message, z, images, STEP)
    assert (message.states == states).all()
