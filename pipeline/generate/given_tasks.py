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
from pipeline.generate.task import Subjects
from pipeline.generate.writer import GeneratedImages

if TYPE_CHECKING:
    from components.model.vae import VAE


@dataclasses.dataclass
class VariationTask:
    """Variations of an image.

    Attributes:
      subjects: what they are generated with.
      image: the image.
    """

    subjects: Subjects
    image: GivenImage

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.subjects, near=self.image)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return _given_inputs(self.subjects, near=self.image)

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self._loaded = self.subjects.load(self.image)
        self._label = self.subjects.one_label(self._loaded)

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        from components.model.encode import encode

        config = self.subjects.config
        means, log_variances = encode(vae, self._loaded.pixels[np.newaxis])
        sampler = samplers.NearSampler(means[0], np.exp(0.5 * log_variances[0]), config.radius)
        latents = samplers.drawn(sampler, config.count, seed=config.seed)
        return self.subjects.images(vae, config.count, latents, self._label)

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
      subjects: what it is generated with.
      ends: the two images.
    """

    subjects: Subjects
    ends: tuple[GivenImage, GivenImage]

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.subjects, first=self.ends[0], last=self.ends[1])

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return _given_inputs(self.subjects, first=self.ends[0], last=self.ends[1])

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self._loaded = [self.subjects.load(end) for end in self.ends]
        self._label = self.subjects.one_label(*self._loaded)

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        from components.model.encode import encode

        steps = self.subjects.config.steps
        means, _ = encode(vae, np.stack([each.pixels for each in self._loaded]))
        shares = np.linspace(0, 1, steps, dtype=np.float32)
        (path,) = interpolation.interpolate(vae.architecture, means[:1], means[1:], shares)
        return self.subjects.images(vae, steps, samplers.blocks(path), self._label)

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
    """Traversals of the latents that tell most about an image.

    Attributes:
      subjects: what they are generated with.
    """

    subjects: Subjects

    @property
    def config(self) -> Mapping[str, Any]:
        """See `GenerationTask`."""
        return _given_config(self.subjects)

    @property
    def inputs(self) -> Mapping[str, Input]:
        """See `GenerationTask`."""
        return self.subjects.examples_input()

    def load(self) -> None:
        """See `GenerationTask.load`."""
        self.subjects.training_set.require("--traverse")
        self._label = self.subjects.one_label()

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        config = self.subjects.config
        posteriors = self.subjects.training_set.posteriors(vae, "--traverse", self._label)
        self._traversal = traversal.traverse(
            posteriors, rows=config.count, steps=config.steps, radius=config.radius
        )
        points = self._traversal.latents.reshape(-1, vae.latents)
        return self.subjects.images(vae, len(points), samplers.blocks(points), self._label)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        radius = self.subjects.config.radius
        figures.draw_traversal(
            directory,
            row_names=self._traversal.names,
            steps=self.subjects.config.steps,
            title=f"Latents from −{radius:g} to {radius:g} standard deviations",
            subtitle=subtitle,
        )


def _given_config(subjects: Subjects, **images: GivenImage) -> dict[str, Any]:
    label = {} if subjects.label is None else {"label": subjects.label}
    return {**{name: image.config for name, image in images.items()}, **label}


def _given_inputs(subjects: Subjects, **images: GivenImage) -> dict[str, Input]:
    """The image files, and the examples if an image is one of them, or the model has classes."""
    inputs: dict[str, Input] = {}
    for name, image in images.items():
        inputs |= image.inputs(name)
    if subjects.classes or not all(image.is_file for image in images.values()):
        inputs |= subjects.examples_input()
    return inputs
