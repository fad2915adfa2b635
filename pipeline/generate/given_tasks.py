"""Images made from given ones: variations, interpolations, and traversals of the latents."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from components.base.manifest import Input
from components.model import interpolation, samplers
from pipeline.generate import figures, traversal
from pipeline.generate.given_image import GivenImage
from pipeline.generate.task import GenerationContext
from pipeline.generate.writer import GeneratedImages

if TYPE_CHECKING:
    from components.model.vae import VAE


@dataclasses.dataclass
class VariationTask:
    """Variations of an image.

    Attributes:
      context: settings, model and data to generate from.
      image: the image.
    """

    context: GenerationContext
    image: GivenImage

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.context, near=self.image)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return _given_inputs(self.context, near=self.image)

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self._loaded = self.context.load(self.image)
        self._label = self.context.one_label(self._loaded)

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        from components.model.encode import encode

        config = self.context.config
        means, log_variances = encode(vae, self._loaded.pixels[np.newaxis])
        sampler = samplers.NearSampler(means[0], np.exp(0.5 * log_variances[0]), config.radius)
        latents = samplers.draw_blocks(sampler, config.count, seed=config.seed)
        return self.context.images(vae, config.count, latents, self._label)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        figures.draw_variations(
            images,
            directory,
            original=self._loaded.pixels,
            title=f"Variations of {self.image.name}, which is the first image",
            subtitle=subtitle,
        )


@dataclasses.dataclass
class InterpolationTask:
    """Images between two images.

    Attributes:
      context: settings, model and data to generate from.
      ends: the two images.
    """

    context: GenerationContext
    ends: tuple[GivenImage, GivenImage]

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.context, first=self.ends[0], last=self.ends[1])

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return _given_inputs(self.context, first=self.ends[0], last=self.ends[1])

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self._loaded = [self.context.load(end) for end in self.ends]
        self._label = self.context.one_label(*self._loaded)

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        from components.model.encode import encode

        steps = self.context.config.steps
        means, _ = encode(vae, np.stack([each.pixels for each in self._loaded]))
        shares = np.linspace(0, 1, steps, dtype=np.float32)
        (path,) = interpolation.interpolate(vae.architecture, means[:1], means[1:], shares)
        return self.context.images(vae, steps, samplers.blocks(path), self._label)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        first, last = (loaded.pixels for loaded in self._loaded)
        figures.draw_interpolation(
            images,
            directory,
            ends=(first, last),
            title="From {} to {}".format(*(end.name for end in self.ends)),
            subtitle=subtitle,
        )


@dataclasses.dataclass
class TraversalTask:
    """Traversals of the most informative latents.

    Attributes:
      context: settings, model and data to generate from.
    """

    context: GenerationContext

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.context)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return self.context.examples_input()

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self.context.training_set.require("--traverse")
        self._label = self.context.one_label()

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        config = self.context.config
        posteriors = self.context.training_set.posteriors(vae, "--traverse", self._label)
        self._traversal = traversal.traverse(
            posteriors, rows=config.count, steps=config.steps, radius=config.radius
        )
        points = self._traversal.latents.reshape(-1, vae.latents)
        return self.context.images(vae, len(points), samplers.blocks(points), self._label)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        radius = self.context.config.radius
        figures.draw_traversal(
            directory,
            row_names=self._traversal.names,
            steps=self.context.config.steps,
            title=f"Latents from −{radius:g} to {radius:g} standard deviations",
            subtitle=subtitle,
        )


def _given_config(context: GenerationContext, **images: GivenImage) -> dict[str, Any]:
    label = {} if context.label is None else {"label": context.label}
    return {**{name: image.config for name, image in images.items()}, **label}


def _given_inputs(context: GenerationContext, **images: GivenImage) -> dict[str, Input]:
    """The image files, and the examples if an image is one of them, or the model has classes."""
    inputs: dict[str, Input] = {}
    for name, image in images.items():
        inputs |= image.inputs(name)
    if context.classes or not all(image.is_file for image in images.values()):
        inputs |= context.examples_input()
    return inputs
