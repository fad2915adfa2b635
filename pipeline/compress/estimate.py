"""Estimates the size of a compressed file from the ELBO, without coding."""

import dataclasses
import math

import numpy as np
from etils import epath

from components.base import console, tensorflow_setup
from components.base.memory import format_bytes
from components.base.shapes import Shape
from components.compression import archive_format, blocks
from pipeline.compress.image_input import CompressInput

_NOISE_SEED = 0
# A batch of images, so that a long input is not held in memory.
_BLOCK_IMAGES = 2000


@dataclasses.dataclass(frozen=True)
class SizeEstimate:
    """The size that a compressed file is expected to have.

    Attributes:
      images: number of images.
      image_shape: their (height, width, channels).
      elbo_bytes: the negative ELBO of all images, in bytes.
      index_bytes: size of names, ids and labels.
    """

    images: int
    image_shape: Shape
    elbo_bytes: float
    index_bytes: int

    @property
    def bytes(self) -> float:
        """Size of the file."""
        return self.elbo_bytes + self.index_bytes

    def __str__(self) -> str:
        if not self.images:
            return "no images; nothing was written"
        values = self.images * math.prod(self.image_shape)
        return (
            f"{console.counted(self.images, 'image')} will take about "
            f"{format_bytes(round(self.bytes))}: {8 * self.elbo_bytes / values:.3f} bits/dim for "
            f"the pixels (the ELBO), and {format_bytes(self.index_bytes)} for names, ids and "
            "labels; nothing was written"
        )


def estimate(path: epath.Path, source: CompressInput) -> SizeEstimate:
    """Estimates the size of a compressed file, except for the overhead of blocks: about 0.1 %.

    Args:
      path: the `.keras` file of the model.
      source: the images.
    """
    tensorflow_setup.load()
    from components.model import vae
    from components.model.encode import encode_and_score

    model = vae.load(path).in_float32()
    noise = np.random.default_rng(_NOISE_SEED)
    nats, count = 0.0, 0
    for block in blocks.divide(source.batches(), _BLOCK_IMAGES):
        draws = noise.standard_normal((len(block.images), model.latents), np.float32)
        scored = encode_and_score(model, block.images, draws, block.labels)
        nats -= float(scored.elbo.astype(np.float64).sum())
        count += len(block.images)
    index = archive_format.pack_index(source.index().as_json())
    return SizeEstimate(count, model.image_shape, nats / math.log(2) / 8, len(index))
