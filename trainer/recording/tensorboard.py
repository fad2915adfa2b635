"""What TensorBoard shows of a run: curves, the rate of each latent dimension, and pictures."""

import dataclasses
import io
import itertools
import math
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from components.figures import mosaic

_ACTIVE_NATS = 0.01
_MOST_BARS = 64
_MOST_COLUMNS = 16


@dataclasses.dataclass(frozen=True)
class HeldoutPictures:
    """What the held-out evaluation saw besides; for TensorBoard alone.

    Attributes:
      rates: of each latent dimension, averaged over the held-out examples, in nats; [latents].
      originals: uint8, [K, height, width, channels].
      reconstructions: of these, in [0, 1]; same shape.
      samples: decoded draws of the prior, of the same z each time, in [0, 1];
        [M, height, width, channels].
    """

    rates: np.ndarray
    originals: np.ndarray
    reconstructions: np.ndarray
    samples: np.ndarray


class TensorBoard:
    """Two runs, `train` and `heldout`: what has the same tag in both stands in one chart.

    Args:
      directory: gets the event files, in a folder for each run.
      resumed_step: what earlier processes recorded after it is shown no more.
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
        details: HeldoutPictures | None,
    ) -> None:
        """Adds a point to every chart, and pictures if there are details."""
        self._train.write(step, _scalars(train))
        pictures = _pictures(details) if details else ()
        self._heldout.write(step, itertools.chain(_scalars(heldout), pictures))

    def close(self) -> None:
        self._train.close()
        self._heldout.close()


class _EventFile:
    """One run's event file; TensorFlow's own writer cannot mark the start of a session."""

    def __init__(self, directory: epath.Path, resumed_step: int):
        self._writer = EventFileWriter(os.fspath(directory))
        # Makes TensorBoard drop what earlier sessions recorded from this step on.
        self._add(resumed_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, summaries: Iterable[Summary]) -> None:
        values = [value for summary in summaries for value in summary.value]
        self._add(step, summary=Summary(value=values))

    def close(self) -> None:
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(Event(step=step, wall_time=time.time(), **content))
        self._writer.flush()


def _scalars(values: dict[str, float]) -> Iterator[Summary]:
    for name, value in values.items():
        yield scalar_pb(name, value)


def _pictures(details: HeldoutPictures) -> Iterator[Summary]:
    yield scalar_pb(
        "active_dimensions",
        np.count_nonzero(details.rates > _ACTIVE_NATS),
        description=f"Latent dimensions whose rate is over {_ACTIVE_NATS} nats.",
    )
    yield histogram_pb("rate_by_dimension", details.rates)
    if len(details.rates) <= _MOST_BARS:
        yield _image("rate_by_dimension_bars", _bars(details.rates))
    columns = min(len(details.originals), _MOST_COLUMNS)
    above = _rows(details.originals.astype(np.float32) / 255, columns)
    below = _rows(details.reconstructions, columns)
    pairs = np.stack([above, below], axis=1).reshape(-1, *above.shape[1:])
    yield _image("reconstructions", mosaic(pairs, gap=(1, 1)))
    samples = _rows(details.samples, math.ceil(math.sqrt(len(details.samples))))
    yield _image("samples", mosaic(samples, gap=(1, 1)))


def _image(tag: str, pixels: np.ndarray) -> Summary:
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


def _rows(images: np.ndarray, columns: int) -> np.ndarray:
    """Images in [0, 1] in rows, the last filled up with white: [rows, columns, *image_shape]."""
    rows = -(-len(images) // columns)
    padded = np.ones((rows * columns, *images.shape[1:]), np.float32)
    padded[: len(images)] = images
    return padded.reshape(rows, columns, *images.shape[1:])


def _bars(rates: np.ndarray) -> np.ndarray:
    """A bar of nats for each latent dimension, in their order; uint8 [height, width, 3]."""
    left, top, height = 48, 8, 200
    slot = max(10, 480 // len(rates))
    width = slot * len(rates)
    bottom = top + height
    largest = max(float(rates.max()), _ACTIVE_NATS)
    picture = Image.new("RGB", (left + width + 8, bottom + 20), "white")
    pen = ImageDraw.Draw(picture)
    for index, rate in enumerate(rates):
        x = left + index * slot
        tall = round(height * max(0.0, float(rate)) / largest)
        # A line at the bottom even where the bar has no height.
        pen.rectangle((x + 1, bottom - tall, x + slot - 2, bottom), fill="#0072b2")
    font, ink = ImageFont.load_default(12), "#707070"
    pen.text((left - 6, top), f"{largest:.2f}", ink, font, anchor="rt")
    pen.text((left - 6, top + 16), "nats", ink, font, anchor="rt")
    pen.text((left - 6, bottom), "0", ink, font, anchor="rb")
    pen.text((left + slot // 2, bottom + 6), "0", ink, font, anchor="mt")
    if len(rates) > 1:
        last = left + width - slot // 2
        pen.text((last, bottom + 6), str(len(rates) - 1), ink, font, anchor="mt")
    return np.asarray(picture)
