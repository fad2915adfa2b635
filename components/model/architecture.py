"""The settings that determine a model: everything but its weights. It imports no Keras."""

import dataclasses
import math

from components.base.shapes import Shape
from components.model.registry import MIN_WIDTHS

# Sizes of a network whose widths are not given: units of its dense layer; channels at half the
# image's resolution, which double with each lower resolution up to a limit; and the largest length
# of the shorter side at its lowest resolution.
_DENSE, _FIRST_CHANNELS, _MOST_CHANNELS, _LARGEST_GRID = 256, 32, 128, 8


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The parts of a VAE, by name, and their sizes.

    The fields are saved in `.keras` files. The default of a field reproduces models from before the
    field existed, so that their files still load.

    Attributes:
      image_shape: (height, width, channels) of the images.
      network: key of `NETWORKS`.
      latents: number of latent dimensions; in a hierarchy, channels of each level's map.
      widths: layer widths from the image inwards; the network defines their meaning.
      activation: activation function of the inner layers.
      encoder_blocks: residual blocks of the encoder at its lowest resolution.
      decoder_blocks: residual blocks of the decoder at each resolution.
      feature_channels: channels of the decoder at full resolution.
      likelihood: key of `LIKELIHOODS`.
      head: key of `HEADS`.
      head_layers: layers of a head over features and decoded pixels together.
      prior: key of `PRIORS`.
      levels: number of levels of latents; more than one make a hierarchy.
      linear_path: `principal_components` for a linear path beside encoder and decoder, or `none`.
      noise_model: the noise that the images of a Gaussian likelihood are known to have, such as
        `gaussian:0.2`, or `none`.
      classes: number of labels that the prior and the likelihood are conditioned on; 0 for none.
    """

    image_shape: Shape
    network: str
    latents: int
    widths: tuple[int, ...]
    activation: str = "relu"
    encoder_blocks: int = 0
    decoder_blocks: int = 1
    feature_channels: int = 32
    likelihood: str = "bernoulli"
    head: str = "factorized"
    head_layers: int = 1
    prior: str = "standard_normal"
    levels: int = 1
    linear_path: str = "none"
    noise_model: str = "none"
    classes: int = 0


def default_widths(network: str, image_shape: Shape) -> tuple[int, ...]:
    """The layer widths of a network for images of a shape (height, width, channels)."""
    if MIN_WIDTHS[network] == 1:
        return (_DENSE,)
    # As many halvings as reduce the shorter side to that of the grid.
    count = max(1, math.ceil(math.log2(min(image_shape[:2]) / _LARGEST_GRID)))
    channels = (min(_FIRST_CHANNELS * 2**index, _MOST_CHANNELS) for index in range(count))
    return (*channels, _DENSE)
