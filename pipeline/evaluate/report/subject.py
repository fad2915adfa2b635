"""The subject of a report: a model, its data and its scores."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from etils import epath

from components.base import console
from components.base.manifest import Artifact
from components.data.class_names import display_order
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.model.latent_plane import Plane
from pipeline.evaluate.config import EvaluateConfig
from pipeline.evaluate.scores import Scores
from trainer.recording.epoch_metrics import EpochMetrics

if TYPE_CHECKING:
    from components.model.vae import VAE


_MAX_LENGTH = 60  # Characters of a name or an id on a page.


class ReportedFinding(Protocol):
    """A finding of the doctor, or a note, as the page shows it.

    Attributes:
      code: a short name for programs.
      severity: `error`, `warning` or `note`.
      text: the finding, and the option that usually helps.
    """

    @property
    def code(self) -> str: ...

    @property
    def severity(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class DecodedPlane:
    """The plane through the latent space that the page shows, with images decoded from it.

    Attributes:
      plane: the plane.
      quantiles: of each row and column of the images.
      images: decoded from the plane, uint8, shape [Q, Q, height, width, channels]; the first index
        is that of the vertical axis, from below.
      label: the label that the images are decoded given, if the model is conditional.
    """

    plane: Plane
    quantiles: Sequence[float]
    images: np.ndarray
    label: int

    @property
    def steps(self) -> tuple[list[float], list[float]]:
        """The coordinates in the plane of the columns, and those of the rows, ascending."""
        points = self.plane.project(self.plane.grid(self.quantiles))
        side = len(self.quantiles)
        return points[:side, 0].tolist(), points[::side, 1].tolist()


@dataclasses.dataclass(frozen=True)
class Strip:
    """Images in rows, shown as one picture.

    Attributes:
      label: that of their class; None if they are not of one.
      images: uint8, shape [rows, columns, height, width, channels].
    """

    label: int | None
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class ComparedImages:
    """Images in rows that are compared column by column.

    Attributes:
      title: of the figure.
      subtitle: a line below it, in the file of the figure.
      caption: a description, and signs of a good model, in the report.
      names: of the rows.
      images: uint8 or floats in [0, 1], shape [rows, columns, height, width, channels].
    """

    title: str
    subtitle: str
    caption: str
    names: Sequence[str]
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class ReportSubject:
    """A model, its data and what was measured.

    Attributes:
      dataset: the prepared dataset.
      trained: artifact of the train stage.
      vae: the model in it.
      config: settings of the evaluation.
      output: directory of the evaluation.
      scores: what was measured.
      epochs: metrics of the epochs, at least one.
      examples: the split that was scored.
      means: embeddings of its examples, float32, shape [N, latents].
      elbo: ELBO of its first examples, those that were scored, in nats, shape [S].
      space: the plane through the latent space that the page shows.
      samples: images decoded from the prior.
      reconstructions: examples of each class above their reconstructions.
      comparisons: other images that are compared with one another.
      notes: warnings for readers.
      findings: the doctor's findings; None if it did not run.
    """

    dataset: PreparedDataset
    trained: Artifact
    vae: "VAE"
    config: EvaluateConfig
    output: epath.PathLike
    scores: Scores
    epochs: Sequence[EpochMetrics]
    examples: ExampleBatch
    means: np.ndarray
    elbo: np.ndarray
    space: DecodedPlane
    samples: Sequence[Strip]
    reconstructions: Sequence[Strip]
    comparisons: Sequence[ComparedImages]
    notes: Sequence[str]
    findings: Sequence[ReportedFinding] | None = None

    @functools.cached_property
    def class_names(self) -> list[str]:
        """Names of the classes, by label, as a page shows them."""
        return list(map(shown, self.dataset.class_names))

    @property
    def order(self) -> np.ndarray:
        """The labels in the order in which classes are shown."""
        return np.array(display_order(self.dataset.class_names), np.int64)


def shown(text: str) -> str:
    """A name or an id as a page shows it: visible, and cut in the middle if it is long."""
    text = console.visible(text)
    if len(text) <= _MAX_LENGTH:
        return text
    return f"{text[: _MAX_LENGTH // 2 - 1]}…{text[-_MAX_LENGTH // 2 :]}"
