"""TensorBoard's event files: curves, the rate of each latent dimension, and pictures."""

import contextlib
import dataclasses
import io
import itertools
import math
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
from etils import epath
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from components.base import console, file_errors
from components.base.arithmetic import ceil_div
from components.data import tfrecord
from components.figures.mosaic import mosaic
from components.metrics.active_units import ACTIVE_VARIANCE
from components.model.pixels import to_unit

_MAX_COLUMNS = 16


@dataclasses.dataclass(frozen=True)
class HeldoutPictures:
    """What TensorBoard shows of a held-out evaluation, besides the losses.

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

    TensorBoard draws values of the same tag in one chart, so each chart compares the two.

    Args:
      directory: directory of the event files, with a folder for each run.
      resumed_step: step that the training run resumes from; TensorBoard hides what earlier
        processes recorded after it.
    """

    def __init__(self, directory: epath.Path, *, resumed_step: int):
        self._train = _EventFile(directory / "train", resumed_step)
        self._heldout = _EventFile(directory / "heldout", resumed_step)

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
          train: values of the `train` run, by tag.
          heldout: values of the `heldout` run, by tag.
          pictures: pictures of the `heldout` run; None for none.
        """
        self._train.write(step, _scalars(train))
        summaries = _pictures(pictures) if pictures else ()
        self._heldout.write(step, itertools.chain(_scalars(heldout), summaries))

    def close(self) -> None:
        """Closes the event files."""
        self._train.close()
        self._heldout.close()


class _EventFile:
    """The event file of one TensorBoard run: a TFRecord file of events.

    `tf.summary` is not used, since it cannot mark the start of a session, nor TensorBoard's writer,
    whose thread prints the traceback of a full disk. If the file cannot be written, one warning
    says so, and the training goes on without it.
    """

    def __init__(self, directory: epath.Path, resumed_step: int):
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._path = directory / name
        self._file: IO[bytes] | None = None
        with self._warning():
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("wb")
        self._add(0, file_version="brain.Event:2")
        # TensorBoard then ignores what earlier sessions recorded from this step on.
        self._add(resumed_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, summaries: Iterable[Summary]) -> None:
        values = [value for summary in summaries for value in summary.value]
        self._add(step, summary=Summary(value=values))

    def close(self) -> None:
        with self._warning():
            if self._file is not None:
                self._file.close()

    def _add(self, step: int, **content: Any) -> None:
        if self._file is None:
            return
        event = Event(step=step, wall_time=time.time(), **content)
        with self._warning():
            self._file.write(tfrecord.frame(event.SerializeToString()))
            self._file.flush()

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Turns a file error into a warning, after which nothing more is written."""
        try:
            yield
        except file_errors.error_types() as error:
            file, self._file = self._file, None
            if file is not None:
                with contextlib.suppress(*file_errors.error_types()):
                    file.close()
            console.warn(
                f"{self._path} cannot be written ({file_errors.error_reason(error)}); the training "
                "goes on, but TensorBoard shows only what is in the file"
            )


def _scalars(values: dict[str, float]) -> Iterator[Summary]:
    for name, value in values.items():
        yield scalar_pb(name, value)


def _pictures(pictures: HeldoutPictures) -> Iterator[Summary]:
    yield scalar_pb(
        "active_units",
        pictures.active_units,
        description="Number of latent dimensions whose posterior mean has a variance over "
        f"{ACTIVE_VARIANCE}.",
    )
    if pictures.rates is not None:
        yield histogram_pb("rate_by_dimension", pictures.rates)
    columns = min(len(pictures.originals), _MAX_COLUMNS)
    originals = _grid(to_unit(pictures.originals), columns)
    reconstructions = _grid(pictures.reconstructions, columns)
    # Each row of originals is followed by the row of their reconstructions.
    pairs = np.stack([originals, reconstructions], axis=1).reshape(-1, *originals.shape[1:])
    yield _image("reconstructions", mosaic(pairs, gap=(1, 1)))
    samples = _grid(pictures.samples, math.ceil(math.sqrt(len(pictures.samples))))
    yield _image("samples", mosaic(samples, gap=(1, 1)))


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
