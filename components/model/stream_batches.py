"""How many images of a long stream a model computes at once."""

import functools
import math

import tensorflow as tf
from tensorflow.python.client import device_lib

from components.base.shapes import Shape
from components.model import costs
from components.model.architecture import Architecture
from components.model.objective import Elbo
from components.model.pixels import forward_batch_size
from components.model.vae import VAE

_FLOAT32_BYTES = 4
# The divisor of a GPU's free memory: the library for convolutions needs some for itself.
_MEMORY_PART = 4
# Pixels of a batch; a worker holds several copies while it reads, computes and writes.
_MAX_BATCH_BYTES = 16 << 20
_MAX_BATCH = 4096


def stream_batch_size(vae: VAE) -> int:
    """The number of images in a batch of a long stream, on the device that TensorFlow has.

    A CPU takes batches that fit into its caches. A GPU computes many images in the time of a few,
    so it takes as many as its memory allows.
    """
    if not tf.config.list_physical_devices("GPU"):
        return forward_batch_size(vae.image_shape)
    return _on_gpu(vae.architecture)


def fitting_batch_size(image_shape: Shape, *, image_bytes: int, free_bytes: int) -> int:
    """The number of images in a batch that fits into the memory of a GPU.

    Args:
      image_shape: (height, width, channels) of every image.
      image_bytes: size of the outputs of all layers for one image, in bytes.
      free_bytes: memory that TensorFlow may still use on the GPU, in bytes.
    """
    fitting = min(
        free_bytes // (_MEMORY_PART * image_bytes), _MAX_BATCH_BYTES // math.prod(image_shape)
    )
    return max(1, min(fitting, _MAX_BATCH))


def forward_bytes(architecture: Architecture) -> int:
    """The size of the outputs of all layers for one image, encoded and scored, in bytes."""
    return _FLOAT32_BYTES * costs.count(architecture, Elbo()).activations


# Once for a model, so that all batches of a stream have one size.
@functools.lru_cache(maxsize=8)
def _on_gpu(architecture: Architecture) -> int:
    return fitting_batch_size(
        architecture.image_shape,
        image_bytes=forward_bytes(architecture),
        free_bytes=free_gpu_memory(),
    )


def free_gpu_memory() -> int:
    """The memory that TensorFlow may still use on the first GPU, in bytes; 0 without a GPU."""
    limits = [
        device.memory_limit
        for device in device_lib.list_local_devices()
        if device.device_type == "GPU"
    ]
    if not limits:
        return 0
    return limits[0] - tf.config.experimental.get_memory_info("GPU:0")["current"]
