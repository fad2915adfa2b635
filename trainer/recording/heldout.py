"""The held-out evaluation: the ELBO of the model as it would be kept, and what it draws."""

import numpy as np

from components.metrics import likelihood
from components.model.vae import VAE
from trainer.recording.tensorboard import HeldoutPictures

_RECONSTRUCTIONS = 32
_SAMPLES = 64


class HeldoutEvaluation:
    """Scores weights on examples that are not trained on.

    Args:
      model: any of the run's shape; a float32 copy of it is scored, as the one that is kept is.
      images: uint8 [N, height, width, channels].
      seed: of the draws of z, which are the same each time.
    """

    def __init__(self, model: VAE, images: np.ndarray, *, seed: int):
        self._model = model.in_float32()
        self._images = images
        self._seed = seed
        rng = np.random.default_rng(np.random.SeedSequence([seed, _SAMPLES]))
        self._z = rng.standard_normal((_SAMPLES, model.latents), np.float32)

    def measure(self, weights: list[np.ndarray]) -> tuple[dict[str, float], HeldoutPictures]:
        """The negative ELBO with its parts, in nats per example, and what TensorBoard shows."""
        self._model.set_weights(weights)
        scores = likelihood.elbo(self._model, self._images, seed=self._seed)
        rate, distortion = (
            float(part.mean(dtype=np.float64)) for part in (scores.rate, scores.distortion)
        )
        originals = self._images[:_RECONSTRUCTIONS]
        details = HeldoutPictures(
            rates=scores.rates.mean(axis=0, dtype=np.float64),
            originals=originals,
            reconstructions=self._model(originals.astype(np.float32) / 255).numpy(),
            samples=self._model.likelihood(self._z).mean().numpy(),
        )
        return {"loss": distortion + rate, "rate": rate, "distortion": distortion}, details
