"""The settings of the compress command."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError

# As in `components.compression.archive`, which imports NumPy.
_MAX_BLOCK_IMAGES = 1 << 16
_MAX_LATENT_BITS = 12


@dataclasses.dataclass(frozen=True)
class CompressConfig:
    """Settings of the compression."""

    block_images: int = option(
        2500,
        "number of images in a block; blocks are coded in parallel, and damage to one block does "
        "not affect the others",
    )
    latent_bits: int = option(
        8,
        "latents are rounded to multiples of 2^-N; use a larger N for models whose posteriors "
        "have standard deviations below 0.01",
    )

    def __post_init__(self) -> None:
        for name, most in (
            ("block_images", _MAX_BLOCK_IMAGES),
            ("latent_bits", _MAX_LATENT_BITS),
        ):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise ConfigError(f"{name} must be from 1 to {most:,}. Received: {value:,}")
