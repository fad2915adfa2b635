"""The training set of a model, which gives posteriors, ids and names of classes."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from components.base.errors import ConfigError, WorkError, nearest
from components.base.manifest import Artifact
from components.data import training_examples
from components.data.prepared_dataset import PreparedDataset
from components.model.embeddings import Embeddings
from components.model.samplers import FIT_EXAMPLES

if TYPE_CHECKING:
    from components.model.vae import VAE


@dataclasses.dataclass(frozen=True)
class FoundExample:
    """An example of the dataset.

    Attributes:
      pixels: uint8, shape [height, width, channels].
      label: its label.
    """

    pixels: np.ndarray
    label: int


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """The dataset that a model was trained on, if it is available.

    Attributes:
      model: the artifact of the train stage.
      dataset: the dataset, with its other splits; None if it is not available.
    """

    model: Artifact
    dataset: PreparedDataset | None

    @staticmethod
    def of(model: Artifact, directory: str) -> "TrainingSet":
        """The training set of a model.

        Args:
          model: the artifact of the train stage.
          directory: where the dataset is; "" for the path in the model's manifest.

        Raises:
          ConfigError: `directory` holds another dataset.
        """
        return TrainingSet(model, training_examples.find(model, directory))

    @property
    def class_names(self) -> list[str]:
        """The names of the labels, by label; empty if they are not known."""
        return [] if self.dataset is None else self.dataset.class_names

    def require(self, purpose: str) -> PreparedDataset:
        """The dataset.

        Args:
          purpose: what needs it, for the error message.

        Raises:
          ConfigError: it is not available.
        """
        if self.dataset is None:
            raise ConfigError(
                f"{purpose} needs the examples that {self.model.path} was trained on, which are "
                "not where its manifest says; pass their directory with --training_examples"
            )
        return self.dataset

    def label_of(self, name: str, classes: int) -> int:
        """The label of a class of a conditional model.

        Args:
          name: the name of the class, or the number of its label.
          classes: number of classes of the model; 0 if it has none.

        Raises:
          ConfigError: there is no such class.
        """
        if not classes:
            raise ConfigError(
                f"{self.model.path} is not conditioned on classes, so that --class has no meaning "
                "for it; leave it out, or train with --condition label"
            )
        if name in self.class_names:
            return self.class_names.index(name)
        if name.isascii() and name.isdecimal() and int(name) < classes:
            return int(name)
        known = self.class_names or [str(label) for label in range(classes)]
        raise ConfigError(f"{self.model.path} has no class {name!r}; {nearest(name, known)}")

    def find(self, id: str) -> FoundExample | None:
        """The example with an id, in any split; None if there is none.

        Raises:
          WorkError: a shard is damaged.
        """
        if self.dataset is None:
            return None
        for split in self.dataset.splits:
            for batch in self.dataset.batches(split):
                if id in batch.ids:
                    row = batch.ids.index(id)
                    return FoundExample(batch.images[row], int(batch.labels[row]))
        return None

    def posteriors(self, vae: "VAE", purpose: str, label: int | None = None) -> Embeddings:
        """The posteriors of the first `FIT_EXAMPLES` training examples, or of those of a class.

        The first ones are a random sample. They are read and encoded in parts.

        Args:
          vae: the model.
          purpose: see `require`.
          label: the class; None for all.

        Raises:
          ConfigError: the dataset is not available.
          WorkError: it has no example of the class, or a shard is damaged.
        """
        from components.model.encode import encode

        ids: list[str] = []
        parts: list[tuple[np.ndarray, ...]] = []
        for batch in self.require(purpose).batches("train"):
            if label is not None:
                batch = batch.take(np.flatnonzero(batch.labels == label))
            batch = batch.part(0, FIT_EXAMPLES - len(ids))
            if len(batch):
                ids += batch.ids
                parts.append((batch.labels, *encode(vae, batch.images)))
            if len(ids) == FIT_EXAMPLES:
                break
        if not ids:
            raise WorkError(
                f"{purpose} needs training examples of the class, and there are none; choose "
                "another --class"
            )
        labels, means, log_variances = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return Embeddings(ids, labels, means, log_variances)
