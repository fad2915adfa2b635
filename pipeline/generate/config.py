"""The settings of the generate stage."""

import dataclasses
from typing import Any

from components.base.config import option
from components.base.errors import ConfigError
from components.ingest.conversion import BACKGROUNDS

# The manifest lists each image.
_MAX_COUNT = 100_000
# Images on a path, or columns of a figure.
_MAX_STEPS = 1000
_MAX_COMPONENTS = 1000
# Standard deviations. Much larger factors would make latents infinite.
_MAX_FACTOR = 1000
# As in `components.model.samplers`, which imports NumPy.
COMPONENTS = 20

AUTO, PRIOR, AGGREGATE = "auto", "prior", "aggregate"
# The kinds of images to generate, and the settings that each depends on.
SAMPLES, VARIATIONS, INTERPOLATION, TRAVERSAL = (
    "samples",
    "variations",
    "interpolation",
    "traversal",
)
SETTINGS = {
    SAMPLES: ("count", "seed", "sampler", "temperature", "components"),
    VARIATIONS: ("count", "seed", "radius", "background"),
    INTERPOLATION: ("steps", "background"),
    TRAVERSAL: ("count", "steps", "radius"),
}
_OPTIONS = {
    SAMPLES: "samples",
    VARIATIONS: "--near",
    INTERPOLATION: "--interpolate",
    TRAVERSAL: "--traverse",
}


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Settings of the generated images."""

    count: int = option(
        100, f"number of samples or variations, or of rows of a traversal, to {_MAX_COUNT:,}"
    )
    seed: int = option(0, "random seed of the draws")
    sampler: str = option(
        AUTO,
        "where samples are drawn from: the prior, or aggregate, a mixture of normal distributions "
        "fitted to the posteriors of the training examples; auto is aggregate if these examples "
        "are found, the prior is standard_normal, and there is one level of latents, and prior "
        "otherwise",
        choices=(AUTO, PRIOR, AGGREGATE),
    )
    temperature: float = option(
        1.0, "factor of the standard deviations of samples: below 1, they vary less"
    )
    components: int = option(
        COMPONENTS, "number of components of the mixture of the sampler aggregate"
    )
    radius: float = option(
        3.0,
        "how far variations and traversals go, in standard deviations: of the image's posterior, "
        "and of the latent over all images",
    )
    steps: int = option(
        11,
        "number of images of an interpolation, or in a row of a traversal, from 2 to "
        f"{_MAX_STEPS:,}",
    )
    background: str = option(
        "black",
        "color that transparent pixels of an image file are blended with",
        choices=tuple(BACKGROUNDS),
    )
    training_examples: str = option(
        "",
        "directory of the prepared dataset that the model was trained on, for the sampler "
        "aggregate, traversals, ids and the names of classes [the one in the model's manifest]",
        is_path=True,
    )

    def __post_init__(self) -> None:
        for name, least, most in (
            ("count", 1, _MAX_COUNT),
            ("steps", 2, _MAX_STEPS),
            ("components", 1, _MAX_COMPONENTS),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"{name} must be from {least} to {most:,}. Received: {getattr(self, name)}"
                )
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0. Received: {self.seed}")
        for name in ("temperature", "radius"):
            if not 0 <= getattr(self, name) <= _MAX_FACTOR:
                raise ConfigError(
                    f"{name} must be from 0 to {_MAX_FACTOR:,}. Received: {getattr(self, name):g}"
                )

    def of(self, kind: str) -> dict[str, Any]:
        """The settings that a kind of images depends on, for the manifest.

        Args:
          kind: key of `SETTINGS`.

        Raises:
          ConfigError: a setting that has no effect was given.
        """
        read = {*SETTINGS[kind], "training_examples"}
        for field in dataclasses.fields(self):
            if field.name not in read and getattr(self, field.name) != field.default:
                raise ConfigError(f"--{field.name} has no effect on {_OPTIONS[kind]}; leave it out")
        return {name: getattr(self, name) for name in SETTINGS[kind]}
