"""TensorBoard's event files: curves, the rate of each latent dimension, and pictures."""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterator

import numpy as np
from etils import epath
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from components.base.arithmetic import ceil_div
from components.figures.mosaic import mosaic
from components.metrics.active_units import ACTIVE_VARIANCE
from components.model.pixels import to_unit
from trainer.recording.event_file import EventFile

_MAX_COLUMNS = 16
# TensorBoard makes a group of the tags up to the same slash, and sorts groups and tags by name: the
# loss is the first of all.
_TAGS = {
    "loss": "loss",
    "distortion": "loss/distortion",
    "elbo": "loss/elbo",
    "rate": "loss/rate",
    "beta": "optimizer/beta",
    "learning_rate": "optimizer/learning_rate",
    "loss_scale": "optimizer/loss_scale",
}


@dataclasses.dataclass(frozen=True)
class HeldoutPictures:
    """The part of a held-out evaluation that TensorBoard shows in addition to the losses.

    Attributes:
      rates: mean rate of each latent dimension over the held-out examples, in nats, shape
        [latents]; None if the rates are known by level only.
      active_units: number of latent dimensions that tell the held-out examples apart.
      originals: some held-out images, uint8, shape [K, height, width, channels].
      reconstructions: their reconstructions, in [0, 1], same shape.
      samples: images decoded from draws of the prior, in [0, 1], shape
        [M, height, width, channels]; the draws are the same in every evaluation.
    """

    rates: np.ndarray | None
    active_units: int
    originals: np.ndarray
    reconstructions: np.ndarray
    samples: np.ndarray


class TensorBoard:
    """Writes two TensorBoard runs, `train` and `heldout`.

    TensorBoard draws values of the same tag in one chart, so each chart compares the two. Charts of
    one kind are a group: the loss and its terms, the optimizer, pictures, and the posterior.

    Args:
      directory: directory of the event files, with a folder for each run.
      resumed_step: step that the training run resumes from; TensorBoard hides what earlier
        processes recorded after it.
    """

    def __init__(self, directory: epath.Path, *, resumed_step: int):
        self._train = EventFile(directory / "train", resumed_step=resumed_step)
        self._heldout = EventFile(directory / "heldout", resumed_step=resumed_step)

    def write(
        self,
        step: int,
        *,
        train: dict[str, float],
        heldout: dict[str, float],
        pictures: HeldoutPictures | None,
    ) -> None:
        """Adds a point to every chart.

        Args:
          step: number of steps done.
          train: values of the `train` run, by name.
          heldout: values of the `heldout` run, by name.
          pictures: pictures of the `heldout` run; None for none.
        """
        self._train.write(step, _scalars(train))
        summaries = _pictures(pictures) if pictures else ()
        self._heldout.write(step, itertools.chain(_scalars(heldout), summaries))

    def close(self) -> None:
        """Closes the event files."""
        self._train.close()
        self._heldout.close()


def _scalars(values: dict[str, float]) -> Iterator[Summary]:
    for name, value in values.items():
        yield scalar_pb(_TAGS[name], value)


def _pictures(pictures: HeldoutPictures) -> Iterator[Summary]:
    yield scalar_pb(
        "posterior/active_units",
        pictures.active_units,
        description="Number of latent dimensions whose posterior mean has a variance over "
        f"{ACTIVE_VARIANCE}.",
    )
    if pictures.rates is not None:
        yield histogram_pb("posterior/rate_by_dimension", pictures.rates)
    columns = min(len(pictures.originals), _MAX_COLUMNS)
    originals = _grid(to_unit(pictures.originals), columns)
    reconstructions = _grid(pictures.reconstructions, columns)
    # Each row of originals is followed by the row of their reconstructions.
    pairs = np.stack([originals, reconstructions], axis=1).reshape(-1, *originals.shape[1:])
    yield _image("pictures/reconstructions", mosaic(pairs, gap=(1, 1)))
    samples = _grid(pictures.samples, math.ceil(math.sqrt(len(pictures.samples))))
    yield _image("pictures/samples", mosaic(samples, gap=(1, 1)))


def _image(tag: str, pixels: np.ndarray) -> Summary:
    """A picture as a summary.

    Args:
      tag: name of the picture.
      pixels: uint8, shape [height, width, 3].
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    height, width, channels = pixels.shape
    image = Summary.Image(
        height=height,
        width=width,
        colorspace=channels,
        encoded_image_string=buffer.getvalue(),
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Arranges images in rows; white images fill up the last row.

    Args:
      images: in [0, 1], shape [N, height, width, channels].
      columns: number of images in a row.

    Returns:
      Shape [rows, columns, height, width, channels].
    """
    rows = ceil_div(len(images), columns)
    padded = np.ones((rows * columns, *images.shape[1:]), np.float32)
    padded[: len(images)] = images
    return padded.reshape(rows, columns, *images.shape[1:])
