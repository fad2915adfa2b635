"""Bits-back coding of images with a VAE (Townsend, Bird and Barber, 2019).

To put an image on a message, its latents are taken from the message under the posterior, its pixels
are put on it under the likelihood, and then the latents under the prior. That takes rate +
distortion, the negative ELBO, since the latents' bits come back: a decoder takes the latents and
the pixels, computes the posterior, and puts the latents' bits back.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from components.compression.ans import Message, UnderflowError
from components.compression.blocks import CodedBlock, batch_sizes
from components.compression.coded_model import CodedModel
from components.compression.latents import (
    RangeError,
    pop_posterior,
    pop_prior,
    push_posterior,
    push_prior,
)
from components.compression.mixture import PixelMixture
from components.compression.tables import PRECISION

_SEED = 0


class OtherComputationError(Exception):
    """The model computes here other numbers than where the images were encoded."""


def encode(model: CodedModel, images: np.ndarray, latent_bits: int) -> CodedBlock:
    """Encodes a block of images.

    Args:
      model: the model.
      images: uint8, shape [N, height, width, channels], N > 0.
      latent_bits: latents are multiples of 2^-latent_bits.

    Raises:
      RangeError: the latents of an image are so unlikely under the prior that they cannot be coded.
    """
    message, step = Message(seed=_SEED), 2.0**-latent_bits
    first, probe = 0, ""
    for size in batch_sizes(len(images), model.image_shape):
        batch = images[first : first + size]
        first += size
        message.resize(max(size, len(message.states)))
        z = pop_posterior(message, *model.posterior(batch), step)
        features = model.features(z * step)
        probe = _digest(features)
        for starts, sizes in reversed(_intervals(model, features, batch)):
            message.push(starts, sizes, PRECISION)
        push_prior(message, z, model.couplings, step)
    return CodedBlock(
        images=len(images),
        borrowed=message.borrowed,
        states=message.states,
        words=message.words,
        probe=probe,
        pixels=_digest(images),
    )


def decode(model: CodedModel, block: CodedBlock, latent_bits: int) -> np.ndarray:
    """The images of a block, uint8 [N, height, width, channels].

    Raises:
      OtherComputationError: the model computes other numbers here than the encoder did.
    """
    message, step = Message(block.words, block.states), 2.0**-latent_bits
    images = np.empty((block.images, *model.image_shape), np.uint8)
    sizes = batch_sizes(block.images, model.image_shape)
    last = block.images
    try:
        for number in reversed(range(len(sizes))):
            size = sizes[number]
            z = pop_prior(message, (size, model.latents), model.couplings, step)
            features = model.features(z * step)
            if number == len(sizes) - 1 and _digest(features) != block.probe:
                raise OtherComputationError
            batch = images[last - size : last]
            last -= size
            _pop_pixels(model, features, message, batch)
            push_posterior(message, z, *model.posterior(batch), step)
            message.resize(max(sizes[:number], default=0))
    except (UnderflowError, RangeError):
        raise OtherComputationError from None
    is_initial = message.is_initial(block.borrowed, _SEED)
    if not is_initial or _digest(images) != block.pixels:
        raise OtherComputationError
    return images


def _intervals(
    model: CodedModel, features: np.ndarray, images: np.ndarray
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """The starts and sizes of the intervals of all channels of all pixels, in order."""
    steps, intervals = model.steps(features), []
    height, width, channels = model.image_shape
    levels = images.astype(np.int64)
    for row in range(height):
        for column in range(width):
            mixture = PixelMixture(steps.outputs(row, column), model.components, channels)
            for channel in range(channels):
                level = levels[:, row, column, channel]
                intervals.append(mixture.interval(level))
                if channel < channels - 1:
                    mixture.condition(level)
            steps.set(row, column, levels[:, row, column])
    return intervals


def _pop_pixels(
    model: CodedModel, features: np.ndarray, message: Message, images: np.ndarray
) -> None:
    """Takes the pixels of images from a message, into the array `images`."""
    steps = model.steps(features)
    height, width, channels = model.image_shape
    for row in range(height):
        for column in range(width):
            mixture = PixelMixture(steps.outputs(row, column), model.components, channels)
            for channel in range(channels):
                positions = message.positions(len(images), PRECISION)
                level, starts, sizes = mixture.find(positions)
                message.pop(starts, sizes, PRECISION)
                images[:, row, column, channel] = level
                if channel < channels - 1:
                    mixture.condition(level)
            steps.set(row, column, images[:, row, column])


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
