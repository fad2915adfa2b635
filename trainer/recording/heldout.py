"""The held-out evaluation: the ELBO and pictures of the model, as it would be published."""

import numpy as np

from components.metrics import likelihood
from components.model.pixels import to_unit
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
      seed: seed of the draws of z, which are the same in every evaluation.
    """

    def __init__(self, model: VAE, images: np.ndarray, *, seed: int):
        self._model = model.in_float32()
        self._images = images
        self._seed = seed
        rng = np.random.default_rng(np.random.SeedSequence([seed, _NUM_SAMPLES]))
        self._z = rng.standard_normal((_NUM_SAMPLES, model.latents), np.float32)

    def measure(self, weights: list[np.ndarray]) -> tuple[dict[str, float], HeldoutPictures]:
        """Evaluates the model with some weights.

        Returns:
          `loss` (the negative ELBO), `rate` and `distortion`, in nats per example; and what
          TensorBoard shows.
        """
        self._model.set_weights(weights)
        scores = likelihood.estimate_elbo(self._model, self._images, seed=self._seed)
        rate, distortion = (
            float(nats.mean(dtype=np.float64)) for nats in (scores.rate, scores.distortion)
        )
        originals = self._images[:_NUM_RECONSTRUCTIONS]
        pictures = HeldoutPictures(
            rates=scores.rates.mean(axis=0, dtype=np.float64),
            originals=originals,
            reconstructions=self._model(to_unit(originals)).numpy(),
            samples=self._model.likelihood(self._z).mean().numpy(),
        )
        return {"loss": distortion + rate, "rate": rate, "distortion": distortion}, pictures
