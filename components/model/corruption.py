"""Corruption of images: the encoder of a denoising model sees a corrupted image, not the clean one.

A corrupted image is like one read from a file: its values are clipped to [0, 1] and rounded to 256
levels. So noise on a black pixel makes it brighter or leaves it black.

The settings are read without TensorFlow, which takes seconds to import.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from components.base.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

NO_CORRUPTION = "none"
# The largest standard deviation, in units of intensity, and the largest probability.
_LARGEST = {"gaussian": 10.0, "speckle": 10.0, "salt_pepper": 1.0, "mask": 1.0}
KINDS = tuple(_LARGEST)
# Uniform draws of an image besides one for each value: the kind of its noise, and the strength.
CHOICES = 2
# The quantile function of the normal distribution is infinite at 0.
_SMALLEST_DRAW = 2.0**-24


@dataclasses.dataclass(frozen=True)
class Noise:
    """One kind of corruption.

    Attributes:
      kind: gaussian: adds a normal number to each value; speckle: multiplies each value with 1 plus
        a normal number; salt_pepper: makes a value 0 or 1; mask: makes a pixel black.
      low: least strength: the standard deviation in units of intensity, or the probability of
        salt_pepper for each value and of mask for each pixel.
      high: largest strength. That of an image is uniform between the two.
    """

    kind: str
    low: float
    high: float

    def __str__(self) -> str:
        strengths = f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"
        return f"{self.kind}:{strengths}"


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A corruption that is of one of several kinds, with the same probability for each.

    Attributes:
      noises: the kinds.
    """

    noises: tuple[Noise, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.noises))

    def __call__(
        self, images: "tf.Tensor", uniforms: "tf.Tensor", choices: "tf.Tensor"
    ) -> "tf.Tensor":
        """Corrupts images.

        Args:
          images: in [0, 1], shape [batch, height, width, channels].
          uniforms: independent and uniform in (0, 1), of the same shape.
          choices: independent and uniform in (0, 1), shape [batch, CHOICES]: they choose the kind
            of each image and its strength.

        Returns:
          The same shape, in [0, 1], each value a multiple of 1/255.
        """
        import tensorflow as tf

        kind, strength = (choices[:, index, None, None, None] for index in range(CHOICES))
        kind = tf.floor(kind * len(self.noises))
        corrupted = tf.zeros_like(images)
        for index, noise in enumerate(self.noises):
            amount = noise.low + (noise.high - noise.low) * strength
            result = _FUNCTIONS[noise.kind](images, uniforms, amount)
            corrupted = tf.where(tf.equal(kind, index), result, corrupted)
        return tf.round(tf.clip_by_value(corrupted, 0.0, 1.0) * 255) / 255


def parse_corruption(text: str, *, setting: str = "corruption") -> Corruption | None:
    """The corruption that a setting names, such as `gaussian:0.1-0.5,mask:0.2`; None for `none`.

    Args:
      text: kinds with their strengths or ranges of strengths, separated by commas.
      setting: name of the setting, for messages.

    Raises:
      ConfigError: the text is not a corruption.
    """
    if text == NO_CORRUPTION:
        return None
    return Corruption(tuple(_parse_noise(part.strip(), setting) for part in text.split(",")))


def _parse_noise(text: str, setting: str) -> Noise:
    kind, _, strengths = text.partition(":")
    if kind not in KINDS:
        raise ConfigError(
            f"unknown kind {kind!r} in {setting}; {nearest(kind, (*KINDS, NO_CORRUPTION))}"
        )
    try:
        low, high = (float(strengths.split("-", 1)[index]) for index in (0, -1))
    except ValueError:
        raise ConfigError(
            f"{setting} needs a strength or a range of strengths after {kind}, such as {kind}:0.2 "
            f"or {kind}:0.1-0.4. Received: {text}"
        ) from None
    # False for numbers that are not finite.
    if not 0 <= low <= high <= _LARGEST[kind]:
        raise ConfigError(
            f"strengths of {kind} in {setting} must be from 0 to {_LARGEST[kind]:g}, the smaller "
            f"one first. Received: {text}"
        )
    return Noise(kind, low, high)


def corrupt_for_evaluation(
    pixels: "np.ndarray", corruption: Corruption, *, first: int = 0
) -> "np.ndarray":
    """The fixed corruption of images of an evaluation set, the same in any batches.

    Args:
      pixels: consecutive images of the set, uint8, shape [N, height, width, channels].
      corruption: the corruption.
      first: number of the first of them in the set.

    Returns:
      uint8, the same shape.
    """
    import numpy as np

    from components.model.noise import evaluation_draws
    from components.model.pixels import to_unit

    size = math.prod(pixels.shape[1:])
    draws = evaluation_draws(len(pixels), CHOICES + size, first=first)
    draws = np.maximum(draws, _SMALLEST_DRAW).astype(np.float32)
    uniforms = draws[:, CHOICES:].reshape(pixels.shape)
    corrupted = corruption(to_unit(pixels), uniforms, draws[:, :CHOICES]).numpy()
    return np.rint(corrupted * 255).astype(np.uint8)


def _normal(uniforms: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    from components.model.distributions import normal_quantiles

    # Below 1 in float32, so the quantile is finite.
    return normal_quantiles(tf.minimum(uniforms, 1 - _SMALLEST_DRAW))


def _gaussian(images: "tf.Tensor", uniforms: "tf.Tensor", amount: "tf.Tensor") -> "tf.Tensor":
    return images + amount * _normal(uniforms)


def _speckle(images: "tf.Tensor", uniforms: "tf.Tensor", amount: "tf.Tensor") -> "tf.Tensor":
    return images * (1 + amount * _normal(uniforms))


def _salt_pepper(images: "tf.Tensor", uniforms: "tf.Tensor", amount: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    peppered = tf.where(uniforms < amount / 2, 0.0, images)
    return tf.where(uniforms > 1 - amount / 2, 1.0, peppered)


def _mask(images: "tf.Tensor", uniforms: "tf.Tensor", amount: "tf.Tensor") -> "tf.Tensor":
    import tensorflow as tf

    return tf.where(uniforms[..., :1] < amount, 0.0, images)


_FUNCTIONS: dict[str, Callable[..., "tf.Tensor"]] = {
    "gaussian": _gaussian,
    "speckle": _speckle,
    "salt_pepper": _salt_pepper,
    "mask": _mask,
}
