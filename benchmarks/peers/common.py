"""The settings, the data and the initial weights that all peers share.

They train the same two models on the same images in memory, with the same optimizer and the same
distribution of initial weights: `mlp`, our preset of that name, and `conv`, the VAE of the Keras
documentation (keras.io/examples/generative/vae).
"""

import dataclasses

import numpy as np

from components.data.prepared_dataset import PreparedDataset
from components.model.pixels import to_unit

LATENTS = 2
LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class PeerSetting:
    """How a model is trained.

    Attributes:
      optimizer: `rmsprop` or `adam`.
      batch_size: images per step.
    """

    optimizer: str
    batch_size: int


SETTINGS = {"mlp": PeerSetting("rmsprop", 100), "conv": PeerSetting("adam", 128)}


def load_images(examples: str) -> np.ndarray:
    """The training images of a prepared directory.

    Returns:
      Intensities in [0, 1], float32, shape [N, height, width, channels].
    """
    return to_unit(PreparedDataset.open(examples).read("train").images)
