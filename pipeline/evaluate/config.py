"""The settings of the evaluate stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError

_MAX_DRAWS = 1_000_000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Settings of the evaluation."""

    draws: int = option(4, "number of draws of z per example, to average the distortion over")
    draws_seed: int = option(0, "random seed of these draws and of the samples from the prior")

    def __post_init__(self) -> None:
        if not 1 <= self.draws <= _MAX_DRAWS or self.draws_seed < 0:
            raise ConfigError(
                f"draws must be from 1 to {_MAX_DRAWS:,}, and draws_seed at least 0. "
                f"Received: {self.draws}, {self.draws_seed}"
            )
