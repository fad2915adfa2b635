"""The config of the evaluate stage."""

import dataclasses

from components.base.config import option
from components.base.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How to evaluate."""

    draws: int = option(4, "draws of z per test example that its distortion is averaged over")
    draws_seed: int = option(0, "seed of those draws and of the sample grid")

    def __post_init__(self) -> None:
        if self.draws < 1 or self.draws_seed < 0:
            raise ConfigError(
                "draws must be at least 1 and draws_seed at least 0. "
                f"Received: {self.draws}, {self.draws_seed}"
            )
