"""The VAE: its parts, the Keras model in `vae.py`, and its computation for many images.

`from components.model import VAE` gives the class for programs and notebooks, which loads a trained
model: `TrainedVAE` in `components/api`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    # On first use, because it imports TensorFlow, which takes seconds.
    if name == "VAE":
        from components.base import tensorflow_setup

        tensorflow_setup.load()
        from components.api.trained_vae import TrainedVAE

        return TrainedVAE
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
