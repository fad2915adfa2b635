"""Bits-back coding of images with a VAE (Townsend, Bird and Barber, 2019).

To encode an image, its latents are popped from the message under the posterior, its pixels are
pushed under the likelihood, and then the latents are pushed under the prior. The message grows by
rate + distortion, the negative ELBO, because the bits of the latents come back: a decoder pops the
latents and the pixels, computes the posterior, and pushes the latents under it.
"""

import hashlib

import numpy as np

from components.compression.ans import Message, UnderflowError
from components.compression.blocks import CodedBlock, LabeledImages, batch_sizes
from components.compression.coded_model import CodedModel
from components.compression.grid_normal import RangeError
from components.compression.mixture import PixelMixture
from components.compression.quantized_cdf import PRECISION

_SEED = 0
# An encoder computes the probabilities of this many pixels at once.
_PIXELS_AT_ONCE = 2048


class OtherComputationError(Exception):
    """The model computes different numbers here than where the images were encoded."""


def encode(model: CodedModel, block: LabeledImages, latent_bits: int) -> CodedBlock:
    """Encodes a block of images.

    Args:
      model: the model.
      block: the images, one or more, and their labels, which are read if the model is conditioned
        on labels.
      latent_bits: latents are multiples of 2^-latent_bits.

    Raises:
      RangeError: the latents of an image are so unlikely under the prior that they cannot be coded.
    """
    message, step = Message(seed=_SEED), 2.0**-latent_bits
    images, labels, first = block.images, block.labels, 0
    for size in batch_sizes(len(images), model.image_shape):
        part = slice(first, first + size)
        batch, first = images[part], part.stop
        message.resize(max(size, len(message.states)))
        # The latents first: the likelihood of the pixels needs them.
        z, features = model.latents.pop_posterior(message, batch, labels[part], step)
        _push_pixels(model, features, message, batch)
        model.latents.push_prior(message, z, labels[part], step)
    return CodedBlock(
        images=len(images),
        borrowed=message.borrowed,
        states=message.states,
        words=message.words,
        probe=_digest(features),
        pixels=_digest(images),
    )


def decode(
    model: CodedModel, block: CodedBlock, labels: np.ndarray, latent_bits: int
) -> np.ndarray:
    """The images of a block, uint8 [N, height, width, channels].

    Args:
      model: the model.
      block: what `encode` returned.
      labels: of the images, int64 [N].
      latent_bits: as `encode` got it.

    Raises:
      OtherComputationError: the model computes different numbers here than for the encoder.
    """
    message, step = Message(block.words, block.states), 2.0**-latent_bits
    images = np.empty((block.images, *model.image_shape), np.uint8)
    sizes = batch_sizes(block.images, model.image_shape)
    last = block.images
    try:
        # The message is a stack, so everything comes back in reverse order.
        for number in reversed(range(len(sizes))):
            size = sizes[number]
            part = slice(last - size, last)
            last = part.start
            z, features = model.latents.pop_prior(message, labels[part], step)
            # Fail early: with other features, all following pixels would be wrong.
            if number == len(sizes) - 1 and _digest(features) != block.probe:
                raise OtherComputationError
            _pop_pixels(model, features, message, images[part])
            model.latents.push_posterior(message, z, images[part], step)
            message.resize(max(sizes[:number], default=0))
    except (UnderflowError, RangeError):
        raise OtherComputationError from None
    # The message must end as the encoder began it, and the pixels must have their digest: wrong
    # images are never returned.
    is_initial = message.is_initial(block.borrowed, _SEED)
    if not is_initial or _digest(images) != block.pixels:
        raise OtherComputationError
    return images


def _push_pixels(
    model: CodedModel, features: np.ndarray, message: Message, images: np.ndarray
) -> None:
    """Puts the pixels of images on a message, the last one first."""
    height, width, channels = model.image_shape
    starts, sizes = np.empty((2, height, width, channels, len(images)), np.int64)
    # All pixels are known, so that whole rows are computed, in parts of a size for the caches.
    most = max(1, _PIXELS_AT_ONCE // width)
    for first in range(0, len(images), most):
        part = slice(first, first + most)
        steps = model.steps(features[part])
        levels = images[part].transpose(1, 2, 0, 3).astype(np.int64)
        for row in range(height):
            steps.set(row, range(width), levels[row])
            outputs = steps.outputs(row, range(width))
            mixture = PixelMixture(_flat(outputs), model.components, channels)
            for channel in range(channels):
                level = levels[row, :, :, channel]
                found = mixture.interval(level.reshape(-1))
                starts[row, :, channel, part], sizes[row, :, channel, part] = (
                    each.reshape(level.shape) for each in found
                )
                if channel < channels - 1:
                    mixture.condition(level.reshape(-1))
    # Pushed in reverse, so that a decoder pops the pixels in their order.
    pairs = zip(starts.reshape(-1, len(images)), sizes.reshape(-1, len(images)), strict=True)
    for pair in reversed(list(pairs)):
        message.push(*pair, PRECISION)


def _pop_pixels(
    model: CodedModel, features: np.ndarray, message: Message, images: np.ndarray
) -> None:
    """Takes the pixels of images from a message, into the array `images`."""
    steps = model.steps(features)
    height, width, channels = model.image_shape
    # The images last, so that the same pixel of all of them is contiguous in memory.
    levels = np.empty((height, width, channels, len(images)), np.uint8)
    for row in range(height):
        for column in range(width):
            columns = range(column, column + 1)
            outputs = steps.outputs(row, columns)
            mixture = PixelMixture(_flat(outputs), model.components, channels)
            for channel in range(channels):
                positions = message.positions(len(images), PRECISION)
                level, starts, sizes = mixture.find(positions)
                message.pop(starts, sizes, PRECISION)
                levels[row, column, channel] = level
                if channel < channels - 1:
                    mixture.condition(level)
            steps.set(row, columns, levels[row, column : column + 1].transpose(0, 2, 1))
    images[:] = levels.transpose(3, 0, 1, 2)


def _flat(outputs: np.ndarray) -> np.ndarray:
    """Outputs [columns, N, outputs] as [columns * N, outputs]."""
    return outputs.reshape(-1, outputs.shape[-1])


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
