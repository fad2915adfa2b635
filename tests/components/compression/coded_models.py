"""Small untrained models whose images can be coded."""

import numpy as np
import tensorflow as tf

from components.compression.ans import Message
from components.compression.blocks import LabeledImages
from components.compression.coded_model import CodedModel
from components.model.vae import VAE

# The settings of a model with two levels of latents, for images of at least 8 x 8 pixels.
HIERARCHY = {"network": "residual", "levels": 2, "widths": (4, 4, 8), "latents": 1}


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


def labeled(images: np.ndarray, labels: np.ndarray | None = None) -> LabeledImages:
    """Images with labels, or with 0 for each."""
    return LabeledImages(images, np.zeros(len(images), np.int64) if labels is None else labels)


def filled(lanes: int, seed=0) -> Message:
    """A message of lanes of random bits."""
    message = Message(seed=seed)
    message.resize(lanes)
    return message


def bits(message: Message) -> float:
    """What a message holds, without the bits that it borrowed."""
    states = np.log2(message.states.astype(float)).sum()
    return 32 * (len(message.words) - message.borrowed) + states
