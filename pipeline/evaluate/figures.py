"""The figures of an evaluation."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.data.class_names import display_order, displayed
from components.data.examples import ExampleBatch
from components.figures import curves, grids, scatter
from components.figures.mosaic import to_bytes
from components.model.decode import decode, reconstruct
from components.model.latent_plane import Plane
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scores import Scores
from trainer.recording.epoch_metrics import EpochMetrics

if TYPE_CHECKING:
    from components.model.vae import VAE

_GRID_QUANTILES = np.linspace(0.05, 0.95, 20).tolist()
_SAMPLE_GRID = (10, 20)  # rows, columns
_RECONSTRUCTIONS_PER_CLASS = 10
_MAX_CLASSES = 20  # Figures of more classes would be unreadable.


class FigureWriter:
    """Draws the figures of a model's evaluation into a directory.

    Args:
      directory: directory to write the figures to.
      vae: the model.
      scores: the model's scores, for the subtitles.
      class_names: names of the labels, by label.
    """

    def __init__(
        self, directory: epath.Path, *, vae: "VAE", scores: Scores, class_names: Sequence[str]
    ):
        self._directory = directory
        self._vae = vae
        self._scores = scores
        # Figures show the classes in this order, so positions in it take the place of labels.
        self._order = np.array(display_order(class_names), np.int64)
        names, self._note = displayed(class_names)
        self._class_names = [names[label] for label in self._order]
        self._positions = np.argsort(self._order)

    def draw_latent_space(self, means: np.ndarray, labels: np.ndarray) -> None:
        """Draws the embeddings, and images decoded from a grid in the same plane.

        Args:
          means: embeddings of the examples, float32, shape [N, latents].
          labels: labels of the examples, int64, shape [N].
        """
        plane = Plane.of(means)
        horizontal, vertical = plane.names
        scatter.encodings(
            plane.project(means),
            self._positions[labels],
            class_names=self._class_names,
            axis_labels=plane.names,
            title=f"Encodings of the {self._scores.split} set",
            subtitle=self._subtitle("rate", note=self._note),
            path=self._directory / "encodings.png",
        )
        side = len(_GRID_QUANTILES)
        z = plane.grid(_GRID_QUANTILES)
        given = f"given {self._class_names[0]}" if self._is_conditional else ""
        grids.latent_grid(
            self._decode(z, np.full(len(z), self._order[0]), (side, side)),
            quantiles=_GRID_QUANTILES,
            axis_labels=(f"{horizontal}: quantile", f"{vertical}: quantile"),
            title=f"Latent space, decoded over quantiles of {plane.distribution}",
            subtitle=self._subtitle("elbo", note=given),
            path=self._directory / "latent_grid.png",
        )

    def draw_samples(self, *, seed: int) -> None:
        """Draws images decoded from the prior; of a conditional model, a row for each class."""
        rng = np.random.default_rng(seed)
        rows, columns = _SAMPLE_GRID
        names, note = list[str](), ""
        if self._is_conditional:
            names, note = self._class_names[:_MAX_CLASSES], self._note
            rows = len(names)
        noise = rng.standard_normal((rows * columns, self._vae.latents), np.float32)
        z = np.asarray(self._vae.sample_prior(noise))
        labels = np.repeat(np.resize(self._order, rows), columns)
        grids.image_grid(
            self._decode(z, labels, (rows, columns)),
            row_names=names,
            title="Samples from the prior",
            subtitle=self._subtitle("elbo", note=note),
            path=self._directory / "samples.png",
        )

    def draw_reconstructions(self, examples: ExampleBatch) -> None:
        """Draws the first examples of each class above their reconstructions."""
        positions = dataclasses.replace(examples, labels=self._positions[examples.labels])
        positions_shown, originals = first_of_each_class(positions)
        flat = originals.reshape(-1, *self._vae.image_shape)
        flat_labels = np.repeat(self._order[positions_shown], originals.shape[1])
        grids.reconstructions(
            originals,
            to_bytes(reconstruct(self._vae, flat, flat_labels)).reshape(originals.shape),
            class_names=[self._class_names[position] for position in positions_shown],
            title=f"Reconstructions of {self._scores.split} examples",
            subtitle=self._subtitle("distortion", note=self._note),
            path=self._directory / "reconstructions.png",
        )

    def draw_learning_curves(self, epochs: Sequence[EpochMetrics]) -> None:
        """Draws the losses of all epochs."""
        names = ("loss", "rate", "distortion")
        heldout = {
            name: [epoch.heldout[name] if epoch.heldout else None for epoch in epochs]
            for name in names
        }
        final = f"final train loss {epochs[-1].train['loss']:z.2f} nats"
        curves.learning_curves(
            [epoch.epoch for epoch in epochs],
            train={name: [epoch.train[name] for epoch in epochs] for name in names},
            heldout=heldout if any(epoch.heldout for epoch in epochs) else None,
            title="Learning curves",
            subtitle=f"{self._scores.dataset} · {self._scores.preset} · {final}",
            path=self._directory / "learning_curves.png",
        )

    def _subtitle(self, metric: str, *, note: str = "") -> str:
        scores, mean = self._scores, self._scores.metric(metric)
        value = f"{mean} nats".replace("-", "−")
        score = f"{scores.split} {METRICS[metric].title} {value}"
        return " · ".join(filter(None, (scores.dataset, scores.preset, score, note)))

    @property
    def _is_conditional(self) -> bool:
        return self._vae.architecture.classes > 0

    def _decode(self, z: np.ndarray, labels: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """The likelihood's means at z, uint8 [rows, columns, height, width, channels]."""
        return to_bytes(decode(self._vae, z, labels)).reshape(*grid, *self._vae.image_shape)


def first_of_each_class(examples: ExampleBatch) -> tuple[list[int], np.ndarray]:
    """The first examples of each class.

    Returns:
      The labels of the classes, and their images, uint8, shape
      [classes, K, height, width, channels]; black where a class has fewer than K examples.
    """
    labels = np.unique(examples.labels)[:_MAX_CLASSES].tolist()
    images = np.zeros((len(labels), _RECONSTRUCTIONS_PER_CLASS, *examples.shape), np.uint8)
    for row, label in enumerate(labels):
        first = np.flatnonzero(examples.labels == label)[:_RECONSTRUCTIONS_PER_CLASS]
        images[row, : len(first)] = examples.images[first]
    return labels, images
