"""The held-out evaluation: the ELBO and pictures of the model, as it would be published."""

import numpy as np
import tensorflow as tf

from components.metrics.active_units import active_units
from components.metrics.elbo import estimate_elbo, observed
from components.model.corruption import Corruption, corrupt_for_evaluation
from components.model.decode import decode, reconstruct
from components.model.pixels import batch_size, part_of, to_unit
from components.model.vae import VAE
from trainer.recording.tensorboard import HeldoutPictures

_NUM_RECONSTRUCTIONS = 32
_NUM_SAMPLES = 64


class HeldoutEvaluation:
    """Evaluates weights on examples that are not trained on.

    Args:
      model: a model of the run's architecture. A float32 copy of it is evaluated, like the model
        that is published.
      images: uint8, shape [N, height, width, channels].
      labels: of the images, integers of shape [N], for a conditional model.
      seed: seed of the draws of z, which are the same in every evaluation.
      corruption: of the images that the encoder sees, as in training; None for none.
    """

    def __init__(
        self,
        model: VAE,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        seed: int,
        corruption: Corruption | None = None,
    ):
        self._model = model.in_float32()
        self._images = images
        self._labels = labels
        self._seed = seed
        self._corruption = corruption
        rng = np.random.default_rng(np.random.SeedSequence([seed, _NUM_SAMPLES]))
        self._noise = rng.standard_normal((_NUM_SAMPLES, model.latents), np.float32)

    def measure(self, weights: list[np.ndarray]) -> tuple[dict[str, float], HeldoutPictures]:
        """Evaluates the model with some weights.

        Returns:
          `loss` (the negative ELBO), `rate` and `distortion`, in nats per example; and what
          TensorBoard shows.
        """
        self._model.assign(weights)
        scores = estimate_elbo(
            self._model,
            self._images,
            self._labels,
            seed=self._seed,
            corruption=self._corruption,
        )
        rate, distortion = (
            float(nats.mean(dtype=np.float64)) for nats in (scores.rate, scores.distortion)
        )
        # The samples of a conditional model go through the classes in turn.
        sample_labels = np.arange(_NUM_SAMPLES) % max(self._model.architecture.classes, 1)
        z = self._model.sample_prior(tf.constant(self._noise), sample_labels).numpy()
        originals = self._images[:_NUM_RECONSTRUCTIONS]
        if self._corruption is not None:
            originals = corrupt_for_evaluation(originals, self._corruption)
        labels = part_of(self._labels, 0, _NUM_RECONSTRUCTIONS)
        pictures = HeldoutPictures(
            rates=(
                scores.rates.mean(axis=0, dtype=np.float64)
                if self._model.latent_model.has_closed_form_rates
                else None
            ),
            active_units=active_units(self._posterior_means()),
            originals=originals,
            reconstructions=reconstruct(self._model, originals, labels),
            samples=decode(self._model, z, sample_labels),
        )
        return {"loss": distortion + rate, "rate": rate, "distortion": distortion}, pictures

    def _posterior_means(self) -> np.ndarray:
        """The means of the posteriors of all images, float32, shape [N, latents]."""
        size = batch_size(self._model.image_shape)
        means = []
        for first in range(0, len(self._images), size):
            batch = observed(self._model, self._images[first : first + size], first=first)
            means.append(self._model.posterior(to_unit(batch)).mean.numpy())
        return np.concatenate(means)
