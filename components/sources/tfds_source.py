"""Any TFDS image dataset: found where TFDS prepared it, or downloaded and prepared by TFDS.

Prepared files are read directly (TFRecord, tf.Example, Pillow): the workers need no TensorFlow.
"""

import dataclasses
import functools
import io
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from PIL import Image

from components import records
from components.artifacts import Input, fingerprint
from components.errors import ConfigError, WorkError
from components.examples import CHANNELS, SPLITS, Block
from components.sources.base import BLOCK_EXAMPLES, Rejected, Slice, example_id

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_BLOCK_BYTES = 16 << 20
_NETWORK_SECONDS = 8
_UNLABELLED = "unlabelled"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
_TEXTS = (".json", ".txt")
_MODES = {1: "L", 3: "RGB"}


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """A TFDS dataset prepared in `path` (the folder with dataset_info.json).

    Attributes:
      dataset: the name that was asked for.
      path: where it lies.
    """

    dataset: str
    path: epath.Path

    @property
    def name(self) -> str:
        return self.dataset.split(":")[0].replace("/", "_")

    @property
    def input(self) -> Input:
        files = sorted(p for p in self.path.iterdir() if not p.name.startswith("."))
        # The shards are told by their sizes: reading them all would cost seconds, and each record
        # carries its own checksum.
        described = [
            (p.name, p.read_text() if p.suffix in _TEXTS else p.stat().length) for p in files
        ]
        return Input(self.path, fingerprint(described))

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @functools.cached_property
    def _info(self) -> "tfds.core.DatasetInfo":
        import tensorflow_datasets as tfds

        return tfds.builder_from_directory(self.path).info

    @functools.cached_property
    def _image_key(self) -> str:
        return _image_key(self.dataset, self._info)

    @functools.cached_property
    def _label_key(self) -> str | None:
        import tensorflow_datasets as tfds

        features = self._info.features
        keys = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
        return "label" if "label" in keys else next(iter(keys), None)

    @property
    def class_names(self) -> list[str]:
        if self._label_key is None:
            return [_UNLABELLED]
        return list(self._info.features[self._label_key].names)

    @property
    def num_examples(self) -> Mapping[str, int]:
        splits = self._info.splits
        return {split: splits[split].num_examples for split in SPLITS if split in splits}

    def slices(self) -> list[Slice]:
        slices = []
        for split in self.num_examples:
            info = self._info.splits[split]
            first = 0
            for file, length in zip(info.filenames, info.shard_lengths, strict=True):
                if ".tfrecord" not in file:
                    raise ConfigError(
                        f"{self.path / file} is no TFRecord file; prepare the dataset with "
                        "file_format=tfrecord"
                    )
                slices.append(Slice(split, file, first, length))
                first += length
        return slices

    def read(self, part: Slice) -> Iterator[Block | Rejected]:
        pending: dict[tuple[int, ...], list[tuple[str, np.ndarray, int]]] = {}
        number = -1
        for number, record in enumerate(records.read_records(self.path / part.name)):
            key = example_id(part.split, part.first + number)
            try:
                image, label = self._decode(record)
            except ValueError as error:
                yield Rejected(key, part.split, str(error))
                continue
            rows = pending.setdefault(image.shape, [])
            rows.append((key, image, label))
            if len(rows) >= BLOCK_EXAMPLES or len(rows) * image.nbytes >= _BLOCK_BYTES:
                yield _block(pending.pop(image.shape))
        for rows in pending.values():
            yield _block(rows)
        if number + 1 != part.examples:
            raise WorkError(
                f"{self.path / part.name} holds {number + 1} records, its dataset_info.json says "
                f"{part.examples}: restore it, or have TFDS prepare the dataset again"
            )

    def _decode(self, record: bytes) -> tuple[np.ndarray, int]:
        """The image, uint8 [height, width, channels], and its label. ValueError says why not."""
        from google.protobuf.message import DecodeError
        from tensorflow_datasets.proto import tf_example_pb2

        try:
            feature = tf_example_pb2.Example.FromString(record).features.feature
        except DecodeError:
            raise ValueError("not a tf.Example") from None
        encoded = feature[self._image_key].bytes_list.value
        if not encoded:
            raise ValueError("no image")
        image = decode_image(encoded[0], channels=self._info.features[self._image_key].shape[-1])
        if self._label_key is None:
            return image, 0
        labels = feature[self._label_key].int64_list.value
        if not labels or not 0 <= labels[0] < len(self.class_names):
            raise ValueError(f"label {list(labels)} is outside 0..{len(self.class_names) - 1}")
        return image, labels[0]


def decode_image(encoded: bytes, *, channels: int | None) -> np.ndarray:
    """Decodes PNG, JPEG, WebP or BMP to uint8 [height, width, channels].

    `channels` as the dataset declares them, 1 or 3, or None: as the file has them.

    Raises:
      ValueError: the bytes are no such image, or one that is not supported; says why.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as file:
            image: Image.Image = file
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"unsupported pixel type {image.mode}")
            if channels in _MODES and image.mode != _MODES[channels]:
                image = image.convert(_MODES[channels])  # As TensorFlow's decoders do.
            elif image.mode == "P":
                image = image.convert("RGB")
            pixels = np.asarray(image, np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"undecodable image: {error.__class__.__name__}") from None
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    if pixels.shape[-1] not in CHANNELS:
        raise ValueError(f"unsupported shape {'x'.join(map(str, pixels.shape))}")
    return pixels


def _block(rows: list[tuple[str, np.ndarray, int]]) -> Block:
    ids, images, labels = zip(*rows, strict=True)
    return Block(list(ids), np.stack(images), np.array(labels, np.int64))


def download(dataset: str, data_dir: epath.PathLike) -> epath.Path:
    """Has TFDS download and prepare `dataset` under `data_dir`; returns the folder.

    Raises:
      ConfigError: TFDS knows no such config or version of the dataset.
      WorkError: the dataset's server does not answer, or TFDS fails.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(dataset, data_dir=epath.Path(data_dir).expanduser())
    except (ValueError, AssertionError, tfds.core.DatasetNotFoundError) as error:
        raise ConfigError(f"TFDS has no dataset {dataset!r}: {_one_line(error)}") from None
    _image_key(dataset, builder.info)  # Better refused now than after gigabytes.
    # TFDS itself would retry for minutes.
    for url in list(builder.url_infos or {})[:1]:
        if not _answers(url):
            raise WorkError(
                f"dataset {dataset!r} is not prepared under {data_dir} and {url} does not answer; "
                "point --data_dir at a prepared copy, or use --dataset synthetic_garments, "
                "which needs none"
            )
    try:
        builder.download_and_prepare(file_format="tfrecord")
    except Exception as error:  # TFDS raises whatever its many datasets do.
        raise WorkError(f"TFDS could not prepare {dataset!r}: {_one_line(error)}") from error
    return epath.Path(builder.data_dir)


def _image_key(dataset: str, info: "tfds.core.DatasetInfo") -> str:
    """The feature that holds a dataset's image. Raises ConfigError where none does."""
    import tensorflow_datasets as tfds

    features = info.features
    keys = [key for key in features if isinstance(features[key], tfds.features.Image)]
    if not keys:
        raise ConfigError(
            f"dataset {dataset!r} has no image feature; it has: {', '.join(features)}"
        )
    return "image" if "image" in keys else keys[0]


def _one_line(error: Exception, *, length: int = 300) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= length else f"{text[:length]}…"


def _answers(url: str) -> bool:
    """Whether a server that works answers at `url` within some seconds."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(
                urllib.request.Request(url, method="HEAD"), timeout=_NETWORK_SECONDS
            ).close()
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                return  # A proxy's answer, or one of a server that is down.
        except OSError:
            return
        answered.set()

    # In a thread, since a name server that is silent knows no time-out.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_NETWORK_SECONDS)
    return answered.is_set()
