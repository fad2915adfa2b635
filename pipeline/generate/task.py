"""The interface of generation tasks, and what they all need."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from etils import epath

from components.base.errors import ConfigError
from components.base.manifest import Artifact, Input
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.generate.config import GenerateConfig
from pipeline.generate.given_image import GivenImage, LoadedImage
from pipeline.generate.training_set import TrainingSet
from pipeline.generate.writer import GeneratedImages

if TYPE_CHECKING:
    from components.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class GenerationContext:
    """The settings, the model and the data that a task generates images from.

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
        """The label of all images: the class that was asked for, or that of the given images.

        Raises:
          ConfigError: the model needs one, and there is none, or the given images have different
            ones.
        """
        if not self.classes:
            return None
        if self.label is not None:
            return self.label
        known = {image.label for image in images if image.label is not None}
        if not known:
            raise ConfigError(
                f"{self.model.path} is conditioned on classes; choose one with --class"
            )
        if len(known) > 1:
            names = " and ".join(self.training_set.class_names[label] for label in sorted(known))
            raise ConfigError(
                f"the given images are of the classes {names}, but {self.model.path} decodes all "
                "latents as one class; choose it with --class"
            )
        return known.pop()

    def images(
        self, vae: "VAE", count: int, latents: Iterable[np.ndarray], labels: int | np.ndarray | None
    ) -> GeneratedImages:
        """Images to write; a single label applies to all."""
        if labels is not None:
            labels = np.broadcast_to(np.asarray(labels, np.int64), count)
        return GeneratedImages(vae, count, latents, labels, self.training_set.class_names)


class GenerationTask(Protocol):
    """A kind of images to generate.

    Attributes:
      config: what identifies it in a manifest, besides its settings, as JSON values.
      inputs: its inputs besides the model, by name, for a manifest.
    """

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def inputs(self) -> Mapping[str, Input]: ...

    def load(self) -> None:
        """Finds the images that the user names, before anything is written.

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
