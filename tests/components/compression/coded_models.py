"""Small untrained models whose images can be coded."""

import numpy as np
import tensorflow as tf

from components.compression.coded_model import CodedModel
from components.model.vae import VAE


def tiny_vae(shape=(5, 6, 1), **settings) -> VAE:
    """A VAE with random weights, none of which is 0."""
    tf.keras.utils.set_random_seed(0)
    vae = VAE(
        image_shape=shape,
        **{
            "network": "mlp",
            "latents": 3,
            "widths": (8,),
            "likelihood": "logistic_mixture",
            "feature_channels": 4,
        }
        | settings,
    )
    rng = np.random.default_rng(1)
    vae.set_weights([w + rng.normal(0, 0.1, w.shape) for w in vae.get_weights()])
    return vae


def tiny_model(shape=(5, 6, 1), **settings) -> CodedModel:
    """The coded model of a small VAE."""
    return CodedModel(tiny_vae(shape, **settings))


def random_images(count: int, shape, seed=0) -> np.ndarray:
    """Images of all levels, with many edges of the range."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (count, *shape))
    edges = rng.choice([0, 255], levels.shape)
    return np.where(rng.random(levels.shape) < 0.3, edges, levels).astype(np.uint8)
