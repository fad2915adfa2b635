"""The settings of the denoise stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError

# Draws of one image are decoded together.
_MOST_SAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class DenoiseConfig:
    """Settings of the denoised images."""

    samples: int = option(
        64, "number of draws from the posterior of each image, whose decoded images are averaged"
    )
    sample: int = option(
        0, "write the first N decoded draws of each image in samples/ too, each a possible image"
    )

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= _MOST_SAMPLES:
            raise ConfigError(
                f"samples must be from 1 to {_MOST_SAMPLES:,}. Received: {self.samples}"
            )
        if not 0 <= self.sample <= self.samples:
            raise ConfigError(
                f"sample must be from 0 to samples, which is {self.samples}. Received: "
                f"{self.sample}"
            )
