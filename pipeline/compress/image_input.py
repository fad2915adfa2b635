"""The input of compress: a folder of images, or shards that prepare wrote."""

import io
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from etils import epath
from PIL import Image

from components.base import file_listing, files
from components.base.errors import ConfigError, WorkError, one_line
from components.base.manifest import MANIFEST, Artifact, Input, fingerprint, read_manifest
from components.base.shapes import Shape
from components.compression.blocks import LabeledImages
from components.data import codec
from components.data.examples import SPLITS
from components.data.shard_reader import check_num_records
from components.ingest import decode
from pipeline.apply import inputs
from pipeline.apply.engine import ShardTask
from pipeline.compress.index import FolderIndex, ShardEntry, ShardsIndex, png_name, stored_ids

_MODES = {1: "L", 3: "RGB"}
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")


class CompressInput(Protocol):
    """Images to compress.

    Attributes:
      input: identifies the images, for a comparison with those of an earlier call.
    """

    input: Input

    def batches(self) -> Iterator[LabeledImages]:
        """Yields the images in order.

        Raises:
          ConfigError: an image has another shape or mode than the model needs, or a label that it
            does not know.
          WorkError: a file is damaged.
        """

    def index(self) -> FolderIndex | ShardsIndex:
        """The data besides the pixels that restores the input; valid after `batches` has ended."""


def find(pattern: str, model: Artifact, image_shape: Shape, *, classes: int) -> CompressInput:
    """Finds the input that `--input` names.

    Args:
      pattern: a folder of images; the directory of a prepared dataset; or a path of shards.
      model: the artifact of the train stage.
      image_shape: (height, width, channels) of the images of the model.
      classes: number of labels that the model is conditioned on; 0 for none.

    Raises:
      ConfigError: there is no such input, it cannot be restored exactly, or it has no labels and
      the model needs them.
      WorkError: a file is missing or damaged.
    """
    directory = epath.Path(pattern)
    if directory.is_dir() and not _holds_shards(directory):
        if classes:
            raise ConfigError(
                f"{pattern} is a folder of images without labels, and {model.path} is conditioned "
                f"on the labels of {classes:,} classes; prepare the folder, and compress the "
                "prepared dataset"
            )
        return ImageFolder(directory, image_shape)
    found = inputs.find(pattern, model, source_options={})
    if not isinstance(found, inputs.PreparedShards):
        raise ConfigError(
            f"{pattern} is neither a folder of images nor shards of a prepared dataset, so that it "
            "cannot be given back as it is; prepare it first, and compress the prepared dataset"
        )
    tasks = found.open(epath.Path(), ()).tasks
    return Shards(tasks, found.inputs["shards"], classes=classes)


def _holds_shards(directory: epath.Path) -> bool:
    return read_manifest(directory) is not None and bool(
        files.expand_pattern(f"{directory}/*.tfrecord*")
    )


class ImageFolder:
    """A folder of images, all of the shape and the mode that the model needs.

    Args:
      directory: the folder.
      image_shape: (height, width, channels) of the images of the model.

    Raises:
      ConfigError: two images have names that differ only in their endings.
    """

    def __init__(self, directory: epath.Path, image_shape: Shape):
        self._directory = directory
        self._shape = image_shape
        listing = file_listing.list_files(directory)
        found = [file for file in listing.files if file.name != MANIFEST]
        self._names = [file.name for file in found]
        entries = [[ascii(file.name), file.size, file.modified] for file in found]
        self.input = Input(directory, fingerprint(entries))
        by_name: dict[str, str] = {}
        for name in self._names:
            other = by_name.setdefault(png_name(name), name)
            if other != name:
                raise ConfigError(
                    f"{directory / other} and {directory / name} would come back under one name, "
                    f"{png_name(name)}; rename one of them"
                )

    def batches(self) -> Iterator[LabeledImages]:
        """See `CompressInput.batches`."""
        for name in self._names:
            yield LabeledImages(self._read(name)[np.newaxis], np.zeros(1, np.int64))

    def index(self) -> FolderIndex:
        """See `CompressInput.index`."""
        return FolderIndex([png_name(name) for name in self._names])

    def _read(self, name: str) -> np.ndarray:
        path = self._directory / name
        try:
            with files.open_regular(path) as file:
                data = file.read(decode.MAX_ENCODED_BYTES)
            # Check the size and the mode first: a small file may hold a huge image.
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                self._check(path, image)
                return np.asarray(image).reshape(self._shape)
        except (OSError, ValueError, SyntaxError) as error:
            raise WorkError(
                f"{path} cannot be read as an image: {one_line(error, length=80)}; move it away, "
                "since a folder is compressed as a whole"
            ) from None

    def _check(self, path: epath.Path, image: Image.Image) -> None:
        height, width, channels = self._shape
        found = f"{image.height}x{image.width} {image.mode}"
        if "transparency" in image.info:
            found += " with transparency"
        if (frames := getattr(image, "n_frames", 1)) > 1:
            found += f" of {frames} frames"
        if found != (needed := f"{height}x{width} {_MODES[channels]}"):
            raise ConfigError(
                f"{path} is {found} (height x width, mode), and the model codes {needed} images; "
                "choose a model of such images, or prepare the folder and compress what prepare "
                "writes"
            )


class Shards:
    """Shards that prepare wrote.

    Args:
      tasks: the shards, in order.
      source: identifies the images.
      classes: number of labels that the model is conditioned on; 0 for none.

    Raises:
      ConfigError: the name of a shard does not say its split.
    """

    def __init__(self, tasks: list[ShardTask], source: Input, *, classes: int):
        self._tasks, self._classes = tasks, classes
        self.input = source
        self._entries: list[ShardEntry] = []
        self._ids: list[str] = []
        self._labels: list[int] = []
        for task in tasks:
            if _split(task) is None:
                raise ConfigError(
                    f"{task.shard} does not say which split it is of; name it as prepare does, "
                    "such as name-test.tfrecord-00000-of-00001"
                )

    def batches(self) -> Iterator[LabeledImages]:
        """See `CompressInput.batches`."""
        for task in self._tasks:
            ids: list[str] = []
            labels: list[np.ndarray] = []
            path = epath.Path(task.shard)
            for batch in codec.read_batches(path, task.image_shape, sha256=task.sha256):
                ids += batch.ids
                labels.append(batch.labels)
                self._check_labels(path, batch.labels)
                yield LabeledImages(batch.images, batch.labels)
            check_num_records(path, len(ids), task.examples)
            stored, is_by_hash = stored_ids(ids)
            entry = ShardEntry(path.name, _split(task) or "", task.sha256, len(ids), is_by_hash)
            self._entries.append(entry)
            self._ids += stored
            self._labels += np.concatenate(labels).tolist()

    def _check_labels(self, path: epath.Path, labels: np.ndarray) -> None:
        unknown = labels[(labels < 0) | (labels >= self._classes)]
        if self._classes and len(unknown):
            raise ConfigError(
                f"{path} has an example of the label {unknown[0]:,}, and the model is conditioned "
                f"on the labels 0 to {self._classes - 1:,}; compress examples of the dataset that "
                "it was trained on"
            )

    def index(self) -> ShardsIndex:
        """See `CompressInput.index`."""
        first = self._tasks[0]
        return ShardsIndex(
            dataset=epath.Path(first.shard).name.rpartition(f"-{_split(first)}.")[0],
            class_names=list(first.class_names),
            shards=self._entries,
            ids=self._ids,
            labels=self._labels,
        )


def _split(task: ShardTask) -> str | None:
    """The split of a shard: that of its manifest, or that in its name."""
    name = epath.Path(task.shard).name
    found = [split for split in SPLITS if f"-{split}.tfrecord" in name]
    return task.split or (found[0] if found else None)
