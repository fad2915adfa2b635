import dataclasses
import math

import numpy as np
import pytest

from components.compression import bits_back
from components.compression.bits_back import OtherComputationError
from components.model.encode import encode_and_score
from tests.components.compression.coded_models import (
    HIERARCHY,
    labeled,
    random_images,
    tiny_model,
    tiny_vae,
)

SETTINGS = (
    {},
    {"prior": "real_nvp"},
    {"head": "causal"},
    {"head": "causal", "prior": "real_nvp", "activation": "silu", "latents": 2},
    {"classes": 4, "prior": "real_nvp"},
)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1, 1)), (3, (4, 3, 3)), (90, (5, 6, 1))])
def test_images_come_back(settings, count, shape):
    model = tiny_model(shape, **settings)
    images, labels = random_images(count, shape), np.arange(count) % 4
    block = bits_back.encode(model, labeled(images, labels), 8)
    assert (bits_back.decode(model, block, labels, 8) == images).all()


@pytest.mark.parametrize("head", ["factorized", "causal"])
def test_images_of_a_hierarchy_come_back(head):
    model = tiny_model((8, 8, 3), **HIERARCHY, head=head)
    images = random_images(40, (8, 8, 3))
    block = bits_back.encode(model, labeled(images), 8)
    assert (bits_back.decode(model, block, np.zeros(40), 8) == images).all()


def test_other_labels_never_give_other_images():
    model, images = tiny_model(classes=4), random_images(40, (5, 6, 1))
    labels = np.arange(40) % 4
    block = bits_back.encode(model, labeled(images, labels), 8)
    with pytest.raises(OtherComputationError):
        bits_back.decode(model, block, labels[::-1].copy(), 8)


def test_images_of_200_random_shapes_and_values_come_back():
    rng = np.random.default_rng(0)
    models = {}
    for number in range(200):
        shape = (int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.choice([1, 3])))
        if shape not in models:
            models[shape] = tiny_model(shape)
        model = models[shape]
        images = random_images(int(rng.integers(1, 4)), shape, seed=number)
        block = bits_back.encode(model, labeled(images), 8)
        assert (bits_back.decode(model, block, np.zeros(len(images)), 8) == images).all()


def test_the_size_is_the_negative_elbo():
    shape, count = (5, 6, 1), 2000
    vae, model = tiny_vae(shape), tiny_model(shape)
    # Draws from the model itself, which its probabilities fit.
    rng = np.random.default_rng(0)
    z = rng.standard_normal((count, 3)).astype(np.float32)
    uniforms = rng.uniform(1e-6, 1 - 1e-6, (count, 5, 6, 2)).astype(np.float32)
    images = np.rint(np.asarray(vae.likelihood(z).sample(uniforms)) * 255).astype(np.uint8)
    block = bits_back.encode(model, labeled(images), 8)
    states = np.log2(block.states.astype(float)).sum()
    bits = 32 * (len(block.words) - block.borrowed) + states
    noise = rng.standard_normal((count, 3)).astype(np.float32)
    nats = -encode_and_score(vae, images, noise).elbo.sum()
    assert bits == pytest.approx(nats / math.log(2), rel=5e-3)


def test_another_model_never_gives_other_images():
    shape = (5, 6, 1)
    model, other = tiny_model(shape), tiny_model(shape, widths=(9,))
    block = bits_back.encode(model, labeled(random_images(40, shape)), 8)
    with pytest.raises(OtherComputationError):
        bits_back.decode(other, block, np.zeros(40), 8)
    # Without the probe, what is decoded is caught at the end.
    for probe_of in (other,):
        message = bits_back.encode(probe_of, labeled(random_images(40, shape)), 8)
        mixed = dataclasses.replace(block, probe=message.probe)
        with pytest.raises(OtherComputationError):
            bits_back.decode(model, mixed, np.zeros(40), 8)


@pytest.mark.parametrize("part", ["words", "states"])
def test_a_changed_message_never_gives_other_images(part):
    model = tiny_model()
    block = bits_back.encode(model, labeled(random_images(30, (5, 6, 1))), 8)
    for index in range(0, len(getattr(block, part)), 7):
        changed = getattr(block, part).copy()
        changed[index] ^= changed.dtype.type(1 << 9)
        with pytest.raises(OtherComputationError):
            damaged = dataclasses.replace(block, **{part: changed})
            bits_back.decode(model, damaged, np.zeros(30), 8)
