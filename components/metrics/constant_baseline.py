"""The ELBO of the best constant image, which needs no latents.

A decoder that ignores z predicts the same image for every example. Under the Bernoulli likelihood,
the best such image is the mean image of the training examples, and the rate is 0. A VAE whose ELBO
is not higher has learned nothing about single images.
"""

from collections.abc import Iterable

import numpy as np

# A pixel that is black, or white, in all training images is predicted with this probability of the
# opposite. With 0, the ELBO of a held-out image with another value would be infinite.
_SMALLEST = 1e-6


def mean_image(batches: Iterable[np.ndarray]) -> np.ndarray:
    """The mean intensity of every pixel, from 0 to 1, float64, shape [height, width, channels].

    Args:
      batches: images, uint8, shape [N, height, width, channels]; at least one image in all.
    """
    count, total = 0, np.zeros((), np.int64)
    for images in batches:
        count += len(images)
        # In integers, the mean does not depend on the batches.
        total = total + images.sum(axis=0, dtype=np.int64)
    return total / (255 * count)


def constant_elbo(prediction: np.ndarray, mean: np.ndarray) -> float:
    """The mean ELBO of images under a model that predicts one image for all, in nats per image.

    Args:
      prediction: the predicted image, from 0 to 1, shape [height, width, channels].
      mean: the mean of the images, of the same shape.
    """
    p = np.clip(prediction, _SMALLEST, 1 - _SMALLEST)
    # log p(x) = Σ x log p + (1 - x) log(1 - p) is linear in x, so its mean is that of the mean x.
    return float(np.sum(mean * np.log(p) + (1 - mean) * np.log1p(-p)))
