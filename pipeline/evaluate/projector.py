"""The embeddings of a split for TensorBoard's projector, with their images and labels."""

import io
import math
from collections.abc import Sequence

import numpy as np
from etils import epath
from google.protobuf import text_format
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from components.base import console
from components.data import tfrecord
from components.data.examples import ExampleBatch
from components.figures.mosaic import mosaic
from components.metrics.subsets import evenly_by_class

# The projector reads files of these names, and shows those directories that hold an event file.
_CONFIG_FILE = "projector_config.pbtxt"
_EVENT_FILE = "events.out.tfevents.0.projector"
_TENSORS_FILE, _METADATA_FILE, _SPRITE_FILE = "tensors.tsv", "metadata.tsv", "sprite.png"

# The projector's t-SNE takes no more points. The values are text that a browser parses.
_MAX_POINTS, _MAX_VALUES = 10_000, 4_000_000
# The largest texture that all browsers take, and the largest image in it, in pixels.
_MAX_SPRITE, _MAX_IMAGE = 8192, 64


def write(
    directory: epath.Path,
    *,
    split: str,
    examples: ExampleBatch,
    means: np.ndarray,
    class_names: Sequence[str],
) -> None:
    """Writes the files of the projector, with a message if they hold only some of the examples.

    Args:
      directory: directory to write to, which is created.
      split: name of the split.
      examples: its examples.
      means: their embeddings, float32, shape [N, latents].
      class_names: names of the labels, by label.
    """
    limit = min(_MAX_POINTS, max(1, _MAX_VALUES // means.shape[1]))
    rows = evenly_by_class(examples.labels, limit)
    title = f"{split}, {console.counted(len(rows), 'embedding')}"
    if len(rows) < len(means):
        title = f"{split}, {len(rows):,} of {len(means):,} embeddings, evenly by class"
        console.say(
            f"evaluate: TensorBoard's projector has {len(rows):,} of the {len(means):,} {split} "
            "embeddings, evenly by class"
        )
    chosen = examples.take(rows)
    directory.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    np.savetxt(text, means[rows], fmt="%.6g", delimiter="\t")
    (directory / _TENSORS_FILE).write_text(text.getvalue())
    lines = ["label_name\tlabel\tid"]
    for label, example_id in zip(chosen.labels, chosen.ids, strict=True):
        # Control characters, such as tabs, become visible.
        lines.append(
            f"{console.visible(class_names[label])}\t{label}\t{console.visible(example_id)}"
        )
    (directory / _METADATA_FILE).write_text("\n".join(lines) + "\n")
    images = _thumbnails(chosen.images)
    with (directory / _SPRITE_FILE).open("wb") as file:
        _sprite(images).save(file, "PNG", compress_level=1)
    height, width = images.shape[1:3]
    config = ProjectorConfig()
    embedding = config.embeddings.add(
        tensor_name=title, tensor_path=_TENSORS_FILE, metadata_path=_METADATA_FILE
    )
    embedding.sprite.image_path = _SPRITE_FILE
    embedding.sprite.single_image_dim.extend([width, height])
    (directory / _CONFIG_FILE).write_text(text_format.MessageToString(config))
    event = Event(file_version="brain.Event:2").SerializeToString()
    (directory / _EVENT_FILE).write_bytes(tfrecord.frame(event))


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Images for a sprite, reduced if they are large, uint8 [N, height, width, channels]."""
    side = min(_MAX_IMAGE, _MAX_SPRITE // _columns(len(images)))
    height, width, channels = images.shape[1:]
    if max(height, width) <= side:
        return images
    scale = side / max(height, width)
    size = (max(1, int(scale * width)), max(1, int(scale * height)))
    smaller = np.empty((len(images), size[1], size[0], channels), np.uint8)
    for image, target in zip(images, smaller, strict=True):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        shrunk = np.asarray(picture.resize(size, Image.Resampling.BOX))
        target[:] = shrunk.reshape(target.shape)
    return smaller


def _sprite(images: np.ndarray) -> Image.Image:
    """One picture of all images, row by row.

    It has as many rows as columns: the projector confuses the two when it finds the image under
    the mouse.
    """
    columns = _columns(len(images))
    cells = np.full((columns**2, *images.shape[1:]), 255, np.uint8)
    cells[: len(images)] = images
    picture = mosaic(cells.reshape(columns, columns, *images.shape[1:]), gap=(0, 0))
    return Image.fromarray(picture[..., 0] if images.shape[-1] == 1 else picture)


def _columns(count: int) -> int:
    """The number of columns of a square sprite of some images."""
    return math.isqrt(count - 1) + 1
