"""A trained VAE for programs and notebooks: `from components.model import VAE` is this class.

It takes and gives NumPy arrays, in the form that the user's images have, and computes in batches on
whatever device TensorFlow has. A caller's mistake is a ConfigError of one line.
"""

import os
from typing import Any

import numpy as np

from components.api.user_images import UserImages, numbers
from components.base.errors import ConfigError
from components.base.manifest import load_artifact
from components.base.shapes import Shape
from components.metrics.elbo import estimate_elbo
from components.metrics.importance import log_likelihoods
from components.model import interpolation, vae
from components.model.decode import decode, reconstruct
from components.model.distributions import Normal
from components.model.encode import encode
from components.model.registry import MODEL_FILE


class TrainedVAE:
    """A trained VAE.

    Methods take images as an array or a tensor: uint8 from 0 to 255, or floats from 0 to 1, which
    are rounded to the nearest of the 256 levels of a byte. The shape is that of one image, [height,
    width, channels], or of a batch, [N, height, width, channels]; the axis of the channels may be
    left out if there is only one. Results have the same leading axes: none for one image, N for a
    batch.

    Labels are integers, one for each image or one for all of them. Models that are conditioned on
    labels need them; others ignore them.

    Args:
      model: the Keras model, in float32.

    Attributes:
      model: the Keras model.
    """

    def __init__(self, model: vae.VAE):
        self.model = model

    @staticmethod
    def load(directory: str | os.PathLike[str]) -> "TrainedVAE":
        """Loads the model in a directory that `python -m trainer` or `trainer.fit` wrote.

        The file is compared with its digest in the manifest. Nothing in it is executed.

        Raises:
          ConfigError: there is no finished model in the directory.
          WorkError: the model or its manifest is damaged.
        """
        artifact = load_artifact(directory, stage="train")
        return TrainedVAE(vae.load(artifact.verified(MODEL_FILE)))

    def __repr__(self) -> str:
        return f"<VAE of {self.model.architecture}>"

    @property
    def image_shape(self) -> Shape:
        """(height, width, channels) of the images."""
        return self.model.image_shape

    @property
    def latents(self) -> int:
        """Number of latent dimensions, over all levels."""
        return self.model.latents

    @property
    def classes(self) -> int:
        """Number of labels that the model is conditioned on; 0 for none."""
        return self.model.architecture.classes

    @property
    def interpolates_on_sphere(self) -> bool:
        """Whether `interpolate` follows the sphere: the prior is the standard normal distribution.

        Its draws are near a sphere, which a straight line between two of them leaves.
        """
        return interpolation.follows_sphere(self.model.architecture)

    def encode(self, images: Any) -> Normal:
        """The posterior q(z|x), which does not depend on labels.

        Returns:
          Its `mean`, which is the embedding, and its `log_variance`: float32, shape [latents] for
          one image, [N, latents] for a batch.
        """
        batch = UserImages.of(images, self.image_shape)
        mean, log_variance = encode(self.model, batch.pixels)
        return Normal(batch.rows(mean), batch.rows(log_variance))

    def decode(self, z: Any, labels: Any = None) -> np.ndarray:
        """The likelihood's mean at latents.

        Args:
          z: numbers, shape [latents] or [N, latents].
          labels: see the class.

        Returns:
          An image or a batch of images, float32 in [0, 1], [..., height, width, channels].
        """
        latents = numbers("z", z, np.float32)
        if latents.ndim not in (1, 2) or latents.shape[-1] != self.latents or not latents.size:
            raise ConfigError(
                f"z must have shape [{self.latents}] or [N, {self.latents}], N > 0, for a model of "
                f"{self.latents} latents. Received: shape={list(latents.shape)}"
            )
        if not np.isfinite(latents).all():
            raise ConfigError("z must be finite. Received: NaN or an infinite number")
        rows = np.atleast_2d(latents)
        images = decode(self.model, rows, self._labels(labels, len(rows)))
        return images[0] if latents.ndim == 1 else images

    def sample(self, n: int, seed: int = 0, labels: Any = None) -> np.ndarray:
        """Decoded draws from the prior.

        Args:
          n: number of images.
          seed: seed of the draws, at least 0; the same seed gives the same images.
          labels: see the class.

        Returns:
          The likelihood's mean at each draw, float32 in [0, 1], [n, height, width, channels].
        """
        _check_whole("n", n)
        _check_whole("seed", seed, minimum=0)
        noise = np.random.default_rng(seed).standard_normal((n, self.latents), np.float32)
        return self.decode(self.model.sample_prior(noise, self._labels(labels, n)), labels)

    def reconstruct(self, images: Any, labels: Any = None) -> np.ndarray:
        """The likelihood's mean at the embedding: float32 in [0, 1], of the shape of `images`."""
        batch, rows = self._inputs(images, labels)
        return batch.pictures(reconstruct(self.model, batch.pixels, rows))

    def interpolate(self, a: Any, b: Any, steps: int, labels: Any = None) -> np.ndarray:
        """Images between two images, decoded from points between their embeddings.

        The path is an arc if the prior is the standard normal distribution (spherical
        interpolation), and a straight line otherwise.

        Args:
          a, b: two images, or two batches of as many images.
          steps: number of images on each path, including its ends; at least 2.
          labels: see the class.

        Returns:
          float32 in [0, 1], [steps, height, width, channels], for batches
          [N, steps, height, width, channels].
        """
        _check_whole("steps", steps, minimum=2)
        start, end = (UserImages.of(images, self.image_shape) for images in (a, b))
        if (start.is_single, len(start)) != (end.is_single, len(end)):
            raise ConfigError(
                "a and b must be two images, or two batches of as many. "
                f"Received: shapes {list(np.shape(a))} and {list(np.shape(b))}"
            )
        first, last = (encode(self.model, batch.pixels)[0] for batch in (start, end))
        shares = np.linspace(0, 1, steps, dtype=np.float32)
        latents = interpolation.interpolate(self.model.architecture, first, last, shares)
        if (rows := self._labels(labels, len(start))) is not None:
            rows = np.repeat(rows, steps)
        images = decode(self.model, latents.reshape(-1, self.latents), rows)
        return start.pictures(images.reshape(len(start), steps, *self.image_shape))

    def elbo(
        self, images: Any, labels: Any = None, *, samples: int = 1, seed: int = 0
    ) -> np.ndarray:
        """The ELBO, a lower bound of log p(x), as `python -m pipeline evaluate` measures it.

        Args:
          images: see the class. A model of binarized images sees the binarization of evaluation
            sets, which depends on an image's place in the batch.
          labels: see the class; with labels, the bound is that of log p(x|y).
          samples: draws of z for each image, over which the distortion is averaged.
          seed: seed of the draws, at least 0.

        Returns:
          Nats per example, float32: a number for one image, shape [N] for a batch.
        """
        _check_whole("samples", samples)
        _check_whole("seed", seed, minimum=0)
        batch, rows = self._inputs(images, labels)
        terms = estimate_elbo(self.model, batch.pixels, rows, seed=seed, samples=samples)
        return batch.rows(terms.elbo)

    def log_likelihood(
        self, images: Any, labels: Any = None, *, samples: int = 100, seed: int = 0
    ) -> np.ndarray:
        """An estimate of log p(x) by importance sampling, on average at most log p(x).

        Args:
          images, labels: see `elbo`.
          samples: draws of z for each image: more of them give a tighter bound, and take longer.
          seed: seed of the draws, at least 0.

        Returns:
          Nats per example, float64: a number for one image, shape [N] for a batch.
        """
        _check_whole("samples", samples)
        _check_whole("seed", seed, minimum=0)
        batch, rows = self._inputs(images, labels)
        blocks = log_likelihoods(self.model, batch.pixels, rows, samples=samples, seed=seed)
        return batch.rows(np.concatenate(list(blocks)))

    def _inputs(self, images: Any, labels: Any) -> tuple[UserImages, np.ndarray | None]:
        """A user's images and their labels: see `UserImages.of` and `_labels`."""
        batch = UserImages.of(images, self.image_shape)
        return batch, self._labels(labels, len(batch))

    def _labels(self, labels: Any, count: int) -> np.ndarray | None:
        """The labels of `count` images, int32 [count]; None for a model without classes.

        Raises:
          ConfigError: the model needs labels, and these are missing or not valid.
        """
        if not self.classes:
            return None
        array = numbers("labels", labels)
        is_valid = (
            np.issubdtype(array.dtype, np.integer)
            and array.shape in ((), (count,))
            and array.min() >= 0
            and array.max() < self.classes
        )
        if not is_valid:
            received = "None" if labels is None else f"dtype={array.dtype}, {list(array.shape)}"
            raise ConfigError(
                f"this model is conditioned on labels: pass labels from 0 to {self.classes - 1}, "
                f"one integer or one for each of the {count:,} images. Received: labels={received}"
            )
        return np.broadcast_to(array, count).astype(np.int32)


def _check_whole(name: str, value: int, *, minimum: int = 1) -> None:
    """Raises a ConfigError if a number is not a whole number, or is too small."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ConfigError(f"{name} must be a whole number. Received: {value!r}")
    if value < minimum:
        raise ConfigError(f"{name} must be at least {minimum}. Received: {value}")
