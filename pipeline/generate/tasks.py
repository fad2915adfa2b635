"""What can be generated: samples, variations of an image, a way between images, a traversal."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from etils import epath

from components.base.errors import ConfigError
from components.base.manifest import Artifact, Input
from components.model import interpolation, model_file, samplers
from components.model.registry import MODEL_FILE
from pipeline.generate import figures, traversal
from pipeline.generate.config import AGGREGATE, AUTO, PRIOR, GenerateConfig
from pipeline.generate.given_image import GivenImage, LoadedImage
from pipeline.generate.training_set import TrainingSet
from pipeline.generate.writer import GeneratedImages

if TYPE_CHECKING:
    from components.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What images are generated with.

    Attributes:
      config: the settings.
      model: the artifact of the train stage.
      training_set: the examples that the model was trained on.
      label: the class that was asked for; None for none.
    """

    config: GenerateConfig
    model: Artifact
    training_set: TrainingSet
    label: int | None

    @property
    def classes(self) -> int:
        """Number of labels that the model is conditioned on; 0 for none."""
        return model_file.num_classes(self.model.path / MODEL_FILE)

    def examples_input(self) -> dict[str, Input]:
        """The training examples as an input in a manifest."""
        dataset = self.training_set.dataset
        return {} if dataset is None else {"training_examples": dataset.artifact.as_input()}

    def load(self, image: GivenImage) -> LoadedImage:
        """An image that the user names. Raises the errors of `GivenImage.load`."""
        return image.load(self.model, self.training_set, self.config.background)

    def one_label(self, *images: LoadedImage) -> int | None:
        """The label of all images: the class that was asked for, or that of the first given image.

        Raises:
          ConfigError: the model needs one, and there is none.
        """
        if not self.classes:
            return None
        labels = [self.label, *(image.label for image in images)]
        known = [label for label in labels if label is not None]
        if not known:
            raise ConfigError(
                f"{self.model.path} is conditioned on classes; choose one with --class"
            )
        return known[0]

    def images(
        self, vae: "VAE", count: int, latents: Any, labels: int | np.ndarray | None
    ) -> GeneratedImages:
        """Images to write; one label is that of all."""
        if labels is not None:
            labels = np.broadcast_to(np.asarray(labels, np.int64), count)
        return GeneratedImages(vae, count, latents, labels, self.training_set.class_names)


class GenerationTask(Protocol):
    """Something to generate.

    Attributes:
      config: what identifies it in a manifest, besides its settings, as JSON values.
      inputs: what is read besides the model, by name, for a manifest.
    """

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def inputs(self) -> Mapping[str, Input]: ...

    def load(self) -> None:
        """Finds what is given, before anything is written.

        Raises:
          ConfigError: an image, an example or a class is not there.
          WorkError: a shard is damaged.
        """

    def open(self, vae: "VAE") -> GeneratedImages:
        """The images to write, after `load`.

        Raises:
          WorkError: a shard is damaged, or the model has nothing to show.
        """

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """Draws the figures of the images that were written to a directory."""


class SampleTask:
    """Samples of a distribution over latents.

    Args:
      subjects: what they are generated with.

    Raises:
      ConfigError: the distribution cannot be fitted.
    """

    def __init__(self, subjects: Subjects):
        self._subjects = subjects
        self.sampler = _sampler(subjects)
        label = {} if subjects.label is None else {"label": subjects.label}
        self.config = {"sampler": self.sampler, **label}
        uses_examples = self.sampler == AGGREGATE or subjects.classes
        self.inputs = subjects.examples_input() if uses_examples else {}

    def load(self) -> None:
        """See `GenerationTask.load`; there is nothing to find."""

    def open(self, vae: "VAE") -> GeneratedImages:
        """See `GenerationTask.open`."""
        config, label = self._subjects.config, self._subjects.label
        sampler: samplers.Sampler
        if self.sampler == PRIOR:
            sampler = samplers.PriorSampler(vae, config.temperature)
        else:
            posteriors = self._subjects.training_set.posteriors(vae, "the sampler aggregate", label)
            sampler = samplers.AggregateSampler.fit(
                posteriors, components=config.components, temperature=config.temperature
            )
        latents = samplers.drawn(sampler, config.count, seed=config.seed)
        labels = None
        if classes := self._subjects.classes:
            labels = np.arange(config.count) % classes if label is None else np.asarray(label)
        return self._subjects.images(vae, config.count, latents, labels)

    def draw(self, images: GeneratedImages, directory: epath.Path, subtitle: str) -> None:
        """See `GenerationTask.draw`."""
        source = "prior" if self.sampler == PRIOR else "aggregate posterior"
        figures.draw_samples(
            images,
            directory,
            by_class=images.labels is not None and self._subjects.label is None,
            title=f"Samples from the {source}",
            subtitle=subtitle,
        )


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
    """The way from one image to another.

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
        (way,) = interpolation.ways(vae.architecture, means[:1], means[1:], shares)
        return self.subjects.images(vae, steps, samplers.blocks(way), self._label)

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
    """Ways along the latents that tell most about an image.

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


def _sampler(subjects: Subjects) -> str:
    """The sampler that is asked for, or the default one."""
    asked = subjects.config.sampler
    is_hierarchy = model_file.num_levels(subjects.model.path / MODEL_FILE) > 1
    if asked == AUTO:
        can_fit = subjects.training_set.dataset is not None and not is_hierarchy
        return AGGREGATE if can_fit else PRIOR
    if asked == AGGREGATE and is_hierarchy:
        raise ConfigError(
            f"{subjects.model.path} has a hierarchy of latents, which are too many for the sampler "
            "aggregate; choose --sampler prior"
        )
    if asked == AGGREGATE:
        subjects.training_set.require("the sampler aggregate")
    return asked


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
