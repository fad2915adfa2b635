"""An image that variations start from, or an end of an interpolation: a file, or an example."""

import dataclasses
import os

import numpy as np
from etils import epath

from components.base import files
from components.base.errors import ConfigError
from components.base.manifest import Artifact, Input
from components.ingest import image_file
from components.ingest.conversion import Conversion
from components.model import model_file
from components.model.registry import MODEL_FILE
from pipeline.generate.training_set import TrainingSet


@dataclasses.dataclass(frozen=True)
class LoadedImage:
    """An image in the form that the model takes.

    Attributes:
      pixels: uint8, shape [height, width, channels].
      label: its label; None if that is not known.
    """

    pixels: np.ndarray
    label: int | None


@dataclasses.dataclass(frozen=True)
class GivenImage:
    """The image that a user names by the path of a file or, if there is none, by an example's id.

    Attributes:
      option: the option that names it, for error messages.
      text: what the user wrote.
    """

    option: str
    text: str

    @property
    def _path(self) -> epath.Path:
        return epath.Path(os.path.expanduser(self.text))

    @property
    def is_file(self) -> bool:
        """Whether it is a file, and not an id."""
        return bool(self.text) and self._path.exists() and not self._path.is_dir()

    @property
    def name(self) -> str:
        """The id, or the name of the file."""
        return self._path.name if self.is_file else self.text

    @property
    def config(self) -> str:
        """The identity of the image in a manifest, besides the inputs."""
        return ascii(self.name)

    def inputs(self, key: str) -> dict[str, Input]:
        """The file, as the input of that name in a manifest."""
        return {key: Input(self._path, files.sha256(self._path))} if self.is_file else {}

    def load(self, model: Artifact, training_set: TrainingSet, background: str) -> LoadedImage:
        """The image.

        Args:
          model: the artifact of the train stage.
          training_set: where to look for an id.
          background: color that transparent pixels of a file become, in `BACKGROUNDS`.

        Raises:
          ConfigError: there is no such file or example, or the file is no image.
          WorkError: a shard is damaged.
        """
        if self.is_file:
            height, width, channels = model_file.image_shape(model.verified(MODEL_FILE))
            conversion = Conversion((height, width), channels, background)
            return LoadedImage(image_file.read(self._path, conversion), None)
        found = training_set.find(self.text)
        if found is None:
            raise ConfigError(
                f"{self.option} {self.text!r} is neither an image file nor the id of an example"
                f"{_place(training_set)}"
            )
        return LoadedImage(found.pixels, found.label)


def _place(training_set: TrainingSet) -> str:
    """The dataset that ids were looked for in, with an example of an id."""
    if training_set.dataset is None:
        return (
            f", since the examples that {training_set.model.path} was trained on are not where its "
            "manifest says; pass their directory with --training_examples"
        )
    dataset = training_set.dataset
    example = dataset.head(dataset.splits[-1], 1).ids[0]
    return f" of {dataset.path} (one of them is {example!r})"
