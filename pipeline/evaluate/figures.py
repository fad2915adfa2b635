"""The figures of an evaluation."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from etils import epath

from components.data.class_names import display_order, displayed
from components.data.examples import ExampleBatch
from components.data.prepared_dataset import PreparedDataset
from components.figures import curves, grids, scatter
from components.figures.mosaic import to_bytes
from components.metrics.nearest_images import nearest_images
from components.model.decode import decode, reconstruct
from components.model.latent_plane import Plane
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.report.subject import ComparedImages, DecodedPlane, Strip
from pipeline.evaluate.scores import Scores
from trainer.recording.epoch_metrics import EpochMetrics

if TYPE_CHECKING:
    from components.model.vae import VAE

_GRID_QUANTILES = np.linspace(0.05, 0.95, 20).tolist()
_SAMPLE_GRID = (10, 20)  # rows, columns
_NEIGHBOR_GRID = (10, 10)
_RECONSTRUCTIONS_PER_CLASS = 10
_NO_TITLES = {"title": "", "subtitle": ""}
_WHITE = 255
_MAX_CLASSES = 20  # Figures of more classes would be unreadable.


class FigureWriter:
    """Draws the figures of a model's evaluation into a directory.

    Args:
      directory: directory to write the figures to.
      vae: the model.
      scores: the model's scores, for the subtitles.
      class_names: names of the labels, by label.
      formats: formats of the files: `png`, `svg`, `pdf`.
      titles: whether the figures have titles.
    """

    def __init__(
        self,
        directory: epath.Path,
        *,
        vae: "VAE",
        scores: Scores,
        class_names: Sequence[str],
        formats: Sequence[str] = ("png",),
        titles: bool = True,
    ):
        self._directory = directory
        self._formats = formats
        self._has_titles = titles
        self._vae = vae
        self._scores = scores
        # Figures show the classes in this order, so positions in it take the place of labels.
        self._order = np.array(display_order(class_names), np.int64)
        names, self._note = displayed(class_names)
        self._class_names = [names[label] for label in self._order]
        self._positions = np.argsort(self._order)

    def draw_latent_space(self, means: np.ndarray, labels: np.ndarray) -> DecodedPlane:
        """Draws the embeddings, and images decoded from a grid in the same plane.

        Args:
          means: embeddings of the examples, float32, shape [N, latents].
          labels: labels of the examples, int64, shape [N].

        Returns:
          The plane and the images.
        """
        plane = Plane.of(means)
        horizontal, vertical = plane.names
        scatter.encodings(
            plane.project(means),
            self._positions[labels],
            class_names=self._class_names,
            axis_labels=plane.names,
            **self._titles(
                f"Embeddings of the {self._scores.split} set",
                self._subtitle("rate", note=self._note),
            ),
            path=self._files("encodings"),
        )
        side = len(_GRID_QUANTILES)
        z = plane.grid(_GRID_QUANTILES)
        given = f"given {self._class_names[0]}" if self._is_conditional else ""
        images = self._decode(z, np.full(len(z), self._order[0]), (side, side))
        grids.latent_grid(
            images,
            quantiles=_GRID_QUANTILES,
            axis_labels=(f"{horizontal}: quantile", f"{vertical}: quantile"),
            **self._titles(
                f"Latent space, decoded over quantiles of {plane.distribution}",
                self._subtitle("elbo", note=given),
            ),
            path=self._files("latent_grid"),
        )
        return DecodedPlane(plane, _GRID_QUANTILES, images, label=int(self._order[0]))

    def draw_samples(self, *, seed: int) -> list[Strip]:
        """Draws images decoded from the prior; of a conditional model, a row for each class.

        Returns:
          The images: all in one strip or, of a conditional model, those of each class.
        """
        rng = np.random.default_rng(seed)
        rows, columns = _SAMPLE_GRID
        names, note = list[str](), ""
        if self._is_conditional:
            names, note = self._class_names[:_MAX_CLASSES], self._note
            rows = len(names)
        noise = rng.standard_normal((rows * columns, self._vae.latents), np.float32)
        labels = np.repeat(np.resize(self._order, rows), columns)
        z = np.asarray(self._vae.sample_prior(noise, labels))
        images = self._decode(z, labels, (rows, columns))
        grids.image_grid(
            images,
            row_names=names,
            **self._titles("Samples from the prior", self._subtitle("elbo", note=note)),
            path=self._files("samples"),
        )
        if not names:
            return [Strip(None, images)]
        pairs = zip(self._order.tolist(), images, strict=False)
        return [Strip(label, row[np.newaxis]) for label, row in pairs]

    def draw_neighbors_of_samples(
        self, samples: Sequence[Strip], dataset: PreparedDataset, heldout: ExampleBatch
    ) -> ComparedImages:
        """Draws samples above the training images that are most similar to them.

        A model that has memorized training images reproduces them: its samples are much nearer to
        them than images that it has not seen.

        Args:
          samples: what `draw_samples` returned.
          dataset: the dataset with the training images.
          heldout: examples that are not training images, in random order.

        Returns:
          The images of the figure.
        """
        rows, columns = _NEIGHBOR_GRID
        shown = np.concatenate([strip.images for strip in samples])[:rows, :columns]
        flat = shown.reshape(-1, *self._vae.image_shape)
        unseen = heldout.images[: len(flat)]
        neighbors, distances = nearest_images(
            np.concatenate([flat, unseen]), (batch.images for batch in dataset.batches("train"))
        )
        medians = [float(np.median(part)) for part in np.split(distances, [len(flat)])]
        pairs = np.stack([shown, neighbors[: len(flat)].reshape(shown.shape)], axis=1)
        found = f"{medians[0]:.3f} for samples, {medians[1]:.3f} for {self._scores.split} images"
        compared = ComparedImages(
            title="Samples and the training images nearest to them",
            subtitle=f"{self._scores.dataset} · {self._scores.preset} · median distance: {found} "
            "(root mean squared difference of intensities from 0 to 1)",
            caption="The distance is the root mean squared difference of intensities from 0 to 1; "
            f"its median is {found}. A model that has memorized training images draws them again: "
            "its samples are then much nearer to training images than images that it has not seen.",
            names=["sample", "nearest training image"] * len(shown),
            images=pairs.reshape(-1, *shown.shape[1:]),
        )
        self.draw_comparison("neighbors_of_samples", compared)
        return compared

    def draw_comparison(self, name: str, compared: ComparedImages) -> None:
        """Draws rows of compared images to files of the given name."""
        grids.image_grid(
            compared.images,
            row_names=compared.names,
            **self._titles(compared.title, compared.subtitle),
            path=self._files(name),
        )

    def draw_reconstructions(self, examples: ExampleBatch) -> list[Strip]:
        """Draws the first examples of each class above their reconstructions.

        Returns:
          A strip of two rows for each class.
        """
        positions = dataclasses.replace(examples, labels=self._positions[examples.labels])
        positions_shown, originals = first_of_each_class(positions)
        flat = originals.reshape(-1, *self._vae.image_shape)
        flat_labels = np.repeat(self._order[positions_shown], originals.shape[1])
        decoded = to_bytes(reconstruct(self._vae, flat, flat_labels)).reshape(originals.shape)
        # A class may have fewer examples than a row has images.
        counts = [int((positions.labels == position).sum()) for position in positions_shown]
        for row, count in zip(decoded, counts, strict=True):
            row[count:] = _WHITE
        grids.reconstructions(
            originals,
            decoded,
            class_names=[self._class_names[position] for position in positions_shown],
            **self._titles(
                f"Reconstructions of {self._scores.split} examples",
                self._subtitle("distortion", note=self._note),
            ),
            path=self._files("reconstructions"),
        )
        labels = self._order[positions_shown].tolist()
        pairs = zip(labels, counts, originals, decoded, strict=True)
        return [
            Strip(label, np.stack([above[:count], below[:count]]))
            for label, count, above, below in pairs
        ]

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
            **self._titles(
                "Learning curves", f"{self._scores.dataset} · {self._scores.preset} · {final}"
            ),
            path=self._files("learning_curves"),
        )

    def _files(self, name: str) -> list[epath.Path]:
        return [self._directory / f"{name}.{each}" for each in self._formats]

    def _titles(self, title: str, subtitle: str) -> dict[str, str]:
        """The arguments `title` and `subtitle` of a figure."""
        return {"title": title, "subtitle": subtitle} if self._has_titles else _NO_TITLES

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
      [classes, K, height, width, channels]; white where a class has fewer than K examples.
    """
    found, counts = np.unique(examples.labels, return_counts=True)
    labels = found[:_MAX_CLASSES].tolist()
    columns = min(_RECONSTRUCTIONS_PER_CLASS, int(counts[:_MAX_CLASSES].max()))
    images = np.full((len(labels), columns, *examples.shape), _WHITE, np.uint8)
    for row, label in enumerate(labels):
        first = np.flatnonzero(examples.labels == label)[:columns]
        images[row, : len(first)] = examples.images[first]
    return labels, images
