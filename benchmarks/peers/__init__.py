"""The peers of our trainer, as their best users write them: Keras, JAX and PyTorch.

All train the same two models on the same images from memory, with the same optimizer and first
weights of the same distribution: `mlp`, our preset of that name, and `conv`, the VAE of the Keras
documentation (keras.io/examples/generative/vae).
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from components.data.prepared_dataset import PreparedDataset

LATENTS = 2
RATE = 1e-3  # the learning rate

Report = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a model is trained."""

    optimizer: str
    batch_size: int


SETTINGS = {"mlp": Setting("rmsprop", 100), "conv": Setting("adam", 128)}


def laps(lap: Callable[[], float], *, images: int, seconds: float) -> Report:
    """Times whole laps for at least `seconds`, after one to warm up.

    Args:
      lap: goes over all images once; returns the mean loss it met.
      images: how many these are.
      seconds: see above.
    """
    lap()
    losses: list[float] = []
    start = time.perf_counter()
    while not losses or time.perf_counter() - start < seconds:
        losses.append(lap())
    elapsed = time.perf_counter() - start
    return {"images": images * len(losses), "seconds": elapsed, "loss": losses[0]}


def images_of(examples: str) -> np.ndarray:
    """Intensities in [0, 1], float32 [N, height, width, channels]."""
    return PreparedDataset.open(examples).read("train").images.astype(np.float32) / 255
