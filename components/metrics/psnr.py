"""The peak signal-to-noise ratio (PSNR) of reconstructions."""

import numpy as np

from components.metrics.subsets import evenly_spaced
from components.model.batching import in_batches
from components.model.decode import reconstruct
from components.model.pixels import batch_size, to_unit
from components.model.vae import VAE

# Half of one of the 255 steps between levels, squared: images that differ by less are equal as
# images of bytes.
_SMALLEST_SQUARED_ERROR = (0.5 / 255) ** 2

# The largest number of turns of a head, over all images. A causal head takes 784 turns for 28x28
# pixels, so 334 such images are reconstructed, in about half a minute on two cores of a CPU.
_MAX_TURNS = 1 << 18


def psnr(
    vae: VAE, images: np.ndarray, labels: np.ndarray | None = None, *, rows: np.ndarray
) -> np.ndarray:
    """The PSNR of the reconstruction of each of some images: -10 log10(mean squared error).

    The reconstruction is the likelihood's mean at the embedding. It is compared with the
    intensities in [0, 1], even if the model is of binarized pixels: its probabilities of a 1 then
    estimate the intensities. An error of less than half a level counts as half a level, so the PSNR
    is at most 54.15 dB, and that of an image that is reconstructed exactly is not infinite.

    Args:
      vae: the model.
      images: of a set, uint8, shape [N, height, width, channels].
      labels: of the images, integers of shape [N], for a conditional model.
      rows: the numbers of the images to reconstruct, shape [M], M > 0.

    Returns:
      In dB, float64, shape [M].
    """

    def squared_errors(part: np.ndarray) -> list[np.ndarray]:
        part_labels = None if labels is None else labels[part]
        return [_squared_errors(vae, images[part], part_labels)]

    (errors,) = in_batches(squared_errors, [rows], size=batch_size(vae.image_shape))
    return decibels(errors)


def psnr_of(images: np.ndarray, originals: np.ndarray) -> np.ndarray:
    """The PSNR of each image with its original, in dB, float64, shape [N].

    Args:
      images: in [0, 1], shape [N, height, width, channels].
      originals: of the same shape.
    """
    errors = images.astype(np.float64) - originals
    return decibels(np.square(errors).mean(axis=(1, 2, 3)))


def decibels(squared_errors: np.ndarray) -> np.ndarray:
    """The PSNR of mean squared errors of intensities in [0, 1], in dB, at most 54.15."""
    return -10 * np.log10(np.maximum(squared_errors, _SMALLEST_SQUARED_ERROR))


def affordable_rows(vae: VAE, count: int) -> np.ndarray:
    """The images of a set whose reconstruction takes a bounded time.

    Args:
      vae: the model.
      count: number of images in the set, greater than 0.

    Returns:
      Their numbers, ascending: all images, or evenly spaced ones if the head takes many turns.
    """
    height, width, _ = vae.image_shape
    return evenly_spaced(count, max(1, _MAX_TURNS // vae.head.turns(height, width)))


def _squared_errors(vae: VAE, batch: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """The mean squared error of each image, float64, shape [images]."""
    errors = reconstruct(vae, batch, labels) - to_unit(batch)
    return np.square(errors, dtype=np.float64).mean(axis=(1, 2, 3))
