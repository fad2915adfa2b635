import math

import pytest
import tensorflow as tf

from components.model import stream_batches
from components.model.pixels import forward_batch_size
from components.model.stream_batches import fitting_batch_size, forward_bytes, stream_batch_size
from tests.components.model.test_vae import make

GIB = 1 << 30


@pytest.mark.parametrize(
    ("shape", "image_bytes", "free_bytes", "expected"),
    [
        # A quarter of the memory for the outputs of the layers.
        ((28, 28, 1), 1 << 20, 8 * GIB, 2048),
        ((28, 28, 1), 1 << 20, GIB, 256),
        # Images of at most 16 MiB together.
        ((256, 256, 3), 1 << 20, 80 * GIB, 85),
        ((28, 28, 1), 1000, 80 * GIB, 4096),
        # One image, even if it may be too large.
        ((4096, 4096, 3), 2 * GIB, GIB, 1),
        ((28, 28, 1), 1 << 20, 0, 1),
    ],
)
def test_a_batch_fits_into_the_memory_of_a_gpu(shape, image_bytes, free_bytes, expected):
    size = fitting_batch_size(shape, image_bytes=image_bytes, free_bytes=free_bytes)
    assert size == expected
    if size > 1:
        assert size * image_bytes <= free_bytes / 4
        assert size * math.prod(shape) <= 16 << 20


def test_the_size_of_the_outputs_is_that_of_all_layers():
    model = make(network="mlp", widths=(8,), latents=3, image_shape=(4, 5, 1))
    # The outputs of the products and of the activations of the inner layers; mean, log-variance
    # and its exponential; and the logits.
    inner = 2 * 2 * 8
    assert 4 * (inner + 2 * 3 + 20) <= forward_bytes(model.architecture) <= 4 * (inner + 4 * 3 + 80)


def test_the_outputs_grow_with_the_images():
    small, large = (
        forward_bytes(make(network="conv", widths=(4, 8), image_shape=(side, side, 1)).architecture)
        for side in (8, 16)
    )
    assert 3 < large / small < 4.5


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_without_a_gpu_batches_fit_into_the_caches_of_a_cpu():
    model = make()
    assert stream_batch_size(model) == forward_batch_size(model.image_shape)
    assert stream_batches.free_gpu_memory() == 0


@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="there is no GPU")
def test_on_a_gpu_the_batch_is_larger():
    model = make()
    assert forward_batch_size(model.image_shape) < stream_batch_size(model) <= 4096
    assert stream_batches.free_gpu_memory() > GIB
